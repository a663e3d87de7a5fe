//! The extractor of a struct in the session.

use std::ops::Deref;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use cloakroom_core::session::{SessionStruct, Typed as Inner};

use crate::SessionError;
use crate::extract::{LocalFuture, session_of};

/// A struct in the request's session, as a handler's argument.
///
/// ```
/// use cloakroom_actix::Typed;
/// use cloakroom_core::session::SessionStruct;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Default, Serialize, Deserialize)]
/// struct Visit {
///     pages: u32,
/// }
///
/// impl SessionStruct for Visit {
///     const PREFIX: &'static str = "visit";
/// }
///
/// async fn count(visit: Typed<Visit>) -> actix_web::Result<String> {
///     visit.update(|visit| visit.pages += 1)?;
///     Ok(format!("page {}", visit.get()?.pages))
/// }
/// ```
///
/// Its methods are those of [`cloakroom_core::session::Typed`], to which it dereferences.
///
/// # Errors
/// As [`Session`](crate::Session). That the struct cannot be read is told by
/// [`get`](Inner::get).
#[derive(Clone, Debug)]
pub struct Typed<T>(Inner<T>);

impl<T> Deref for Typed<T> {
    type Target = Inner<T>;

    fn deref(&self) -> &Inner<T> {
        &self.0
    }
}

impl<T: SessionStruct + 'static> FromRequest for Typed<T> {
    type Error = SessionError;
    type Future = LocalFuture<Result<Self, SessionError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move { Ok(Self(session_of(&request).await?.typed())) })
    }
}

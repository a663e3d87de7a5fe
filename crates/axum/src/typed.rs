//! The extractor of a struct in the session.

use std::ops::Deref;

use axum_core::extract::FromRequestParts;
use cloakroom_core::session::{SessionStruct, Typed as Inner};
use http::request::Parts;

use crate::{Session, SessionError};

/// A struct in the request's session, as a handler's argument.
///
/// ```
/// use cloakroom_axum::{SessionError, Typed};
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
/// async fn count(visit: Typed<Visit>) -> Result<String, SessionError> {
///     visit.update(|visit| visit.pages += 1)?;
///     Ok(format!("page {}", visit.get()?.pages))
/// }
/// ```
///
/// Its methods are those of [`cloakroom_core::session::Typed`], to which it dereferences.
///
/// # Errors
/// As [`Session`]. That the struct cannot be read is told by [`get`](Inner::get).
#[derive(Clone, Debug)]
pub struct Typed<T>(Inner<T>);

impl<T> Deref for Typed<T> {
    type Target = Inner<T>;

    fn deref(&self) -> &Inner<T> {
        &self.0
    }
}

impl<T: SessionStruct, S: Sync> FromRequestParts<S> for Typed<T> {
    type Rejection = SessionError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, SessionError> {
        let session = Session::from_request_parts(parts, state).await?;
        Ok(Self(session.typed()))
    }
}

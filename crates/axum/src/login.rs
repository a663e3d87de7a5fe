//! The extractor of a route that only a visitor who is logged in may use.

use std::ops::Deref;

use axum_core::extract::FromRequestParts;
use axum_core::response::{IntoResponse, Response};
use cloakroom_core::Subject;
use cloakroom_tower::RequestSession as _;
use http::StatusCode;
use http::request::Parts;

use crate::Session;
use crate::extract::with_text;

/// The session of a visitor who is logged in, as a handler's argument.
///
/// ```
/// use cloakroom_axum::LoggedIn;
///
/// async fn account(visitor: LoggedIn) -> String {
///     format!("You are {}.", visitor.subject().as_str())
/// }
/// ```
///
/// Everything else is on [`Session`], to which it dereferences.
///
/// # Errors
/// A visitor who is not logged in gets a 401, and where they have asked for a page and
/// there is a [login page](crate::SessionLayer::login_page), they are sent there. Else as
/// [`Session`].
#[derive(Clone, Debug)]
pub struct LoggedIn {
    session: Session,
    subject: Subject,
}

impl LoggedIn {
    /// Who is logged in, as the request found it.
    #[must_use]
    pub fn subject(&self) -> &Subject {
        &self.subject
    }
}

impl Deref for LoggedIn {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.session
    }
}

impl<S: Sync> FromRequestParts<S> for LoggedIn {
    type Rejection = NotLoggedIn;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, NotLoggedIn> {
        let logged_in = parts.logged_in().await;
        let (session, subject) = logged_in.map_err(NotLoggedIn)?;
        Ok(Self {
            session: session.into(),
            subject,
        })
    }
}

/// Why a request got no [`LoggedIn`].
#[derive(Debug)]
pub struct NotLoggedIn(cloakroom_tower::NotLoggedIn);

impl IntoResponse for NotLoggedIn {
    fn into_response(self) -> Response {
        let response: Response = self.0.into_response();
        match response.status() {
            StatusCode::SEE_OTHER => response,
            _ => with_text(response),
        }
    }
}

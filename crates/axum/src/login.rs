//! The extractor of a route that only a visitor who is logged in may use.

use std::ops::Deref;

use axum_core::extract::FromRequestParts;
use axum_core::response::{IntoResponse, Response};
use cloakroom_core::Subject;
use cloakroom_tower::{RequestSession as _, StepUp};
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
/// there is a [login page](crate::SessionLayer::login_page), they are sent there. A browser
/// that another site has led here, and that must prove its device, is made to ask again by
/// itself. Else as [`Session`].
#[derive(Clone, Debug)]
pub struct LoggedIn {
    session: Session,
    subject: Subject,
}

impl LoggedIn {
    pub(crate) fn new((session, subject): (cloakroom_core::session::Session, Subject)) -> Self {
        Self {
            session: session.into(),
            subject,
        }
    }

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
        parts.logged_in().await.map(Self::new).map_err(NotLoggedIn)
    }
}

/// Why a request got no [`LoggedIn`], no [`Fresh`](crate::Fresh) or no
/// [`AtLeast`](crate::AtLeast).
#[derive(Debug)]
pub struct NotLoggedIn(pub(crate) cloakroom_tower::NotLoggedIn);

impl NotLoggedIn {
    /// What the page needs of a visitor who is logged in; `None` where nobody is. An API
    /// takes `Result<Fresh<Minutes<10>>, NotLoggedIn>` to say it in words of its own.
    #[must_use]
    pub fn step_up(&self) -> Option<StepUp> {
        match self.0 {
            cloakroom_tower::NotLoggedIn::StepUp { needs, .. } => Some(needs),
            _ => None,
        }
    }
}

impl IntoResponse for NotLoggedIn {
    fn into_response(self) -> Response {
        let response: Response = self.0.into_response();
        match response.status() {
            StatusCode::SEE_OTHER | StatusCode::OK => response,
            _ => with_text(response),
        }
    }
}

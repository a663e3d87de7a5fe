//! The extractor of a route that only a visitor who is logged in may use.

use std::ops::Deref;
use std::sync::Arc;

use axum_core::extract::FromRequestParts;
use axum_core::response::{IntoResponse, Response};
use cloakroom_core::Subject;
use http::header::LOCATION;
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::{Session, SessionError};

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

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, NotLoggedIn> {
        let session = Session::from_request_parts(parts, state).await?;
        match session.subject() {
            Some(subject) => Ok(Self { session, subject }),
            None => Err(NotLoggedIn(Why::Nobody(login_url(parts)))),
        }
    }
}

/// Why a request got no [`LoggedIn`].
#[derive(Debug)]
pub struct NotLoggedIn(Why);

#[derive(Debug)]
enum Why {
    /// Nobody is logged in; where to log in.
    Nobody(Option<HeaderValue>),
    Failed(SessionError),
}

impl From<SessionError> for NotLoggedIn {
    fn from(error: SessionError) -> Self {
        Self(Why::Failed(error))
    }
}

impl IntoResponse for NotLoggedIn {
    fn into_response(self) -> Response {
        match self.0 {
            Why::Nobody(Some(url)) => (StatusCode::SEE_OTHER, [(LOCATION, url)]).into_response(),
            Why::Nobody(None) => (StatusCode::UNAUTHORIZED, "Unauthorized").into_response(),
            Why::Failed(error) => error.into_response(),
        }
    }
}

/// Where visitors log in, and what this request has asked for.
#[derive(Clone)]
pub(crate) struct LoginPage {
    pub(crate) url: Arc<str>,
    pub(crate) asked_for: Uri,
}

/// What stays as it is in the value of a query: RFC 3986's unreserved characters and `/`.
const IN_A_QUERY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

/// Only who asks for a page is sent to another one: a script wants the 401, and a form
/// that was sent is lost either way.
fn login_url(parts: &Parts) -> Option<HeaderValue> {
    let page = parts.extensions.get::<LoginPage>()?;
    let dest = parts.headers.get("sec-fetch-dest");
    let is_page = dest.is_none_or(|dest| dest == "document")
        && matches!(parts.method, Method::GET | Method::HEAD);
    let asked_for = page.asked_for.path_and_query()?.as_str();
    let asked_for = utf8_percent_encode(asked_for, IN_A_QUERY);
    let joint = if page.url.contains('?') { '&' } else { '?' };
    let url = format!("{}{joint}next={asked_for}", page.url);
    HeaderValue::try_from(url).ok().filter(|_| is_page)
}

//! Where a visitor goes who is not logged in.

use std::sync::Arc;

use http::header::LOCATION;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::SessionError;

/// Why a request is nobody's who is logged in.
#[derive(Debug)]
#[non_exhaustive]
pub enum NotLoggedIn {
    /// Nobody is logged in.
    #[non_exhaustive]
    Nobody {
        /// Where to send who has asked for a page, if there is a
        /// [login page](crate::SessionLayer::login_page).
        login_url: Option<HeaderValue>,
    },
    /// The session could not be loaded.
    Failed(SessionError),
}

impl NotLoggedIn {
    /// A 303 to the login page, or a 401 where there is none or no page was asked for; else
    /// the response of the [error](SessionError::into_response). It has no body.
    #[must_use]
    pub fn into_response<B: Default>(self) -> Response<B> {
        let mut response = Response::default();
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        match self {
            Self::Nobody { login_url: None } => response,
            Self::Nobody {
                login_url: Some(url),
            } => {
                *response.status_mut() = StatusCode::SEE_OTHER;
                response.headers_mut().insert(LOCATION, url);
                response
            }
            Self::Failed(error) => error.into_response(),
        }
    }
}

impl From<SessionError> for NotLoggedIn {
    fn from(error: SessionError) -> Self {
        Self::Failed(error)
    }
}

/// Where visitors log in, and what this request has asked for.
#[derive(Clone)]
pub(crate) struct LoginPage {
    pub(crate) url: Arc<str>,
    pub(crate) method: Method,
    pub(crate) asked_for: Uri,
}

/// What stays as it is in the value of a query: RFC 3986's unreserved characters and `/`.
const IN_A_QUERY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

impl LoginPage {
    /// Only who asks for a page is sent to another one: a script wants the 401, and a form
    /// that was sent is lost either way.
    pub(crate) fn url_for(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let dest = headers.get("sec-fetch-dest");
        let is_page = dest.is_none_or(|dest| dest == "document")
            && matches!(self.method, Method::GET | Method::HEAD);
        let asked_for = self.asked_for.path_and_query()?.as_str();
        let asked_for = utf8_percent_encode(asked_for, IN_A_QUERY);
        let joint = if self.url.contains('?') { '&' } else { '?' };
        let url = format!("{}{joint}next={asked_for}", self.url);
        HeaderValue::try_from(url).ok().filter(|_| is_page)
    }
}

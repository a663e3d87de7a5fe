//! Where a visitor goes who is not logged in.

use cloakroom_web::LoginPage;
use http::header::LOCATION;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri};

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
pub(crate) struct Login {
    pub(crate) page: LoginPage,
    pub(crate) method: Method,
    pub(crate) asked_for: Uri,
}

impl Login {
    pub(crate) fn url_for(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let asked_for = self.asked_for.path_and_query()?.as_str();
        let dest = headers.get("sec-fetch-dest").map(HeaderValue::as_bytes);
        let url = self.page.url_for(self.method.as_str(), asked_for, dest)?;
        HeaderValue::try_from(url).ok()
    }
}

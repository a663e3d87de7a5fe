//! Where a visitor goes who is not logged in, or whose login does not do.

use cloakroom_web::{HeaderEdit, LoginPage, StepUp};
use http::header::LOCATION;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri};

use crate::SessionError;
use crate::layer::edit;

/// Why a request is nobody's who is logged in, or of nobody whose login does for its page.
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
    /// Somebody is, and the page needs more of their login.
    #[non_exhaustive]
    StepUp {
        /// What it needs.
        needs: StepUp,
        /// Where to send who has asked for a page, if there is a
        /// [step-up page](crate::SessionLayer::step_up_page).
        step_up_url: Option<HeaderValue>,
    },
    /// Another site has led the browser here, as by a link, and with such a request it does
    /// not prove the device that the session is bound to.
    #[non_exhaustive]
    Reload {
        /// What makes it ask again by itself, in a response of status 200.
        headers: [HeaderEdit; 3],
    },
    /// The session could not be loaded.
    Failed(SessionError),
}

impl NotLoggedIn {
    /// A 303 to the login page or the step-up page. Where there is none, or no page was asked
    /// for: a 401, or a 403 where the login does not do. A 200 that makes the browser ask again
    /// where it proves its device by that. Else the response of the
    /// [error](SessionError::into_response). It has no body.
    #[must_use]
    pub fn into_response<B: Default>(self) -> Response<B> {
        let (url, status) = match self {
            Self::Nobody { login_url } => (login_url, StatusCode::UNAUTHORIZED),
            Self::StepUp { step_up_url, .. } => (step_up_url, StatusCode::FORBIDDEN),
            Self::Reload { headers } => {
                let mut response = Response::default();
                edit(&headers, response.headers_mut());
                return response;
            }
            Self::Failed(error) => return error.into_response(),
        };
        let mut response = Response::default();
        *response.status_mut() = status;
        if let Some(url) = url {
            *response.status_mut() = StatusCode::SEE_OTHER;
            response.headers_mut().insert(LOCATION, url);
        }
        response
    }
}

impl From<SessionError> for NotLoggedIn {
    fn from(error: SessionError) -> Self {
        Self::Failed(error)
    }
}

/// Why a request comes from no device that its session is bound to.
#[derive(Debug)]
#[non_exhaustive]
pub enum NotBound {
    /// Somebody is logged in, and the request has not proven their device. The browser may
    /// prove it with its next request.
    Unproven,
    /// Nobody is logged in, or the session could not be loaded.
    NotLoggedIn(NotLoggedIn),
}

impl NotBound {
    /// A 403 where the device is not proven; else [that](NotLoggedIn::into_response) of who is
    /// not logged in. It has no body.
    #[must_use]
    pub fn into_response<B: Default>(self) -> Response<B> {
        match self {
            Self::Unproven => {
                let mut response = Response::default();
                *response.status_mut() = StatusCode::FORBIDDEN;
                response
            }
            Self::NotLoggedIn(why) => why.into_response(),
        }
    }
}

impl From<NotLoggedIn> for NotBound {
    fn from(why: NotLoggedIn) -> Self {
        Self::NotLoggedIn(why)
    }
}

/// Where visitors log in and prove again who they are; one of them at least.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pages {
    pub(crate) login: Option<LoginPage>,
    pub(crate) step_up: Option<LoginPage>,
}

/// These pages, and what this request has asked for.
#[derive(Clone)]
pub(crate) struct Login {
    pub(crate) pages: Pages,
    pub(crate) method: Method,
    pub(crate) asked_for: Uri,
}

impl Login {
    /// Where this request is sent: to the login page, or for what its page needs.
    pub(crate) fn url_for(
        &self,
        needs: Option<StepUp>,
        headers: &HeaderMap,
    ) -> Option<HeaderValue> {
        let method = self.method.as_str();
        let asked_for = self.asked_for.path_and_query()?.as_str();
        let dest = headers.get("sec-fetch-dest").map(HeaderValue::as_bytes);
        let url = match needs {
            None => self.pages.login.as_ref()?.url_for(method, asked_for, dest),
            Some(needs) => needs.url_for(self.pages.step_up.as_ref()?, method, asked_for, dest),
        };
        HeaderValue::try_from(url?).ok()
    }
}

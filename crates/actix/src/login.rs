//! The extractor of a route that only a visitor who is logged in may use.

use std::fmt;
use std::ops::Deref;

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderValue, LOCATION};
use actix_web::{FromRequest, HttpMessage as _, HttpRequest, HttpResponse, ResponseError};
use cloakroom_core::Subject;

use crate::error::opaque;
use crate::extract::{Begun, LocalFuture, fetch_dest, session_of};
use crate::{Session, SessionError};

/// The session of a visitor who is logged in, as a handler's argument.
///
/// ```
/// use cloakroom_actix::LoggedIn;
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
/// there is a [login page](crate::SessionMiddleware::login_page), they are sent there. Else
/// as [`Session`].
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

impl FromRequest for LoggedIn {
    type Error = NotLoggedIn;
    type Future = LocalFuture<Result<Self, NotLoggedIn>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let session = session_of(&request).await?;
            match session.subject() {
                Some(subject) => Ok(Self { session, subject }),
                None => Err(NotLoggedIn(Why::Nobody(login_url(&request)))),
            }
        })
    }
}

fn login_url(request: &HttpRequest) -> Option<HeaderValue> {
    let extensions = request.extensions();
    let (page, asked_for) = extensions.get::<Begun>()?.login_page.as_ref()?;
    let dest = fetch_dest(request.headers());
    let url = page.url_for(request.method().as_str(), asked_for, dest)?;
    HeaderValue::try_from(url).ok()
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

impl fmt::Display for NotLoggedIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Why::Nobody(_) => f.write_str("nobody is logged in"),
            Why::Failed(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for NotLoggedIn {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0 {
            Why::Nobody(_) => None,
            Why::Failed(error) => error.source(),
        }
    }
}

impl ResponseError for NotLoggedIn {
    fn status_code(&self) -> StatusCode {
        match &self.0 {
            Why::Nobody(Some(_)) => StatusCode::SEE_OTHER,
            Why::Nobody(None) => StatusCode::UNAUTHORIZED,
            Why::Failed(error) => error.status_code(),
        }
    }

    fn error_response(&self) -> HttpResponse {
        match &self.0 {
            Why::Nobody(Some(url)) => {
                let mut response = HttpResponse::SeeOther();
                response.insert_header((LOCATION, url.clone())).finish()
            }
            Why::Nobody(None) => opaque(StatusCode::UNAUTHORIZED),
            Why::Failed(error) => error.error_response(),
        }
    }
}

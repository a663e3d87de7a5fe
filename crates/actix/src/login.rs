//! The extractor of a route that only a visitor who is logged in may use.

use std::fmt;
use std::ops::Deref;

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderValue, LOCATION};
use actix_web::{FromRequest, HttpMessage as _, HttpRequest, HttpResponse, ResponseError};
use cloakroom_core::Subject;
use cloakroom_web::{HeaderEdit, StepUp};

use crate::error::opaque;
use crate::extract::{Begun, LocalFuture, exchange_of, fetch_dest, session_of};
use crate::middleware::edit;
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
/// there is a [login page](crate::SessionMiddleware::login_page), they are sent there. A
/// browser that another site has led here, and that must prove its device, is made to ask again
/// by itself. Else as [`Session`].
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
        Box::pin(async move { logged_in(&request).await })
    }
}

async fn logged_in(request: &HttpRequest) -> Result<LoggedIn, NotLoggedIn> {
    let session = session_of(request).await?;
    if let Some(subject) = session.subject() {
        return Ok(LoggedIn { session, subject });
    }
    let exchange = exchange_of(&request.extensions())?;
    if let Some(headers) = exchange.reload() {
        return Err(NotLoggedIn::reload(headers));
    }
    let url = url_for(request, None);
    if url.is_some() {
        exchange.note_sent_to_login();
    }
    Err(NotLoggedIn(Why::Nobody(url)))
}

pub(crate) async fn stepped_up(
    request: HttpRequest,
    needs: StepUp,
) -> Result<LoggedIn, NotLoggedIn> {
    let logged_in = logged_in(&request).await?;
    let exchange = exchange_of(&request.extensions())?;
    match exchange.meets(needs) {
        true => Ok(logged_in),
        false => Err(NotLoggedIn(Why::StepUp(
            needs,
            url_for(&request, Some(needs)),
        ))),
    }
}

/// Where this request is sent: to the login page, or for what its page needs.
fn url_for(request: &HttpRequest, needs: Option<StepUp>) -> Option<HeaderValue> {
    let extensions = request.extensions();
    let (pages, asked_for) = extensions.get::<Begun>()?.pages.as_ref()?;
    let dest = fetch_dest(request.headers());
    let method = request.method().as_str();
    let url = match needs {
        None => pages.login.as_ref()?.url_for(method, asked_for, dest),
        Some(needs) => needs.url_for(pages.step_up.as_ref()?, method, asked_for, dest),
    };
    HeaderValue::try_from(url?).ok()
}

/// Why a request got no [`LoggedIn`], no [`Fresh`](crate::Fresh) or no
/// [`AtLeast`](crate::AtLeast).
#[derive(Debug)]
pub struct NotLoggedIn(Why);

#[derive(Debug)]
enum Why {
    /// Nobody is logged in; where to log in.
    Nobody(Option<HeaderValue>),
    /// What the page needs of the login; where to prove it.
    StepUp(StepUp, Option<HeaderValue>),
    /// What makes the browser ask again, and prove its device.
    Reload([HeaderEdit; 3]),
    Failed(SessionError),
}

impl NotLoggedIn {
    pub(crate) fn reload(headers: [HeaderEdit; 3]) -> Self {
        Self(Why::Reload(headers))
    }

    /// What the page needs of a visitor who is logged in; `None` where nobody is. An API
    /// takes `Result<Fresh<Minutes<10>>, NotLoggedIn>` to say it in words of its own.
    #[must_use]
    pub fn step_up(&self) -> Option<StepUp> {
        match self.0 {
            Why::StepUp(needs, _) => Some(needs),
            Why::Nobody(_) | Why::Reload(_) | Why::Failed(_) => None,
        }
    }
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
            Why::StepUp(..) => {
                f.write_str("the page needs a login that is fresh, or of a higher level")
            }
            Why::Reload(_) => f.write_str("the browser is to ask again, and to prove its device"),
            Why::Failed(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for NotLoggedIn {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0 {
            Why::Nobody(_) | Why::StepUp(..) | Why::Reload(_) => None,
            Why::Failed(error) => error.source(),
        }
    }
}

impl ResponseError for NotLoggedIn {
    fn status_code(&self) -> StatusCode {
        match &self.0 {
            Why::Nobody(Some(_)) | Why::StepUp(_, Some(_)) => StatusCode::SEE_OTHER,
            Why::Nobody(None) => StatusCode::UNAUTHORIZED,
            Why::StepUp(_, None) => StatusCode::FORBIDDEN,
            Why::Reload(_) => StatusCode::OK,
            Why::Failed(error) => error.status_code(),
        }
    }

    fn error_response(&self) -> HttpResponse {
        match &self.0 {
            Why::Nobody(Some(url)) | Why::StepUp(_, Some(url)) => {
                let mut response = HttpResponse::SeeOther();
                response.insert_header((LOCATION, url.clone())).finish()
            }
            Why::Nobody(None) | Why::StepUp(_, None) => opaque(self.status_code()),
            Why::Reload(headers) => {
                let mut response = HttpResponse::new(StatusCode::OK);
                edit(headers, response.headers_mut());
                response
            }
            Why::Failed(error) => error.error_response(),
        }
    }
}

//! Sessions that are bound to a device.

use std::fmt;
use std::ops::Deref;

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::http::header::HeaderValue;
use actix_web::{FromRequest, HttpMessage as _, HttpRequest, HttpResponse, ResponseError};
use cloakroom_core::Subject;
use cloakroom_web::{DeviceProof, DeviceRequest};

use crate::error::opaque;
use crate::extract::{LocalFuture, exchange_of};
use crate::middleware::edit;
use crate::{LoggedIn, NotLoggedIn, Session, SessionError};

/// The session of a visitor who is logged in on the device that their session is bound to, as
/// a handler's argument: for a page that changes a password or moves money.
///
/// ```
/// use cloakroom_actix::Bound;
///
/// async fn pay(visitor: Bound) -> String {
///     format!("Paid by {}.", visitor.subject().as_str())
/// }
/// ```
///
/// Everything else is on [`Session`], to which it dereferences.
///
/// # Errors
/// A request that has not proven its device gets a 403, at every level, also where its browser
/// binds no sessions. Where another site has led the browser here, which does not prove its
/// device with such a request, the answer makes it ask again by itself. Else as [`LoggedIn`]. A 500 where the engine
/// [binds no sessions](cloakroom_web::EngineBuilder::device_bound).
#[derive(Clone, Debug)]
pub struct Bound(LoggedIn);

impl Bound {
    /// Who is logged in, as the request found it.
    #[must_use]
    pub fn subject(&self) -> &Subject {
        self.0.subject()
    }
}

impl Deref for Bound {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.0
    }
}

impl FromRequest for Bound {
    type Error = NotBound;
    type Future = LocalFuture<Result<Self, NotBound>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let logged_in = LoggedIn::from_request(request, payload);
        let request = request.clone();
        Box::pin(async move {
            let logged_in = logged_in.await.map_err(Why::NotLoggedIn);
            let logged_in = logged_in.map_err(NotBound)?;
            let exchange = exchange_of(&request.extensions())?;
            match exchange.device_proof().map_err(SessionError::from)? {
                DeviceProof::Proven => Ok(Self(logged_in)),
                _ => Err(NotBound(match exchange.reload() {
                    Some(headers) => Why::NotLoggedIn(NotLoggedIn::reload(headers)),
                    None => Why::Unproven,
                })),
            }
        })
    }
}

/// Why a request got no [`Bound`].
#[derive(Debug)]
pub struct NotBound(Why);

#[derive(Debug)]
enum Why {
    Unproven,
    NotLoggedIn(NotLoggedIn),
}

impl From<SessionError> for NotBound {
    fn from(error: SessionError) -> Self {
        Self(Why::NotLoggedIn(error.into()))
    }
}

impl fmt::Display for NotBound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Why::Unproven => f.write_str("the request has not proven its device"),
            Why::NotLoggedIn(why) => why.fmt(f),
        }
    }
}

impl std::error::Error for NotBound {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0 {
            Why::Unproven => None,
            Why::NotLoggedIn(why) => why.source(),
        }
    }
}

impl ResponseError for NotBound {
    fn status_code(&self) -> StatusCode {
        match &self.0 {
            Why::Unproven => StatusCode::FORBIDDEN,
            Why::NotLoggedIn(why) => why.status_code(),
        }
    }

    fn error_response(&self) -> HttpResponse {
        match &self.0 {
            Why::Unproven => opaque(StatusCode::FORBIDDEN),
            Why::NotLoggedIn(why) => why.error_response(),
        }
    }
}

/// The endpoint at which browsers register and refresh the devices of their sessions: a
/// handler for POST at the path that the engine is told.
///
/// ```
/// use actix_web::web;
/// use cloakroom_actix::device_endpoint;
///
/// // Inside the middleware of an engine that was built with
/// // `.device_bound(Dbsc::observe())`; the path is `Dbsc::PATH`.
/// fn routes(app: &mut web::ServiceConfig) {
///     app.route("/device-session", web::post().to(device_endpoint));
/// }
/// ```
///
/// # Errors
/// As [`Session`].
pub async fn device_endpoint(request: HttpRequest) -> Result<HttpResponse, SessionError> {
    let exchange = exchange_of(&request.extensions())?;
    let headers = request.headers();
    let header = |name: &str| headers.get(name).map(HeaderValue::as_bytes);
    let asked = DeviceRequest {
        session_id: header("sec-secure-session-id"),
        response: header("secure-session-response"),
        fetch_site: header("sec-fetch-site"),
    };
    let carrier = exchange.transport().request_header();
    let cookies = headers.get_all(carrier).map(HeaderValue::as_bytes);
    let answer = exchange.answer_device(cookies, asked).await?;
    let status = StatusCode::from_u16(answer.status);
    let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::with_body(status, answer.body);
    edit(&answer.headers, response.headers_mut());
    Ok(response.map_into_boxed_body())
}

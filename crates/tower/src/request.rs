//! From a request to its session.

use std::future::Future;

use cloakroom_core::session::Session;
use cloakroom_core::{Error, ErrorKind, Subject};
use cloakroom_web::{DeviceProof, DeviceRequest, Exchange, StepUp, SubjectSessions};
use http::request::Parts;
use http::{Extensions, HeaderMap, HeaderValue, Request, Response, StatusCode};

use crate::SessionError;
use crate::layer::edit;
use crate::login::{Login, NotBound, NotLoggedIn};

/// The session of a request, for a request, its [`Parts`], or the two parts of it that
/// count: its extensions and its headers.
///
/// The session is loaded when it is asked for first, and is the same one however often
/// it is asked for in this request.
pub trait RequestSession {
    /// The extensions, in which [`SessionLayer`](crate::SessionLayer) has left an [`Exchange`], and the headers.
    fn extensions_and_headers(&self) -> (&Extensions, &HeaderMap);

    /// The session.
    ///
    /// # Errors
    /// Where the store does not answer, or there is no [`SessionLayer`](crate::SessionLayer) around this
    /// service. The client keeps its cookie.
    fn session(&self) -> impl Future<Output = Result<Session, SessionError>> + Send {
        let (extensions, headers) = self.extensions_and_headers();
        async move { open(exchange_in(extensions)?, headers).await }
    }

    /// The session of a visitor who is logged in, and who that is.
    ///
    /// # Errors
    /// [`NotLoggedIn::Nobody`] where nobody is; else as [`session`](Self::session).
    fn logged_in(&self) -> impl Future<Output = Result<(Session, Subject), NotLoggedIn>> + Send {
        let (extensions, headers) = self.extensions_and_headers();
        logged_in(extensions, headers)
    }

    /// The session of a visitor whose login does for a sensitive page, and who that is.
    ///
    /// # Errors
    /// [`NotLoggedIn::StepUp`] where somebody is logged in and their login does not do; else
    /// as [`logged_in`](Self::logged_in).
    fn stepped_up(
        &self,
        needs: StepUp,
    ) -> impl Future<Output = Result<(Session, Subject), NotLoggedIn>> + Send {
        let (extensions, headers) = self.extensions_and_headers();
        async move {
            let logged_in = logged_in(extensions, headers).await?;
            match exchange_in(extensions)?.meets(needs) {
                true => Ok(logged_in),
                false => Err(NotLoggedIn::StepUp {
                    needs,
                    step_up_url: url_for(Some(needs), extensions, headers),
                }),
            }
        }
    }

    /// The session of a visitor who is logged in on the device that their session is bound to,
    /// where this request has proven that device: for a page that changes a password or moves
    /// money.
    ///
    /// # Errors
    /// [`NotBound::Unproven`] where it has not, also where the session is bound to none;
    /// [`NotLoggedIn::Reload`] where it may with its next request; else as [`logged_in`](Self::logged_in), and an error where the engine
    /// [binds no sessions](cloakroom_web::EngineBuilder::device_bound).
    fn bound(&self) -> impl Future<Output = Result<(Session, Subject), NotBound>> + Send {
        let (extensions, headers) = self.extensions_and_headers();
        async move {
            let logged_in = (extensions, headers).logged_in().await?;
            let exchange = exchange_in(extensions).map_err(NotLoggedIn::from)?;
            let proof = exchange.device_proof();
            match proof.map_err(|error| NotLoggedIn::Failed(error.into()))? {
                DeviceProof::Proven => Ok(logged_in),
                _ => Err(match exchange.reload() {
                    Some(headers) => NotLoggedIn::Reload { headers }.into(),
                    None => NotBound::Unproven,
                }),
            }
        }
    }

    /// Answers a browser that registers or refreshes the device of its session: for the
    /// endpoint, a POST at the path of what [binds](cloakroom_web::EngineBuilder::device_bound)
    /// sessions. The response has JSON, or no body.
    ///
    /// # Errors
    /// As [`session`](Self::session), and where the engine binds no sessions to devices.
    fn answer_device(&self) -> impl Future<Output = Result<Response<String>, SessionError>> + Send {
        let (extensions, headers) = self.extensions_and_headers();
        async move {
            let exchange = exchange_in(extensions)?;
            let header = |name: &str| headers.get(name).map(HeaderValue::as_bytes);
            let request = DeviceRequest {
                session_id: header("sec-secure-session-id"),
                response: header("secure-session-response"),
                fetch_site: header("sec-fetch-site"),
            };
            let carrier = exchange.transport().request_header();
            let cookies = headers.get_all(carrier).into_iter();
            let answer = exchange.answer_device(cookies.map(HeaderValue::as_bytes), request);
            let answer = answer.await?;
            let mut response = Response::new(answer.body);
            *response.status_mut() =
                StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            edit(&answer.headers, response.headers_mut());
            Ok(response)
        }
    }

    /// The sessions of whoever is logged in: "where am I logged in", "log out everywhere
    /// else".
    ///
    /// # Errors
    /// As [`session`](Self::session).
    fn subject_sessions(
        &self,
    ) -> impl Future<Output = Result<SubjectSessions, SessionError>> + Send {
        let (extensions, headers) = self.extensions_and_headers();
        async move {
            let exchange = exchange_in(extensions)?;
            let session = open(exchange, headers).await?;
            Ok(SubjectSessions::new(exchange.clone(), session))
        }
    }
}

async fn logged_in(
    extensions: &Extensions,
    headers: &HeaderMap,
) -> Result<(Session, Subject), NotLoggedIn> {
    let exchange = exchange_in(extensions)?;
    let session = open(exchange, headers).await?;
    if let Some(subject) = session.subject() {
        return Ok((session, subject));
    }
    if let Some(headers) = exchange.reload() {
        return Err(NotLoggedIn::Reload { headers });
    }
    let login_url = url_for(None, extensions, headers);
    if login_url.is_some() {
        exchange.note_sent_to_login();
    }
    Err(NotLoggedIn::Nobody { login_url })
}

fn url_for(
    needs: Option<StepUp>,
    extensions: &Extensions,
    headers: &HeaderMap,
) -> Option<HeaderValue> {
    extensions.get::<Login>()?.url_for(needs, headers)
}

impl<B> RequestSession for Request<B> {
    fn extensions_and_headers(&self) -> (&Extensions, &HeaderMap) {
        (self.extensions(), self.headers())
    }
}

impl RequestSession for Parts {
    fn extensions_and_headers(&self) -> (&Extensions, &HeaderMap) {
        (&self.extensions, &self.headers)
    }
}

impl RequestSession for (&Extensions, &HeaderMap) {
    fn extensions_and_headers(&self) -> (&Extensions, &HeaderMap) {
        *self
    }
}

/// Opens the session of an exchange, for a framework that shows its handlers neither a
/// request nor all its extensions. [`SessionLayer`](crate::SessionLayer) leaves the
/// [`Exchange`] among these: warp's `warp::ext::get::<Exchange>()` finds it there.
///
/// # Errors
/// Where the store does not answer.
pub async fn open(exchange: &Exchange, headers: &HeaderMap) -> Result<Session, SessionError> {
    let dest = headers.get("sec-fetch-dest").map(HeaderValue::as_bytes);
    exchange.note_fetch_dest(dest);
    let carrier = exchange.transport().request_header();
    let values = headers.get_all(carrier).into_iter();
    Ok(exchange.open(values.map(HeaderValue::as_bytes)).await?)
}

fn exchange_in(extensions: &Extensions) -> Result<&Exchange, SessionError> {
    extensions.get::<Exchange>().ok_or_else(|| {
        SessionError::from(Error::new(
            ErrorKind::Misconfigured,
            "no SessionLayer around this route: add .layer(SessionLayer::new(engine))",
        ))
    })
}

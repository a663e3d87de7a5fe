//! The extractors of a session, and of the sessions of whoever is logged in.

use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;

use actix_web::dev::{Extensions, Payload};
use actix_web::http::header::{HeaderMap, HeaderValue};
use actix_web::{FromRequest, HttpMessage as _, HttpRequest};
use cloakroom_core::{Error, ErrorKind};
use cloakroom_web::{Exchange, LoginPage};

use crate::SessionError;

/// The request's session, as a handler's argument.
///
/// Asking for it loads it. Everything else is on
/// [`cloakroom_core::session::Session`], to which it dereferences.
///
/// # Errors
/// The request is answered with a [`SessionError`], and the client keeps its
/// cookie, where the store does not answer or there is no
/// [`SessionMiddleware`](crate::SessionMiddleware) around the route.
#[derive(Clone, Debug)]
pub struct Session(cloakroom_core::session::Session);

impl Deref for Session {
    type Target = cloakroom_core::session::Session;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl From<cloakroom_core::session::Session> for Session {
    /// For tests of handlers, with
    /// [`Session::detached`](cloakroom_core::session::Session::detached).
    fn from(session: cloakroom_core::session::Session) -> Self {
        Self(session)
    }
}

/// A future that stays on its worker.
pub(crate) type LocalFuture<T> = Pin<Box<dyn Future<Output = T>>>;

impl FromRequest for Session {
    type Error = SessionError;
    type Future = LocalFuture<Result<Self, SessionError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move { session_of(&request).await })
    }
}

/// The sessions of whoever is logged in, as a handler's argument: "where am I
/// logged in", "log out everywhere else".
///
/// Its methods are those of [`cloakroom_web::SubjectSessions`], to which it
/// dereferences.
///
/// # Errors
/// As [`Session`].
#[derive(Debug)]
pub struct SubjectSessions(cloakroom_web::SubjectSessions);

impl Deref for SubjectSessions {
    type Target = cloakroom_web::SubjectSessions;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl FromRequest for SubjectSessions {
    type Error = SessionError;
    type Future = LocalFuture<Result<Self, SessionError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let exchange = exchange_of(&request.extensions())?;
            let session = open(&exchange, request.headers()).await?;
            Ok(Self(cloakroom_web::SubjectSessions::new(
                exchange, session.0,
            )))
        })
    }
}

/// What the middleware leaves in the extensions of a request.
pub(crate) struct Begun {
    pub(crate) exchange: Exchange,
    /// Where visitors log in and prove again who they are, and the path and query that this
    /// request has asked for, as they came: a middleware further in may rewrite them.
    pub(crate) pages: Option<(Pages, String)>,
}

/// Where visitors log in, and where they prove again who they are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pages {
    pub(crate) login: Option<LoginPage>,
    pub(crate) step_up: Option<LoginPage>,
}

pub(crate) async fn session_of(request: &HttpRequest) -> Result<Session, SessionError> {
    // Not borrowed while it waits: a handler's other extractors use the extensions too.
    let exchange = exchange_of(&request.extensions())?;
    open(&exchange, request.headers()).await
}

pub(crate) fn exchange_of(extensions: &Extensions) -> Result<Exchange, SessionError> {
    let begun = extensions.get::<Begun>();
    begun.map(|begun| begun.exchange.clone()).ok_or_else(|| {
        SessionError::from(Error::new(
            ErrorKind::Misconfigured,
            "no SessionMiddleware around this route: add .wrap(SessionMiddleware::new(engine))",
        ))
    })
}

pub(crate) async fn open(
    exchange: &Exchange,
    headers: &HeaderMap,
) -> Result<Session, SessionError> {
    exchange.note_fetch_dest(fetch_dest(headers));
    let carrier = exchange.transport().request_header();
    let values = headers.get_all(carrier).map(HeaderValue::as_bytes);
    Ok(Session(exchange.open(values).await?))
}

pub(crate) fn fetch_dest(headers: &HeaderMap) -> Option<&[u8]> {
    headers.get("sec-fetch-dest").map(HeaderValue::as_bytes)
}

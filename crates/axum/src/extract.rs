//! The extractor, and what a handler returns where it fails.

use std::fmt;
use std::ops::Deref;

use axum_core::extract::FromRequestParts;
use axum_core::response::{IntoResponse, Response};
use cloakroom_core::{Error, ErrorKind};
use cloakroom_web::{Closing, Exchange};
use http::request::Parts;
use http::{HeaderValue, StatusCode};

/// The request's session, as a handler's argument.
///
/// Asking for it loads it. Everything else is on
/// [`cloakroom_core::session::Session`], to which it dereferences.
///
/// # Errors
/// The request is answered with a [`SessionError`], and the client keeps its
/// cookie, where the store does not answer or there is no
/// [`SessionLayer`](crate::SessionLayer) around the route.
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

impl<S: Sync> FromRequestParts<S> for Session {
    type Rejection = SessionError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, SessionError> {
        let (_, session) = open(parts).await?;
        Ok(Self(session))
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

impl<S: Sync> FromRequestParts<S> for SubjectSessions {
    type Rejection = SessionError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, SessionError> {
        let (exchange, session) = open(parts).await?;
        Ok(Self(cloakroom_web::SubjectSessions::new(exchange, session)))
    }
}

async fn open(parts: &Parts) -> Result<(Exchange, cloakroom_core::session::Session), SessionError> {
    let Some(exchange) = parts.extensions.get::<Exchange>().cloned() else {
        return Err(SessionError(Error::new(
            ErrorKind::Misconfigured,
            "no SessionLayer around this route: add .layer(SessionLayer::new(engine))",
        )));
    };
    exchange.note_fetch_dest(
        parts
            .headers
            .get("sec-fetch-dest")
            .map(HeaderValue::as_bytes),
    );
    let carrier = exchange.transport().request_header();
    let values = parts.headers.get_all(carrier).into_iter();
    let session = exchange.open(values.map(HeaderValue::as_bytes)).await?;
    Ok((exchange, session))
}

/// A session error as a response: an opaque 500, or 409 for
/// [`ErrorKind::Overwritten`]. What it was goes to the log.
///
/// Handlers return it so that `?` works on everything a session does.
#[derive(Clone)]
pub struct SessionError(Error);

impl SessionError {
    /// The error behind it.
    #[must_use]
    pub fn into_inner(self) -> Error {
        self.0
    }
}

impl From<Error> for SessionError {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

/// Says nothing of the store: some frameworks send a rejection's text to the client.
/// What it was is in the log, and in [`source`](std::error::Error::source).
impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the session could not be used; the log says why")
    }
}

impl fmt::Debug for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionError(..)")
    }
}

impl std::error::Error for SessionError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

impl IntoResponse for SessionError {
    fn into_response(self) -> Response {
        tracing::error!(error = %self.0, "request failed on its session");
        failure(&self.0)
    }
}

/// The response to a request whose session could not be loaded or saved. It
/// says nothing of why.
pub(crate) fn failure(error: &Error) -> Response {
    let status = StatusCode::from_u16(Closing::status_of(error))
        .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let text = status.canonical_reason().unwrap_or("Error");
    (status, text).into_response()
}

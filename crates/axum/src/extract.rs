//! The extractor, and what a handler returns where it fails.

use std::fmt;
use std::ops::Deref;

use axum_core::extract::FromRequestParts;
use axum_core::response::{IntoResponse, Response};
use cloakroom_core::Error;
use cloakroom_tower::RequestSession as _;
use http::request::Parts;

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
        Ok(Self(parts.session().await?))
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
        Ok(Self(parts.subject_sessions().await?))
    }
}

/// A session error as a response: an opaque 500, or 409 for
/// [`ErrorKind::Overwritten`](cloakroom_core::ErrorKind::Overwritten) and
/// [`ErrorKind::Gone`](cloakroom_core::ErrorKind::Gone). What it was goes to the log.
///
/// Handlers return it so that `?` works on everything a session does.
#[derive(Clone)]
pub struct SessionError(cloakroom_tower::SessionError);

impl SessionError {
    /// The error behind it.
    #[must_use]
    pub fn into_inner(self) -> Error {
        self.0.into_inner()
    }
}

impl From<Error> for SessionError {
    fn from(error: Error) -> Self {
        Self(error.into())
    }
}

impl From<cloakroom_tower::SessionError> for SessionError {
    fn from(error: cloakroom_tower::SessionError) -> Self {
        Self(error)
    }
}

/// Says nothing of the store: some frameworks send a rejection's text to the client.
/// What it was is in the log, and in [`source`](std::error::Error::source).
impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for SessionError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

impl IntoResponse for SessionError {
    fn into_response(self) -> Response {
        with_text(self.0.into_response())
    }
}

/// The response of an error, with the name of its status as its text.
pub(crate) fn with_text(response: Response) -> Response {
    match response.status().canonical_reason() {
        Some(text) => (response.status(), text).into_response(),
        None => response,
    }
}

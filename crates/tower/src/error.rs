//! What a handler returns where its session fails.

use std::fmt;

use cloakroom_core::Error;
use cloakroom_web::Closing;
use http::{Response, StatusCode};

/// A session error as a response: an opaque 500, or 409 for
/// [`ErrorKind::Overwritten`](cloakroom_core::ErrorKind::Overwritten) and
/// [`ErrorKind::Gone`](cloakroom_core::ErrorKind::Gone). What it was goes to the log.
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

    /// The status of its response.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        status_of(&self.0)
    }

    /// Logs the error, and makes the response that says nothing of it. It has no body.
    #[must_use]
    pub fn into_response<B: Default>(self) -> Response<B> {
        let status = self.status();
        tracing::error!(
            event = "request_failed",
            status = status.as_u16(),
            error = %self.0,
            "request failed on its session"
        );
        let mut response = Response::default();
        *response.status_mut() = status;
        response
    }
}

pub(crate) fn status_of(error: &Error) -> StatusCode {
    let status = StatusCode::from_u16(Closing::status_of(error));
    status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
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

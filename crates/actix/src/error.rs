//! What an extractor fails with.

use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::ContentType;
use actix_web::{HttpResponse, ResponseError};
use cloakroom_core::Error;

/// A session error as a response: an opaque 500, or 409 for
/// [`ErrorKind::Overwritten`](cloakroom_core::ErrorKind::Overwritten) and
/// [`ErrorKind::Gone`](cloakroom_core::ErrorKind::Gone). What it was goes to the log.
///
/// A handler that returns [`actix_web::Result`] needs no other error: `?` works on
/// everything that a session does. One that returns its own kind of response may name this
/// one.
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

/// Says nothing of the store: an application may send an error's text to the client.
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

impl ResponseError for SessionError {
    fn status_code(&self) -> StatusCode {
        self.0.status_code()
    }

    fn error_response(&self) -> HttpResponse {
        self.0.error_response()
    }
}

/// A response that says no more than its status.
pub(crate) fn opaque(status: StatusCode) -> HttpResponse {
    let text = status.canonical_reason().unwrap_or("Error");
    let mut response = HttpResponse::build(status);
    response.insert_header(ContentType::plaintext()).body(text)
}

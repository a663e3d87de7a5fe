//! [`Error`] as a response of actix-web. Only the crate of a type may make it an error of
//! actix-web, and `?` on a session's methods needs that: so it stands here, behind a feature,
//! and not in the adapter.

use actix_web::http::StatusCode;
use actix_web::http::header::ContentType;
use actix_web::{HttpResponse, ResponseError};

use crate::{Error, ErrorKind};

/// An opaque 500, or 409 for [`ErrorKind::Overwritten`] and [`ErrorKind::Gone`]. What it was
/// goes to the log, and not to the client.
#[cfg_attr(docsrs, doc(cfg(feature = "actix-web")))]
impl ResponseError for Error {
    fn status_code(&self) -> StatusCode {
        match self.kind() {
            ErrorKind::Overwritten | ErrorKind::Gone => StatusCode::CONFLICT,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn error_response(&self) -> HttpResponse {
        let status = self.status_code();
        tracing::error!(
            event = "request_failed",
            status = status.as_u16(),
            error = %self,
            "request failed on its session"
        );
        let text = status.canonical_reason().unwrap_or("Error");
        let mut response = HttpResponse::build(status);
        response.insert_header(ContentType::plaintext()).body(text)
    }
}

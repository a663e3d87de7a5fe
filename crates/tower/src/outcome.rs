//! How a response ended, and what replaces it where its session could not be saved:
//! gRPC says both in headers of its own.

use cloakroom_core::{Error, ErrorKind};
use cloakroom_web::Outcome;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Response};

use crate::error::status_of;

/// Where a gRPC response without a message has its status.
const GRPC_STATUS: &str = "grpc-status";

/// What gRPC's status codes are called that a server answers with when it fails.
const UNKNOWN: u32 = 2;
const DEADLINE_EXCEEDED: u32 = 4;
const UNIMPLEMENTED: u32 = 12;
const INTERNAL: u32 = 13;
const UNAVAILABLE: u32 = 14;
const DATA_LOSS: u32 = 15;

/// How the handler's work ended.
pub(crate) fn outcome_of<B>(response: &Response<B>) -> Outcome {
    let by_http = Outcome::from(response.status().as_u16());
    let headers = response.headers();
    match (grpc_type(headers), headers.get(GRPC_STATUS)) {
        (Some(_), Some(status)) if by_http == Outcome::Success => by_grpc(status),
        _ => by_http,
    }
}

fn by_grpc(status: &HeaderValue) -> Outcome {
    let code = status.to_str().ok().and_then(|code| code.parse().ok());
    match code.unwrap_or(UNKNOWN) {
        UNKNOWN | DEADLINE_EXCEEDED | UNIMPLEMENTED | INTERNAL | UNAVAILABLE | DATA_LOSS => {
            Outcome::ServerError
        }
        _ => Outcome::Success,
    }
}

/// The `Content-Type`, where it is one of gRPC's.
fn grpc_type(headers: &HeaderMap) -> Option<&HeaderValue> {
    let found = headers.get(CONTENT_TYPE);
    found.filter(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// The response instead of one whose session could not be saved. It says nothing of why,
/// and takes over nothing but whether it is gRPC's.
pub(crate) fn failure<B: Default>(error: &Error, instead_of: &HeaderMap) -> Response<B> {
    let mut response = Response::default();
    let Some(grpc) = grpc_type(instead_of) else {
        *response.status_mut() = status_of(error);
        return response;
    };
    let code = match error.kind() {
        ErrorKind::Overwritten | ErrorKind::Gone => "10",
        ErrorKind::Unavailable => "14",
        _ => "13",
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, grpc.clone());
    headers.insert(GRPC_STATUS, HeaderValue::from_static(code));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, headers: &[(&'static str, &'static str)]) -> Response<()> {
        let response = Response::builder().status(status);
        let headers = headers.iter();
        let response = headers.fold(response, |response, (name, value)| {
            response.header(*name, *value)
        });
        response.body(()).unwrap()
    }

    #[test]
    fn a_grpc_response_counts_by_its_grpc_status() {
        for content_type in [
            "application/grpc",
            "application/grpc+proto",
            "application/grpc-web",
        ] {
            for code in 0..=17_u32 {
                let is_servers = [2, 4, 12, 13, 14, 15].contains(&code);
                let code = code.to_string().leak();
                let headers = [("content-type", content_type), (GRPC_STATUS, code)];
                let fails = outcome_of(&response(200, &headers)) == Outcome::ServerError;
                assert_eq!(fails, is_servers, "{code}");
                let failed = outcome_of(&response(503, &headers));
                assert_eq!(
                    failed,
                    Outcome::ServerError,
                    "a proxy's answer counts by HTTP"
                );
            }
        }
        let grpc = ("content-type", "application/grpc");
        for (headers, outcome) in [
            (&[grpc][..], Outcome::Success),
            (&[grpc, (GRPC_STATUS, "OK")], Outcome::ServerError),
            (&[grpc, (GRPC_STATUS, "")], Outcome::ServerError),
            (&[(GRPC_STATUS, "13")], Outcome::Success),
            (
                &[("content-type", "application/json"), (GRPC_STATUS, "13")],
                Outcome::Success,
            ),
        ] {
            assert_eq!(outcome_of(&response(200, headers)), outcome, "{headers:?}");
        }
    }

    #[test]
    fn a_failure_is_one_of_the_responses_own_kind() {
        let handlers = [("content-type", "application/grpc+proto"), ("x-own", "1")];
        let handlers = response(200, &handlers);
        for (kind, status, code) in [
            (ErrorKind::Unavailable, 500, "14"),
            (ErrorKind::TooLarge, 500, "13"),
            (ErrorKind::Overwritten, 409, "10"),
            (ErrorKind::Gone, 409, "10"),
        ] {
            let error = Error::new(kind, "as a test");
            let grpc: Response<()> = failure(&error, handlers.headers());
            assert_eq!(grpc.status(), 200);
            assert_eq!(grpc.headers()["grpc-status"], code);
            assert_eq!(grpc.headers()["content-type"], "application/grpc+proto");
            assert_eq!(grpc.headers().len(), 2);
            let plain: Response<()> = failure(&error, response(200, &[]).headers());
            assert_eq!(
                (plain.status().as_u16(), plain.headers().len()),
                (status, 0)
            );
        }
    }
}

//! The one stylesheet.

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

const CSS: &str = include_str!("style.css");

/// Where the pages find it. It may be cached for ever: another content has
/// another address.
pub(crate) fn address() -> String {
    const SUM: u64 = sum(CSS.as_bytes());
    format!("/style.css?{SUM:016x}")
}

pub(crate) async fn serve() -> Response {
    let headers = [
        (CONTENT_TYPE, "text/css; charset=utf-8"),
        (CACHE_CONTROL, "public, max-age=31536000, immutable"),
    ];
    (headers, CSS).into_response()
}

/// FNV-1a: enough to tell one edition from the next.
const fn sum(bytes: &[u8]) -> u64 {
    let mut sum: u64 = 0xcbf2_9ce4_8422_2325;
    let mut at = 0;
    while at < bytes.len() {
        sum = (sum ^ bytes[at] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        at += 1;
    }
    sum
}

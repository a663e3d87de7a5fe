//! The one stylesheet, the one script, and the icon.

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

/// A file that may be cached for ever: another content has another address.
pub(crate) struct Asset {
    pub(crate) path: &'static str,
    content_type: &'static str,
    content: &'static str,
    sum: u64,
}

pub(crate) const STYLE: Asset = asset(
    "/style.css",
    "text/css; charset=utf-8",
    include_str!("style.css"),
);
pub(crate) const LIVE: Asset = asset(
    "/live.js",
    "text/javascript; charset=utf-8",
    include_str!("live.js"),
);
pub(crate) const ICON: Asset = asset("/icon.svg", "image/svg+xml", include_str!("icon.svg"));

const fn asset(path: &'static str, content_type: &'static str, content: &'static str) -> Asset {
    Asset {
        path,
        content_type,
        content,
        sum: sum(content.as_bytes()),
    }
}

impl Asset {
    /// Where the pages find it.
    pub(crate) fn address(&self) -> String {
        format!("{}?{:016x}", self.path, self.sum)
    }

    pub(crate) fn serve(&self) -> Response {
        let headers = [
            (CONTENT_TYPE, self.content_type),
            (CACHE_CONTROL, "public, max-age=31536000, immutable"),
        ];
        (headers, self.content).into_response()
    }
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

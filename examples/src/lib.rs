//! What two of the examples have in common.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};
use cloakroom::Engine;
use tokio::time::sleep;

/// Ends when the cookie of a request opens no login any more: after a logout, here or
/// elsewhere, at the session's deadline, and when it moves to another key.
///
/// A response that goes on has the session as it was when its request began, and nothing
/// tells it of a logout elsewhere. So this takes a fresh look at the store each second.
pub async fn session_ended(engine: Engine, headers: HeaderMap) {
    loop {
        sleep(Duration::from_secs(1)).await;
        let cookies = headers.get_all(header::COOKIE).into_iter();
        // Never closed, so it writes nothing: looking keeps no session alive.
        let exchange = engine.exchange();
        match exchange.open(cookies.map(HeaderValue::as_bytes)).await {
            Ok(session) if session.peek().subject().is_none() => return,
            // A store that does not answer logs nobody out.
            Ok(_) | Err(_) => {}
        }
    }
}

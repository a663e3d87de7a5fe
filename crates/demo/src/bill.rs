//! The foot of every page: what the request cost the store.
//!
//! The session is written after the handler has made its page, so the page
//! leaves room for the bill and this layer, outside the session's, writes it
//! in.

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use cloakroom::engine::Cost;
use maud::{Markup, PreEscaped, html};

use crate::moment::counted;
use crate::state::Keeping;

/// Where the bill goes. No visitor can write this into a page: what they write
/// is escaped.
const ROOM: &str = "<!-- cloakroom: the bill -->";

/// Bytes of the longest page: a full session, every byte of it escaped.
const PAGE_BYTES_MAX: usize = 1024 * 1024;

/// The room for the bill.
pub(crate) fn room() -> Markup {
    PreEscaped(ROOM.to_owned())
}

/// The layer that presents it.
pub(crate) async fn present(
    State(keeping): State<Keeping>,
    request: Request,
    next: Next,
) -> Response {
    let response = next.run(request).await;
    if !is_html(response.headers()) {
        return response;
    }
    // A request that has not opened its session leaves no cost behind.
    let cost = response.extensions().get::<Cost>().copied();
    let bill = bill(keeping, cost.unwrap_or_default()).into_string();
    let (mut parts, body) = response.into_parts();
    let Ok(page) = to_bytes(body, PAGE_BYTES_MAX).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let page = String::from_utf8_lossy(&page).replacen(ROOM, &bill, 1);
    parts.headers.remove(CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(page))
}

pub(crate) fn is_html(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .is_some_and(|content| content.as_bytes().starts_with(b"text/html"))
}

fn bill(keeping: Keeping, cost: Cost) -> Markup {
    html! {
        p.bill {
            @match keeping {
                Keeping::Store => "This request cost the store: ",
                Keeping::Cookie => "What this request did with your cookie: ",
            }
            b { (counted(cost.loads.into(), "load")) } ", "
            b { (counted(cost.writes.into(), "write")) } ", "
            b { (counted(cost.bytes_loaded, "byte")) } " read, "
            b { (counted(cost.bytes_written, "byte")) } " written."
        }
        p {
            "A session is loaded only when a page asks for it, and written only when something \
             has changed: once, just before the response leaves."
        }
    }
}

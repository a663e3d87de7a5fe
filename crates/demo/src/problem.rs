//! Pages for what went wrong.

use axum::extract::Request;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use cloakroom::session::Ended;
use maud::html;

use crate::layout::Page;
use crate::{bill, ended};

/// The layer that turns errors without a page into pages. It keeps status and
/// headers: a cookie that goes along with an error must arrive.
pub(crate) async fn explain(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    if !is_error || bill::is_html(response.headers()) {
        return response;
    }
    let (mut parts, _) = response.into_parts();
    let (title, text) = words(status);
    let page = page(status, title, text);
    parts.headers.remove(CONTENT_LENGTH);
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    parts.headers.insert(CONTENT_TYPE, html);
    Response::from_parts(parts, page.into_body())
}

/// The answer to a form that another site has sent.
pub(crate) fn foreign_form() -> Response {
    page(
        StatusCode::FORBIDDEN,
        "Not from here",
        "This form was sent from another site, so nothing was done. Open the page here and send \
         it again.",
    )
}

/// The answer to a form of a visitor whose session has ended since.
pub(crate) fn ended(ended: &Ended) -> Response {
    let page = Page {
        at: "",
        title: "Your session has ended",
        visitor: None,
        content: html! {
            (ended::told(ended))
            p { "Nothing was done. Log in again, then send the form once more." }
            p { a.button href="/login" { "Log in" } }
        },
    };
    (StatusCode::FORBIDDEN, page.render()).into_response()
}

/// The answer to a form without the session's token.
pub(crate) fn stale_form() -> Response {
    page(
        StatusCode::FORBIDDEN,
        "This form is too old",
        "The page it stood on is older than your log-in, so nothing was done. Open the page again \
         and send the form from there.",
    )
}

/// An error with words of its own.
pub(crate) fn page(status: StatusCode, title: &str, text: &str) -> Response {
    let page = Page {
        at: "",
        title,
        visitor: None,
        content: html! {
            p.lead { (text) }
            p { a href="/" { "Back to the start" } }
        },
    };
    let page = match status.is_server_error() {
        // What was spent before it failed, nobody knows.
        true => page.render_with(html! { p { "This request failed, so it has no bill." } }),
        false => page.render(),
    };
    (status, page).into_response()
}

fn words(status: StatusCode) -> (&'static str, &'static str) {
    match status {
        StatusCode::NOT_FOUND => ("No such page", "There is nothing at this address."),
        StatusCode::METHOD_NOT_ALLOWED => (
            "Not this way",
            "This address takes forms only; open the page that the form stands on.",
        ),
        StatusCode::REQUEST_TIMEOUT => (
            "Too slow",
            "The form did not arrive in time, so nothing was done. Send it again.",
        ),
        StatusCode::PAYLOAD_TOO_LARGE => (
            "Too much",
            "The form was longer than this site reads, so nothing was done.",
        ),
        status if status.is_client_error() => (
            "Not understood",
            "This request is not one that a page here would send, so nothing was done.",
        ),
        _ => (
            "The store did not answer",
            "The store did not answer. Your cookie is kept, try again.",
        ),
    }
}

/// Whatever no route takes.
pub(crate) async fn no_such_page() -> StatusCode {
    StatusCode::NOT_FOUND
}

//! What a page says of the form that has just been sent.
//!
//! The address says what was done (`/?logged-in`), so that the message needs no session:
//! after a logout there is none, and where the browser blocks cookies there never was.
//! Its fragment says where the keyboard goes on: at the button that was pressed, or at
//! the message where that button is no more.

use axum::response::{IntoResponse as _, Redirect, Response};
use maud::{Markup, html};

/// The fragment of a message.
pub(crate) const NOTICE: &str = "notice";

/// A page, what was done to come to it, and the id of what has the focus there.
pub(crate) fn to(path: &str, done: &str, focus: &str) -> Response {
    Redirect::to(&format!("{path}?{done}#{focus}")).into_response()
}

/// What went well.
pub(crate) fn done(text: Markup) -> Markup {
    html! { p.done id=(NOTICE) role="status" tabindex="-1" { (text) } }
}

/// What a page says whose form has changed the session, where there is no session now.
pub(crate) fn cookie_blocked(what_failed: &str) -> Markup {
    html! {
        p.failed id=(NOTICE) role="alert" tabindex="-1" {
            (what_failed)
            " Your browser did not send this site's cookie back. Allow cookies for this site and \
             try again, or "
            a href="/test-cookie" { "test your browser" } "."
        }
    }
}

//! Does the browser take cookies? Django's test cookie, step by step.

use axum::extract::RawQuery;
use axum::response::Redirect;
use cloakroom::axum::{Session, SessionError};
use maud::html;

use super::Answer;
use crate::layout::{Page, ticket};
use crate::post::Post;
use crate::visitor::Visitor;

/// What the address says right after the button was pressed: without it, a
/// cookie that was refused looks like one that was never set.
const TRIED: &str = "tried";

pub(crate) async fn page(session: Session, RawQuery(query): RawQuery) -> Answer {
    let visitor = Visitor::of(&session)?;
    let has_worked = session.test_cookie_worked();
    let has_tried = query.as_deref() == Some(TRIED);
    let (stub, said) = match (has_worked, has_tried) {
        (true, _) => ("yes", "It worked: the cookie came back."),
        (false, true) => (
            "no",
            "It did not come back: this browser refuses cookies, so it can have no session here.",
        ),
        (false, false) => ("?", "No test cookie is set."),
    };
    let content = html! {
        (ticket("Takes cookies", html! { (stub) }, html! {
            p role="status" { (said) }
            @if has_worked {
                (visitor.button("/test-cookie/delete", "Delete the test cookie"))
            } @else {
                (visitor.button("/test-cookie/set", "Set a test cookie"))
            }
        }))
        p {
            "One request plants a value with "
            code { "session.set_test_cookie()" }
            "; the next one, which is this page again, asks "
            code { "session.test_cookie_worked()" }
            ". The value only comes back if the browser kept the cookie in between."
        }
    };
    let page = Page {
        at: "/test-cookie",
        title: "Test cookie",
        visitor: Some(&visitor),
        content,
    };
    Ok(page.render())
}

pub(crate) async fn set(post: Post) -> Result<Redirect, SessionError> {
    post.session.set_test_cookie()?;
    Ok(Redirect::to(&format!("/test-cookie?{TRIED}")))
}

pub(crate) async fn delete(post: Post) -> Result<Redirect, SessionError> {
    post.session.delete_test_cookie()?;
    Ok(Redirect::to("/test-cookie"))
}

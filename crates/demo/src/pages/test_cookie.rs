//! Does the browser take cookies? Django's test cookie, step by step.

use axum::extract::RawQuery;
use cloakroom::axum::Session;
use maud::html;

use super::Answer;
use crate::layout::{Page, ticket};
use crate::notice;
use crate::post::Post;
use crate::visitor::Visitor;

/// What the address says right after the button was pressed: without it, a
/// cookie that was refused looks like one that was never set.
const TRIED: &str = "tried";
const DELETED: &str = "deleted";

/// The button, which sets or deletes.
const BUTTON: &str = "test";

pub(crate) async fn page(session: Session, RawQuery(query): RawQuery) -> Answer {
    let visitor = Visitor::of(&session)?;
    let has_worked = session.test_cookie_worked();
    let has_tried = query.as_deref() == Some(TRIED);
    let (stub, said) = match (has_worked, has_tried) {
        (true, _) => ("yes", "It worked: the cookie came back."),
        (false, true) => (
            "no",
            "It did not come back: this browser blocks cookies, so it cannot have a session here.",
        ),
        (false, false) => ("?", "No test cookie is set."),
    };
    let content = html! {
        (ticket("Accepts cookies", html! { (stub) }, html! {
            p role="status" { (said) }
            @if has_worked {
                (visitor.button("/test-cookie/delete", BUTTON, "Delete the test cookie"))
            } @else {
                (visitor.button("/test-cookie/set", BUTTON, "Set a test cookie"))
            }
        }))
        p {
            "One request stores a value with "
            code { "session.set_test_cookie()" }
            "; the next one, which is this page again, asks "
            code { "session.test_cookie_worked()" }
            ". The value is there only if the browser has kept the cookie in between."
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

pub(crate) async fn set(post: Post) -> Answer {
    post.session.set_test_cookie()?;
    Ok(notice::to("/test-cookie", TRIED, BUTTON))
}

pub(crate) async fn delete(post: Post) -> Answer {
    post.session.delete_test_cookie()?;
    Ok(notice::to("/test-cookie", DELETED, BUTTON))
}

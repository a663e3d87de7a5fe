//! A visit counter: the least a session can do.

use axum::response::Redirect;
use cloakroom::axum::{Session, SessionError};
use maud::html;

use super::Answer;
use crate::layout::{Page, ticket};
use crate::post::Post;
use crate::visitor::Visitor;

pub(crate) async fn page(session: Session) -> Answer {
    let visitor = Visitor::of(&session)?;
    let visits: u64 = session.get("visits")?.unwrap_or_default();
    let content = html! {
        (ticket("Visits", html! { (visits) }, html! {
            p { "Counted by this button alone: merely looking changes nothing." }
            (visitor.button("/count", "Count one more"))
        }))
        p { "The handler behind the button is one line:" }
        pre { code { "session.update(\"visits\", |visits: &mut u64| *visits += 1)?;" } }
        p {
            "Press it in ten tabs at once and it counts ten. Each request's changes are replayed \
             on what the others have left; none is lost."
        }
    };
    let page = Page {
        at: "/count",
        title: "Counter",
        visitor: Some(&visitor),
        content,
    };
    Ok(page.render())
}

pub(crate) async fn count(post: Post) -> Result<Redirect, SessionError> {
    post.session
        .update("visits", |visits: &mut u64| *visits += 1)?;
    Ok(Redirect::to("/count"))
}

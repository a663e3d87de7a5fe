//! A visit counter: the least a session can do.

use axum::extract::{RawQuery, State};
use cloakroom::axum::Session;
use maud::html;

use super::Answer;
use crate::layout::{Page, ticket};
use crate::notice;
use crate::post::Post;
use crate::state::{Keeping, Site};
use crate::visitor::Visitor;

/// What the address says right after the button was pressed.
const COUNTED: &str = "counted";

pub(crate) async fn page(
    State(site): State<Site>,
    session: Session,
    RawQuery(query): RawQuery,
) -> Answer {
    let visitor = Visitor::of(&session)?;
    let visits: u64 = session.get("visits")?.unwrap_or_default();
    let was_lost = query.as_deref() == Some(COUNTED) && !session.exists();
    let content = html! {
        @if was_lost { (notice::cookie_blocked("This visit was not counted.")) }
        (ticket("Visits", html! { (visits) }, html! {
            p { "Only this button counts: looking changes nothing." }
            (visitor.button("/count", "count", "Count one more"))
        }))
        p { "The handler behind the button is one line:" }
        pre { code { "session.update(\"visits\", |visits: &mut u64| *visits += 1)?;" } }
        @match site.keeping {
            Keeping::Store => p {
                "Press it in ten tabs at once and it counts ten. Each request's changes are \
                 replayed on top of what the others have left, so none is lost."
            }
            Keeping::Cookie => p {
                "Press it in ten tabs at once and it may count one: each answer brings a whole \
                 new cookie, and the last to arrive wins. A store on the server counts all ten."
            }
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

pub(crate) async fn count(post: Post) -> Answer {
    post.session
        .update("visits", |visits: &mut u64| *visits += 1)?;
    Ok(notice::to("/count", COUNTED, "count"))
}

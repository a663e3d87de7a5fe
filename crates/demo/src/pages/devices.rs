//! Where one is logged in, and how to end it there.

use std::convert::Infallible;

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::response::sse::{Event, KeepAlive, Sse};
use cloakroom::SessionInfo;
use cloakroom::axum::{LoggedIn, Session, SubjectSessions};
use cloakroom::store::KeyDigest;
use futures_util::stream::{Stream, StreamExt as _, once};
use maud::{Markup, html};

use super::Answer;
use crate::assets::LIVE;
use crate::layout::Page;
use crate::moment::instant;
use crate::notice::{self, NOTICE};
use crate::post::Post;
use crate::problem;
use crate::state::Site;
use crate::visitor::Visitor;

/// What the address says right after sessions were ended.
const ENDED: &str = "ended";

pub(crate) async fn page(
    session: Session,
    sessions: SubjectSessions,
    RawQuery(query): RawQuery,
) -> Answer {
    let visitor = Visitor::of(&session)?;
    let has_ended = query.as_deref() == Some(ENDED);
    let content = if !visitor.is_logged_in() {
        html! {
            p.lead { "Log in, and this page lists everywhere you are logged in." }
            p { a.button href="/login" { "Log in" } }
            p.quiet {
                "Then log in once more, in another browser or a private window, and come back."
            }
        }
    } else if !sessions.can_list() {
        html! {
            p.lead { "A cookie store keeps no list." }
            p {
                "Each session lies whole in its visitor's cookie: the server does not know how many \
                 there are, and cannot end any of them before its deadline."
            }
        }
    } else {
        devices(&visitor, &sessions.list().await?, is_bound(&session))
    };
    let content = html! {
        @if has_ended {
            (notice::done(html! {
                @if visitor.is_logged_in() { "You are logged out there." } @else { "You are logged out." }
            }))
        }
        (content)
        @if visitor.is_logged_in() && sessions.can_list() {
            p.quiet {
                "Leave this page open: the moment you are logged out from another browser, it says so."
            }
            script src=(LIVE.address()) defer {}
        }
    };
    let page = Page {
        at: "/devices",
        title: "Your devices",
        visitor: Some(&visitor),
        content,
    };
    Ok(page.render())
}

/// Whether the session is bound to the device that it is used on.
fn is_bound(session: &Session) -> bool {
    let login = session.login();
    let binding = login.as_ref().and_then(|login| login.binding.as_deref());
    binding.is_some_and(|binding| binding.key().is_some())
}

fn devices(visitor: &Visitor, infos: &[SessionInfo], is_bound: bool) -> Markup {
    let others = infos.iter().filter(|info| !info.is_current).count();
    html! {
        p.lead {
            @if others == 0 {
                "You are logged in here, and nowhere else."
            } @else {
                (infos.len()) " browsers are logged in as you:"
            }
        }
        @if is_bound {
            p {
                "This session is bound to this device: a copy of its cookies is worthless within \
                 minutes."
            }
        }
        ul.rows {
            @for info in infos { li { (device(visitor, info)) } }
        }
        @if others > 0 {
            (visitor.button("/devices/end-others", "end-others", "Log out everywhere else"))
        }
        p.quiet {
            "A visit that changes nothing is noted only now and then, to keep looking around cheap: \
             “last seen” may lag a little behind."
        }
    }
}

fn device(visitor: &Visitor, info: &SessionInfo) -> Markup {
    let label = info
        .label
        .as_ref()
        .map_or("A browser", |label| label.as_str());
    html! {
        div.what {
            (label) @if info.is_current { " " span.mark { "this one" } }
            p.when {
                "since " (instant(info.created_at)) ", last seen " (instant(info.last_seen_at))
            }
        }
        (visitor.form("/devices/end", html! {
            input type="hidden" name="id" value=(info.id.to_hex());
            button aria-label=(format!("Log out {label}")) { "Log out" }
        }))
    }
}

/// Says when the session ends, and why. The page that waits for it then shows itself again.
pub(crate) async fn live(
    State(site): State<Site>,
    login: LoggedIn,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let ended = login.ended();
    let end = once(async move {
        let ended = ended.await;
        Ok(Event::default().event("ended").data(ended.because.as_str()))
    });
    let end = end.take_until(site.stopping.begun());
    Sse::new(end).keep_alive(KeepAlive::default())
}

pub(crate) async fn end(post: Post) -> Answer {
    let Some(id) = KeyDigest::from_hex(post.field("id")) else {
        return Ok(problem::page(
            StatusCode::UNPROCESSABLE_ENTITY,
            "No such device",
            "The form does not say which one to log out, so nothing was done.",
        ));
    };
    // Of somebody else's, or of one that has gone by itself, nothing is said.
    post.sessions.end(&id).await?;
    Ok(back())
}

pub(crate) async fn end_others(post: Post) -> Answer {
    post.sessions.end_others().await?;
    Ok(back())
}

fn back() -> Response {
    notice::to("/devices", ENDED, NOTICE)
}

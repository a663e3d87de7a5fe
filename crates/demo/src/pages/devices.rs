//! Where one is logged in, and how to end it there.

use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use cloakroom::SessionInfo;
use cloakroom::axum::{Session, SubjectSessions};
use cloakroom::store::KeyDigest;
use maud::{Markup, html};

use super::Answer;
use crate::layout::Page;
use crate::moment::instant;
use crate::post::Post;
use crate::problem;
use crate::visitor::Visitor;

pub(crate) async fn page(session: Session, sessions: SubjectSessions) -> Answer {
    let visitor = Visitor::of(&session)?;
    let content = if !visitor.is_logged_in() {
        html! {
            p.lead { "Whoever is logged in sees here where else they are." }
            p { a.button href="/login" { "Log in" } }
            p.quiet {
                "Then log in once more, in another browser or a private window, and come back."
            }
        }
    } else if !sessions.can_list() {
        html! {
            p.lead { "This store keeps no list." }
            p {
                "The whole session lies in the visitor's cookie: the server does not know how many \
                 there are, and ends none of them by itself."
            }
        }
    } else {
        devices(&visitor, &sessions.list().await?)
    };
    let page = Page {
        at: "/devices",
        title: "Your devices",
        visitor: Some(&visitor),
        content,
    };
    Ok(page.render())
}

fn devices(visitor: &Visitor, infos: &[SessionInfo]) -> Markup {
    let others = infos.iter().filter(|info| !info.is_current).count();
    html! {
        p.lead { "You are logged in here" @if others == 0 { ", and nowhere else." } @else { ":" } }
        ul.rows {
            @for info in infos { li { (device(visitor, info)) } }
        }
        @if others > 0 {
            (visitor.button("/devices/end-others", "Log out everywhere else"))
        }
        p.quiet {
            "A visit that changes nothing is noted now and then, so that looking around stays \
             cheap: \"last seen\" may be a while behind."
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
            button aria-label=(format!("Log out: {label}")) { "Log out" }
        }))
    }
}

pub(crate) async fn end(post: Post) -> Answer {
    let Some(id) = KeyDigest::from_hex(post.field("id")) else {
        return Ok(problem::page(
            StatusCode::UNPROCESSABLE_ENTITY,
            "No such device",
            "The form does not say which one to log out, so all are as they were.",
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
    Redirect::to("/devices").into_response()
}

//! Admin mode: a change of privilege, and so of the session's key.

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use cloakroom::axum::{Session, SessionError};
use maud::{Markup, html};

use super::Answer;
use super::enter::{failed, password_field};
use crate::csrf;
use crate::layout::{Page, ticket};
use crate::post::Post;
use crate::state::Site;
use crate::visitor::{ADMIN, Visitor};

/// What the address says right after the key has changed.
const MOVED: &str = "moved";

pub(crate) async fn page(session: Session, RawQuery(query): RawQuery) -> Answer {
    let visitor = Visitor::of(&session)?;
    let has_moved = visitor.is_logged_in() && query.as_deref() == Some(MOVED);
    Ok(show(&visitor, has_moved, None))
}

fn show(visitor: &Visitor, has_moved: bool, problem: Option<&str>) -> Response {
    let body = match (visitor.is_logged_in(), visitor.is_admin) {
        (false, _) => html! {
            p { "Admin mode is for those who are logged in." }
            p { a.button href="/login" { "Log in" } }
        },
        (true, false) => ask(visitor, problem),
        (true, true) => html! {
            p { "You may do what only admins may: leave again." }
            (visitor.button("/admin/leave", "Leave admin mode"))
        },
    };
    let stub = if visitor.is_admin { "on" } else { "off" };
    let content = html! {
        @if has_moved {
            p.done role="status" {
                "Your session's key has just changed. A copy of your old cookie, wherever somebody \
                 may have taken one, opens nothing any more."
            }
        }
        (ticket("Switched", html! { (stub) }, body))
        p {
            "Whoever gains a privilege, or gives one up, should hold a new ticket from then on. "
            code { "session.cycle_key()" }
            " moves the session to a new key in one step, with everything in it; logging in does \
             so by itself."
        }
    };
    Page {
        at: "/admin",
        title: "Admin mode",
        visitor: Some(visitor),
        content,
    }
    .render()
}

fn ask(visitor: &Visitor, problem: Option<&str>) -> Markup {
    html! {
        p { "Enter your password once more." }
        (visitor.form("/admin/enter", html! {
            (failed(problem))
            (password_field("current-password", None))
            button { "Enter admin mode" }
        }))
    }
}

pub(crate) async fn enter(State(site): State<Site>, post: Post) -> Answer {
    let session = &post.session;
    let Some(subject) = session.subject() else {
        return Ok(Redirect::to("/admin").into_response());
    };
    let checked = site
        .accounts
        .check_id(subject.as_str(), post.field("password"));
    let problem = match checked.await {
        Ok(true) => {
            switch(session, true)?;
            return Ok(moved());
        }
        Ok(false) => (
            StatusCode::FORBIDDEN,
            "That is not your password.".to_owned(),
        ),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    };
    let (status, text) = problem;
    let visitor = Visitor::of(session)?;
    Ok((status, show(&visitor, false, Some(&text))).into_response())
}

pub(crate) async fn leave(post: Post) -> Answer {
    if post.session.subject().is_none() {
        return Ok(Redirect::to("/admin").into_response());
    }
    switch(&post.session, false)?;
    Ok(moved())
}

fn switch(session: &Session, on: bool) -> Result<(), SessionError> {
    session.cycle_key()?;
    if on {
        session.insert(ADMIN, true)?;
    } else {
        session.remove(ADMIN)?;
    }
    csrf::renew(session)?;
    Ok(())
}

fn moved() -> Response {
    Redirect::to(&format!("/admin?{MOVED}")).into_response()
}

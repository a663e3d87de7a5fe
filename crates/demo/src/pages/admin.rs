//! Admin mode: a change of privilege, and so of the session's key.

use axum::extract::{FromRequestParts as _, RawQuery, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Redirect, Response};
use cloakroom::axum::{Fresh, Minutes, NotLoggedIn, Session, SessionError};
use cloakroom::{Aal, Authentication, Label};
use cloakroom_admin::{Administrator, SESSION_ENTRY};
use maud::{Markup, html};

use super::Answer;
use super::form::{Problem, failed, password_field, submit};
use crate::csrf;
use crate::layout::{Page, ticket};
use crate::notice::{self, NOTICE};
use crate::post::Post;
use crate::site::SESSIONS;
use crate::state::{Keeping, Site};
use crate::visitor::{ADMIN, Visitor};

/// What the address says right after the key has changed.
const MOVED: &str = "moved";

/// Whoever has entered their password within this time. Then admin mode asks for it again.
type Proven = Fresh<Minutes<15>>;

/// Who may see everybody's sessions, for the page that shows them.
pub(crate) async fn administrator(
    session: Session,
    mut parts: Parts,
) -> Result<Option<Administrator>, Response> {
    let visitor =
        Visitor::of(&session).map_err(|error| SessionError::from(error).into_response())?;
    let Some(name) = visitor.name.filter(|_| visitor.is_admin) else {
        return Ok(None);
    };
    let proven = Proven::from_request_parts(&mut parts, &()).await;
    match proven {
        Ok(_) => Ok(Some(Administrator::new(name))),
        Err(error) => Err(error.into_response()),
    }
}

pub(crate) async fn page(
    State(site): State<Site>,
    session: Session,
    proven: Result<Proven, NotLoggedIn>,
    RawQuery(query): RawQuery,
) -> Answer {
    let mut visitor = Visitor::of(&session)?;
    visitor.is_admin &= proven.is_ok();
    let has_moved = visitor.is_logged_in() && query.as_deref() == Some(MOVED);
    Ok(show(&site, &visitor, has_moved, None))
}

fn show(
    site: &Site,
    visitor: &Visitor,
    has_moved: bool,
    problem: Option<&Problem<'_>>,
) -> Response {
    let body = match (visitor.is_logged_in(), visitor.is_admin) {
        (false, _) => html! {
            p { "Only somebody who is logged in can turn on admin mode." }
            p { a.button href="/login" { "Log in" } }
        },
        (true, false) => ask(visitor, problem),
        (true, true) => html! {
            p { "You may now do whatever only admins may:" }
            p { a.button href=(SESSIONS) { "See everybody’s sessions" } }
            (visitor.button("/admin/leave", "leave", "Leave admin mode"))
        },
    };
    let stub = if visitor.is_admin { "on" } else { "off" };
    let content = html! {
        @if has_moved { (notice::done(moved_to(site.keeping))) }
        (ticket("Admin mode", html! { (stub) }, body))
        p {
            "Whoever gains a privilege, or gives one up, should have a new ticket from then on. "
            code { "session.reauthenticated(Aal::One)" }
            " moves the session to a new key in one step, with everything in it, and notes when \
             its owner has proved who they are; logging in does both by itself. The pages of \
             admins take a "
            code { "Fresh<Minutes<15>>" }
            ": after a quarter of an hour the password is asked for again."
        }
        @if site.keeping == Keeping::Cookie {
            p {
                "In a cookie store the new key is a new cookie. Nothing can end the old one before \
                 its deadline: where that matters, keep sessions in a store, or revoke all of a \
                 user's cookies at once with "
                code { "cloakroom::cookie::Revocation" }
                "."
            }
        }
    };
    let page = Page {
        at: "/admin",
        title: "Admin mode",
        visitor: Some(visitor),
        content,
    };
    match problem {
        Some(_) => page.render_refused(),
        None => page.render(),
    }
}

fn moved_to(keeping: Keeping) -> Markup {
    match keeping {
        Keeping::Store => html! {
            "Your session's key has just changed. A copy of your old cookie, should somebody have \
             taken one, opens nothing any more."
        },
        Keeping::Cookie => html! {
            "Your cookie has just changed. A copy of the old one, should somebody have taken one, \
             still opens the session as it was then."
        },
    }
}

fn ask(visitor: &Visitor, problem: Option<&Problem<'_>>) -> Markup {
    html! {
        p { "Enter your password once more." }
        (visitor.form("/admin/enter", html! {
            (failed(problem))
            (password_field("current-password", None, problem))
            (submit("Enter admin mode", problem))
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
    let (status, text, fields): (_, _, &[_]) = match checked.await {
        Ok(true) => {
            switch(session, true)?;
            return Ok(moved());
        }
        Ok(false) => (
            StatusCode::FORBIDDEN,
            "That is not your password.".to_owned(),
            &["password"],
        ),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string(), &[]),
    };
    let problem = Problem {
        text: &text,
        fields,
    };
    let visitor = Visitor::of(session)?;
    Ok((status, show(&site, &visitor, false, Some(&problem))).into_response())
}

pub(crate) async fn leave(post: Post) -> Answer {
    if post.session.subject().is_none() {
        return Ok(Redirect::to("/admin").into_response());
    }
    switch(&post.session, false)?;
    Ok(moved())
}

fn switch(session: &Session, on: bool) -> Result<(), SessionError> {
    if on {
        let password = Authentication::from(Aal::One).by(Label::new("password")?);
        session.reauthenticated(password)?;
        session.insert(ADMIN, true)?;
    } else {
        session.cycle_key()?;
        session.remove(ADMIN)?;
        session.remove(SESSION_ENTRY)?;
    }
    csrf::renew(session)?;
    Ok(())
}

fn moved() -> Response {
    notice::to("/admin", MOVED, NOTICE)
}

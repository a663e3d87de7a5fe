//! Registering, logging in, logging out.

use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Redirect, Response};
use cloakroom::axum::{Session, SessionError};
use cloakroom::{Expiry, Label, SessionExpiry, Subject};
use maud::{Markup, html};

use super::Answer;
use crate::layout::Page;
use crate::post::Post;
use crate::state::Site;
use crate::visitor::{ADMIN, NAME, Visitor};
use crate::{Account, AccountError, browser, csrf};

/// How long one is remembered, used or not.
const REMEMBERED: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// A form as it was sent, and what is wrong with it.
#[derive(Default)]
struct Filled<'a> {
    name: &'a str,
    is_remembered: bool,
    problem: Option<&'a str>,
}

impl<'a> Filled<'a> {
    fn again(post: &'a Post, problem: &'a str) -> Self {
        Self {
            name: post.field("name"),
            is_remembered: is_remembered(post),
            problem: Some(problem),
        }
    }
}

pub(crate) async fn register_page(session: Session) -> Answer {
    Ok(show_register(&Visitor::of(&session)?, &Filled::default()))
}

pub(crate) async fn login_page(session: Session) -> Answer {
    Ok(show_login(&Visitor::of(&session)?, &Filled::default()))
}

fn show_register(visitor: &Visitor, filled: &Filled<'_>) -> Response {
    let content = html! {
        p.lead { "An account of this demo is a name and a password, in a file in its folder." }
        (visitor.form("/register", html! {
            (failed(filled.problem))
            (name_field(filled.name))
            (password_field("new-password", Some("8 bytes at least, 1024 at most.")))
            (remember_field(filled.is_remembered))
            button { "Register" }
        }))
        p.quiet { "You have one? " a href="/login" { "Log in" } }
    };
    Page {
        at: "/register",
        title: "Register",
        visitor: Some(visitor),
        content,
    }
    .render()
}

fn show_login(visitor: &Visitor, filled: &Filled<'_>) -> Response {
    let content = html! {
        @if let Some(name) = &visitor.name {
            p.lead { "You are logged in as " b { (name) } ". Whoever logs in here takes over." }
        }
        (visitor.form("/login", html! {
            (failed(filled.problem))
            (name_field(filled.name))
            (password_field("current-password", None))
            (remember_field(filled.is_remembered))
            button { "Log in" }
        }))
        p.quiet { "No account yet? " a href="/register" { "Register" } }
    };
    Page {
        at: "/login",
        title: "Log in",
        visitor: Some(visitor),
        content,
    }
    .render()
}

/// What is wrong with the form, above it.
pub(super) fn failed(problem: Option<&str>) -> Markup {
    html! {
        @if let Some(problem) = problem {
            p.failed id="problem" role="alert" { (problem) }
        }
    }
}

pub(super) fn password_field(autocomplete: &str, hint: Option<&str>) -> Markup {
    html! {
        label for="password" { "Password" }
        input id="password" type="password" name="password" required autocomplete=(autocomplete)
            aria-describedby=[hint.map(|_| "password-hint")];
        @if let Some(hint) = hint {
            p.hint id="password-hint" { (hint) }
        }
    }
}

fn name_field(name: &str) -> Markup {
    html! {
        label for="name" { "User name" }
        input id="name" name="name" value=(name) required autocomplete="username"
            autocapitalize="none" spellcheck="false";
    }
}

fn remember_field(is_remembered: bool) -> Markup {
    html! {
        label.choice {
            input type="checkbox" name="remember" value="yes" checked[is_remembered];
            "Remember me for 30 days"
        }
    }
}

fn is_remembered(post: &Post) -> bool {
    !post.field("remember").is_empty()
}

pub(crate) async fn register(State(site): State<Site>, headers: HeaderMap, post: Post) -> Answer {
    let registered = site
        .accounts
        .register(post.field("name"), post.field("password"));
    let error = match registered.await {
        Ok(account) => {
            log_in(&post, &account, &headers)?;
            return Ok(home());
        }
        Err(error) => error,
    };
    let visitor = Visitor::of(&post.session)?;
    let text = error.to_string();
    let page = show_register(&visitor, &Filled::again(&post, &text));
    Ok((status_of(error), page).into_response())
}

pub(crate) async fn login(State(site): State<Site>, headers: HeaderMap, post: Post) -> Answer {
    let checked = site
        .accounts
        .check(post.field("name"), post.field("password"));
    let (status, text) = match checked.await {
        Ok(Some(account)) => {
            log_in(&post, &account, &headers)?;
            return Ok(home());
        }
        Ok(None) => (
            StatusCode::FORBIDDEN,
            "There is no account of this name and password.".to_owned(),
        ),
        Err(error) => (status_of(error), error.to_string()),
    };
    let visitor = Visitor::of(&post.session)?;
    let page = show_login(&visitor, &Filled::again(&post, &text));
    Ok((status, page).into_response())
}

pub(crate) async fn logout(post: Post) -> Result<Redirect, SessionError> {
    post.session.flush()?;
    Ok(Redirect::to("/"))
}

fn log_in(post: &Post, account: &Account, headers: &HeaderMap) -> Result<(), SessionError> {
    let session = &post.session;
    // To log in as whom one is already changes no subject, and so no key; it
    // still deserves a new one.
    session.cycle_key()?;
    session.set_subject(Subject::new(account.id.as_str())?)?;
    session.set_label(Label::new(browser::describe(headers))?)?;
    session.set_expiry(if is_remembered(post) {
        SessionExpiry::Own(Expiry::new(REMEMBERED, Some(REMEMBERED))?)
    } else {
        SessionExpiry::BrowserClose
    })?;
    session.insert(NAME, &account.name)?;
    session.remove(ADMIN)?;
    csrf::renew(session)?;
    Ok(())
}

fn status_of(error: AccountError) -> StatusCode {
    match error {
        AccountError::Busy => StatusCode::SERVICE_UNAVAILABLE,
        AccountError::Failed => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

fn home() -> Response {
    Redirect::to("/").into_response()
}

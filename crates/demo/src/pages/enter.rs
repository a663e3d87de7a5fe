//! Registering, logging in, logging out.

use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use cloakroom::axum::{Session, SessionError};
use cloakroom::{Expiry, Label, SessionExpiry, Subject};
use maud::{Markup, html};

use super::form::{Problem, failed, name_field, password_field, submit};
use super::{Answer, LOGGED_IN, LOGGED_OUT};
use crate::layout::Page;
use crate::notice::{self, NOTICE};
use crate::post::Post;
use crate::state::Site;
use crate::visitor::{ADMIN, NAME, Visitor};
use crate::{Account, AccountError, browser, csrf};

/// How long one is remembered, used or not.
const REMEMBERED: Duration = Duration::from_secs(30 * 24 * 60 * 60);

const PASSWORD_HINT: &str = "8 to 1024 bytes; a plain letter or digit is one byte.";

/// A form as it was sent, and what is wrong with it.
#[derive(Default)]
struct Filled<'a> {
    name: &'a str,
    is_remembered: bool,
    problem: Option<Problem<'a>>,
}

impl<'a> Filled<'a> {
    fn again(post: &'a Post, problem: Problem<'a>) -> Self {
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
    let problem = filled.problem.as_ref();
    let content = html! {
        p.lead { "An account here is a name and a password, kept in a file in the demo's folder." }
        (visitor.form("/register", html! {
            (failed(problem))
            (name_field(filled.name, problem))
            (password_field("new-password", Some(PASSWORD_HINT), problem))
            (remember_field(filled.is_remembered))
            (submit("Register", problem))
        }))
        p.quiet { "Already have an account? " a href="/login" { "Log in" } }
    };
    let page = Page {
        at: "/register",
        title: "Register",
        visitor: Some(visitor),
        content,
    };
    match problem {
        Some(_) => page.render_refused(),
        None => page.render(),
    }
}

fn show_login(visitor: &Visitor, filled: &Filled<'_>) -> Response {
    let problem = filled.problem.as_ref();
    let content = html! {
        @if let Some(name) = &visitor.name {
            p.lead {
                "You are logged in as " b { (name) } ". If somebody else logs in here, that ends \
                 your session in this browser."
            }
        }
        (visitor.form("/login", html! {
            (failed(problem))
            (name_field(filled.name, problem))
            (password_field("current-password", None, problem))
            (remember_field(filled.is_remembered))
            (submit("Log in", problem))
        }))
        p.quiet { "No account yet? " a href="/register" { "Register" } }
    };
    let page = Page {
        at: "/login",
        title: "Log in",
        visitor: Some(visitor),
        content,
    };
    match problem {
        Some(_) => page.render_refused(),
        None => page.render(),
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
    let problem = Problem {
        text: &error.to_string(),
        fields: match error {
            AccountError::Name | AccountError::Taken => &["name"],
            AccountError::Password => &["password"],
            _ => &[],
        },
    };
    let page = show_register(&visitor, &Filled::again(&post, problem));
    Ok((status_of(error), page).into_response())
}

pub(crate) async fn login(State(site): State<Site>, headers: HeaderMap, post: Post) -> Answer {
    let checked = site
        .accounts
        .check(post.field("name"), post.field("password"));
    let (status, text, fields): (_, _, &[_]) = match checked.await {
        Ok(Some(account)) => {
            log_in(&post, &account, &headers)?;
            return Ok(home());
        }
        Ok(None) => (
            StatusCode::FORBIDDEN,
            "There is no account with this name and password.".to_owned(),
            &["name", "password"],
        ),
        Err(error) => (status_of(error), error.to_string(), &[]),
    };
    let visitor = Visitor::of(&post.session)?;
    let problem = Problem {
        text: &text,
        fields,
    };
    let page = show_login(&visitor, &Filled::again(&post, problem));
    Ok((status, page).into_response())
}

pub(crate) async fn logout(post: Post) -> Answer {
    post.session.flush()?;
    Ok(notice::to("/", LOGGED_OUT, NOTICE))
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
    notice::to("/", LOGGED_IN, NOTICE)
}

//! A sensitive page that asks for the password again, on axum, and the way back to it.
//!
//! `cargo run -p cloakroom-examples --bin step_up`, then <http://127.0.0.1:3000/keys>: ada's
//! password is `engine`, and her second factor is `1843`.

use axum::Router;
use axum::extract::{Form, Query};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use cloakroom::axum::{Aal2, AtLeast, Fresh, LoggedIn, Minutes, Session};
use cloakroom::axum::{SessionError, SessionLayer};
use cloakroom::{Aal, Authentication, Engine, Label, Subject, is_local_path};
use serde::Deserialize;

#[derive(Deserialize)]
struct Wanted {
    /// Where the visitor wanted to go: the layer adds it to the address.
    #[serde(default)]
    next: String,
    /// The level that is missing there.
    #[serde(default)]
    level: u8,
}

impl Wanted {
    fn way_on(&self) -> Redirect {
        let is_ours = is_local_path(&self.next);
        Redirect::to(if is_ours { &self.next } else { "/account" })
    }
}

#[derive(Deserialize)]
struct Proof {
    password: String,
    #[serde(default)]
    code: String,
}

/// The level that this proves, if any. A real site compares hashes, and takes one-time codes
/// or passkeys for a second factor; and it lets nobody guess without end.
fn proven(given: &Proof) -> Option<Aal> {
    match (given.password.as_str(), given.code.as_str()) {
        ("engine", "1843") => Some(Aal::Two),
        ("engine", _) => Some(Aal::One),
        _ => None,
    }
}

fn refused() -> Response {
    (StatusCode::UNAUTHORIZED, "That is wrong.\n").into_response()
}

async fn login_page() -> Html<&'static str> {
    // Without an `action` the form is sent to the address of this page, `next` included.
    Html(
        "<form method=post>
        <label>Ada's password <input name=password type=password></label>
        <button>Log in</button></form>",
    )
}

async fn log_in(
    session: Session,
    Query(wanted): Query<Wanted>,
    Form(given): Form<Proof>,
) -> Result<Response, SessionError> {
    if proven(&given).is_none() {
        return Ok(refused());
    }
    session.set_subject(Subject::new("1815")?)?;
    Ok(wanted.way_on().into_response())
}

async fn confirm_page(_: LoggedIn, Query(wanted): Query<Wanted>) -> Html<String> {
    let code = match wanted.level {
        2.. => "<label>The code of your second factor <input name=code></label>",
        _ => "",
    };
    Html(format!(
        "<p>This page is sensitive. Is it still you?
        <form method=post>
        <label>Your password <input name=password type=password></label>
        {code}<button>Go on</button></form>"
    ))
}

async fn confirm(
    visitor: LoggedIn,
    Query(wanted): Query<Wanted>,
    Form(given): Form<Proof>,
) -> Result<Response, SessionError> {
    let Some(level) = proven(&given) else {
        return Ok(refused());
    };
    let method = match level {
        Aal::One => "password",
        _ => "password and code",
    };
    // The session moves to a new key, and says from now on when, how and how surely its owner
    // has proved who they are.
    visitor.reauthenticated(Authentication::from(level).by(Label::new(method)?))?;
    Ok(wanted.way_on().into_response())
}

async fn account(visitor: LoggedIn) -> Html<String> {
    let user_id = visitor.subject().as_str();
    Html(format!("<p>You are user {user_id}."))
}

/// Who has not proved for ten minutes who they are does so on the step-up page first.
async fn keys(_: Fresh<Minutes<10>>) -> Html<&'static str> {
    Html(
        "<p>The keys of your account.
        <form method=post><button>Make new ones</button></form>",
    )
}

/// The form has five minutes more than its page: nobody fills it in and is refused then.
async fn make_new_keys(_: Fresh<Minutes<15>>) -> &'static str {
    "New keys.\n"
}

/// One factor does not do here, however fresh it is.
async fn payout(visitor: AtLeast<Aal2>, _: Fresh<Minutes<10>>) -> String {
    format!("{} may be paid.\n", visitor.subject().as_str())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().init();
    let engine = Engine::new(cloakroom::open("memory:").await?);
    let layer = SessionLayer::new(engine)
        .login_page("/login")
        .step_up_page("/confirm");
    let app = Router::new()
        .route("/account", get(account))
        .route("/keys", get(keys).post(make_new_keys))
        .route("/payout", get(payout))
        .route("/login", get(login_page))
        .route("/login", post(log_in))
        .route("/confirm", get(confirm_page).post(confirm))
        .layer(layer);
    let port = std::env::var("PORT").unwrap_or_else(|_| "3000".to_owned());
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("http://{}/keys", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}

//! Logging in, on axum: a page for those who are logged in, and the way back to it.
//!
//! `cargo run -p cloakroom-examples --bin login_axum`, then
//! <http://127.0.0.1:3000/account>: ada's password is `engine`.

use axum::Router;
use axum::extract::{Form, Query};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use cloakroom::axum::{LoggedIn, Session, SessionError, SessionLayer};
use cloakroom::{Engine, Subject, is_local_path};
use serde::Deserialize;

/// Where the visitor wanted to go: the layer adds it to the address of the login page.
#[derive(Deserialize)]
struct Wanted {
    #[serde(default)]
    next: String,
}

impl Wanted {
    /// The path if it is one of this site: anybody can make a link with another one.
    fn path(&self) -> &str {
        match is_local_path(&self.next) {
            true => &self.next,
            false => "/account",
        }
    }
}

#[derive(Deserialize)]
struct Credentials {
    name: String,
    password: String,
}

/// The id of the user with this name and password. A real site asks its database, and
/// compares hashes, by a crate such as argon2.
fn find_user(given: &Credentials) -> Option<&'static str> {
    (given.name == "ada" && given.password == "engine").then_some("1815")
}

async fn login_page() -> Html<&'static str> {
    // Without an `action` the form is sent to the address of this page, `next` included.
    Html(
        "<form method=post>
        <label>Name <input name=name></label>
        <label>Password <input name=password type=password></label>
        <button>Log in</button></form>",
    )
}

async fn log_in(
    session: Session,
    Query(wanted): Query<Wanted>,
    Form(given): Form<Credentials>,
) -> Result<Response, SessionError> {
    let Some(user_id) = find_user(&given) else {
        return Ok((StatusCode::UNAUTHORIZED, "Wrong name or password.\n").into_response());
    };
    // The session moves to a new key: whoever knew the old one gains nothing by this login.
    session.set_subject(Subject::new(user_id)?)?;
    Ok(Redirect::to(wanted.path()).into_response())
}

async fn log_out(session: Session) -> Result<Redirect, SessionError> {
    session.flush()?;
    Ok(Redirect::to("/login"))
}

/// A visitor who is not logged in does not get here: `LoggedIn` sends them to the login page.
async fn account(visitor: LoggedIn) -> Html<String> {
    let user_id = visitor.subject().as_str();
    Html(format!(
        "<p>You are user {user_id}.
        <form method=post action=/logout><button>Log out</button></form>"
    ))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().init();
    let engine = Engine::new(cloakroom::open("memory:").await?);
    let app = Router::new()
        .route("/account", get(account))
        .route("/login", get(login_page).post(log_in))
        .route("/logout", post(log_out))
        .layer(SessionLayer::new(engine).login_page("/login"));
    let port = std::env::var("PORT").unwrap_or_else(|_| "3000".to_owned());
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("http://{}/account", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}

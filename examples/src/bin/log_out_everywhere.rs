//! "Where am I logged in?": a user's own page, with buttons to end one session, the others, or
//! all, and the end of all of them after the password was reset.
//!
//! `cargo run -p cloakroom-examples --bin log_out_everywhere`, then
//! <http://127.0.0.1:3000/login>, in two browsers.

use std::fmt::Write as _;

use axum::Router;
use axum::extract::{Form, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use cloakroom::axum::{LoggedIn, Session, SessionError, SessionLayer, SubjectSessions};
use cloakroom::store::KeyDigest;
use cloakroom::{Engine, Label, Subject};
use serde::Deserialize;

#[derive(Deserialize)]
struct User {
    id: u64,
}

async fn login_page() -> Html<&'static str> {
    Html("<form method=post>User number <input name=id> <button>Log in</button></form>")
}

/// Logs in. The password is left out here: the example `login_axum` has one.
async fn log_in(
    session: Session,
    headers: HeaderMap,
    Form(user): Form<User>,
) -> Result<Redirect, SessionError> {
    session.set_subject(Subject::new(user.id.to_string())?)?;
    session.set_label(Label::new(browser(&headers))?)?;
    Ok(Redirect::to("/sessions"))
}

/// How the user will know this session in the list. A text from this list needs no escaping
/// in HTML; what the browser says of itself would.
fn browser(headers: &HeaderMap) -> &'static str {
    let agent = headers.get(header::USER_AGENT);
    let agent = agent.and_then(|agent| agent.to_str().ok()).unwrap_or("");
    let mut known = ["Firefox", "Chrome", "Safari"].into_iter();
    known
        .find(|name| agent.contains(name))
        .unwrap_or("A browser")
}

async fn sessions(_: LoggedIn, sessions: SubjectSessions) -> Result<Html<String>, SessionError> {
    let mut page = String::new();
    for session in sessions.list().await? {
        let label = session.label.as_ref().map_or("", |label| label.as_str());
        let this = if session.is_current {
            " (this one)"
        } else {
            ""
        };
        // The id is for forms: it opens no session.
        let id = session.id.to_hex();
        let _ = write!(
            page,
            "<form method=post action=/sessions/end>{label}{this}
            <input type=hidden name=id value={id}><button>Log out</button></form>"
        );
    }
    page.push_str(
        "<form method=post action=/sessions/end-others><button>All others</button></form>
        <form method=post action=/sessions/end-all><button>All</button></form>",
    );
    Ok(Html(page))
}

#[derive(Deserialize)]
struct Which {
    id: String,
}

/// `SubjectSessions` speaks for whoever is logged in: the id of somebody else's session ends
/// nothing.
async fn end(sessions: SubjectSessions, which: Form<Which>) -> Result<Response, SessionError> {
    let Some(id) = KeyDigest::from_hex(&which.id) else {
        return Ok(StatusCode::UNPROCESSABLE_ENTITY.into_response());
    };
    sessions.end(&id).await?;
    Ok(Redirect::to("/sessions").into_response())
}

async fn end_others(sessions: SubjectSessions) -> Result<Redirect, SessionError> {
    sessions.end_others().await?;
    Ok(Redirect::to("/sessions"))
}

async fn end_all(sessions: SubjectSessions) -> Result<Redirect, SessionError> {
    sessions.end_all().await?;
    Ok(Redirect::to("/login"))
}

/// After the user has set another password by a link from an e-mail. A real site checks the
/// link first; nobody is logged in here, so the engine ends the sessions by the user's id.
async fn password_reset(
    State(engine): State<Engine>,
    Form(user): Form<User>,
) -> Result<Redirect, SessionError> {
    let subject = Subject::new(user.id.to_string())?;
    engine.end_sessions_of(&subject).await?;
    Ok(Redirect::to("/login"))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().init();
    let engine = Engine::new(cloakroom::open("memory:").await?);
    let app = Router::new()
        .route("/login", get(login_page).post(log_in))
        .route("/sessions", get(sessions))
        .route("/sessions/end", post(end))
        .route("/sessions/end-others", post(end_others))
        .route("/sessions/end-all", post(end_all))
        .route("/password-reset", post(password_reset))
        .with_state(engine.clone())
        .layer(SessionLayer::new(engine).login_page("/login"));
    let port = std::env::var("PORT").unwrap_or_else(|_| "3000".to_owned());
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("http://{}/login", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}

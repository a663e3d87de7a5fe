//! "Remember me": a login that outlives the browser and a restart of the server, and one that
//! ends with the browser.
//!
//! `cargo run -p cloakroom-examples --bin remember_me`, then <http://127.0.0.1:3000>.

use std::time::Duration;

use axum::Router;
use axum::extract::Form;
use axum::response::{Html, Redirect};
use axum::routing::{get, post};
use cloakroom::axum::{Session, SessionError, SessionLayer};
use cloakroom::{Engine, Expiry, SessionExpiry, Subject};
use serde::Deserialize;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Deserialize)]
struct Login {
    user_id: u64,
    /// A browser sends a ticked box as `on`, and nothing for one that is not.
    remember: Option<String>,
}

/// Logs in. The password is left out here: the example `login_axum` has one.
async fn log_in(session: Session, Form(login): Form<Login>) -> Result<Redirect, SessionError> {
    session.set_subject(Subject::new(login.user_id.to_string())?)?;
    session.set_expiry(match login.remember {
        // Remembered for 30 days since the last visit, and for 180 in all.
        Some(_) => SessionExpiry::Own(Expiry::new(30 * DAY, Some(180 * DAY))?),
        None => SessionExpiry::BrowserClose,
    })?;
    Ok(Redirect::to("/"))
}

async fn page(session: Session) -> Html<String> {
    let Some(subject) = session.subject() else {
        return Html(
            "<form method=post action=/login>
            <label>User number <input name=user_id></label>
            <label><input type=checkbox name=remember> Remember me</label>
            <button>Log in</button></form>"
                .to_owned(),
        );
    };
    let user_id = subject.as_str();
    let until = if session.expires_at_browser_close() {
        "until you close the browser".to_owned()
    } else {
        let days = session.expiry_age().as_secs().div_ceil(24 * 60 * 60);
        format!("for {days} days")
    };
    Html(format!("<p>You are user {user_id}, remembered {until}."))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().init();
    let engine = Engine::new(cloakroom::open("redb:./remember_me.redb").await?);
    let app = Router::new()
        .route("/", get(page))
        .route("/login", post(log_in))
        .layer(SessionLayer::new(engine));
    let port = std::env::var("PORT").unwrap_or_else(|_| "3000".to_owned());
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}

//! Moving from tower-sessions over SQLite: whoever is logged in at the former site stays
//! logged in at this one.
//!
//! The former site kept its sessions in `former.db`, by `SqliteStore` of
//! tower-sessions-sqlx-store, and put `user_id` and `visits` into each. Stop it, then
//! `cargo run -p cloakroom-examples --bin moving` in the folder of that file.

use axum::Router;
use axum::response::Redirect;
use axum::routing::{get, post};
use cloakroom::Engine;
use cloakroom::axum::{Session, SessionError, SessionLayer};
use cloakroom_adopt::{SqliteTable, named, tower_sessions};

/// The handlers of the former site stay: entries keep their names and types.
async fn count(session: Session) -> Result<String, SessionError> {
    session.update("visits", |visits: &mut u64| *visits += 1)?;
    let visits: u64 = session.get("visits")?.unwrap_or(0);
    // What the former site kept as `user_id` is the subject now, too: so that a user's
    // sessions can be listed and ended.
    let who = match session.subject() {
        Some(subject) => format!("user {}", subject.as_str()),
        None => "nobody".to_owned(),
    };
    Ok(format!("{who}, visit {visits}\n"))
}

async fn log_out(session: Session) -> Result<Redirect, SessionError> {
    session.flush()?;
    Ok(Redirect::to("/"))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The log says why a former cookie was not taken.
    tracing_subscriber::fmt().init();
    let store = cloakroom::open("sqlite:./sessions.sqlite").await?;
    let former = tower_sessions(SqliteTable::open("former.db")?).subject(named(["user_id"]));
    // To be taken out when the last session of the former site has expired.
    let engine = Engine::builder(store).adopt(former).build()?;
    let app = Router::new()
        .route("/", get(count))
        .route("/logout", post(log_out))
        .layer(SessionLayer::new(engine));
    let port = std::env::var("PORT").unwrap_or_else(|_| "3000".to_owned());
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}

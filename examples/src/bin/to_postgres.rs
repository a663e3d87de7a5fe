//! A site that moves from redb to PostgreSQL by its URL, while it runs.
//!
//! `cargo run -p cloakroom-examples --bin to_postgres` keeps its sessions in
//! `./sessions.redb`, until `STORE` names another store:
//!
//! 1. `STORE='postgres://USER:PASSWORD@HOST/DATABASE?migrating_from=redb:./sessions.redb'`
//!    moves them. The log says when all have moved.
//! 2. `STORE='postgres://USER:PASSWORD@HOST/DATABASE'` is the end of it.
//! 3. `STORE='redb:./sessions.redb?migrating_from=postgres://USER:PASSWORD@HOST/DATABASE'`
//!    moves them back, at any moment.
//!
//! [docs/migrating.md](../../../docs/migrating.md) says more.

use std::time::Duration;

use axum::Router;
use axum::routing::get;
use cloakroom::axum::{Session, SessionError, SessionLayer};
use cloakroom::{Engine, Sweeper};

async fn count(session: Session) -> Result<String, SessionError> {
    session.update("visits", |visits: &mut u64| *visits += 1)?;
    let visits: u64 = session.get("visits")?.unwrap_or(0);
    Ok(format!("visit {visits}\n"))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The log says when all sessions have moved.
    tracing_subscriber::fmt().init();
    let url = std::env::var("STORE").unwrap_or_else(|_| "redb:./sessions.redb".to_owned());
    let store = cloakroom::open(&url).await?;
    let _sweeper = Sweeper::spawn(store.clone(), Duration::from_secs(600));
    let app = Router::new()
        .route("/", get(count))
        .layer(SessionLayer::new(Engine::new(store)));
    let port = std::env::var("PORT").unwrap_or_else(|_| "3000".to_owned());
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}

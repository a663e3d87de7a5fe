//! Behind nginx, with sessions that lie in the cookie itself: several cookies of 4 KiB, for
//! which nginx needs larger buffers than its own. They are in `examples/nginx.conf`.
//!
//! ```sh
//! (umask 077 && openssl rand -hex 32 > session.keys)
//! cargo run -p cloakroom-examples --bin behind_nginx
//! ```

use axum::Router;
use axum::extract::Form;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use cloakroom::axum::{Session, SessionError, SessionLayer};
use cloakroom::{CookiePolicy, Engine};
use serde::Deserialize;

/// A longer note does not fit into four cookies with what else they hold.
const NOTE_BYTES_MAX: usize = 10_000;

#[derive(Deserialize)]
struct Note {
    text: String,
}

async fn read(session: Session) -> Result<String, SessionError> {
    Ok(session.get("note")?.unwrap_or_default())
}

async fn write(session: Session, Form(note): Form<Note>) -> Result<Response, SessionError> {
    if note.text.len() > NOTE_BYTES_MAX {
        return Ok(StatusCode::PAYLOAD_TOO_LARGE.into_response());
    }
    session.insert("note", note.text)?;
    Ok(Redirect::to("/").into_response())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().init();
    let store = cloakroom::open("cookie:?key_file=./session.keys").await?;
    let cookies = CookiePolicy::builder().chunks_max(4).build()?;
    let engine = Engine::builder(store).cookie(cookies).build()?;
    let app = Router::new()
        .route("/", get(read).post(write))
        .layer(SessionLayer::new(engine));
    let port = std::env::var("PORT").unwrap_or_else(|_| "3000".to_owned());
    // nginx alone reaches it, on this machine.
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}

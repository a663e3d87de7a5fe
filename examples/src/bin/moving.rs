//! Moving from another library: whoever is logged in at the former site stays logged in at
//! this one.
//!
//! The former site put `user_id` and `visits` into each session. Stop it, then start this one
//! with the library's name, as in
//! `cargo run -p cloakroom-examples --bin moving express-session`:
//!
//! | library | where its sessions lie | what its cookies are protected with |
//! |---|---|---|
//! | `tower-sessions` (default) | in the table of SqliteStore, in `./former.db` | nothing, by default |
//! | `actix-session` | in Redis, by RedisSessionStore, at `REDIS_URL` | the 64 bytes or more that it gave to `Key::from`, in `./former.key` |
//! | `express-session` | in Redis, by connect-redis, at `REDIS_URL` | its `secret`, in `SESSION_SECRET` |

use std::error::Error;

use axum::Router;
use axum::response::Redirect;
use axum::routing::{get, post};
use cloakroom::Engine;
use cloakroom::axum::{Session, SessionError, SessionLayer};
use cloakroom_adopt::{
    CookieKey, RedisKeys, Source, SqliteTable, actix_session, express_session, named,
    tower_sessions,
};

/// The sessions of the former site.
fn former(library: &str) -> Result<Source, Box<dyn Error>> {
    let redis = || {
        let url = std::env::var("REDIS_URL");
        RedisKeys::new(url.as_deref().unwrap_or("redis://127.0.0.1:6379"))
    };
    Ok(match library {
        "tower-sessions" => tower_sessions(SqliteTable::open("former.db")?),
        "actix-session" => {
            let key = CookieKey::from_bytes(&std::fs::read("former.key")?)?;
            actix_session(redis()?, key)
        }
        "express-session" => express_session(redis()?, [std::env::var("SESSION_SECRET")?]),
        _ => return Err("name tower-sessions, actix-session or express-session".into()),
    }
    .subject(named(["user_id"])))
}

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
async fn main() -> Result<(), Box<dyn Error>> {
    // The log says why a former cookie was not taken.
    tracing_subscriber::fmt().init();
    let library = std::env::args().nth(1);
    let former = former(library.as_deref().unwrap_or("tower-sessions"))?;
    let store = cloakroom::open("sqlite:./sessions.sqlite").await?;
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

//! Server-sent events that end when their session does.
//!
//! `cargo run -p cloakroom-examples --bin live_events`, then <http://127.0.0.1:3000>.
//!
//! A response that goes on has the session as it was when the request began. What tells it of a
//! logout meanwhile, here or elsewhere, is [`ended`](cloakroom::session::Session::ended).

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::response::sse::{Event, Sse};
use axum::response::{Html, Redirect};
use axum::routing::{get, post};
use cloakroom::axum::{LoggedIn, Session, SessionError, SessionLayer};
use cloakroom::{Engine, Subject};
use futures_util::stream::{Stream, StreamExt as _, unfold};
use tokio::time::sleep;

async fn events(login: LoggedIn) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let ticks = unfold(0_u64, |count| async move {
        sleep(Duration::from_millis(200)).await;
        let event = Event::default().data(count.to_string());
        Some((Ok(event), count + 1))
    });
    Sse::new(ticks.take_until(login.ended()))
}

/// Logs in. The password is left out here: the example `login_axum` has one.
async fn log_in(session: Session) -> Result<Redirect, SessionError> {
    session.set_subject(Subject::new("1815")?)?;
    Ok(Redirect::to("/"))
}

async fn log_out(session: Session) -> Result<Redirect, SessionError> {
    session.flush()?;
    Ok(Redirect::to("/"))
}

async fn page() -> Html<&'static str> {
    Html(
        "<form method=post action=/login><button>Log in</button></form>
        <form method=post action=/logout target=_blank><button>Log out</button></form>
        <p>Event <output id=count>none</output>
        <script>
        const count = document.getElementById('count');
        const events = new EventSource('/events');
        events.onmessage = (event) => { count.value = event.data };
        events.onerror = () => { count.value = 'none' };
        </script>",
    )
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().init();
    let engine = Engine::new(cloakroom::open("memory:").await?);
    let app = Router::new()
        .route("/", get(page))
        .route("/login", post(log_in))
        .route("/logout", post(log_out))
        .route("/events", get(events))
        .layer(SessionLayer::new(engine));
    let port = std::env::var("PORT").unwrap_or_else(|_| "3000".to_owned());
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}

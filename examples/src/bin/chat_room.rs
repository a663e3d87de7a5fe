//! A chat room for those who are logged in, whose WebSockets close when their session ends.
//!
//! `cargo run -p cloakroom-examples --bin chat_room`, then <http://127.0.0.1:3000> in two
//! windows. Log out in one tab of a window: the room in its other tabs closes. Log out
//! everywhere in one window: it closes in the others where the same name is logged in.

use std::time::Duration;

use axum::Router;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{Form, State};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{any, get, post};
use cloakroom::axum::{LoggedIn, Session, SessionError, SessionLayer, SubjectSessions};
use cloakroom::session::Ended;
use cloakroom::{Engine, Subject};
use serde::Deserialize;
use tokio::sync::broadcast::{self, error::RecvError};

/// Bytes of what one visitor may say at once.
const MESSAGE_BYTES_MAX: usize = 1_000;

/// What may be said before the slowest visitor misses some of it.
const UNREAD_MAX: usize = 100;

/// How long a visitor may take to read that their session has ended.
const GOODBYE_MAX: Duration = Duration::from_secs(5);

/// What is said in the room.
type Room = broadcast::Sender<String>;

/// The upgrade is a request like any other: the login is checked before it is answered. With
/// the cookie's `SameSite=Lax` a page of another site opens no socket with it.
async fn enter(State(room): State<Room>, login: LoggedIn, upgrade: WebSocketUpgrade) -> Response {
    let name = login.subject().as_str().to_owned();
    // Before the answer, so that a visitor who has it misses nothing.
    let (heard, ended) = (room.subscribe(), login.ended());
    upgrade
        .max_message_size(MESSAGE_BYTES_MAX)
        .on_upgrade(|socket| visit(socket, name, (room, heard), ended))
}

/// Talks until either side leaves or the session ends.
async fn visit(
    mut socket: WebSocket,
    name: String,
    room: (Room, broadcast::Receiver<String>),
    ended: impl Future<Output = Ended>,
) {
    // Beside all that a visitor does or leaves undone: who reads nothing holds up what is
    // sent to them, and not the end.
    let ended = tokio::select! {
        biased;
        ended = ended => ended,
        () = talk(&mut socket, &name, room) => return,
    };
    let goodbye = CloseFrame {
        code: close_code::POLICY,
        reason: format!("your session has ended: {}", ended.because).into(),
    };
    // Who has left already, or reads nothing, does not hear it.
    let goodbye = socket.send(Message::Close(Some(goodbye)));
    let _ = tokio::time::timeout(GOODBYE_MAX, goodbye).await;
}

/// Passes on what is said, until either side leaves.
async fn talk(
    socket: &mut WebSocket,
    name: &str,
    (room, mut heard): (Room, broadcast::Receiver<String>),
) {
    loop {
        tokio::select! {
            message = socket.recv() => match message {
                Some(Ok(Message::Text(text))) => {
                    // Somebody listens: this visitor, at least.
                    let _ = room.send(format!("{name}: {}", text.as_str()));
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => {}
            },
            line = heard.recv() => match line {
                Ok(line) => {
                    if socket.send(Message::text(line)).await.is_err() {
                        return;
                    }
                }
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            },
        }
    }
}

#[derive(Deserialize)]
struct Login {
    name: String,
}

/// Logs in. The password is left out here: the example `login_axum` has one.
async fn log_in(session: Session, Form(login): Form<Login>) -> Result<Redirect, SessionError> {
    session.set_subject(Subject::new(login.name)?)?;
    Ok(Redirect::to("/"))
}

async fn log_out(session: Session) -> Result<Redirect, SessionError> {
    session.flush()?;
    Ok(Redirect::to("/"))
}

/// Ends the sessions of this name in all browsers.
async fn log_out_everywhere(sessions: SubjectSessions) -> Result<Redirect, SessionError> {
    sessions.end_all().await?;
    Ok(Redirect::to("/"))
}

async fn page(session: Session) -> impl IntoResponse {
    match session.subject() {
        None => Html(
            "<form method=post action=/login>
            <label>Name <input name=name required></label> <button>Log in</button></form>",
        ),
        Some(_) => Html(
            "<form method=post action=/logout><button>Log out</button>
            <button formaction=/logout-everywhere>Log out everywhere</button></form>
            <form id=form><input id=text maxlength=200> <button>Say</button></form>
            <ul id=said></ul>
            <script>
            const show = (text) => said.append(
                Object.assign(document.createElement('li'), { textContent: text }));
            const socket = new WebSocket(`ws://${location.host}/room`);
            socket.onmessage = (message) => show(message.data);
            socket.onclose = (close) => show(`Closed: ${close.reason || 'no reason'}`);
            form.onsubmit = (event) => {
                event.preventDefault();
                socket.send(text.value);
                text.value = '';
            };
            </script>",
        ),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().init();
    let engine = Engine::new(cloakroom::open("memory:").await?);
    let room = Room::new(UNREAD_MAX);
    let app = Router::new()
        .route("/", get(page))
        .route("/login", post(log_in))
        .route("/logout", post(log_out))
        .route("/logout-everywhere", post(log_out_everywhere))
        .route("/room", any(enter))
        .with_state(room)
        .layer(SessionLayer::new(engine));
    let port = std::env::var("PORT").unwrap_or_else(|_| "3000".to_owned());
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}

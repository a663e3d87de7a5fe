//! The site, in a process of its own, and a client of it.

use std::env;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::num::NonZeroU32;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use cloakroom::axum::{Session, SessionError, SessionLayer};
use cloakroom::engine::AnyStore;
use cloakroom::stores::Migrating;
use cloakroom::{Engine, Subject, open_session_store};

/// How long a request may take on a machine that does much else.
const ANSWER_MAX: Duration = Duration::from_secs(60);

const COOKIE: &str = "__Host-session";

type Page = Result<String, SessionError>;

/// Whose session it is, and how often they have counted.
fn said(session: &Session) -> Page {
    let Some(subject) = session.subject() else {
        return Ok("nobody".to_owned());
    };
    let count: u64 = session.get("count")?.unwrap_or(0);
    Ok(format!("{} {count}", subject.as_str()))
}

async fn log_in(session: Session, Path(user): Path<String>) -> Page {
    session.set_subject(Subject::new(user)?)?;
    said(&session)
}

async fn whoami(session: Session) -> Page {
    said(&session)
}

async fn count(session: Session) -> Page {
    if session.subject().is_some() {
        session.update("count", |count: &mut u64| *count += 1)?;
    }
    said(&session)
}

async fn rotate(session: Session) -> Page {
    if session.subject().is_some() {
        session.cycle_key()?;
    }
    said(&session)
}

async fn log_out(session: Session) -> Page {
    session.flush()?;
    Ok("bye".to_owned())
}

/// Which stores the site has.
#[derive(Clone, Debug)]
pub(crate) struct Stores {
    pub(crate) from: Option<String>,
    pub(crate) to: String,
    /// Where the site itself moves what no request meets.
    pub(crate) copied_per_second: Option<NonZeroU32>,
}

impl Stores {
    pub(crate) fn alone(store: &str) -> Self {
        Self {
            from: None,
            to: store.to_owned(),
            copied_per_second: None,
        }
    }
}

/// Not a test of its own: what the process of the site runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn process() {
    let Ok(to) = env::var("CLOAKROOM_LIVE_TO") else {
        return;
    };
    let to = open_session_store(&to).await.unwrap();
    let store = match env::var("CLOAKROOM_LIVE_FROM") {
        Ok(from) => {
            let from = open_session_store(&from).await.unwrap();
            let moving = Arc::new(Migrating::new(from, to).unwrap());
            if let Ok(rate) = env::var("CLOAKROOM_LIVE_RATE") {
                let moving = moving.clone();
                tokio::spawn(async move {
                    let copied = moving.copy(rate.parse().unwrap()).await.unwrap();
                    println!("copied {}", copied.moved);
                });
            }
            AnyStore::new(moving)
        }
        Err(_) => AnyStore::new(to),
    };
    let router = Router::new()
        .route("/login/{user}", get(log_in))
        .route("/whoami", get(whoami))
        .route("/count", get(count))
        .route("/rotate", get(rotate))
        .route("/logout", get(log_out))
        .layer(SessionLayer::new(Engine::new(store)));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("\nlistens {}", listener.local_addr().unwrap().port());
    axum::serve(listener, router).await.unwrap();
}

/// The process of the site, which may be killed and started again.
#[derive(Default)]
pub(crate) struct Site {
    /// 0 where it does not run.
    port: AtomicU16,
    child: Mutex<Option<(Child, BufReader<ChildStdout>)>>,
}

impl Site {
    /// Starts it, and returns when it listens.
    pub(crate) fn start(&self, stores: &Stores) {
        let mut command = Command::new(env::current_exe().unwrap());
        command
            .args(["live::site::process", "--exact", "--nocapture"])
            .env("CLOAKROOM_LIVE_TO", &stores.to)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        if let Some(from) = &stores.from {
            command.env("CLOAKROOM_LIVE_FROM", from);
        }
        if let Some(rate) = stores.copied_per_second {
            command.env("CLOAKROOM_LIVE_RATE", rate.to_string());
        }
        let mut child = command.spawn().unwrap();
        let mut says = BufReader::new(child.stdout.take().unwrap());
        let port = number_behind(&mut says, "listens ");
        *self.child.lock().unwrap() = Some((child, says));
        self.port
            .store(u16::try_from(port).unwrap(), Ordering::SeqCst);
    }

    /// SIGKILL.
    pub(crate) fn kill(&self) {
        self.port.store(0, Ordering::SeqCst);
        if let Some((mut child, _)) = self.child.lock().unwrap().take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// How many sessions its copy has moved, when that has come to its end.
    pub(crate) fn wait_for_copy(&self) -> u64 {
        let mut child = self.child.lock().unwrap();
        let (_, says) = child.as_mut().expect("it runs");
        number_behind(says, "copied ")
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits for a line that holds a word, and gives what follows it.
fn number_behind(says: &mut BufReader<ChildStdout>, word: &str) -> u64 {
    loop {
        let mut line = String::new();
        assert!(says.read_line(&mut line).unwrap() > 0, "the site has ended");
        if let Some((_, number)) = line.split_once(word) {
            return number.trim().parse().unwrap();
        }
    }
}

/// What the site has answered.
pub(crate) struct Answer {
    /// The new key, where there is one.
    pub(crate) key: Option<String>,
    pub(crate) body: String,
}

/// One connection to the site at a time.
pub(crate) struct Client<'s> {
    site: &'s Site,
    connection: Option<(u16, BufReader<TcpStream>)>,
}

impl<'s> Client<'s> {
    pub(crate) fn new(site: &'s Site) -> Self {
        Self {
            site,
            connection: None,
        }
    }

    /// `None` where nobody knows what the request has done: the site was killed before the
    /// whole answer came, or has answered that it failed.
    pub(crate) fn ask(&mut self, path: &str, key: Option<&str>) -> Option<Answer> {
        match self.try_ask(path, key) {
            Ok((200, answer)) => Some(answer),
            Ok((status, answer)) => {
                println!("{path} is answered by {status} {}", answer.body);
                None
            }
            Err(_) => {
                self.connection = None;
                None
            }
        }
    }

    fn try_ask(&mut self, path: &str, key: Option<&str>) -> io::Result<(u16, Answer)> {
        let port = self.site.port.load(Ordering::SeqCst);
        let connection = match self.connection.take() {
            Some((to, connection)) if to == port => connection,
            _ => {
                let stream = TcpStream::connect(("127.0.0.1", port))?;
                stream.set_read_timeout(Some(ANSWER_MAX))?;
                stream.set_nodelay(true)?;
                BufReader::new(stream)
            }
        };
        let (_, connection) = self.connection.insert((port, connection));
        let cookie = key.map_or(String::new(), |key| format!("Cookie: {COOKIE}={key}\r\n"));
        let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{cookie}\r\n");
        connection.get_mut().write_all(request.as_bytes())?;
        let odd = || io::Error::other("no answer that this client can read");
        let (mut status, mut key, mut length) = (None, None, None);
        loop {
            let mut line = String::new();
            if connection.read_line(&mut line)? == 0 {
                return Err(odd());
            }
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            if status.is_none() {
                status = line
                    .split(' ')
                    .nth(1)
                    .and_then(|status| status.parse().ok());
                continue;
            }
            let (name, value) = line.split_once(": ").ok_or_else(odd)?;
            match name.to_ascii_lowercase().as_str() {
                "set-cookie" => {
                    let value = value.strip_prefix(COOKIE).ok_or_else(odd)?;
                    let value = value[1..].split(';').next().unwrap_or_default();
                    key = (!value.is_empty()).then(|| value.to_owned());
                }
                "content-length" => length = value.parse().ok(),
                _ => {}
            }
        }
        let mut body = vec![0; length.ok_or_else(odd)?];
        connection.read_exact(&mut body)?;
        let body = String::from_utf8(body).map_err(|_| odd())?;
        Ok((status.ok_or_else(odd)?, Answer { key, body }))
    }
}

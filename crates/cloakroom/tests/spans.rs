//! In which span the log has what goes on though its request is given up. A binary of its own:
//! a subscriber of one thread may miss an event that another thread was the first to send.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

use std::io::Write;
use std::sync::{Arc, Mutex};

use cloakroom::session::Session;
use cloakroom::{Engine, Subject};
use cloakroom_testkit::MapStore;
use tracing::Instrument as _;

/// What is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A request, and the cookie that it is answered with.
async fn visit(engine: &Engine, cookie: &str, handle: impl FnOnce(Session)) -> String {
    let exchange = engine.exchange();
    let session = exchange.open(std::iter::once(cookie.as_bytes())).await;
    handle(session.unwrap());
    let closing = exchange.close(200).await;
    let set = closing.token_headers()[0].value();
    set.split(';').next().unwrap().to_owned()
}

/// Whoever reads of a login finds its request, by the number that the site gives it.
#[tokio::test]
async fn a_login_and_an_end_are_told_in_the_span_of_their_request() {
    let log = Log::default();
    let lines = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false);
    let subscriber = subscriber.with_writer(move || log.clone()).finish();
    let _subscribed = tracing::subscriber::set_default(subscriber);
    let engine = Engine::new(MapStore::default());
    let ada = Subject::new("ada").unwrap();
    let requests = async {
        let cookie = visit(&engine, "", |s| s.set_subject(ada.clone()).unwrap()).await;
        visit(&engine, &cookie, |s| s.flush().unwrap()).await;
        engine.end_sessions_of(&ada).await.unwrap();
    };
    let span = tracing::info_span!("request", number = 7);
    requests.instrument(span).await;
    let logged = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    for event in ["login", "session_ended", "sessions_ended"] {
        let name = format!("event=\"{event}\"");
        let line = logged.lines().find(|line| line.contains(&name)).unwrap();
        assert!(line.contains("request{number=7}: "), "{line}");
    }
}

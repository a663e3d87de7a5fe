//! What is logged of cookies that name a key which the server does not have. A binary of its
//! own: a subscriber of one thread may miss an event that another thread was the first to
//! send.

#![cfg(feature = "cookie")]
#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use cloakroom::cookie::{CookieStore, KeyRing};
use cloakroom::engine::{OsEntropy, TokenStore as _};
use cloakroom::{CookiePolicy, Engine};
use cloakroom_testkit::{ManualClock, key, sample};

/// What is written to a log, for a test to read.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn store() -> CookieStore {
    let ring = KeyRing::generate(&OsEntropy).unwrap();
    CookieStore::builder("__Host-session", &ring)
        .build()
        .unwrap()
}

/// Anybody can make up such a cookie, and would fill the log with it.
#[tokio::test]
async fn cookies_under_unknown_keys_are_logged_once_a_minute() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone());
    let _logs = tracing::subscriber::set_default(subscriber.finish());
    let clock = Arc::new(ManualClock::default());
    let engine = Engine::builder(store())
        .cookie(CookiePolicy::default())
        .clock(clock.clone())
        .build()
        .unwrap();
    let request = async || {
        let written = store().create_token(&key(), &sample("")).await.unwrap();
        let cookie = format!("__Host-session={}", written.token.unwrap().expose());
        let exchange = engine.exchange();
        exchange
            .open([cookie.as_bytes()].into_iter())
            .await
            .unwrap();
    };
    for _ in 0..50 {
        request().await;
    }
    clock.advance(Duration::from_secs(60));
    request().await;
    let said = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert_eq!(said.matches("names a key").count(), 2, "{said}");
    assert!(
        said.contains("unlogged=0") && said.contains("unlogged=49"),
        "{said}"
    );
}

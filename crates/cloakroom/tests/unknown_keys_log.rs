//! What is logged of cookies that name a key which the server does not have. A binary of its
//! own: a subscriber of one thread may miss an event that another thread was the first to
//! send.

#![cfg(feature = "cookie")]
#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

use std::sync::Arc;
use std::time::Duration;

use cloakroom::cookie::{CookieStore, KeyRing};
use cloakroom::engine::{OsEntropy, TokenStore as _};
use cloakroom::{CookiePolicy, Engine};
use cloakroom_testkit::{CollectedEvents, ManualClock, key, sample};
use tracing::Level;

fn store() -> CookieStore {
    let ring = KeyRing::generate(&OsEntropy).unwrap();
    CookieStore::builder("__Host-session", &ring)
        .build()
        .unwrap()
}

/// Anybody can make up such a cookie, and would fill the log with it.
#[tokio::test]
async fn cookies_under_unknown_keys_are_logged_once_a_minute() {
    let events = CollectedEvents::begin();
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
    let said = events.take_text(Level::WARN);
    assert_eq!(said.matches("names a key").count(), 2, "{said}");
    assert!(
        said.contains("unlogged=0") && said.contains("unlogged=49"),
        "{said}"
    );
}

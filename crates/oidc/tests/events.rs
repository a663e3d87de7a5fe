//! What is told of the logouts that come in, against docs/events.md: a binary of its own, since
//! `tracing` decides for a whole process who hears of an event.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

#[allow(dead_code)] // The other tests use more of it.
#[path = "logout/site.rs"]
mod site;

use std::sync::Mutex;
use std::time::Duration;

use cloakroom_oidc::Keys;
use cloakroom_testkit::{CollectedEvent, CollectedEvents};
use serde_json::json;
use site::{ISSUER, KEY, OTHER_KEY, TestSite, claims, good_header, public, signed, signed_by};

/// What was told of the provider, in this order: name, level and fields.
fn told(events: &CollectedEvents) -> Vec<CollectedEvent> {
    let told = events.take().into_iter();
    told.filter(|event| event.name().starts_with("provider_logout"))
        .collect()
}

#[tokio::test]
async fn a_logout_is_told_and_what_is_refused_once_a_minute() {
    let events = CollectedEvents::begin();
    let site = TestSite::default();
    site.log_in("ada", Some("s1"), "one").await;
    let mut good = claims(&site, "secret-jti");
    good["sid"] = json!("secret-sid");
    let forged = signed_by(OTHER_KEY, &good_header(), &good);
    assert_eq!(site.log_out("first", &[("sid", "s1")]).await, 1);
    for _ in 0..3 {
        assert_eq!(site.send(&forged).await.status, 400);
    }
    site.clock.advance(Duration::from_secs(60));
    assert_eq!(site.send(&forged).await.status, 400);
    let [ended, first, second] = &told(&events)[..] else {
        panic!("a logout, and what was refused once in each minute");
    };
    assert_eq!(
        (ended.name(), ended.level.as_str()),
        ("provider_logout", "INFO")
    );
    assert_eq!(ended.fields["ended"], "1");
    for (event, unlogged) in [(first, "0"), (second, "2")] {
        assert_eq!(
            (event.name(), event.level.as_str()),
            ("provider_logout_refused", "WARN")
        );
        assert_eq!(event.fields["why"], "its signature is not the provider's");
        assert_eq!(event.fields["unlogged"], unlogged);
    }
    for event in [ended, first, second] {
        assert_eq!(event.fields["provider"], ISSUER);
        assert!(!event.to_string().contains("secret"), "{event}");
    }
}

#[tokio::test]
async fn why_the_keys_could_not_be_fetched_is_told() {
    let events = CollectedEvents::begin();
    let answers = Mutex::new(vec![
        Ok(json!({ "keys": [public(KEY, "1")] }).to_string()),
        Ok("<html>".to_owned()),
        Err("connection refused"),
    ]);
    let fetch = move || {
        let answer = answers.lock().unwrap().pop().unwrap();
        async move { answer }
    };
    let site = TestSite::with(Keys::fetched(fetch), |builder| builder);
    for (status, error) in [
        (400, Some("connection refused")),
        (
            400,
            Some("the answer is no JSON Web Key Set of 256 KiB at most"),
        ),
        (200, None),
    ] {
        let mut good = claims(&site, "jti");
        good["sub"] = json!("ada");
        let answer = site.send(&signed(&good_header(), &good)).await;
        assert_eq!(answer.status, status, "{answer:?}");
        let told = told(&events);
        let [event] = &told[..] else {
            panic!("{told:?}");
        };
        let expected = error.map_or("provider_logout", |_| "provider_logout_failed");
        assert_eq!(event.name(), expected);
        assert_eq!(event.fields.get("error").map(String::as_str), error);
        site.clock.advance(Duration::from_secs(60));
    }
}

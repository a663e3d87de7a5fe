//! What an engine tells in a walk through its sessions, against the tables of docs/events.md.
//! A binary of its own, in which each test collects: `tracing` decides for a whole process who
//! hears of an event, and one that no collector hears first is told to none later.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod bounds;
mod devices;
mod measures;
mod recorder;
mod walk;

use std::collections::BTreeSet;

use cloakroom_testkit::{CollectedEvent, CollectedEvents};
use cloakroom_tests::events_page;

use walk::{SECRETS, SUBJECTS, walk};

/// Each event is told as its row says: its level, all of its fields, and no other.
fn is_as_the_page_says(told: &[CollectedEvent], names_subjects: bool) {
    let page = events_page::events(&events_page::page());
    for event in told {
        let row = page
            .get(event.name())
            .unwrap_or_else(|| panic!("no row: {event}"));
        let level = event.level.as_str().to_lowercase();
        assert_eq!(level, row.level, "{event}");
        let fields = event.fields.keys().cloned();
        let mut fields: BTreeSet<_> = fields.collect();
        fields.retain(|field| !["event", "message"].contains(&field.as_str()));
        let missing: Vec<_> = row.fields.difference(&fields).collect();
        assert!(missing.is_empty(), "{missing:?} of {event}");
        let known: BTreeSet<_> = row.fields.union(&row.optional).cloned().collect();
        let unknown: Vec<_> = fields.difference(&known).collect();
        assert!(unknown.is_empty(), "{unknown:?} of {event}");
        assert!(!event.message().is_empty(), "{event}");
        assert!(names_subjects || !fields.contains("subject"), "{event}");
        if let Some(session) = event.fields.get("session") {
            let is_hex = session.chars().all(|c| c.is_ascii_hexdigit());
            assert!(session.len() == 8 && is_hex, "{event}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_walk_tells_what_the_page_says_and_no_secret() {
    let events = CollectedEvents::begin();
    let tokens = walk(false).await;
    let told = events.take();
    is_as_the_page_says(&told, false);
    let names: BTreeSet<_> = told.iter().map(CollectedEvent::name).collect();
    let expected = BTreeSet::from([
        "conflict_replayed",
        "late_write",
        "login",
        "other_token_ended",
        "privilege_changed",
        "renewal_failed",
        "save_failed",
        "session_created",
        "session_ended",
        "session_limit",
        "session_limit_failed",
        "session_opened",
        "session_rotated",
        "session_unreadable",
        "sessions_ended",
        "store_back",
        "store_down",
        "sweep",
        "sweep_failed",
        "sweep_without_work",
        "token_refused",
        "touch_failed",
        "unknown_key",
        "value_overwritten",
    ]);
    assert_eq!(names, expected);
    let reasons_of = |name: &str| -> BTreeSet<&str> {
        let told = told.iter().filter(|event| event.name() == name);
        told.map(|event| event.fields["reason"].as_str()).collect()
    };
    assert_eq!(
        reasons_of("session_ended"),
        BTreeSet::from([
            "ended_by_administrator",
            "flushed",
            "logged_out",
            "logged_out_elsewhere",
            "session_limit"
        ])
    );
    assert_eq!(reasons_of("sessions_ended"), BTreeSet::from(["all_ended"]));
    let refused = [
        "absolute",
        "forged",
        "idle",
        "key_unknown",
        "logged_out",
        "malformed",
    ];
    let refused = BTreeSet::from_iter(refused.into_iter().chain(["rotated", "unknown"]));
    assert_eq!(reasons_of("token_refused"), refused);
    let stores: BTreeSet<_> = told
        .iter()
        .filter_map(|event| event.fields.get("store"))
        .collect();
    assert_eq!(Vec::from_iter(stores), ["cookie", "map"]);

    assert!(tokens.len() > 8, "{}", tokens.len());
    let text: String = told.iter().map(|event| format!("{event}\n")).collect();
    let secrets = SECRETS.into_iter().chain(SUBJECTS);
    for secret in secrets.map(str::to_owned).chain(tokens) {
        // A part of a token would be too much too.
        let part = &secret[..secret.len().min(16)];
        assert!(!text.contains(part), "{part} in\n{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn subjects_are_named_only_where_that_is_asked_for() {
    let events = CollectedEvents::begin();
    let tokens = walk(true).await;
    let told = events.take();
    is_as_the_page_says(&told, true);
    let named = |name: &str| {
        let told = told.iter().filter(|event| event.name() == name);
        told.filter_map(|event| event.fields.get("subject")).count()
    };
    for name in [
        "login",
        "privilege_changed",
        "session_ended",
        "session_opened",
        "sessions_ended",
    ] {
        assert!(named(name) > 0, "{name}");
    }
    let subjects = told.iter().filter_map(|event| event.fields.get("subject"));
    let subjects: BTreeSet<_> = subjects.map(String::as_str).collect();
    assert_eq!(subjects, BTreeSet::from(SUBJECTS));
    let text: String = told.iter().map(|event| format!("{event}\n")).collect();
    for secret in SECRETS.into_iter().chain(tokens.iter().map(String::as_str)) {
        assert!(!text.contains(&secret[..secret.len().min(16)]), "{text}");
    }
}

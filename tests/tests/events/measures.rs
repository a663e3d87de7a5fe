//! What the engine, a near cache and the sweep measure, against the table of docs/events.md.

use std::time::Duration;

use cloakroom::Engine;
use cloakroom::cookie::{CookieStore, KeyRing};
use cloakroom::engine::OsEntropy;
use cloakroom::stores::Cached;
use cloakroom_testkit::{CollectedEvents, MapStore};
use cloakroom_tests::events_page;
use cloakroom_tests::in_process::{COOKIE, TestApp};

use crate::recorder::Remembers;
use crate::walk::{subject, walk};

#[tokio::test(start_paused = true)]
async fn a_walk_measures_what_the_page_says() {
    let _alone = CollectedEvents::begin();
    let recorder = Remembers::default();
    let _recorded = metrics::set_default_local_recorder(&recorder);
    walk(false).await;
    let cached = Cached::builder(MapStore::default(), Duration::from_secs(5)).build();
    let app = TestApp::with(|_| Engine::builder(cached));
    app.visit(async |s| s.insert("n", 1).unwrap()).await;
    app.visit(async |s| assert!(s.exists())).await;

    let page = events_page::metrics(&events_page::page());
    let asked = recorder.asked.lock().unwrap().clone();
    let units = recorder.units.lock().unwrap().clone();
    let names: Vec<_> = page.keys().collect();
    assert_eq!(asked.keys().collect::<Vec<_>>(), names);
    assert_eq!(units.keys().collect::<Vec<_>>(), names);
    for (name, row) in &page {
        for (kind, labels) in &asked[name] {
            assert_eq!(*kind, row.kind, "{name}");
            let listed: Vec<_> = row.labels.iter().cloned().collect();
            let mut labels = labels.clone();
            labels.sort();
            assert_eq!(labels, listed, "{name}");
        }
        let (kind, unit) = &units[name];
        assert_eq!(*kind, row.kind, "{name}");
        let unit = unit.as_ref().map(metrics::Unit::as_str);
        assert_eq!(unit, Some(row.unit.as_str()), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_walk_is_counted() {
    let _alone = CollectedEvents::begin();
    let recorder = Remembers::default();
    let _recorded = metrics::set_default_local_recorder(&recorder);
    let app = TestApp::default();
    app.visit(async |s| s.insert("n", 1).unwrap()).await;
    app.visit(async |s| s.set_subject(subject("ada")).unwrap())
        .await;
    app.visit(async |s| assert!(s.exists())).await;
    app.visit(async |s| s.flush().unwrap()).await;
    app.set_token(Some("none of ours"));
    app.visit(async |s| assert!(!s.exists())).await;
    let count = |name: &str| recorder.sum(&format!("cloakroom_{name}"));
    let expected = [
        ("sessions_created_total{store=map}", 1.0),
        ("sessions_rotated_total{store=map}", 1.0),
        ("logins_total{store=map}", 1.0),
        ("privilege_changes_total{store=map}", 0.0),
        ("sessions_ended_total{store=map,reason=logged_out}", 1.0),
        ("sessions_ended_total{store=map,reason=idle}", 0.0),
        ("tokens_refused_total{store=map,reason=malformed}", 1.0),
        ("saves_failed_total{store=map}", 0.0),
        ("store_up{store=map}", 1.0),
    ];
    for (name, value) in expected {
        assert_eq!(count(name), value, "{name}");
    }
    let ring = KeyRing::generate(&OsEntropy).unwrap();
    let store = CookieStore::builder(COOKIE, &ring).build().unwrap();
    let app = TestApp::with(|_| Engine::builder(store));
    app.visit(async |s| s.insert("n", 1).unwrap()).await;
    app.visit(async |s| assert!(s.exists())).await;
    let [a, b, c, d] = ring.secrets()[0].id();
    let opened = format!("cookies_opened_total{{key={a:02x}{b:02x}{c:02x}{d:02x}}}");
    assert_eq!(count(&opened), 1.0);
    let timed = |name: &str| {
        recorder
            .values(&format!("cloakroom_{name}{{store=map}}"))
            .len()
    };
    assert_eq!(timed("load_seconds"), 3, "the second to the fourth request");
    assert_eq!(timed("load_bytes"), 3);
    assert_eq!(
        timed("save_seconds"),
        3,
        "a creation, a rotation and an end"
    );
    assert_eq!(timed("save_bytes"), 2);
    assert!(count("save_bytes{store=map}") > 0.0);
}

//! What is not told, and what is not told more than once.

use std::time::Duration;

use cloakroom_testkit::{CollectedEvents, Fault};
use cloakroom_tests::in_process::{COOKIE, TestApp};

#[tokio::test]
async fn a_request_without_a_session_and_one_that_only_opens_an_anonymous_one_tell_nothing() {
    let app = TestApp::default();
    let events = CollectedEvents::begin();
    app.visit_without_session().await;
    app.visit(async |_| {}).await;
    app.visit(async |s| assert!(!s.exists())).await;
    let other = format!("theme=dark; {COOKIE}2=text");
    app.request(&[other.as_bytes()], 200, async |_| {}).await;
    assert_eq!(events.take_text(tracing::Level::TRACE), "");
}

#[tokio::test]
async fn tokens_that_a_client_makes_up_are_told_at_debug_alone() {
    let app = TestApp::default();
    let unknown = TestApp::default();
    unknown.visit(async |s| s.insert("n", 1).unwrap()).await;
    let events = CollectedEvents::begin();
    for token in ["none of ours", &unknown.token().unwrap()] {
        for _ in 0..100 {
            app.set_token(Some(token));
            app.visit(async |s| assert!(!s.exists())).await;
        }
    }
    let told = events.take();
    assert_eq!(told.len(), 200);
    assert!(
        told.iter()
            .all(|event| event.level == tracing::Level::DEBUG)
    );
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_told_once_and_its_end_once() {
    let app = TestApp::default();
    app.visit(async |s| s.insert("n", 1).unwrap()).await;
    let events = CollectedEvents::begin();
    let told = |name: &str| {
        let told = events.take();
        let names: Vec<_> = told.iter().map(|event| event.name().to_owned()).collect();
        names.iter().filter(|told| *told == name).count()
    };
    let read = async || {
        app.visit(async |s| assert!(s.get::<u64>("n").is_ok()))
            .await
    };
    app.store.fail_always(Some(Fault::Refuse));
    for _ in 0..50 {
        assert_eq!(read().await.status, 500);
    }
    assert_eq!(told("store_down"), 1);
    app.store.reset();
    for _ in 0..50 {
        assert_eq!(read().await.status, 200);
    }
    assert_eq!(told("store_back"), 1);
    // A store that answers every second call must not fill the log.
    for _ in 0..50 {
        app.store.fail_always(Some(Fault::Refuse));
        read().await;
        app.store.reset();
        read().await;
    }
    assert_eq!(told("store_down"), 0, "within a minute of the first");
    app.clock.advance(Duration::from_secs(60));
    app.store.fail_always(Some(Fault::Refuse));
    read().await;
    let event = events.take().remove(0);
    assert_eq!(event.name(), "store_down");
    assert_eq!(event.fields["unlogged"], "50");
}

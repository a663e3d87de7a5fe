//! `Sealed` in front of other stores, and behind the engine.

use std::sync::Arc;
use std::time::Duration;

use cloakroom::engine::OsEntropy;
use cloakroom::stores::{KeyRing, MemoryStore, Sealed, SledStore};
use cloakroom::{AnyStore, Engine, Label, SessionExpiry, Subject};
use cloakroom_testkit::{ManualClock, MapStore, Profile, conformance, survives_reopening};
use cloakroom_tests::in_process::TestApp;

#[tokio::test]
async fn over_memory_it_conforms() {
    let store = || Sealed::new(MemoryStore::default());
    conformance(&store(), &Profile::SERVER_SIDE).await;
    conformance(&AnyStore::new(store()), &Profile::SERVER_SIDE).await;
}

#[tokio::test]
async fn over_sled_it_conforms_and_is_durable() {
    let folder = tempfile::tempdir().unwrap();
    let open = |name: &str| Sealed::new(SledStore::open(folder.path().join(name)).unwrap());
    conformance(&open("one"), &Profile::DURABLE).await;
    conformance(&AnyStore::new(open("two")), &Profile::DURABLE).await;
    survives_reopening(&Profile::DURABLE, async || open("three")).await;
}

/// A whole life of a session: begun, logged in, with a label and a lifetime of its own,
/// used for a while, ended.
async fn serves_the_engine(seal: impl Fn(Arc<MapStore>) -> Sealed<Arc<MapStore>>) {
    let map = Arc::new(MapStore::default());
    let clock = Arc::new(ManualClock::default());
    let app = TestApp::with(|_| Engine::builder(seal(map.clone())).clock(clock.clone()));
    app.visit(async |s| s.insert("n", "planted plaintext").unwrap())
        .await;
    app.visit(async |s| s.set_subject(Subject::new("7").unwrap()).unwrap())
        .await;
    app.visit(async |s| {
        s.set_label(Label::new("Firefox").unwrap()).unwrap();
        s.set_expiry(SessionExpiry::Idle(Duration::from_secs(7_200)))
            .unwrap();
    })
    .await;
    for _ in 0..3 {
        clock.advance(Duration::from_secs(3_600));
        let mut found: Option<String> = None;
        app.visit(async |s| found = s.get("n").unwrap()).await;
        assert_eq!(found.as_deref(), Some("planted plaintext"));
    }
    let planted = b"planted plaintext";
    for (_, stored) in map.snapshot() {
        let frame = stored.encode().unwrap();
        assert!(!frame.windows(planted.len()).any(|window| window == planted));
    }
    app.visit(async |s| s.flush().unwrap()).await;
    assert!(app.token().is_none());
}

#[tokio::test]
async fn a_sealed_store_serves_the_engine_and_keeps_no_data_in_the_clear() {
    serves_the_engine(Sealed::new).await;
}

#[tokio::test]
async fn so_does_one_with_a_key_ring() {
    let ring = KeyRing::generate(&OsEntropy).unwrap();
    serves_the_engine(|map| Sealed::new(map).with_key_ring(&ring)).await;
}

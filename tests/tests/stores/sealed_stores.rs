//! `Sealed` in front of other stores, and behind the engine.

use std::sync::Arc;

use cloakroom::stores::{MemoryStore, Sealed, SledStore};
use cloakroom::{AnyStore, Engine, Subject};
use cloakroom_testkit::{MapStore, Profile, conformance, survives_reopening};
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

#[tokio::test]
async fn a_sealed_store_serves_the_engine_and_keeps_no_data_in_the_clear() {
    let map = Arc::new(MapStore::default());
    let app = TestApp::with(|_| Engine::builder(Sealed::new(map.clone())));
    app.visit(async |s| s.insert("n", "planted plaintext").unwrap())
        .await;
    app.visit(async |s| s.set_subject(Subject::new("7").unwrap()).unwrap())
        .await;
    let mut found: Option<String> = None;
    app.visit(async |s| found = s.get("n").unwrap()).await;
    assert_eq!(found.as_deref(), Some("planted plaintext"));
    let planted = b"planted plaintext";
    for (_, stored) in map.snapshot() {
        let frame = stored.encode().unwrap();
        assert!(!frame.windows(planted.len()).any(|window| window == planted));
    }
    app.visit(async |s| s.flush().unwrap()).await;
    assert!(app.token().is_none());
}

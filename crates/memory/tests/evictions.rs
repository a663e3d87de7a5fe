//! What is said where the store is full. A binary of its own: a subscriber of one thread may
//! miss an event that another thread was the first to send.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

use cloakroom_core::store::{KeyDigest, SessionStore as _};
use cloakroom_memory::MemoryStore;
use cloakroom_testkit::{CollectedEvents, key, sample};
use tracing::Level;

async fn fill(store: &MemoryStore, sessions: usize) -> Vec<KeyDigest> {
    let mut digests = Vec::new();
    for _ in 0..sessions {
        let digest = key().digest();
        store.create(&digest, &sample("a visitor")).await.unwrap();
        digests.push(digest);
    }
    digests
}

#[tokio::test]
async fn a_full_store_says_that_it_ends_sessions() {
    let events = CollectedEvents::begin();
    let said = || events.take_text(Level::WARN);
    let store = MemoryStore::builder().capacity_bytes(500_000).build();
    let digests = fill(&store, 100).await;
    store.delete(&digests[0]).await.unwrap();
    let _housekeeping = store.bytes();
    assert_eq!(said(), "", "none was ended before its time");
    fill(&store, 2_000).await;
    let _housekeeping = store.bytes();
    let said = said();
    assert_eq!(said.matches("WARN").count(), 1, "{said}");
    assert!(
        said.contains("is full") && said.contains("sessions=1"),
        "{said}"
    );
}

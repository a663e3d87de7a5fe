//! What leads from the session of an identity provider to ours, in every store of one machine.

use std::num::NonZeroU32;
use std::sync::Arc;

use cloakroom::Engine;
use cloakroom::stores::{MemoryStore, Migrating};
use cloakroom_testkit::MapStore;
use cloakroom_tests::embedded::Embedded;
use cloakroom_tests::provider_walk::{ends_by_provider, log_in, provider_session, told};

#[tokio::test]
async fn a_provider_ends_its_sessions_in_every_store_of_one_machine() {
    for options in ["", "?cache=8MiB&stale=5s", "?sealed=true"] {
        for store in Embedded::ALL {
            let folder = tempfile::tempdir().unwrap();
            ends_by_provider(store.open_with(folder.path(), options).await).await;
        }
    }
    ends_by_provider(MemoryStore::default()).await;
}

/// A session that moves to another store is found there as it was before.
#[tokio::test]
async fn a_provider_ends_its_sessions_while_they_move_and_after() {
    for copies in [false, true] {
        let (from, to) = (Arc::new(MapStore::default()), Arc::new(MapStore::default()));
        let before = Engine::new(from.clone());
        let cookie = log_in(&before, "ada", "s0").await;
        let moving = Arc::new(Migrating::new(from, to).unwrap());
        if copies {
            moving.copy(NonZeroU32::MAX).await.unwrap();
        }
        let engine = Engine::new(moving.clone());
        let of = provider_session("s0");
        assert_eq!(engine.end_provider_session(&of).await.unwrap(), 1);
        assert_eq!(told(&engine, &cookie).await, "logged_out_elsewhere");
        ends_by_provider(moving).await;
    }
}

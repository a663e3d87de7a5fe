//! The model passes its own suite, directly, shared, erased and wrapped.

use std::sync::Arc;

use cloakroom_core::engine::AnyStore;
use cloakroom_core::store::{AnySessionStore, SessionStore as _};
use cloakroom_testkit::{
    FaultyStore, MapStore, Profile, RecordingStore, clauses_of, conformance, races,
    sweeps_at_every_edge,
};

#[test]
fn writers_that_race_from_threads_conform() {
    races(&MapStore::default(), 100);
}

#[tokio::test]
async fn the_model_conforms() {
    let store = MapStore::default();
    conformance(&store, &Profile::SERVER_SIDE).await;
    conformance(&Arc::new(store), &Profile::SERVER_SIDE).await;
    conformance(&AnyStore::new(MapStore::default()), &Profile::SERVER_SIDE).await;
    let on_digests = AnySessionStore::new(MapStore::default());
    conformance(&on_digests, &Profile::SERVER_SIDE).await;
    // The suite asks only about what a store says that it can do.
    let offered = format!("{:?}", on_digests.capabilities());
    assert_eq!(offered, format!("{:?}", MapStore::default().capabilities()));
}

#[tokio::test]
async fn a_tool_asks_about_the_clauses_that_the_profile_promises_and_no_other() {
    let store = MapStore::default();
    let names = |profile| -> Vec<&str> {
        let clauses = clauses_of(&store, profile).into_iter();
        clauses.map(|clause| clause.name).collect()
    };
    let (server, client) = (names(&Profile::SERVER_SIDE), names(&Profile::CLIENT_SIDE));
    assert!(server.contains(&"an_update_on_a_stale_revision_is_a_conflict"));
    assert!(!client.contains(&"an_update_on_a_stale_revision_is_a_conflict"));
    assert!(client.contains(&"what_was_created_is_loaded_whole"));
}

#[tokio::test]
async fn the_model_leaves_what_the_contract_says_at_every_edge_of_a_sweep() {
    sweeps_at_every_edge(&MapStore::default()).await;
}

#[tokio::test]
async fn a_wrapped_model_conforms() {
    let store = FaultyStore::new(RecordingStore::new(MapStore::default()));
    conformance(&store, &Profile::SERVER_SIDE).await;
}

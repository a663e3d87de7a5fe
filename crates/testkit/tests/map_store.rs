//! The model passes its own suite, directly, shared, erased and wrapped.

use std::sync::Arc;

use cloakroom_core::engine::AnyStore;
use cloakroom_core::store::{AnySessionStore, SessionStore as _};
use cloakroom_testkit::{
    FaultyStore, MapStore, Profile, RecordingStore, conformance, races, sweeps_at_every_edge,
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
async fn the_model_leaves_what_the_contract_says_at_every_edge_of_a_sweep() {
    sweeps_at_every_edge(&MapStore::default()).await;
}

#[tokio::test]
async fn a_wrapped_model_conforms() {
    let store = FaultyStore::new(RecordingStore::new(MapStore::default()));
    conformance(&store, &Profile::SERVER_SIDE).await;
}

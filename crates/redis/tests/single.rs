//! The contract on a single server, directly and erased.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

use cloakroom_core::AnyStore;
use cloakroom_redis::RedisStore;
use cloakroom_testkit::{Profile, conformance, key, survives_reopening};

/// A store under a prefix of its own, where there is a Redis.
async fn store() -> Option<RedisStore> {
    let server = cloakroom_servers::redis()?;
    let prefix = format!("test-{}:", key().digest().short());
    let store = RedisStore::builder(server.url()).prefix(prefix);
    Some(store.connect().await.unwrap())
}

#[tokio::test]
async fn conforms() {
    let Some(store) = store().await else { return };
    conformance(&store, &Profile::SHARED).await;
}

#[tokio::test]
async fn conforms_erased() {
    let Some(store) = store().await else { return };
    conformance(&AnyStore::new(store), &Profile::SHARED).await;
}

#[tokio::test]
async fn what_was_acknowledged_survives_reopening() {
    let Some(server) = cloakroom_servers::redis() else {
        return;
    };
    let open = async || RedisStore::connect(&server.url()).await.unwrap();
    survives_reopening(&Profile::SHARED, open).await;
}

//! What is put in front of Redis: a seal, a cache, and the engine above both.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

use std::time::Duration;

use cloakroom::{AnyStore, Cached, Sealed, TokenStore};
use cloakroom_redis::RedisStore;
use cloakroom_testkit::{Profile, conformance, key};

/// A store on the single server and one on the cluster, where there is a Redis.
async fn stores() -> Vec<RedisStore> {
    let prefix = || format!("test-{}:", key().digest().short());
    let mut stores = Vec::new();
    if let Some(server) = cloakroom_servers::redis() {
        let store = RedisStore::builder(server.url()).prefix(prefix());
        stores.push(store.connect().await.unwrap());
    }
    if let Some(servers) = cloakroom_servers::redis_cluster() {
        let store = RedisStore::cluster(servers.urls()).prefix(prefix());
        stores.push(store.connect().await.unwrap());
    }
    stores
}

async fn conforms<T: TokenStore>(stack: impl Fn(RedisStore) -> T) {
    for store in stores().await {
        conformance(&stack(store.clone()), &Profile::SHARED).await;
        conformance(&AnyStore::new(stack(store)), &Profile::SHARED).await;
    }
}

fn cached(store: RedisStore) -> Cached<RedisStore> {
    Cached::with_staleness_max(store, Duration::from_secs(5))
}

#[tokio::test]
async fn a_sealed_redis_conforms() {
    conforms(Sealed::new).await;
}

#[tokio::test]
async fn a_cached_redis_conforms() {
    conforms(cached).await;
}

#[tokio::test]
async fn a_sealed_and_cached_redis_conforms() {
    conforms(|store| Sealed::new(cached(store))).await;
}

//! The contract, on a single server and on a cluster, directly and erased.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod common;

use std::sync::Arc;

use cloakroom_core::engine::AnyStore;
use cloakroom_core::store::{Ending, KeyDigest, Record, Revision, SessionStore, Stored, Touch};
use cloakroom_core::{Error, Timestamp};
use cloakroom_redis::RedisStore;
use cloakroom_testkit::{Profile, conformance, races, survives_reopening};
use tokio::runtime::Handle;

#[tokio::test]
async fn a_single_server_conforms() {
    let Some(store) = common::single().await else {
        return;
    };
    conformance(&store, &Profile::SHARED).await;
    conformance(&AnyStore::new(store), &Profile::SHARED).await;
}

#[tokio::test]
async fn a_cluster_conforms() {
    let Some(store) = common::cluster().await else {
        return;
    };
    conformance(&store, &Profile::SHARED).await;
    conformance(&AnyStore::new(store), &Profile::SHARED).await;
}

#[tokio::test]
async fn what_was_acknowledged_survives_reopening() {
    let prefix = &common::prefix();
    if let Some(server) = cloakroom_servers::redis() {
        let open = async || {
            let store = RedisStore::builder(server.url()).prefix(prefix);
            store.connect().await.unwrap()
        };
        survives_reopening(&Profile::SHARED, open).await;
    }
    if let Some(servers) = cloakroom_servers::redis_cluster() {
        let open = async || {
            let store = RedisStore::cluster(servers.urls()).prefix(prefix);
            store.connect().await.unwrap()
        };
        survives_reopening(&Profile::SHARED, open).await;
    }
}

/// The store, for threads that know no runtime: what they call runs on one.
struct OnRuntime {
    handle: Handle,
    store: Arc<RedisStore>,
}

impl OnRuntime {
    async fn run<T, R>(&self, call: impl FnOnce(Arc<RedisStore>) -> R) -> T
    where
        T: Send + 'static,
        R: Future<Output = T> + Send + 'static,
    {
        let call = call(self.store.clone());
        self.handle.spawn(call).await.unwrap()
    }
}

impl SessionStore for OnRuntime {
    async fn load(&self, digest: &KeyDigest) -> Result<Option<Stored>, Error> {
        let digest = *digest;
        self.run(|store| async move { store.load(&digest).await })
            .await
    }

    async fn create(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        let (digest, record) = (*digest, record.clone());
        self.run(|store| async move { store.create(&digest, &record).await })
            .await
    }

    async fn update(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        let (digest, record) = (*digest, record.clone());
        self.run(|store| async move { store.update(&digest, &record).await })
            .await
    }

    async fn touch(
        &self,
        digest: &KeyDigest,
        revision: Revision,
        touch: Touch,
    ) -> Result<(), Error> {
        let digest = *digest;
        self.run(|store| async move { store.touch(&digest, revision, touch).await })
            .await
    }

    async fn rotate(
        &self,
        old: &KeyDigest,
        new: &KeyDigest,
        record: &Record,
        mark_until: Timestamp,
    ) -> Result<Revision, Error> {
        let (old, new, record) = (*old, *new, record.clone());
        self.run(|store| async move { store.rotate(&old, &new, &record, mark_until).await })
            .await
    }

    async fn end(&self, digest: &KeyDigest, ending: Option<&Ending>) -> Result<(), Error> {
        let (digest, ending) = (*digest, ending.cloned());
        self.run(|store| async move { store.end(&digest, ending.as_ref()).await })
            .await
    }
}

async fn race(store: RedisStore, rounds: usize) {
    let store = OnRuntime {
        handle: Handle::current(),
        store: Arc::new(store),
    };
    let raced = tokio::task::spawn_blocking(move || {
        races(&store, rounds);
        races(&AnyStore::new(store), rounds);
    });
    raced.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_on_threads_race_at_a_single_server() {
    let Some(store) = common::single().await else {
        return;
    };
    race(store, 50).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_on_threads_race_at_a_cluster() {
    let Some(store) = common::cluster().await else {
        return;
    };
    race(store, 50).await;
}

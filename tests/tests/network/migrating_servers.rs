//! Moving to a server, and from one to another: the contract while it goes on, and an
//! order that explains what two nodes answer while both copy. `CLOAKROOM_TRIALS` says how
//! often it is tried.

use std::num::NonZeroU32;
use std::sync::Arc;

use cloakroom::store::SessionStore;
use cloakroom::stores::{Migrating, RedbStore, RedisStore, SqlStore};
use cloakroom_testkit::{Profile, Trial, conformance, key};

fn fresh_name() -> String {
    format!("m_{}", key().digest().short())
}

async fn postgres() -> Option<[SqlStore; 2]> {
    let server = cloakroom_servers::postgres()?;
    let table = fresh_name();
    let open = async || {
        let builder = SqlStore::builder().table(&table);
        let store = builder.connect(&server.url()).await.unwrap();
        store.migrate().await.unwrap();
        store
    };
    Some([open().await, open().await])
}

async fn redis() -> Option<[RedisStore; 2]> {
    let server = cloakroom_servers::redis()?;
    let prefix = format!("{}:", fresh_name());
    let open = async || {
        let builder = RedisStore::builder(server.url()).prefix(&prefix);
        builder.connect().await.unwrap()
    };
    Some([open().await, open().await])
}

/// What is told to the former store alone, and then to two nodes while each of them copies.
async fn tried<A: SessionStore, B: SessionStore>(from: [Arc<A>; 2], to: [Arc<B>; 2]) {
    let nodes = [0, 1]
        .map(|node: usize| Arc::new(Migrating::new(from[node].clone(), to[node].clone()).unwrap()));
    // A sweep does nothing to a new store that forgets by itself, by a clock of its own.
    if to[0].capabilities().sweep.is_some() {
        conformance(&*nodes[0], &Profile::SERVER_SIDE).await;
    }
    let trials = std::env::var("CLOAKROOM_TRIALS").ok();
    let trials: u64 = trials.map_or(40, |text| text.parse().unwrap());
    for seed in 0..trials {
        let trial = Arc::new(Trial::new(seed));
        trial.client(&*from[0], 12).await;
        let clients: Vec<_> = (0..6)
            .map(|client: usize| {
                let (trial, node) = (trial.clone(), nodes[client % 2].clone());
                tokio::spawn(async move { trial.client(&*node, 7).await })
            })
            .collect();
        let copies = nodes
            .clone()
            .map(|node| tokio::spawn(async move { node.copy(NonZeroU32::MAX).await.map(|_| ()) }));
        for client in clients {
            client.await.unwrap();
        }
        for copy in copies {
            copy.await.unwrap().unwrap();
        }
        trial.check();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn moving_from_redb_to_postgres_is_linearizable() {
    let Some(to) = postgres().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let from = Arc::new(RedbStore::open(folder.path().join("r")).unwrap());
    tried([from.clone(), from], to.map(Arc::new)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn moving_between_redis_and_postgres_is_linearizable() {
    let (Some(one), Some(other)) = (redis().await, postgres().await) else {
        return;
    };
    let (one, other) = (one.map(Arc::new), other.map(Arc::new));
    tried(one, other).await;
    let (Some(one), Some(other)) = (redis().await, postgres().await) else {
        return;
    };
    tried(other.map(Arc::new), one.map(Arc::new)).await;
}

//! Two nodes with a cache each: a session that one node ends is invalidated on the other.

use std::time::{Duration, Instant};

use cloakroom::store::SessionStore;
use cloakroom::stores::{Cached, RedisStore, SqlStore};
use cloakroom_testkit::{key, sample};

const ROUNDS: usize = 100;

async fn hears<S: SessionStore>(node: &Cached<S>) {
    for _ in 0..5_000 {
        if !node.stats().is_disconnected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("no channel within 5 s");
}

/// How long after a revocation on the other node this one still opens the
/// session, half of the time.
async fn median<S: SessionStore>(here: &Cached<S>, there: &Cached<S>) -> Duration {
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let (digest, record) = (key().digest(), sample("both know it"));
        there.create(&digest, &record).await.unwrap();
        here.load(&digest).await.unwrap().unwrap();
        let hits = here.stats().hits;
        assert!(here.load(&digest).await.unwrap().is_some());
        assert_eq!(here.stats().hits, hits + 1, "it is in the cache");
        there.delete(&digest).await.unwrap();
        let start = Instant::now();
        while here.load(&digest).await.unwrap().is_some() {
            assert!(start.elapsed() < Duration::from_secs(5));
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        times.push(start.elapsed());
    }
    times.sort();
    times[ROUNDS / 2]
}

/// The bound of the caches where they hear of each other: far beyond the test.
const HOUR: Duration = Duration::from_secs(3_600);

async fn told_within_100_ms<S: SessionStore>(name: &str, nodes: [S; 2]) {
    let [here, there] = nodes.map(|store| Cached::with_staleness_max(store, HOUR));
    for node in [&here, &there] {
        node.watch_invalidations().unwrap();
        hears(node).await;
    }
    let median = median(&here, &there).await;
    println!("{name}: refused {median:?} after the revocation (median of {ROUNDS})");
    assert!(median < Duration::from_millis(100), "{median:?}");
}

/// With the channel cut again and again, this node refuses within its bound.
async fn within_the_bound<S: SessionStore>(nodes: [S; 2], cut: impl Fn() + Send + 'static) {
    const BOUND: Duration = Duration::from_millis(500);
    let [here, there] = nodes;
    let here = Cached::with_staleness_max(here, BOUND);
    here.watch_invalidations().unwrap();
    hears(&here).await;
    let (digest, record) = (key().digest(), sample("both know it"));
    there.create(&digest, &record).await.unwrap();
    let cutting = std::thread::spawn(move || {
        for _ in 0..100 {
            cut();
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    while !here.stats().is_disconnected {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    here.load(&digest).await.unwrap().unwrap();
    there.delete(&digest).await.unwrap();
    let start = Instant::now();
    // What counts is when it was asked: the answer may be held up.
    let mut asked = Duration::ZERO;
    while here.load(&digest).await.unwrap().is_some() {
        assert!(asked < BOUND + Duration::from_millis(500), "{asked:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
        asked = start.elapsed();
    }
    cutting.join().unwrap();
    hears(&here).await;
    assert!(here.stats().disconnects > 0);
}

pub(crate) async fn redis_nodes(url: &str) -> [RedisStore; 2] {
    let prefix = format!("{}:", key().digest().short());
    let open = async || {
        let builder = RedisStore::builder(url).prefix(prefix.clone());
        builder.connect().await.unwrap()
    };
    [open().await, open().await]
}

pub(crate) async fn postgres_nodes(url: &str) -> [SqlStore; 2] {
    let table = format!("t_{}", key().digest().short());
    let open = async || {
        let builder = SqlStore::builder().table(table.clone()).notifying(true);
        let store = builder.connect(url).await.unwrap();
        store.migrate().await.unwrap();
        store
    };
    [open().await, open().await]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_redis_a_revocation_is_heard_within_100_ms() {
    if let Some(server) = cloakroom_servers::redis() {
        told_within_100_ms("Redis", redis_nodes(&server.url()).await).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_postgres_a_revocation_is_heard_within_100_ms() {
    if let Some(server) = cloakroom_servers::postgres() {
        told_within_100_ms("PostgreSQL", postgres_nodes(&server.url()).await).await;
    }
}

/// A server of its own: the channels of other tests are not to be cut.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_redis_a_cut_channel_leaves_the_bound() {
    if let Some(server) = cloakroom_servers::Redis::start() {
        let server: &'static _ = Box::leak(Box::new(server));
        let nodes = redis_nodes(&server.url()).await;
        within_the_bound(nodes, || {
            let _ = server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_postgres_a_cut_channel_leaves_the_bound() {
    if let Some(server) = cloakroom_servers::Postgres::start() {
        let server: &'static _ = Box::leak(Box::new(server));
        let nodes = postgres_nodes(&server.url()).await;
        within_the_bound(nodes, || {
            let _ = server.query(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                 WHERE query ILIKE 'LISTEN%' AND pid <> pg_backend_pid()",
            );
        })
        .await;
    }
}

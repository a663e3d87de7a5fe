//! Two nodes: who waits on the one for the end of a session is told when the other ends it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cloakroom::engine::TokenStore;
use cloakroom::store::EndReason;
use cloakroom::stores::{Cached, MemoryStore, Sealed, SqlStore};
use cloakroom::{Engine, Label, Subject};
use cloakroom_testkit::key;
use cloakroom_tests::waiting::{PATIENCE, Visitor, goes_on, soon};
use tokio::time::timeout;

use crate::cached_nodes::{postgres_nodes, redis_nodes};

/// Ends of which the times are measured.
const ROUNDS: usize = 1_000;

const HOUR: Duration = Duration::from_secs(3_600);

fn node<S: TokenStore>(store: S, check_every: Duration) -> Engine {
    let builder = Engine::builder(store).check_ended_every(check_every);
    builder.build().unwrap()
}

/// Waits until a node hears of the other.
async fn hears(here: &Engine, there: &Engine) {
    let begun = Instant::now();
    loop {
        let mut visitor = Visitor::log_in(here, "ada").await;
        let mut ended = visitor.wait().await;
        goes_on(&mut ended, Duration::from_millis(1)).await;
        visitor.at(there).log_out().await;
        if timeout(Duration::from_millis(200), ended).await.is_ok() {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "no channel");
    }
}

/// From the beginning of a logout there until who waits here is told: the median, and the 99th
/// of a hundred.
async fn times(here: &Engine, there: &Engine) -> [Duration; 2] {
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let mut visitor = Visitor::log_in(here, "ada").await;
        let ended = visitor.wait().await;
        let told = tokio::spawn(async move {
            let ended = soon(ended).await;
            (ended.because, Instant::now())
        });
        let mut visitor = visitor.at(there);
        let begun = Instant::now();
        visitor.log_out().await;
        let (because, told_at) = told.await.unwrap();
        assert_eq!(because, EndReason::LoggedOut);
        times.push(told_at.saturating_duration_since(begun));
    }
    times.sort();
    [times[ROUNDS / 2], times[ROUNDS * 99 / 100]]
}

async fn told_within_100_ms<S: TokenStore>(name: &str, nodes: [S; 2]) {
    // No rhythm helps them.
    let [here, there] = nodes.map(|store| node(store, HOUR));
    hears(&here, &there).await;
    let [median, p99] = times(&here, &there).await;
    println!("{name}: told {median:?} after a logout elsewhere (median of {ROUNDS}), p99 {p99:?}");
    assert!(median < Duration::from_millis(100), "{median:?}");

    // It moved there, goes on, and ends there under its new key.
    let mut ada = Visitor::log_in(&here, "ada").await;
    let mut ended = ada.wait().await;
    let mut ada = ada.at(&there);
    ada.visit(async |session| session.cycle_key().unwrap())
        .await;
    assert!(goes_on(&mut ended, Duration::from_millis(200)).await);
    ada.log_out().await;
    assert_eq!(soon(ended).await.because, EndReason::LoggedOut);

    let mut ada = Visitor::log_in(&here, "ada").await;
    let ended = ada.wait().await;
    let told = tokio::spawn(soon(ended));
    let bob = Subject::new("bob").unwrap();
    ada.at(&there)
        .visit(async |session| session.set_subject(bob).unwrap())
        .await;
    assert_eq!(told.await.unwrap().because, EndReason::Flushed);

    let mut eve = Visitor::log_in(&here, "eve").await;
    let told = tokio::spawn(soon(eve.wait().await));
    let (subject, note) = (Subject::new("eve").unwrap(), Label::new("Locked").unwrap());
    let end = there.end_sessions_of_with_note(&subject, note.clone());
    end.await.unwrap();
    let ended = told.await.unwrap();
    assert_eq!(ended.because, EndReason::AllEnded);
    assert_eq!(ended.note, Some(note));
}

/// Two nodes as their URLs open them.
async fn plain_postgres_nodes(url: &str) -> [SqlStore; 2] {
    let table = format!("t_{}", key().digest().short());
    let open = async || {
        let store = SqlStore::builder().table(table.clone()).connect(url).await;
        let store = store.unwrap();
        store.migrate().await.unwrap();
        store
    };
    [open().await, open().await]
}

/// An end that nobody announces here, since the channel is cut, is learned of in the rhythm:
/// when the channel is back soon, and while it is not.
async fn told_with_the_channel_cut<S: TokenStore>(
    nodes: [S; 2],
    cut: impl Fn() + Send + Sync + 'static,
) {
    const RHYTHM: Duration = Duration::from_secs(1);
    const MARGIN: Duration = Duration::from_millis(1_500);
    let [here, there] = nodes.map(|store| node(store, RHYTHM));
    hears(&here, &there).await;
    let cut = Arc::new(cut);
    for goes_on_being_cut in [false, false, false, false, false, true] {
        let mut ada = Visitor::log_in(&here, "ada").await;
        let mut ended = ada.wait().await;
        // It is asked about once, since nobody knows what was before.
        assert!(goes_on(&mut ended, RHYTHM + RHYTHM / 4).await);
        let is_over = Arc::new(AtomicBool::new(!goes_on_being_cut));
        let cutting = std::thread::spawn({
            let (cut, is_over) = (cut.clone(), is_over.clone());
            move || loop {
                cut();
                if is_over.load(Ordering::SeqCst) {
                    return;
                }
            }
        });
        // The first cut is made.
        while !goes_on_being_cut && !cutting.is_finished() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let begun = Instant::now();
        ada.at(&there).log_out().await;
        let told = timeout(RHYTHM + MARGIN, ended).await;
        let after = begun.elapsed();
        is_over.store(true, Ordering::SeqCst);
        cutting.join().unwrap();
        let told = told.unwrap_or_else(|_| panic!("not within {after:?}"));
        assert_eq!(told.because, EndReason::LoggedOut);
    }
    hears(&here, &there).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_one_node_an_end_is_told_at_once() {
    let engine = node(MemoryStore::builder().build(), HOUR);
    let [median, p99] = times(&engine, &engine).await;
    println!("one node: told {median:?} after a logout (median of {ROUNDS}), p99 {p99:?}");
    assert!(median < Duration::from_millis(10), "{median:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_redis_an_end_elsewhere_is_told_within_100_ms() {
    if let Some(server) = cloakroom_servers::redis() {
        told_within_100_ms("Redis", redis_nodes(&server.url()).await).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_postgres_an_end_elsewhere_is_told_within_100_ms() {
    if let Some(server) = cloakroom_servers::postgres() {
        told_within_100_ms("PostgreSQL", plain_postgres_nodes(&server.url()).await).await;
    }
}

/// A site with near caches has a job beside it, or the command, by a plain URL.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_postgres_a_node_without_a_cache_tells_those_with_one_of_its_ends() {
    if let Some(server) = cloakroom_servers::postgres() {
        let table = format!("t_{}", key().digest().short());
        let open = async |options| {
            let url = format!("{}?table={table}{options}", server.url());
            node(cloakroom::open_session_store(&url).await.unwrap(), HOUR)
        };
        let (here, there) = (open("&cache=8MiB&stale=5s").await, open("").await);
        hears(&here, &there).await;
        let mut ada = Visitor::log_in(&here, "ada").await;
        let told = tokio::spawn(soon(ada.wait().await));
        ada.at(&there).log_out().await;
        assert_eq!(told.await.unwrap().because, EndReason::LoggedOut);
    }
}

/// The cache hears of an end before it is asked, and what is sealed is asked about all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_seal_and_a_cache_an_end_elsewhere_is_told_within_100_ms() {
    if let Some(server) = cloakroom_servers::redis() {
        let nodes = redis_nodes(&server.url()).await;
        let nodes = nodes.map(|store| {
            let cached = Cached::with_staleness_max(store, HOUR);
            cached.watch_invalidations().unwrap();
            Sealed::new(cached)
        });
        told_within_100_ms("Redis behind a seal and a cache", nodes).await;
    }
}

/// A server of its own: the channels of other tests are not to be cut.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_redis_an_end_is_told_with_the_channel_cut() {
    if let Some(server) = cloakroom_servers::Redis::start() {
        let server: &'static _ = Box::leak(Box::new(server));
        let nodes = redis_nodes(&server.url()).await;
        told_with_the_channel_cut(nodes, || {
            let _ = server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_postgres_an_end_is_told_with_the_channel_cut() {
    if let Some(server) = cloakroom_servers::Postgres::start() {
        let server: &'static _ = Box::leak(Box::new(server));
        let nodes = postgres_nodes(&server.url()).await;
        told_with_the_channel_cut(nodes, || {
            let _ = server.query(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                 WHERE query ILIKE 'LISTEN%' AND pid <> pg_backend_pid()",
            );
        })
        .await;
    }
}

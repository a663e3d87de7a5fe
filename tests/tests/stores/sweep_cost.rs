//! The cost of a sweep depends on the sessions that are due, not on all that are stored.
//!
//! `CLOAKROOM_SWEEP_SESSIONS` says how many sessions there are. Among a million, in a
//! release build, the same sweep may cost more than among 10,000 by the ratio that the
//! test of each store names.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cloakroom::store::SessionStore;
use cloakroom::stores::{RedbStore, SledStore};
use cloakroom::{Clock, SystemClock, Timestamp};
use cloakroom_testkit::{key, sample};
use tokio::sync::Mutex;

const DUE: usize = 1_000;

fn sessions() -> usize {
    let text = std::env::var("CLOAKROOM_SWEEP_SESSIONS").ok();
    text.map_or(20_000, |text| text.parse().unwrap())
}

fn after(now: Timestamp, secs: u64) -> Timestamp {
    now.saturating_add(Duration::from_secs(secs))
}

/// Many at once, so that they share their syncs.
async fn fill<S: SessionStore>(store: &Arc<S>, count: usize, expires_at: Timestamp) {
    const WRITERS: usize = 256;
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                for number in (writer..count).step_by(WRITERS) {
                    let mut record = sample(&format!("session {number}"));
                    record.expires_at = expires_at;
                    store.create(&key().digest(), &record).await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
}

/// What a sweep of what is due costs.
async fn cost<S: SessionStore>(store: &Arc<S>, now: Timestamp) -> Duration {
    fill(store, DUE, after(now, 60)).await;
    let sweep = store.capabilities().sweep.unwrap();
    let start = Instant::now();
    let mut removed = 0;
    loop {
        let swept = sweep.sweep(after(now, 3_600), DUE).await.unwrap();
        removed += swept.removed;
        if !swept.more {
            break;
        }
    }
    assert_eq!(removed, DUE);
    start.elapsed()
}

/// One store has the disk at a time.
static DISK: Mutex<()> = Mutex::const_new(());

/// Sweeps of each store, by turns, so that both meet the same disk.
const ROUNDS: u32 = 5;

async fn does_not_grow<S: SessionStore>(
    name: &str,
    ratio_among_a_million: f64,
    open: impl Fn(&str) -> S,
) {
    let _disk = DISK.lock().await;
    let (few, many) = ((sessions() / 4).min(10_000), sessions());
    let now = SystemClock.now();
    let stores = [("few", few), ("many", many)].map(|(name, live)| (Arc::new(open(name)), live));
    for (store, live) in &stores {
        fill(store, *live, after(now, 7_200)).await;
    }
    let mut sums = [Duration::ZERO; 2];
    for _ in 0..ROUNDS {
        for (sum, (store, _)) in sums.iter_mut().zip(&stores) {
            *sum += cost(store, now).await;
        }
    }
    let [among_few, among_many] = sums.map(|sum| sum / ROUNDS);
    let ratio = among_many.as_secs_f64() / among_few.as_secs_f64();
    println!(
        "{name}: {DUE} due among {few} {among_few:?}, among {many} {among_many:?}: {ratio:.2}"
    );
    // Times vary on a machine that does other work.
    let bound = match sessions() {
        1_000_000.. => ratio_among_a_million,
        _ => 3.0,
    };
    assert!(ratio < bound, "{ratio}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sled_a_sweep_does_not_grow_with_what_is_not_due() {
    let folder = tempfile::tempdir().unwrap();
    does_not_grow("sled", 1.5, |name| {
        SledStore::open(folder.path().join(name)).unwrap()
    })
    .await;
}

/// Each removal writes pages of its own, and the pages above them, of which a large tree
/// has more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_redb_a_sweep_does_not_grow_with_what_is_not_due() {
    let folder = tempfile::tempdir().unwrap();
    does_not_grow("redb", 2.5, |name| {
        RedbStore::open(folder.path().join(name)).unwrap()
    })
    .await;
}

//! What a load and a save cost over our in-memory store, beside the in-memory store of
//! tower-sessions: `cargo run --release -p cloakroom-tower-sessions --all-features
//! --example ratio`. The two take turns, so that they share whatever else the machine does;
//! read the ratios of the medians, by one thread and by two at once.

use std::time::{Duration, Instant};

use cloakroom_memory::MemoryStore;
use cloakroom_tower_sessions::{CloakroomStore, axum_login_subject};
use serde_json::json;
use tower_sessions_0_15::session::{Id, Record};
use tower_sessions_0_15::session_store::Result;
use tower_sessions_0_15::{MemoryStore as Theirs, SessionStore};

const SESSIONS: usize = 10_000;
const ROUNDS: usize = 20;

/// A session of six values, as a shop has it.
fn typical() -> Record {
    let data = [
        ("user", json!(4_711)),
        ("name", json!("Ada Lovelace")),
        ("theme", json!("dark")),
        ("csrf", json!("Zm9yZ2VyeS1wcm90ZWN0aW9uLXRva2Vu")),
        ("visits", json!(17)),
        (
            "cart",
            json!([{"sku": "tea", "qty": 2}, {"sku": "milk", "qty": 1}]),
        ),
    ];
    let data = data.map(|(name, value)| (name.to_owned(), value));
    Record {
        id: Id::default(),
        data: data.into(),
        expiry_date: time::OffsetDateTime::now_utc() + time::Duration::days(1),
    }
}

/// The times of loads and of saves.
type Times = [Vec<Duration>; 2];

async fn begin(store: &impl SessionStore) -> Result<Vec<Id>> {
    let mut ids = Vec::new();
    for _ in 0..SESSIONS {
        let mut record = typical();
        store.create(&mut record).await?;
        ids.push(record.id);
    }
    Ok(ids)
}

/// Loads and saves each session once.
async fn turn(store: impl SessionStore, ids: Vec<Id>, visits: usize) -> Result<Times> {
    let mut times = Times::default();
    for id in ids {
        let begun = Instant::now();
        let loaded = store.load(&id).await?;
        times[0].push(begun.elapsed());
        if let Some(mut record) = loaded {
            record.data.insert("visits".to_owned(), json!(visits));
            let begun = Instant::now();
            store.save(&record).await?;
            times[1].push(begun.elapsed());
        }
    }
    Ok(times)
}

/// The same by so many threads at once, each with its share of the sessions.
async fn turns<S: SessionStore + Clone>(
    store: &S,
    ids: &[Id],
    visits: usize,
    threads: usize,
) -> Result<Times> {
    let shares = ids.chunks(SESSIONS / threads);
    let turn = |share: &[Id]| tokio::spawn(turn(store.clone(), share.to_vec(), visits));
    let turns: Vec<_> = shares.map(turn).collect();
    let mut times = Times::default();
    for turn in turns {
        let done = turn.await.expect("a turn does not panic")?;
        for (all, some) in times.iter_mut().zip(done) {
            all.extend(some);
        }
    }
    Ok(times)
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    let ours = CloakroomStore::builder(MemoryStore::builder().build());
    let (ours, theirs) = (ours.subject(axum_login_subject).build(), Theirs::default());
    let (our_ids, their_ids) = (begin(&ours).await?, begin(&theirs).await?);
    for threads in [1, 2] {
        let (mut our_times, mut their_times) = (Times::default(), Times::default());
        for round in 0..ROUNDS {
            let our = turns(&ours, &our_ids, round, threads).await?;
            let their = turns(&theirs, &their_ids, round, threads).await?;
            for (all, some) in our_times.iter_mut().zip(our) {
                all.extend(some);
            }
            for (all, some) in their_times.iter_mut().zip(their) {
                all.extend(some);
            }
        }
        let pairs = our_times.iter_mut().zip(&mut their_times);
        for (what, (ours, theirs)) in ["load", "save"].into_iter().zip(pairs) {
            let (ours, theirs) = (median(ours), median(theirs));
            let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
            println!(
                "{threads} at once, {what}: ours {ours:?}, theirs {theirs:?}, ratio {ratio:.2}"
            );
        }
    }
    Ok(())
}

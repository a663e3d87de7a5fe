//! Requests are answered almost as fast while a sweep removes a tenth of all sessions. `CLOAKROOM_SWEEP_SESSIONS` says how many there are; the
//! bound of twice the time is asked of 1,000,000.

use std::time::Duration;

use cloakroom::engine::TokenStore;
use cloakroom::{AnyStore, Clock as _, SystemClock};
use cloakroom_testkit::{key, sample};
use tokio::time::{Instant, MissedTickBehavior, interval};

const REQUESTS_PER_SEC: u64 = 200;

fn sessions() -> u64 {
    let text = std::env::var("CLOAKROOM_SWEEP_SESSIONS").ok();
    text.map_or(20_000, |text| text.parse().unwrap())
}

/// The time that 99 of 100 requests stay below, while `until` is not done.
async fn p99(store: &AnyStore, mut until: impl FnMut(Duration) -> bool) -> Duration {
    let mut tick = interval(Duration::from_millis(1_000 / REQUESTS_PER_SEC));
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let start = Instant::now();
    let mut requests = Vec::new();
    while !until(start.elapsed()) {
        tick.tick().await;
        let store = store.clone();
        requests.push(tokio::spawn(async move {
            let start = Instant::now();
            let record = sample("served meanwhile");
            let written = store.create_token(&key(), &record).await.unwrap();
            let token = written.token.unwrap();
            store.load_token(&token).await.unwrap().unwrap();
            start.elapsed()
        }));
    }
    let mut times = Vec::new();
    for request in requests {
        times.push(request.await.unwrap());
    }
    times.sort();
    times[times.len() * 99 / 100]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_a_sweep_lets_others_work() {
    let Some(server) = cloakroom_servers::Postgres::start() else {
        return;
    };
    let url = server.url();
    let store = cloakroom::open(&url).await.unwrap();
    let now = SystemClock.now().as_millis();
    let hour = 3_600_000;
    // One in ten is due.
    for from in (1..=sessions()).step_by(20_000) {
        let to = sessions().min(from + 19_999);
        server
            .query(&format!(
                "INSERT INTO cloakroom_sessions (digest, format, revision, created_at, \
                 last_seen_at, expires_at, data) \
                 SELECT sha256(n::text::bytea), 1, 1, {now}, {now}, \
                 CASE WHEN n % 10 = 0 THEN {now} - {hour} ELSE {now} + {hour} END, \
                 sha256(n::text::bytea) FROM generate_series({from}, {to}) AS n"
            ))
            .unwrap();
    }
    server.query("ANALYZE cloakroom_sessions").unwrap();
    let secs = if sessions() >= 1_000_000 { 20 } else { 3 };
    // The first requests make connections and statements ready.
    p99(&store, |elapsed| elapsed >= Duration::from_secs(1)).await;
    let quiet = p99(&store, |elapsed| elapsed >= Duration::from_secs(secs)).await;
    let sweeping = {
        let store = store.clone();
        tokio::spawn(async move {
            let start = Instant::now();
            let mut removed = 0;
            loop {
                let sweep = store.token_capabilities().sweep.unwrap();
                let swept = sweep.sweep(SystemClock.now(), 1_000).await.unwrap();
                removed += swept.removed as u64;
                if !swept.more {
                    return (removed, start.elapsed());
                }
                tokio::task::yield_now().await;
            }
        })
    };
    let least = Duration::from_secs(1);
    let busy = p99(&store, |elapsed| sweeping.is_finished() && elapsed >= least).await;
    let (removed, took) = sweeping.await.unwrap();
    assert_eq!(removed, sessions() / 10);
    let ratio = busy.as_secs_f64() / quiet.as_secs_f64();
    println!("{removed} swept in {took:?}; p99 {quiet:?} without, {busy:?} with: {ratio:.2}");
    if sessions() >= 1_000_000 {
        assert!(ratio <= 2.0, "{ratio}");
    }
}

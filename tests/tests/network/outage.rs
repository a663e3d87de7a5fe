//! The server is killed, and comes back, under 200 requests a second: no panic, no
//! wrong data, 500 with the cookie kept while it is down, and every write that was
//! acknowledged is found again. `CLOAKROOM_OUTAGE_SECS` says how long it takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use cloakroom::{AnyStore, CookiePolicy, Engine, Error, ErrorKind};
use cloakroom_servers::{Mariadb, Postgres, Redis, Server};
use tokio::time::{Instant, interval, sleep};

const REQUESTS_PER_SEC: u64 = 200;
const VISITORS: usize = 200;

/// What a request waits for an answer, in the URL: while the server is down many come.
const HASTY: &str = "timeout=500ms";

/// What is no part of that waits for a slow disk too.
const PATIENT: &str = "timeout=60s";

const RECOVERY: Duration = Duration::from_secs(30);

fn secs() -> u64 {
    let text = std::env::var("CLOAKROOM_OUTAGE_SECS").ok();
    text.map_or(6, |text| text.parse().unwrap())
}

/// One browser, and what it knows of its counter.
#[derive(Debug)]
struct Visitor {
    cookie: String,
    /// Counts that were answered with success.
    acknowledged: AtomicU64,
    /// Counts that may have happened.
    unknown: AtomicU64,
}

#[derive(Debug, Default)]
struct Tally {
    succeeded: AtomicUsize,
    failed: AtomicUsize,
    /// When the last failure was answered, in milliseconds from the start.
    last_failure: AtomicU64,
}

fn is_outage(error: &Error) -> bool {
    error.kind() == ErrorKind::Unavailable
}

/// Counts once; whether that was answered with success. What it finds is never
/// less than what was acknowledged before, nor more than what was asked for.
async fn count(engine: &Engine, visitor: &Visitor) -> bool {
    let acknowledged = visitor.acknowledged.load(Ordering::SeqCst);
    let exchange = engine.exchange();
    let session = match exchange.open([visitor.cookie.as_bytes()].into_iter()).await {
        Ok(session) => session,
        Err(error) => {
            assert!(is_outage(&error), "{error}");
            return false;
        }
    };
    let found: u64 = session.get("n").unwrap().unwrap_or(0);
    assert!(found >= acknowledged, "{found} of {acknowledged}");
    session.update("n", |n: &mut u64| *n += 1).unwrap();
    visitor.unknown.fetch_add(1, Ordering::SeqCst);
    let closing = exchange.close(200).await;
    let removes = |value: &str| value.contains("Max-Age=0");
    assert!(
        !closing
            .token_headers()
            .iter()
            .any(|header| removes(header.value())),
        "an outage takes no cookie away"
    );
    if let Some(error) = closing.failure {
        assert!(is_outage(&error), "{error}");
        return false;
    }
    visitor.unknown.fetch_sub(1, Ordering::SeqCst);
    visitor.acknowledged.fetch_add(1, Ordering::SeqCst);
    true
}

async fn visitors(engine: &Engine) -> Vec<Arc<Visitor>> {
    let mut visitors = Vec::new();
    for _ in 0..VISITORS {
        let exchange = engine.exchange();
        let session = exchange.open(std::iter::empty()).await.unwrap();
        session.insert("n", 0_u64).unwrap();
        let closing = exchange.close(200).await;
        let set = closing.token_headers()[0].value();
        let cookie = set.split(';').next().unwrap().to_owned();
        visitors.push(Arc::new(Visitor {
            cookie,
            acknowledged: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
        }));
    }
    visitors
}

async fn open(url: &str, options: &str) -> Result<Engine, Error> {
    let store: AnyStore = cloakroom::open(&format!("{url}?{options}")).await?;
    Engine::builder(store)
        .cookie(CookiePolicy::loopback_http())
        .build()
}

/// The server is killed a third through, and comes back two thirds through.
async fn survives(url: &str, server: &'static Server) {
    let visitors = visitors(&open(url, PATIENT).await.unwrap()).await;
    let until = Instant::now() + RECOVERY;
    let engine = loop {
        match open(url, HASTY).await {
            Ok(engine) => break engine,
            Err(error) => assert!(Instant::now() < until, "{error}"),
        }
    };
    let tally = Arc::new(Tally::default());
    let start = Instant::now();
    let third = Duration::from_secs(secs()) / 3;
    let faults = tokio::spawn(async move {
        sleep(third).await;
        tokio::task::spawn_blocking(|| server.kill()).await.unwrap();
        sleep(third).await;
        tokio::task::spawn_blocking(|| server.restart())
            .await
            .unwrap();
        start.elapsed()
    });
    let mut tick = interval(Duration::from_millis(1_000 / REQUESTS_PER_SEC));
    let mut requests = Vec::new();
    let mut next = 0;
    // Some seconds more, where the restart takes its time.
    while start.elapsed() < third * 3 || !faults.is_finished() {
        tick.tick().await;
        let (engine, tally) = (engine.clone(), tally.clone());
        next = (next + 7) % VISITORS;
        let visitor = visitors[next].clone();
        requests.push(tokio::spawn(async move {
            if count(&engine, &visitor).await {
                tally.succeeded.fetch_add(1, Ordering::SeqCst);
            } else {
                tally.failed.fetch_add(1, Ordering::SeqCst);
                let now = start.elapsed().as_millis() as u64;
                tally.last_failure.fetch_max(now, Ordering::SeqCst);
            }
        }));
    }
    for request in requests {
        request.await.expect("no request panics");
    }
    let back = faults.await.unwrap();
    // The same application, without a restart of its own, and soon.
    let deadline = Instant::now() + RECOVERY;
    while !count(&engine, &visitors[0]).await {
        assert!(Instant::now() < deadline, "no recovery within {RECOVERY:?}");
        sleep(Duration::from_millis(20)).await;
    }
    let engine = open(url, PATIENT).await.unwrap();
    for visitor in &visitors {
        let exchange = engine.exchange();
        let cookie = visitor.cookie.as_bytes();
        let session = exchange.open([cookie].into_iter()).await.unwrap();
        let found: u64 = session.get("n").unwrap().expect("the session stands");
        let acknowledged = visitor.acknowledged.load(Ordering::SeqCst);
        let unknown = visitor.unknown.load(Ordering::SeqCst);
        assert!(
            (acknowledged..=acknowledged + unknown).contains(&found),
            "{found} of {acknowledged} acknowledged and {unknown} unknown"
        );
    }
    let (succeeded, failed) = (
        tally.succeeded.load(Ordering::SeqCst),
        tally.failed.load(Ordering::SeqCst),
    );
    let last = tally.last_failure.load(Ordering::SeqCst);
    println!(
        "{succeeded} answered, {failed} with 500; up again after {back:?}, the last 500 at {last} ms"
    );
    assert!(succeeded > 0 && failed > 0, "it was there, and it was down");
}

/// Servers of this file alone live as long as the process.
fn kept<S>(server: Option<S>) -> Option<&'static S> {
    server.map(|server| &*Box::leak(Box::new(server)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_may_be_killed_and_restarted() {
    if let Some(server) = kept(Postgres::start()) {
        survives(&server.url(), server).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb_may_be_killed_and_restarted() {
    if let Some(server) = kept(Mariadb::start()) {
        survives(&server.url(), server).await;
    }
}

/// With each write synced; otherwise Redis promises what its `appendfsync` says,
/// the last second may be lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_may_be_killed_and_restarted() {
    if let Some(server) = kept(Redis::start_with(&["--appendfsync", "always"])) {
        survives(&server.url(), server).await;
    }
}

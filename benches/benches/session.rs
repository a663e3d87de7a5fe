//! What the core and a whole request cost, each beside its raw primitive.

use std::hint::black_box;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::routing::get;
use cloakroom::axum::{Session as AxumSession, SessionLayer};
use cloakroom::session::Session;
use cloakroom::store::{SessionStore as _, Stored};
use cloakroom::stores::MemoryStore;
use cloakroom::{Engine, Expiry};
use cloakroom_benches::{NOW, Typical, at_once, context, fill, record, runtime};
use cloakroom_testkit::{ManualClock, key};
use criterion::{Criterion, criterion_group, criterion_main};
use tower::ServiceExt as _;

/// From stored bytes to a value in the handler's hand.
fn decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode");
    let record = record();
    let frame = record.encode().expect("small");
    let raw = frame.clone();
    println!("frame of the typical session: {} bytes", frame.len());
    group.bench_function("raw: copy of the frame", |b| {
        b.iter(|| black_box(raw.clone()))
    });
    group.bench_function("frame to record", |b| {
        b.iter(|| Stored::decode(black_box(&frame)))
    });
    let open = || Session::open(Some(record.clone()), context());
    group.bench_function("open a session, read nothing", |b| b.iter(open));
    group.bench_function("open and read one value", |b| {
        b.iter(|| open().and_then(|session| session.get::<u64>("visits")))
    });
    group.bench_function("open and decode every value", |b| {
        b.iter(|| open().and_then(|session| session.items()))
    });
    group.finish();
}

/// From changes to stored bytes.
fn encode(c: &mut Criterion) {
    let mut group = c.benchmark_group("encode");
    let record = record();
    let raw = record.encode().expect("small");
    group.bench_function("raw: copy of the frame", |b| {
        b.iter(|| black_box(raw.clone()))
    });
    group.bench_function("record to frame", |b| b.iter(|| record.encode()));
    group.bench_function("change one value, merge, encode", |b| {
        b.iter(|| {
            let session = Session::open(Some(record.clone()), context())?;
            session.insert("visits", 18_u64)?;
            session
                .changeset()?
                .record(&Expiry::default(), NOW, 0)
                .encode()
        })
    });
    let typical = Typical::new();
    group.bench_function("fill a new session, encode", |b| {
        b.iter(|| {
            let session = Session::detached();
            fill(&session, &typical);
            session
                .changeset()?
                .record(&Expiry::default(), NOW, 0)
                .encode()
        })
    });
    group.finish();
}

async fn untouched() -> &'static str {
    "ok"
}

async fn read(session: AxumSession) -> String {
    session
        .get::<u64>("visits")
        .ok()
        .flatten()
        .unwrap_or(0)
        .to_string()
}

async fn write(session: AxumSession) -> &'static str {
    let _ = session.update("visits", |visits: &mut u64| *visits += 1);
    "ok"
}

/// A request through axum, without a network: a bare route, then the same with
/// a session around it, untouched, read and written.
fn request(c: &mut Criterion) {
    let runtime = runtime();
    let mut group = c.benchmark_group("request");
    let clock = Arc::new(ManualClock::at(NOW));
    let store = MemoryStore::builder().clock(clock.clone()).build();
    let key = key();
    at_once(store.create(&key.digest(), &record())).expect("new");
    let engine = Engine::builder(store)
        .clock(clock)
        .build()
        .expect("the defaults");
    let routes = || {
        Router::new()
            .route("/", get(untouched))
            .route("/read", get(read))
            .route("/write", get(write))
    };
    let bare: Router = routes();
    let with_sessions: Router = routes().layer(SessionLayer::new(engine));
    let cookie = format!("__Host-session={}", key.to_token().expose());
    let call = |router: &Router, path: &str| {
        let request = Request::get(path)
            .header("cookie", &cookie)
            .body(Body::empty())
            .expect("a plain request");
        runtime
            .block_on(router.clone().oneshot(request))
            .expect("infallible")
    };
    assert_eq!(call(&with_sessions, "/write").status(), 200);
    group.bench_function("raw: bare route", |b| b.iter(|| call(&bare, "/")));
    group.bench_function("session untouched", |b| {
        b.iter(|| call(&with_sessions, "/"))
    });
    group.bench_function("session read", |b| b.iter(|| call(&with_sessions, "/read")));
    group.bench_function("session written", |b| {
        b.iter(|| call(&with_sessions, "/write"))
    });
    group.finish();
}

criterion_group!(benches, decode, encode, request);
criterion_main!(benches);

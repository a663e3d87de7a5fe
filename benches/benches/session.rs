//! Load, save and a whole request, each beside its raw primitive.

use std::fs::OpenOptions;
use std::hint::black_box;
use std::sync::{Arc, Weak};

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::routing::get;
use cloakroom::axum::{Session as AxumSession, SessionLayer};
use cloakroom::{
    Commit, Context, Engine, Expiry, KeyDigest, Limits, MemoryStore, Record, Revision, Session,
    SessionKey, SessionStore, SledStore, Slot, Token, TokenStore,
};
use cloakroom_benches::{NOW, changed, fill, record};
use cloakroom_testkit::{ManualClock, key};
use criterion::{Criterion, criterion_group, criterion_main};
use tokio::runtime::Runtime;
use tower::ServiceExt as _;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}

fn nobody() -> Weak<dyn Commit> {
    struct Nobody;
    impl Commit for Nobody {
        fn commit(&self) -> cloakroom::BoxFuture<'_, Result<(), cloakroom::Error>> {
            Box::pin(std::future::ready(Ok(())))
        }
    }
    Weak::<Nobody>::new()
}

fn context() -> Context {
    Context::new(NOW, Limits::default(), Expiry::default(), nobody())
}

fn memory() -> MemoryStore {
    MemoryStore::builder()
        .clock(Arc::new(ManualClock::at(NOW)))
        .build()
}

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
        b.iter(|| Slot::decode(black_box(&frame)))
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
            session.draft()?.record(&Expiry::default(), NOW, 0).encode()
        })
    });
    group.bench_function("fill a new session, encode", |b| {
        b.iter(|| {
            let session = Session::detached();
            fill(&session);
            session.draft()?.record(&Expiry::default(), NOW, 0).encode()
        })
    });
    group.finish();
}

/// A thousand sessions of which one is asked for at a time.
fn stored<S: SessionStore>(runtime: &Runtime, store: &S) -> (Vec<KeyDigest>, Vec<Token>) {
    let keys: Vec<SessionKey> = (0..1_000).map(|_| key()).collect();
    runtime.block_on(async {
        for key in &keys {
            store.create(&key.digest(), &record()).await.expect("new");
        }
    });
    let digests = keys.iter().map(SessionKey::digest).collect();
    (digests, keys.iter().map(SessionKey::to_token).collect())
}

fn load(c: &mut Criterion) {
    let runtime = runtime();
    let mut group = c.benchmark_group("load");
    let turn = |at: &mut usize| {
        *at = (*at + 1) % 1_000;
        *at
    };
    let mut at = 0;

    let raw = moka::sync::Cache::new(10_000);
    let store = memory();
    let (digests, tokens) = stored(&runtime, &store);
    for digest in &digests {
        raw.insert(*digest, Arc::new(record()));
    }
    group.bench_function("raw: moka get", |b| {
        b.iter(|| raw.get(&digests[turn(&mut at)]))
    });
    group.bench_function("memory, by digest", |b| {
        b.iter(|| runtime.block_on(store.load(&digests[turn(&mut at)])))
    });
    group.bench_function("memory, by token", |b| {
        b.iter(|| runtime.block_on(store.load_token(&tokens[turn(&mut at)])))
    });
    let erased = cloakroom::AnyStore::new(store.clone());
    group.bench_function("memory, by token, erased", |b| {
        b.iter(|| runtime.block_on(erased.load_token(&tokens[turn(&mut at)])))
    });

    let folder = tempfile::tempdir().expect("a folder");
    let raw = sled::open(folder.path().join("raw")).expect("a database");
    let store = SledStore::open(folder.path().join("store")).expect("a database");
    let (digests, tokens) = stored(&runtime, &store);
    let frame = record().encode().expect("small");
    for digest in &digests {
        raw.insert(digest.as_bytes(), &frame[..]).expect("inserted");
    }
    group.bench_function("raw: sled get", |b| {
        b.iter(|| raw.get(digests[turn(&mut at)].as_bytes()))
    });
    group.bench_function("sled, by digest", |b| {
        b.iter(|| runtime.block_on(store.load(&digests[turn(&mut at)])))
    });
    group.bench_function("sled, by token", |b| {
        b.iter(|| runtime.block_on(store.load_token(&tokens[turn(&mut at)])))
    });
    group.finish();
}

/// An update whose data differs every time: sled skips identical rewrites.
fn save(c: &mut Criterion) {
    let runtime = runtime();
    let mut group = c.benchmark_group("save");
    let mut number = 0_u64;
    let mut next = |base: &Record| {
        number += 1;
        changed(base, number)
    };

    let raw = moka::sync::Cache::new(10_000);
    let store = memory();
    let digest = stored(&runtime, &store).0[0];
    let base = record();
    group.bench_function("raw: moka insert", |b| {
        b.iter(|| raw.insert(digest, Arc::new(next(&base))))
    });
    let mut revision = Revision::FIRST;
    group.bench_function("memory update", |b| {
        b.iter(|| {
            let record = next(&base).at_revision(revision);
            revision = runtime
                .block_on(store.update(&digest, &record))
                .expect("its turn");
        })
    });

    let folder = tempfile::tempdir().expect("a folder");
    let raw = sled::open(folder.path().join("raw")).expect("a database");
    let file = OpenOptions::new()
        .write(true)
        .open(folder.path().join("raw/db"))
        .expect("its file");
    group.sample_size(20);
    group.bench_function("raw: sled insert, flush, fdatasync", |b| {
        b.iter(|| {
            let frame = next(&base).encode().expect("small");
            raw.insert(digest.as_bytes(), frame).expect("inserted");
            raw.flush().expect("flushed");
            file.sync_data().expect("synced");
        })
    });
    let store = SledStore::open(folder.path().join("store")).expect("a database");
    let digest = stored(&runtime, &store).0[0];
    let mut revision = Revision::FIRST;
    group.bench_function("sled update, durable", |b| {
        b.iter(|| {
            let record = next(&base).at_revision(revision);
            revision = runtime
                .block_on(store.update(&digest, &record))
                .expect("its turn");
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
    let store = memory();
    let token = stored(&runtime, &store).1[0].expose().to_owned();
    let engine = Engine::builder(store)
        .clock(Arc::new(ManualClock::at(NOW)))
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
    let cookie = format!("__Host-session={token}");
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

criterion_group!(benches, decode, encode, load, save, request);
criterion_main!(benches);

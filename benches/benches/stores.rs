//! Load, update and touch of one of 10,000 sessions on each store, beside the raw
//! primitive on the same bytes.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use cloakroom::AnyStore;
use cloakroom::engine::TokenStore;
use cloakroom::store::{KeyDigest, Record, Revision, SessionStore};
use cloakroom::stores::{Cached, Durability, FileStore, MemoryStore, RedbStore, Sealed, SledStore};
use cloakroom_benches::{Crowd, NOW, at_once, changed, record, runtime};
use cloakroom_testkit::{ManualClock, touch_until};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main};
use redb::{Database, ReadableDatabase as _, TableDefinition};
use tokio::runtime::Runtime;

const TABLE: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("raw");

fn memory() -> MemoryStore {
    MemoryStore::builder()
        .clock(Arc::new(ManualClock::at(NOW)))
        .build()
}

/// A locked map of decoded sessions.
fn raw_map(crowd: &Crowd) -> RwLock<HashMap<KeyDigest, Arc<Record>>> {
    let digests = crowd.digests().iter();
    RwLock::new(digests.map(|at| (*at, Arc::new(record()))).collect())
}

const NO_PANIC: &str = "no bench panics while it holds the lock";

fn raw_sled(crowd: &Crowd, folder: &Path) -> sled::Db {
    let raw = sled::open(folder).expect("a database");
    let frame = record().encode().expect("small");
    for digest in crowd.digests() {
        raw.insert(digest.as_bytes(), &frame[..]).expect("inserted");
    }
    raw.flush().expect("flushed");
    raw
}

fn raw_redb(crowd: &Crowd, file: &Path) -> Database {
    let raw = Database::create(file).expect("a database");
    let frame = record().encode().expect("small");
    let transaction = raw.begin_write().expect("its turn");
    let mut table = transaction.open_table(TABLE).expect("a table");
    for digest in crowd.digests() {
        let inserted = table.insert(digest.as_bytes(), &frame[..]);
        inserted.expect("inserted");
    }
    drop(table);
    transaction.commit().expect("committed");
    raw
}

/// Where a file store in a folder keeps a session.
fn place(folder: &Path, digest: &KeyDigest) -> PathBuf {
    let name = digest.to_hex();
    folder.join("v1").join(&name[..2]).join(name)
}

/// The crowd's files, written without a sync.
fn files(runtime: &Runtime, crowd: &Crowd, folder: &Path) -> FileStore {
    let store = FileStore::open_with(folder, Durability::Lazy).expect("a folder");
    crowd.enter(runtime, &store);
    drop(store);
    FileStore::open(folder).expect("the same folder")
}

type Group<'c> = BenchmarkGroup<'c, WallTime>;

fn load_by_digest<S: SessionStore>(
    group: &mut Group<'_>,
    name: &str,
    store: &S,
    crowd: &mut Crowd,
) {
    group.bench_function(name, |b| b.iter(|| at_once(store.load(crowd.digest()))));
}

fn load_by_token<S: TokenStore>(group: &mut Group<'_>, name: &str, store: &S, crowd: &mut Crowd) {
    group.bench_function(name, |b| {
        b.iter(|| at_once(store.load_token(crowd.token())))
    });
}

fn load(c: &mut Criterion) {
    let runtime = runtime();
    let mut group = c.benchmark_group("load");
    let crowd = &mut Crowd::new();
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);

    let raw = raw_map(crowd);
    group.bench_function("raw: get from a locked map", |b| {
        b.iter(|| raw.read().expect(NO_PANIC).get(crowd.digest()).cloned())
    });
    let store = memory();
    crowd.enter(&runtime, &store);
    load_by_digest(&mut group, "memory", &store, crowd);
    load_by_token(&mut group, "memory, by token", &store, crowd);
    let erased = AnyStore::new(store);
    load_by_token(&mut group, "memory, by token, erased", &erased, crowd);

    let raw = raw_sled(crowd, &at("raw-sled"));
    group.bench_function("raw: sled get", |b| {
        b.iter(|| raw.get(crowd.digest().as_bytes()))
    });
    let store = SledStore::open(at("sled")).expect("a database");
    crowd.enter(&runtime, &store);
    load_by_digest(&mut group, "sled", &store, crowd);
    load_by_token(&mut group, "sled, by token", &store, crowd);
    let long = Duration::from_secs(3_600);
    let cached = Cached::with_staleness_max(store.clone(), long);
    for digest in crowd.digests() {
        let _ = at_once(cached.load(digest));
    }
    let misses = cached.stats().misses;
    load_by_digest(&mut group, "cached sled, hit", &cached, crowd);
    assert_eq!(cached.stats().misses, misses, "each load is a hit");
    // Room for a few dozen, so that each has been evicted before its next turn.
    let cached = Cached::builder(store, long)
        .capacity_bytes(64 * 1024)
        .build();
    load_by_digest(&mut group, "cached sled, miss", &cached, crowd);
    let stats = cached.stats();
    assert!(stats.hits <= stats.misses / 10, "each load is a miss");
    let sealed = Sealed::new(SledStore::open(at("sealed")).expect("a database"));
    crowd.enter(&runtime, &sealed);
    load_by_token(&mut group, "sealed sled, by token", &sealed, crowd);

    let raw = raw_redb(crowd, &at("raw.redb"));
    group.bench_function("raw: redb read transaction, get", |b| {
        b.iter(|| {
            let transaction = raw.begin_read().expect("its turn");
            let table = transaction.open_table(TABLE).expect("a table");
            table.get(crowd.digest().as_bytes()).expect("read")
        })
    });
    let store = RedbStore::open(at("sessions.redb")).expect("a database");
    crowd.enter(&runtime, &store);
    load_by_digest(&mut group, "redb", &store, crowd);

    let store = files(&runtime, crowd, &at("files"));
    let places: Vec<PathBuf> = crowd
        .digests()
        .iter()
        .map(|digest| place(&at("files"), digest))
        .collect();
    group.bench_function("raw: file read", |b| {
        b.iter(|| fs::read(&places[crowd.turn()]).expect("a session's file"))
    });
    load_by_digest(&mut group, "file", &store, crowd);
    group.finish();
}

/// Other content each time: sled skips identical rewrites.
struct Writes {
    record: Record,
    number: u64,
}

impl Writes {
    fn record(&mut self) -> Record {
        self.number += 1;
        changed(&self.record, self.number)
    }

    fn frame(&mut self) -> Vec<u8> {
        self.record().encode().expect("small")
    }
}

/// Updates of one session, each at the revision that the last one left.
fn updates<S: SessionStore>(
    group: &mut Group<'_>,
    name: &str,
    runtime: &Runtime,
    store: &S,
    (digest, writes): (&KeyDigest, &mut Writes),
) {
    let mut revision = Revision::FIRST;
    group.bench_function(name, |b| {
        b.iter(|| {
            let record = writes.record().at_revision(revision);
            let updated = runtime.block_on(store.update(digest, &record));
            revision = updated.expect("its turn");
        })
    });
}

fn replace_file(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let new = file.with_extension("new");
    let mut writer = File::create(&new)?;
    writer.write_all(bytes)?;
    writer.sync_all()?;
    fs::rename(&new, file)?;
    File::open(file.parent().expect("a folder"))?.sync_all()
}

fn update(c: &mut Criterion) {
    let runtime = runtime();
    let mut group = c.benchmark_group("update");
    let crowd = &Crowd::new();
    let digest = &crowd.digests()[0];
    let writes = &mut Writes {
        record: record(),
        number: 0,
    };
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);

    let raw = raw_map(crowd);
    group.bench_function("raw: insert into a locked map", |b| {
        b.iter(|| {
            let record = Arc::new(writes.record());
            raw.write().expect(NO_PANIC).insert(*digest, record)
        })
    });
    let store = memory();
    crowd.enter(&runtime, &store);
    updates(&mut group, "memory", &runtime, &store, (digest, writes));

    group
        .sample_size(20)
        .measurement_time(Duration::from_secs(3));
    let raw = raw_sled(crowd, &at("raw-sled"));
    let file = OpenOptions::new().write(true).open(at("raw-sled/db"));
    let file = file.expect("its file");
    group.bench_function("raw: sled insert, flush, fdatasync", |b| {
        b.iter(|| {
            raw.insert(digest.as_bytes(), writes.frame())
                .expect("inserted");
            raw.flush().expect("flushed");
            file.sync_data().expect("synced");
        })
    });
    let store = SledStore::open(at("sled")).expect("a database");
    crowd.enter(&runtime, &store);
    updates(&mut group, "sled", &runtime, &store, (digest, writes));

    let raw = raw_redb(crowd, &at("raw.redb"));
    group.bench_function("raw: redb insert, commit", |b| {
        b.iter(|| {
            let transaction = raw.begin_write().expect("its turn");
            let mut table = transaction.open_table(TABLE).expect("a table");
            let inserted = table.insert(digest.as_bytes(), &writes.frame()[..]);
            inserted.expect("inserted");
            drop(table);
            transaction.commit().expect("committed");
        })
    });
    let store = RedbStore::open(at("sessions.redb")).expect("a database");
    crowd.enter(&runtime, &store);
    updates(&mut group, "redb", &runtime, &store, (digest, writes));

    let store = files(&runtime, crowd, &at("files"));
    let raw = place(&at("files"), &crowd.digests()[1]);
    group.bench_function("raw: file write, fsync, rename, fsync", |b| {
        b.iter(|| replace_file(&raw, &writes.frame()))
    });
    updates(&mut group, "file", &runtime, &store, (digest, writes));
    group.finish();
}

/// A later deadline each time, where no sync is waited for.
fn touch(c: &mut Criterion) {
    let runtime = runtime();
    let mut group = c.benchmark_group("touch");
    let crowd = &Crowd::new();
    let digest = &crowd.digests()[0];
    let folder = tempfile::tempdir().expect("a folder");
    let mut later = record().expires_at;
    let mut next = || {
        later = later.saturating_add(Duration::from_millis(1));
        later
    };

    let store = memory();
    crowd.enter(&runtime, &store);
    group.bench_function("memory", |b| {
        b.iter(|| at_once(store.touch(digest, Revision::FIRST, touch_until(next()))))
    });

    let raw = raw_sled(crowd, &folder.path().join("raw"));
    let mut present = raw.get(digest.as_bytes()).expect("read");
    let writes = &mut Writes {
        record: record(),
        number: 0,
    };
    group.bench_function("raw: sled compare and swap", |b| {
        b.iter(|| {
            let frame = sled::IVec::from(writes.frame());
            let swapped =
                raw.compare_and_swap(digest.as_bytes(), present.take(), Some(frame.clone()));
            present = Some(frame);
            swapped.expect("written").expect("nobody else writes")
        })
    });
    let store = SledStore::open(folder.path().join("sled")).expect("a database");
    crowd.enter(&runtime, &store);
    group.bench_function("sled", |b| {
        b.iter(|| at_once(store.touch(digest, Revision::FIRST, touch_until(next()))))
    });
    group.finish();
}

criterion_group!(benches, load, update, touch);
criterion_main!(benches);

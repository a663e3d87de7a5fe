//! Durable creates a second: on each store that keeps its sessions, by 1, 8 and
//! 64 writers at once, beside the raw primitive.
//!
//! A round is one create by each writer, so the elements a second are the
//! creates a second. The raw primitive has one writer; what databases can do for
//! many at best is that many inserts before one sync.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use cloakroom::store::{KeyDigest, Record, SessionStore};
use cloakroom::stores::{FileStore, RedbStore, SledStore};
use cloakroom_benches::{changed, digest, record, runtime};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput};
use criterion::{criterion_group, criterion_main};
use redb::TableDefinition;
use tokio::runtime::Runtime;

/// Names and values that no store has seen.
struct Fresh {
    record: Record,
    number: u64,
}

impl Fresh {
    fn next(&mut self) -> (KeyDigest, Record) {
        self.number += 1;
        (digest(self.number), changed(&self.record, self.number))
    }

    fn frame(&mut self) -> (KeyDigest, Vec<u8>) {
        let (digest, record) = self.next();
        (digest, record.encode().expect("small"))
    }
}

/// The time of so many rounds. What is to be written is made before.
fn rounds<S>(
    runtime: &Runtime,
    store: &S,
    fresh: &mut Fresh,
    writers: usize,
    rounds: u64,
) -> Duration
where
    S: SessionStore + Clone,
{
    let work: Vec<Vec<(KeyDigest, Record)>> = (0..writers)
        .map(|_| (0..rounds).map(|_| fresh.next()).collect())
        .collect();
    runtime.block_on(async {
        let begun = Instant::now();
        let tasks: Vec<_> = work
            .into_iter()
            .map(|own| {
                let store = store.clone();
                tokio::spawn(async move {
                    for (digest, record) in own {
                        store.create(&digest, &record).await.expect("a new digest");
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("it ends");
        }
        begun.elapsed()
    })
}

fn creates<S>(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, store: &S, fresh: &mut Fresh)
where
    S: SessionStore + Clone,
{
    let runtime = runtime();
    for writers in [1, 8, 64] {
        group.throughput(Throughput::Elements(writers as u64));
        group.bench_function(BenchmarkId::new(name, writers), |b| {
            b.iter_custom(|count| rounds(&runtime, store, fresh, writers, count))
        });
    }
}

/// A file under a new name, whole at every moment and on the disk.
fn write_file(folder: &Path, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    let new = folder.join(".new");
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, folder.join(name))?;
    File::open(folder)?.sync_all()
}

fn durable(c: &mut Criterion) {
    let mut group = c.benchmark_group("durable creates");
    group
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    let fresh = &mut Fresh {
        record: record(),
        number: 0,
    };
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);

    let raw = sled::open(at("raw-sled")).expect("a database");
    let file = OpenOptions::new().write(true).open(at("raw-sled/db"));
    let file = file.expect("its file");
    for writes in [1, 64] {
        group.throughput(Throughput::Elements(writes));
        let id = BenchmarkId::new("raw: sled inserts, flush, fdatasync", writes);
        group.bench_function(id, |b| {
            b.iter(|| {
                for _ in 0..writes {
                    let (digest, frame) = fresh.frame();
                    raw.insert(digest.as_bytes(), frame).expect("inserted");
                }
                raw.flush().expect("flushed");
                file.sync_data().expect("synced");
            })
        });
    }
    drop(raw);
    let store = SledStore::open(at("sled")).expect("a database");
    creates(&mut group, "sled", &store, fresh);
    drop(store);

    const TABLE: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("raw");
    let raw = redb::Database::create(at("raw.redb")).expect("a database");
    for writes in [1, 64] {
        group.throughput(Throughput::Elements(writes));
        let id = BenchmarkId::new("raw: redb inserts, commit", writes);
        group.bench_function(id, |b| {
            b.iter(|| {
                let transaction = raw.begin_write().expect("its turn");
                let mut table = transaction.open_table(TABLE).expect("a table");
                for _ in 0..writes {
                    let (digest, frame) = fresh.frame();
                    let inserted = table.insert(digest.as_bytes(), &frame[..]);
                    inserted.expect("inserted");
                }
                drop(table);
                transaction.commit().expect("committed");
            })
        });
    }
    drop(raw);
    let store = RedbStore::open(at("sessions.redb")).expect("a database");
    creates(&mut group, "redb", &store, fresh);
    drop(store);

    fs::create_dir(at("raw-file")).expect("a folder");
    group.throughput(Throughput::Elements(1));
    group.bench_function("raw: file write, fsync, rename, fsync", |b| {
        b.iter(|| {
            let (digest, frame) = fresh.frame();
            write_file(&at("raw-file"), &digest.to_hex(), &frame)
        })
    });
    let store = FileStore::open(at("file")).expect("a folder");
    creates(&mut group, "file", &store, fresh);
    group.finish();
}

criterion_group!(benches, durable);
criterion_main!(benches);

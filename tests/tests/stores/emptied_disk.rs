//! A disk that fills while a store is at work, and is emptied again: the store serves again
//! by itself, and has lost nothing that it acknowledged.

use std::fs::{self, File};
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cloakroom::engine::{SessionKey, TokenStore as _};
use cloakroom::store::{Data, Record, Revision};
use cloakroom::{AnyStore, Error, ErrorKind, Subject};
use cloakroom_testkit::{key, sample};
use cloakroom_tests::embedded::Chance;
use tokio::time::sleep;

use crate::full_disk::SmallDisk;

const SCHEMES: [&str; 4] = ["redb", "sled", "file", "sqlite"];

const WORKERS: u64 = 6;

/// How often the disk is filled and emptied.
const ROUNDS: usize = 3;

/// For a slow machine; a store backs off for some seconds at most.
const WAIT_MAX: Duration = Duration::from_secs(120);

/// Sessions in the care of each worker, while the disk has room.
const LIVE: usize = 20;

#[derive(Default)]
struct Shared {
    is_full: AtomicBool,
    is_over: AtomicBool,
    /// Writes that were acknowledged, and those that were unavailable.
    written: AtomicU64,
    refused: AtomicU64,
    /// Loads that were answered while the disk was full.
    loaded_when_full: AtomicU64,
}

/// A session as its worker knows it.
struct Known {
    key: SessionKey,
    /// What may stand there: one thing, unless the outcome of the last write is unknown.
    may_be: Vec<Option<Record>>,
}

struct Worker {
    store: AnyStore,
    shared: Arc<Shared>,
    chance: Chance,
    known: Vec<Known>,
}

impl Worker {
    async fn work(mut self) -> Vec<Known> {
        while !self.shared.is_over.load(Ordering::SeqCst) {
            let is_full = self.shared.is_full.load(Ordering::SeqCst);
            let settled: Vec<_> = (0..self.known.len())
                .filter(|at| self.known[*at].may_be.len() == 1)
                .filter(|at| self.known[*at].may_be[0].is_some())
                .collect();
            // On a full disk there are more and more: in place of what was removed, a
            // database can write without end.
            if is_full || settled.len() < LIVE / 2 {
                self.create().await;
            } else {
                let at = *self.chance.one(&settled);
                match self.chance.below(10) {
                    0..6 if settled.len() < LIVE => self.create().await,
                    0..5 => self.delete(at).await,
                    _ => self.update(at).await,
                }
            }
            if !settled.is_empty() {
                let at = *self.chance.one(&settled);
                self.load(at).await;
            }
        }
        self.known
    }

    fn record(&mut self) -> Record {
        let mut record = sample("");
        let bytes = 500 + self.chance.below(9_000);
        record.data = Data::from_bytes(self.chance.bytes(bytes.try_into().unwrap()));
        if self.chance.percent(30) {
            record.subject = Some(Subject::new("ada").unwrap());
        }
        record
    }

    async fn create(&mut self) {
        let (key, record) = (key(), self.record());
        let written = self.store.create_token(&key, &record).await.map(drop);
        let new = Some(record.at_revision(Revision::FIRST));
        self.known.push(Known {
            key,
            may_be: vec![None],
        });
        self.note(self.known.len() - 1, written, new).await;
    }

    async fn update(&mut self, at: usize) {
        let stored = self.known[at].may_be[0].clone().unwrap();
        let record = self.record().at_revision(stored.revision);
        let token = self.known[at].key.to_token();
        let written = self.store.update_token(&token, &record).await.map(drop);
        let new = Some(record.at_revision(stored.revision.next()));
        self.note(at, written, new).await;
    }

    async fn delete(&mut self, at: usize) {
        let token = self.known[at].key.to_token();
        let deleted = self.store.delete_token(&token).await;
        self.note(at, deleted, None).await;
    }

    /// Notes what came of a write that was to leave `new`.
    async fn note(&mut self, at: usize, written: Result<(), Error>, new: Option<Record>) {
        match written {
            Ok(()) => {
                self.known[at].may_be = vec![new];
                self.shared.written.fetch_add(1, Ordering::SeqCst);
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
                self.known[at].may_be.push(new);
                self.shared.refused.fetch_add(1, Ordering::SeqCst);
                // As a client that tries again.
                sleep(Duration::from_millis(2)).await;
            }
        }
    }

    async fn load(&self, at: usize) {
        match load(&self.store, &self.known[at].key).await {
            Ok(found) => {
                assert_eq!(found, self.known[at].may_be[0], "an outage is no logout");
                if self.shared.is_full.load(Ordering::SeqCst) {
                    self.shared.loaded_when_full.fetch_add(1, Ordering::SeqCst);
                }
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}"),
        }
    }
}

async fn load(store: &AnyStore, key: &SessionKey) -> Result<Option<Record>, Error> {
    let loaded = store.load_token(&key.to_token()).await?;
    Ok(loaded.and_then(|loaded| loaded.stored.into_record()))
}

/// Waits until a number has grown by so much.
async fn wait_for(what: &str, number: &AtomicU64, more: u64) {
    let (begun, before) = (Instant::now(), number.load(Ordering::SeqCst));
    while number.load(Ordering::SeqCst) < before + more {
        assert!(begun.elapsed() < WAIT_MAX, "no {what} within {WAIT_MAX:?}");
        sleep(Duration::from_millis(5)).await;
    }
}

async fn fill_and_empty(scheme: &str, disk: &SmallDisk) {
    let url = format!("{scheme}:{}", disk.path("sessions").display());
    let store = cloakroom::open(&url).await.unwrap();
    let shared = Arc::new(Shared::default());
    let workers: Vec<_> = (0..WORKERS)
        .map(|number| {
            let worker = Worker {
                store: store.clone(),
                shared: shared.clone(),
                chance: Chance::new(number),
                known: Vec::new(),
            };
            tokio::spawn(worker.work())
        })
        .collect();
    let ballast = disk.path("ballast");
    let mut waits = Vec::new();
    for _ in 0..ROUNDS {
        wait_for("write", &shared.written, 200).await;
        shared.is_full.store(true, Ordering::SeqCst);
        let mut file = File::create(&ballast).unwrap();
        while file.write_all(&[0; 16 * 1024]).is_ok() {}
        wait_for("refusal", &shared.refused, 50).await;
        sleep(Duration::from_millis(500)).await;
        fs::remove_file(&ballast).unwrap();
        drop(file);
        shared.is_full.store(false, Ordering::SeqCst);
        let emptied = Instant::now();
        wait_for("write after the disk was emptied", &shared.written, 1).await;
        waits.push(emptied.elapsed());
    }
    wait_for("write", &shared.written, 200).await;
    shared.is_over.store(true, Ordering::SeqCst);
    let mut known = Vec::new();
    for worker in workers {
        known.extend(worker.await.unwrap());
    }
    let loaded = shared.loaded_when_full.load(Ordering::SeqCst);
    println!(
        "{scheme}: {} written, {} refused, {loaded} loaded when full, {} sessions; served again \
         after {waits:?}",
        shared.written.load(Ordering::SeqCst),
        shared.refused.load(Ordering::SeqCst),
        known.len(),
    );
    check(scheme, &store, &known).await;
    store.close().await.unwrap();
    let again = cloakroom::open(&url).await.unwrap();
    check(scheme, &again, &known).await;
    if scheme != "sled" {
        assert!(loaded > 0, "{scheme}: sessions can be read on a full disk");
    }
}

async fn check(scheme: &str, store: &AnyStore, known: &[Known]) {
    for one in known {
        let found = load(store, &one.key).await.unwrap();
        assert!(
            one.may_be.contains(&found),
            "{scheme}: {} outcomes, found {}",
            one.may_be.len(),
            found.is_some()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fills_and_is_emptied_under_load_costs_no_restart_and_nothing_acknowledged() {
    for scheme in SCHEMES {
        let Some(disk) = SmallDisk::mount("24m") else {
            return;
        };
        fill_and_empty(scheme, &disk).await;
    }
}

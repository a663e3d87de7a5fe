//! The stores that keep sessions on the server, by the trait that a backend implements: by
//! the digest of a key.

use std::path::Path;
use std::time::{Duration, Instant};

use cloakroom::ErrorKind;
use cloakroom::engine::{OsEntropy, SessionKey};
use cloakroom::store::{KeyDigest, Record, SessionStore, Stored};
use tempfile::TempDir;

use super::session::{now, profile, record, touched};
use crate::contender::Contender;
use crate::profile::Profile;

/// How long ago an expired session expired.
const HOUR: Duration = Duration::from_secs(3_600);

pub struct Keyed<S> {
    pub store: S,
    pub fillers: usize,
    /// Opens the store in its folder once more.
    pub open: Option<fn(&Path) -> S>,
    /// What the store lies in, dropped after it.
    pub folder: Option<TempDir>,
}

impl<S: SessionStore> Keyed<S> {
    /// In the memory of this process.
    pub fn new(store: S) -> Self {
        Keyed {
            store,
            fillers: 1,
            open: None,
            folder: None,
        }
    }

    /// On the disk: filled by many, who share its syncs.
    pub fn within(folder: TempDir, open: fn(&Path) -> S) -> Self {
        Keyed {
            fillers: 512,
            open: Some(open),
            ..Keyed::new(open(folder.path()))
        }
        .lying_in(folder)
    }

    pub fn lying_in(self, folder: TempDir) -> Self {
        let folder = Some(folder);
        Keyed { folder, ..self }
    }

    async fn create_record(&self, record: &Record) -> KeyDigest {
        let digest = SessionKey::generate(&OsEntropy).unwrap().digest();
        self.store.create(&digest, record).await.unwrap();
        digest
    }
}

fn folder_bytes(path: &Path) -> u64 {
    let entries = std::fs::read_dir(path).unwrap().flatten();
    let bytes = entries.map(|entry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => folder_bytes(&entry.path()),
        Ok(meta) => meta.len(),
        Err(_) => 0,
    });
    bytes.sum()
}

impl<S: SessionStore> Contender for Keyed<S> {
    type Key = KeyDigest;
    type Rec = Record;

    fn fillers(&self) -> usize {
        self.fillers
    }
    fn encode(&self, profile: &Profile) -> Record {
        record(profile)
    }
    fn decode(&self, rec: Record) -> Profile {
        profile(rec)
    }
    fn touch(&self, rec: &mut Record, stamp: u64) {
        *rec = touched(rec, stamp);
    }
    async fn create(&self, rec: Record) -> KeyDigest {
        self.create_record(&rec).await
    }
    async fn load(&self, key: &KeyDigest) -> Option<Record> {
        self.store
            .load(key)
            .await
            .unwrap()
            .and_then(Stored::into_record)
    }
    /// By compare-and-swap. A session drawn twice among those loaded before is one that
    /// somebody else has changed: loaded again, as the engine does.
    async fn save(&self, key: &KeyDigest, mut rec: Record) {
        while let Err(error) = self.store.update(key, &rec).await {
            assert_eq!(error.kind(), ErrorKind::Conflict);
            rec.revision = self.load(key).await.expect("a stored session").revision;
        }
    }
    async fn create_expired(&self, mut rec: Record) -> bool {
        if self.store.capabilities().sweep.is_none() {
            return false;
        }
        let ago = now().as_millis() - HOUR.as_millis() as u64;
        rec.expires_at = cloakroom::Timestamp::from_millis(ago);
        self.create_record(&rec).await;
        true
    }
    /// As `cloakroom::Sweeper` does it.
    async fn sweep(&self) -> usize {
        let sweep = self.store.capabilities().sweep.expect("asked before");
        let mut removed = 0;
        loop {
            let swept = sweep.sweep(now(), 1_000).await.unwrap();
            removed += swept.removed;
            if !swept.more {
                return removed;
            }
        }
    }
    fn outside_bytes(&self) -> u64 {
        self.folder
            .as_ref()
            .map_or(0, |folder| folder_bytes(folder.path()))
    }
    async fn reopen(&self, key: &KeyDigest) -> Option<Duration> {
        let (open, folder) = (self.open?, self.folder.as_ref()?);
        self.store.capabilities().close?.close().await.unwrap();
        let start = Instant::now();
        let store = open(folder.path());
        store.load(key).await.unwrap().expect("it was kept");
        Some(start.elapsed())
    }
}

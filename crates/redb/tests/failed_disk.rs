//! A disk that gets full under the database, and a file that goes away under it.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use cloakroom_core::ErrorKind;
use cloakroom_core::store::{
    Close as _, Data, KeyDigest, Record, Revision, SessionStore as _, Sweep as _,
};
use cloakroom_redb::RedbStore;
use cloakroom_testkit::{key, sample};
use tempfile::TempDir;

/// A file system of a given size, for as long as this lives.
struct Disk(TempDir);

impl Disk {
    fn of(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size},mode=0700"), "x"]);
        let mounted = mount.arg(folder.path()).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(folder));
        }
        assert!(
            std::env::var_os("CI").is_none(),
            "CI runs this as root, where a tmpfs can be mounted"
        );
        eprintln!("SKIPPED: no tmpfs can be mounted here, so no disk gets full");
        None
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

/// Loads and writes until both are answered: the store opens the database by itself, and
/// backs off for some seconds at most.
async fn wait_until_it_serves(store: &RedbStore, digest: &KeyDigest, record: &Record) {
    let limit = Instant::now() + Duration::from_secs(60);
    loop {
        let loaded = store.load(digest).await;
        let created = store.create(&key().digest(), record).await;
        match (loaded, created) {
            (Ok(Some(_)), Ok(_)) => return,
            (Ok(None), _) => panic!("an outage is no logout"),
            (loaded, created) => {
                let failed = loaded.map(drop).and(created.map(drop)).unwrap_err();
                assert_eq!(failed.kind(), ErrorKind::Unavailable, "{failed}");
                assert!(Instant::now() < limit, "{failed}");
            }
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[tokio::test]
async fn a_full_disk_is_unavailable_and_the_store_serves_again_by_itself() {
    let Some(disk) = Disk::of("8m") else { return };
    let ballast = disk.0.path().join("ballast");
    fs::write(&ballast, vec![0; 4 * 1024 * 1024]).unwrap();
    let file = disk.0.path().join("sessions.redb");
    let mut record = sample("");
    record.data = Data::from_bytes(vec![b'a'; 8_000]);
    let mut held = Vec::new();
    let store = RedbStore::open(&file).unwrap();
    let error = loop {
        let digest = key().digest();
        match store.create(&digest, &record).await {
            Ok(_) => held.push(digest),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("No space left"), "{error}");
    assert!(held.len() > 50, "{} sessions", held.len());
    // With room again, a clone serves without being opened by anybody.
    fs::remove_file(&ballast).unwrap();
    wait_until_it_serves(&store.clone(), &held[0], &record).await;
    for digest in &held {
        let stored = store.load(digest).await.unwrap().unwrap();
        let stored = stored.into_record().unwrap();
        assert_eq!(stored, record.at_revision(Revision::FIRST));
    }
    store.close().await.unwrap();
    let store = RedbStore::open(&file).unwrap();
    for digest in &held {
        assert!(store.load(digest).await.unwrap().is_some());
    }
}

/// A file that was deleted takes writes from whoever has it open, and nobody finds them.
#[tokio::test]
async fn no_write_to_a_deleted_file_is_acknowledged_and_the_file_may_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let [file, away] = ["sessions.redb", "away"].map(|name| folder.path().join(name));
    let store = RedbStore::open(&file).unwrap();
    let (digest, record) = (key().digest(), sample(""));
    store.create(&digest, &record).await.unwrap();
    fs::rename(&file, &away).unwrap();
    let error = store.create(&key().digest(), &record).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("deleted, moved"), "{error}");
    // Nobody is logged out, and no empty database is made in its place.
    let error = store.load(&digest).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(!file.exists());
    fs::rename(&away, &file).unwrap();
    wait_until_it_serves(&store, &digest, &record).await;
}

/// Whatever keeps it from being opened, it is an outage to whoever uses the store.
#[tokio::test]
async fn a_database_that_somebody_else_has_locked_meanwhile_is_unavailable() {
    let folder = tempfile::tempdir().unwrap();
    let [file, away] = ["sessions.redb", "away"].map(|name| folder.path().join(name));
    let store = RedbStore::open(&file).unwrap();
    let (digest, record) = (key().digest(), sample(""));
    store.create(&digest, &record).await.unwrap();
    fs::rename(&file, &away).unwrap();
    let other = RedbStore::open(&file).unwrap();
    let limit = Instant::now() + Duration::from_secs(60);
    loop {
        let _ = store.create(&key().digest(), &record).await;
        if let Err(error) = store.load(&digest).await {
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
            if error.to_string().contains("open already") {
                break;
            }
        }
        assert!(Instant::now() < limit);
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(other);
}

/// Without a write, a sweep notices it.
#[tokio::test]
async fn a_sweep_of_a_deleted_file_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sessions.redb");
    let store = RedbStore::open(&file).unwrap();
    let (digest, record) = (key().digest(), sample(""));
    store.create(&digest, &record).await.unwrap();
    fs::remove_file(&file).unwrap();
    let error = store.sweep(record.created_at, 10).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let error = store.load(&digest).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

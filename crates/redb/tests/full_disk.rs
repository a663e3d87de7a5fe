//! A disk that gets full under the database.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

use std::fs;
use std::process::Command;

use cloakroom_core::ErrorKind;
use cloakroom_core::store::{Data, Revision, SessionStore as _};
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

#[tokio::test]
async fn a_full_disk_is_unavailable_and_what_was_acknowledged_survives_it() {
    let Some(disk) = Disk::of("8m") else { return };
    let ballast = disk.0.path().join("ballast");
    fs::write(&ballast, vec![0; 4 * 1024 * 1024]).unwrap();
    let file = disk.0.path().join("sessions.redb");
    let mut record = sample("");
    record.data = Data::from_bytes(vec![b'a'; 8_000]);
    let mut held = Vec::new();
    {
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
        // With room again, it still stands for nothing that is new.
        fs::remove_file(&ballast).unwrap();
        let error = store.create(&key().digest(), &record).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("open the store anew"), "{error}");
    }
    let store = RedbStore::open(&file).unwrap();
    for digest in &held {
        let stored = store.load(digest).await.unwrap().unwrap();
        let stored = stored.into_record().unwrap();
        assert_eq!(stored, record.at_revision(Revision::FIRST));
    }
    store.create(&key().digest(), &record).await.unwrap();
}

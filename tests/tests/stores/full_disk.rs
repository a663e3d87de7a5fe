//! A disk that is full, or cannot be written to.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use cloakroom::store::{Data, KeyDigest, SessionStore};
use cloakroom::stores::SledStore;
use cloakroom::{Error, ErrorKind};
use cloakroom_testkit::{key, sample};
use tempfile::TempDir;

/// A small file system of its own. Needs root on Linux: elsewhere the test says
/// loudly that it was skipped, and where changes are checked that is a failure.
pub(crate) struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    pub(crate) fn mount(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(folder.path())
            .status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Self { folder });
        }
        assert!(
            std::env::var_os("CI").is_none(),
            "this machine cannot mount a small disk"
        );
        eprintln!("SKIPPED: a small disk can only be mounted by root on Linux");
        None
    }

    pub(crate) fn remount(&self, option: &str) {
        let mut command = Command::new("mount");
        command
            .args(["-o", &format!("remount,{option}")])
            .arg(self.folder.path());
        // Whoever has just closed a file here may have it open for a moment yet.
        let attempts = (0..100).any(|_| {
            let done = command.status().unwrap().success();
            if !done {
                sleep(Duration::from_millis(100));
            }
            done
        });
        assert!(attempts, "not remounted {option}");
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount")
            .arg("-l")
            .arg(self.folder.path())
            .status();
    }
}

/// Fills a store until it refuses, and returns what it has acknowledged.
async fn fill(store: &SledStore) -> (Vec<KeyDigest>, Error) {
    let mut acknowledged = Vec::new();
    for _ in 0..10_000 {
        let digest = key().digest();
        let mut record = sample("");
        let noise: Vec<u8> = (0..128).flat_map(|_| *key().expose_bytes()).collect();
        record.data = Data::from_bytes(noise);
        match store.create(&digest, &record).await {
            Ok(_) => acknowledged.push(digest),
            Err(error) => return (acknowledged, error),
        }
    }
    panic!("the disk never got full");
}

#[tokio::test]
async fn on_a_full_disk_a_write_is_a_typed_error_and_what_was_acknowledged_stays() {
    let Some(disk) = SmallDisk::mount("8m") else {
        return;
    };
    let path = disk.path("sessions");
    let store = SledStore::open(&path).unwrap();
    let (acknowledged, error) = fill(&store).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(acknowledged.len() > 100);
    // It goes on refusing, and says so each time.
    let again = store
        .create(&key().digest(), &sample(""))
        .await
        .unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Unavailable);
    drop(store);
    disk.remount("size=64m");
    let store = SledStore::open(&path).unwrap();
    for digest in &acknowledged {
        assert!(store.load(digest).await.unwrap().is_some());
    }
    store.create(&key().digest(), &sample("")).await.unwrap();
}

fn refused(path: &Path) -> String {
    let error = SledStore::open(path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let text = error.to_string();
    assert!(
        text.contains(path.to_str().unwrap()),
        "{text} names {}",
        path.display()
    );
    text
}

#[test]
fn an_unwritable_folder_is_an_error_that_names_it() {
    let Some(disk) = SmallDisk::mount("8m") else {
        return;
    };
    let existing = disk.path("existing");
    drop(SledStore::open(&existing).unwrap());
    disk.remount("ro");
    refused(&existing);
    let text = refused(&disk.path("new"));
    assert!(text.contains("Read-only"), "{text}");
}

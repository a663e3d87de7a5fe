//! What is said where SQLite's write-ahead log has lost its end. A binary of its own: a
//! subscriber of one thread may miss an event that another thread was the first to send.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

use std::fs;
use std::path::Path;

use cloakroom_core::store::{KeyDigest, SessionStore as _};
use cloakroom_sqlite::SqliteStore;
use cloakroom_testkit::{CollectedEvents, key, sample};
use tracing::Level;

fn open(folder: &Path) -> SqliteStore {
    SqliteStore::open(folder.join("sessions.db")).unwrap()
}

/// What a kill leaves, with so many bytes of the log, or without a log.
fn as_killed(folder: &Path, log_bytes: Option<u64>) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in ["sessions.db", "sessions.db-shm", "sessions.db-wal"] {
        fs::copy(folder.join(file), copy.path().join(file)).unwrap();
    }
    let log = copy.path().join("sessions.db-wal");
    match log_bytes {
        Some(bytes) => {
            let log = fs::File::options().write(true).open(log);
            log.unwrap().set_len(bytes).unwrap();
        }
        None => fs::remove_file(log).unwrap(),
    }
    copy
}

async fn sessions_there(store: &SqliteStore, digests: &[KeyDigest]) -> usize {
    let mut there = 0;
    for digest in digests {
        there += usize::from(matches!(store.load(digest).await, Ok(Some(_))));
    }
    there
}

#[tokio::test]
async fn a_log_that_was_cut_since_a_kill_is_an_event() {
    let events = CollectedEvents::begin();
    let said = || events.take_text(Level::WARN);

    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let mut digests = Vec::new();
    for _ in 0..30 {
        let digest = key().digest();
        store.create(&digest, &sample("")).await.unwrap();
        digests.push(digest);
    }
    let bytes = fs::metadata(folder.path().join("sessions.db-wal"))
        .unwrap()
        .len();

    let other = open(folder.path());
    assert_eq!(sessions_there(&other, &digests).await, 30);
    assert_eq!(said(), "", "it is open here");
    let whole = as_killed(folder.path(), Some(bytes));
    let store = open(whole.path());
    assert_eq!(sessions_there(&store, &digests).await, 30);
    assert_eq!(said(), "", "a kill loses nothing");

    for log_bytes in [
        Some(bytes * 2 / 3),
        Some(bytes - 1),
        Some(10),
        Some(0),
        None,
    ] {
        let cut = as_killed(folder.path(), log_bytes);
        let store = open(cut.path());
        let there = sessions_there(&store, &digests).await;
        assert!(there < 30, "{log_bytes:?}: {there}");
        let said = said();
        assert_eq!(said.matches("WARN").count(), 1, "{log_bytes:?}: {said}");
        assert!(said.contains("the last writes are lost"), "{said}");
    }
}

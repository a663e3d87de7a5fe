//! What is found, and said, where the log has lost its end. A binary of its own: a
//! subscriber of one thread may miss an event that another thread was the first to send.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod common;

use std::fs;
use std::path::Path;

use cloakroom_core::store::{Data, KeyDigest, SessionStore as _};
use cloakroom_sled::SledStore;
use cloakroom_testkit::{CollectedEvents, key, sample};
use common::folder;
use tempfile::TempDir;
use tracing::Level;

async fn fill(folder: &Path, sessions: usize) -> Vec<KeyDigest> {
    let store = SledStore::open(folder).unwrap();
    let mut record = sample("");
    record.data = Data::from_bytes(vec![b'x'; 1_500]);
    let mut digests = Vec::new();
    for _ in 0..sessions {
        let digest = key().digest();
        store.create(&digest, &record).await.unwrap();
        digests.push(digest);
    }
    digests
}

/// A copy of the files as a kill would leave them, with the log cut to these bytes.
fn cut(folder: &Path, log_bytes: u64) -> TempDir {
    let copy = common::folder();
    fs::create_dir(copy.path().join("blobs")).unwrap();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.path().is_file() {
            fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
    }
    let log = fs::File::options().write(true).open(copy.path().join("db"));
    log.unwrap().set_len(log_bytes).unwrap();
    copy
}

/// How many of the sessions are there; `None` where an error tells of the damage.
async fn sessions_there(folder: &TempDir, digests: &[KeyDigest]) -> Option<usize> {
    let store = SledStore::open(folder.path()).ok()?;
    let mut there = 0;
    for digest in digests {
        there += usize::from(store.load(digest).await.ok()?.is_some());
    }
    Some(there)
}

#[tokio::test]
async fn a_log_that_was_cut_is_an_error_an_event_or_what_a_crash_leaves() {
    let events = CollectedEvents::begin();
    let said = || events.take_text(Level::WARN);
    let is_told = |said: &str| said.contains("WARN") && said.contains("all of them are lost");

    // A log of one piece ends where it was cut, as it would after a crash: this is what
    // the first page says that nobody is told.
    let short = folder();
    let digests = fill(short.path(), 100).await;
    let bytes = fs::metadata(short.path().join("db")).unwrap().len();
    let there = sessions_there(&cut(short.path(), bytes / 2), &digests).await;
    let is_part = there.is_some_and(|there| there > 0 && there < digests.len());
    assert!(is_part, "{there:?} sessions are there");
    assert_eq!(said(), "");
    let there = sessions_there(&cut(short.path(), 10), &digests).await;
    assert_eq!(there, Some(0));
    let told = said();
    assert!(is_told(&told), "{told}");

    // Of a longer one sled may find nothing.
    let long = folder();
    let digests = fill(long.path(), 1_500).await;
    let bytes = fs::metadata(long.path().join("db")).unwrap().len();
    for tenths in 1..10 {
        let there = sessions_there(&cut(long.path(), bytes * tenths / 10), &digests).await;
        let told = said();
        assert_eq!(
            there == Some(0),
            is_told(&told),
            "{tenths} tenths: {there:?} there: {told}"
        );
    }
}

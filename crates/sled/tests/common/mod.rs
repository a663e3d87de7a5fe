//! The trees beside the store, to look at them or to damage them.

#![allow(dead_code)] // Not every file of tests uses all of it.

use std::time::Duration;

use cloakroom_core::Timestamp;
use cloakroom_core::store::TOMBSTONE_AGE_MAX;
use cloakroom_testkit::sample;
use tempfile::TempDir;

/// How long a tombstone stands.
pub(crate) const DAY_SECS: u64 = TOMBSTONE_AGE_MAX.as_secs();

/// A folder for its owner alone.
pub(crate) fn folder() -> TempDir {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        builder.permissions(std::fs::Permissions::from_mode(0o700));
    }
    builder.tempdir().unwrap()
}

/// So many seconds after the sessions of these tests began.
pub(crate) fn later(seconds: u64) -> Timestamp {
    let began = sample("").created_at;
    began.saturating_add(Duration::from_secs(seconds))
}

/// Opens the trees of a closed store: records, expiry, subjects.
pub(crate) fn with_trees<T>(folder: &TempDir, work: impl FnOnce([sled::Tree; 3]) -> T) -> T {
    let db = open_sled(folder);
    let names = ["records", "expiry", "subjects"];
    work(names.map(|name| db.open_tree(format!("cloakroom/{name}/v1")).unwrap()))
}

/// sled's threads keep the lock for a moment after a database was closed.
fn open_sled(folder: &TempDir) -> sled::Db {
    let mut attempts = 0;
    loop {
        match sled::open(folder.path()) {
            Ok(db) => return db,
            Err(error) => assert!(attempts < 1_000, "{error}"),
        }
        attempts += 1;
        std::thread::sleep(Duration::from_millis(10));
    }
}

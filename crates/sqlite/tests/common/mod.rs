//! The file beside the store, to look at it or to damage it.

#![allow(dead_code)] // Not all of it in each test.

use std::path::PathBuf;
use std::time::Duration;

use cloakroom_core::Timestamp;
use cloakroom_core::store::KeyDigest;
use cloakroom_sqlite::{SqliteStore, Synchronous};
use cloakroom_testkit::sample;
use rusqlite::Connection;
use tempfile::TempDir;

pub(crate) fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

pub(crate) fn file(folder: &TempDir) -> PathBuf {
    folder.path().join("sessions.db")
}

pub(crate) fn open(folder: &TempDir) -> SqliteStore {
    SqliteStore::open(file(folder)).unwrap()
}

/// A store whose commits do not sync.
pub(crate) fn unsynced(folder: &TempDir) -> SqliteStore {
    let builder = SqliteStore::builder().synchronous(Synchronous::Normal);
    builder.open(file(folder)).unwrap()
}

pub(crate) fn aside(folder: &TempDir) -> Connection {
    let conn = Connection::open(file(folder)).unwrap();
    conn.busy_timeout(Duration::from_secs(60)).unwrap();
    conn
}

/// Changes the row of a digest.
pub(crate) fn set(conn: &Connection, digest: &KeyDigest, what: &str) {
    let sql = format!("UPDATE cloakroom_sessions SET {what} WHERE digest = ?1");
    assert_eq!(conn.execute(&sql, [digest.as_bytes()]).unwrap(), 1);
}

pub(crate) fn later(seconds: u64) -> Timestamp {
    sample("")
        .created_at
        .saturating_add(Duration::from_secs(seconds))
}

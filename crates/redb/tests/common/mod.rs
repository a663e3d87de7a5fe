//! The tables beside the store, to look at them or to damage them.

#![allow(dead_code)] // Not all of it in each test.

use std::path::PathBuf;
use std::time::Duration;

use cloakroom_core::Timestamp;
use cloakroom_core::store::{KeyDigest, SubjectDigest, TOMBSTONE_AGE_MAX};
use cloakroom_testkit::sample;
use redb::{Database, ReadableTable as _, ReadableTableMetadata as _, Table, TableDefinition};
use tempfile::TempDir;

type Digest = &'static [u8; 32];
type RecordKey = (u64, Digest);
type SubjectKey = (&'static [u8; 32], Digest);

const RECORDS: TableDefinition<'static, RecordKey, &[u8]> =
    TableDefinition::new("cloakroom/records/v1");
const DEADLINES: TableDefinition<'static, Digest, u64> =
    TableDefinition::new("cloakroom/deadlines/v1");
const SUBJECTS: TableDefinition<'static, SubjectKey, ()> =
    TableDefinition::new("cloakroom/subjects/v1");

/// How long a tombstone stands.
pub(crate) const DAY_SECS: u64 = TOMBSTONE_AGE_MAX.as_secs();

pub(crate) struct Raw<'t> {
    pub(crate) records: Table<'t, RecordKey, &'static [u8]>,
    pub(crate) deadlines: Table<'t, Digest, u64>,
    pub(crate) subjects: Table<'t, SubjectKey, ()>,
}

pub(crate) fn file(folder: &TempDir) -> PathBuf {
    folder.path().join("sessions.redb")
}

pub(crate) fn later(seconds: u64) -> Timestamp {
    sample("")
        .created_at
        .saturating_add(Duration::from_secs(seconds))
}

pub(crate) fn with_tables<T>(folder: &TempDir, work: impl FnOnce(&mut Raw<'_>) -> T) -> T {
    let db = Database::open(file(folder)).unwrap();
    let transaction = db.begin_write().unwrap();
    let names = transaction.list_tables().unwrap();
    assert_eq!(names.count(), 3, "all tables are looked at here");
    let done = work(&mut Raw {
        records: transaction.open_table(RECORDS).unwrap(),
        deadlines: transaction.open_table(DEADLINES).unwrap(),
        subjects: transaction.open_table(SUBJECTS).unwrap(),
    });
    transaction.commit().unwrap();
    done
}

impl Raw<'_> {
    /// The deadline under which the record of a digest lies.
    pub(crate) fn indexed_at(&self, digest: &KeyDigest) -> u64 {
        let indexed_at = self.deadlines.get(digest.as_bytes());
        indexed_at.unwrap().unwrap().value()
    }

    /// Changes the frame under a digest.
    pub(crate) fn change(&mut self, digest: &KeyDigest, change: impl FnOnce(&mut Vec<u8>)) {
        self.change_value(digest, |value| {
            let mut frame = value.split_off(SubjectDigest::BYTES);
            change(&mut frame);
            value.extend(frame);
        });
    }

    /// Changes all that lies under a digest: the subject and the frame.
    pub(crate) fn change_value(&mut self, digest: &KeyDigest, change: impl FnOnce(&mut Vec<u8>)) {
        let key = (self.indexed_at(digest), digest.as_bytes());
        let mut value = self.records.get(key).unwrap().unwrap().value().to_vec();
        change(&mut value);
        self.records.insert(key, &value[..]).unwrap();
    }

    /// How many records, deadlines, and entries by subject there are.
    pub(crate) fn lengths(&self) -> [u64; 3] {
        [
            self.records.len().unwrap(),
            self.deadlines.len().unwrap(),
            self.subjects.len().unwrap(),
        ]
    }
}

/// The subject of a record, and where the frame begins.
pub(crate) fn subject_of(value: &[u8]) -> (Option<SubjectDigest>, usize) {
    let (subject, _) = value.split_first_chunk().unwrap();
    let is_somebody = *subject != [0; SubjectDigest::BYTES];
    let subject = is_somebody.then(|| SubjectDigest::from_bytes(*subject));
    (subject, SubjectDigest::BYTES)
}

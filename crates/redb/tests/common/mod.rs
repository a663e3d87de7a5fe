//! The tables beside the store, to look at them or to damage them.

#![allow(dead_code)] // Not all of it in each test.

use std::path::PathBuf;
use std::time::Duration;

use cloakroom_core::Timestamp;
use cloakroom_core::store::{KeyDigest, SubjectDigest};
use cloakroom_testkit::sample;
use redb::{Database, ReadableTable as _, ReadableTableMetadata as _, Table, TableDefinition};
use tempfile::TempDir;

type Digest = &'static [u8; 32];
type SlotKey = (u64, Digest);
type SubjectKey = &'static [u8];

const PLACES: TableDefinition<'static, Digest, u64> = TableDefinition::new("cloakroom/places/v1");
const SLOTS: TableDefinition<'static, SlotKey, &[u8]> = TableDefinition::new("cloakroom/slots/v1");
const SUBJECTS: TableDefinition<'static, SubjectKey, ()> =
    TableDefinition::new("cloakroom/subjects/v1");
const REMOVED: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("cloakroom/removed/v1");

pub(crate) struct Raw<'t> {
    pub(crate) places: Table<'t, Digest, u64>,
    pub(crate) slots: Table<'t, SlotKey, &'static [u8]>,
    pub(crate) subjects: Table<'t, SubjectKey, ()>,
    pub(crate) removed: Table<'t, u64, &'static [u8]>,
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
    let done = work(&mut Raw {
        places: transaction.open_table(PLACES).unwrap(),
        slots: transaction.open_table(SLOTS).unwrap(),
        subjects: transaction.open_table(SUBJECTS).unwrap(),
        removed: transaction.open_table(REMOVED).unwrap(),
    });
    transaction.commit().unwrap();
    done
}

impl Raw<'_> {
    pub(crate) fn place(&self, digest: &KeyDigest) -> u64 {
        self.places.get(digest.as_bytes()).unwrap().unwrap().value()
    }

    /// Changes the frame under a digest.
    pub(crate) fn change(&mut self, digest: &KeyDigest, change: impl FnOnce(&mut Vec<u8>)) {
        self.change_slot(digest, |slot| {
            let mut frame = slot.split_off(owner_of(slot).1);
            change(&mut frame);
            slot.extend(frame);
        });
    }

    /// Changes the whole slot: whose it is, and the frame.
    pub(crate) fn change_slot(&mut self, digest: &KeyDigest, change: impl FnOnce(&mut Vec<u8>)) {
        let key = (self.place(digest), digest.as_bytes());
        let mut slot = self.slots.get(key).unwrap().unwrap().value().to_vec();
        change(&mut slot);
        self.slots.insert(key, &slot[..]).unwrap();
    }

    /// How many places, slots, entries by subject, and removed that are to be cleared.
    pub(crate) fn lengths(&self) -> [u64; 4] {
        [
            self.places.len().unwrap(),
            self.slots.len().unwrap(),
            self.subjects.len().unwrap(),
            self.removed.len().unwrap(),
        ]
    }
}

/// Whose record it is, and where the frame begins.
pub(crate) fn owner_of(slot: &[u8]) -> (Option<SubjectDigest>, usize) {
    let (owner, _) = slot.split_first_chunk().unwrap();
    let is_somebody = *owner != [0; SubjectDigest::BYTES];
    let owner = is_somebody.then(|| SubjectDigest::from_bytes(*owner));
    (owner, SubjectDigest::BYTES)
}

/// The key of an entry by subject: as in a slot, and the digest.
pub(crate) fn entry_key(subject: &SubjectDigest, digest: &[u8; 32]) -> Vec<u8> {
    [*subject.as_bytes(), *digest].concat()
}

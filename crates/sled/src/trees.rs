//! The three trees, and the invariant among them: each row of `records` has exactly one
//! entry in `expiry`, at its deadline or before it, which holds the record's subject; and
//! each record with a subject has exactly one entry in `subjects`.

use std::sync::{Mutex, MutexGuard, PoisonError};

use cloakroom_core::store::{KeyDigest, Stored};
use cloakroom_core::{Error, ErrorKind};
use sled::Tree;
use sled::transaction::{TransactionError, Transactional as _};

use crate::error::failed;
use crate::layout::Row;
use crate::transaction::{Step, Transaction};

// Names on the disk.
const RECORDS: &str = "cloakroom/records/v1";
const EXPIRY: &str = "cloakroom/expiry/v1";
const SUBJECTS: &str = "cloakroom/subjects/v1";

pub(crate) struct Trees {
    pub(crate) records: Tree,
    pub(crate) expiry: Tree,
    pub(crate) subjects: Tree,
    /// Every transaction holds it, and so does whoever iterates over a subject's entries,
    /// since an iteration is no part of a transaction in sled.
    entries: Mutex<()>,
}

/// While it is held, no subject gets or loses an entry.
pub(crate) type EntriesLock<'t> = MutexGuard<'t, ()>;

impl Trees {
    /// Whether an earlier opening has made them.
    pub(crate) fn are_in(db: &sled::Db) -> bool {
        db.tree_names().iter().any(|name| *name == RECORDS)
    }

    pub(crate) fn open(db: &sled::Db) -> sled::Result<Self> {
        Ok(Self {
            records: db.open_tree(RECORDS)?,
            expiry: db.open_tree(EXPIRY)?,
            subjects: db.open_tree(SUBJECTS)?,
            entries: Mutex::new(()),
        })
    }

    pub(crate) fn lock_entries(&self) -> EntriesLock<'_> {
        // A panic leaves nothing half done that this lock guards: it guards no data.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a transaction. sled runs one at a time anyway, so the lock costs nothing.
    pub(crate) fn transact<T>(
        &self,
        steps: impl Fn(Transaction<'_>) -> Step<T>,
    ) -> Result<T, Error> {
        self.transact_locked(&self.lock_entries(), steps)
    }

    /// As [`transact`](Self::transact), for who has iterated over entries and keeps them
    /// as they are until the transaction is done.
    pub(crate) fn transact_locked<T>(
        &self,
        _: &EntriesLock<'_>,
        steps: impl Fn(Transaction<'_>) -> Step<T>,
    ) -> Result<T, Error> {
        (&self.records, &self.expiry, &self.subjects)
            .transaction(|(records, expiry, subjects)| {
                steps(Transaction {
                    records,
                    expiry,
                    subjects,
                })
            })
            .map_err(|error| match error {
                TransactionError::Abort(error) => error,
                TransactionError::Storage(source) => failed(source),
            })
    }

    pub(crate) fn row(&self, digest: &KeyDigest) -> Result<Option<Row>, Error> {
        let bytes = self.records.get(digest.as_bytes()).map_err(failed)?;
        bytes.map(Row::read).transpose()
    }

    pub(crate) fn require_row(&self, digest: &KeyDigest) -> Result<Row, Error> {
        self.row(digest)?.ok_or_else(|| ErrorKind::Gone.into())
    }

    /// Replaces the frame of a row, unless the row has changed. Both entries stay.
    pub(crate) fn swap_frame(
        &self,
        digest: &KeyDigest,
        row: &Row,
        frame: &[u8],
    ) -> Result<bool, Error> {
        let new = Row::encode(row.indexed_at, frame);
        self.records
            .compare_and_swap(digest.as_bytes(), Some(&row.bytes), Some(new))
            .map(|swapped| swapped.is_ok())
            .map_err(failed)
    }

    pub(crate) fn load(&self, digest: &KeyDigest) -> Result<Option<Stored>, Error> {
        let row = self.row(digest)?;
        row.map(|row| Stored::decode(row.frame())).transpose()
    }
}

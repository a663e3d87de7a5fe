//! The writes of a store, on the trees.

use cloakroom_core::store::{Ending, FrameHead, KeyDigest, Record, Revision, Stored, Touch};
use cloakroom_core::{Error, ErrorKind, Timestamp};

use crate::layout::Row;
use crate::transaction::{Step, Transaction, abort};
use crate::trees::Trees;

impl Trees {
    pub(crate) fn create(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        let record = record.at_revision(Revision::FIRST);
        match self.import(digest, &Stored::Record(record))? {
            true => Ok(Revision::FIRST),
            false => Err(ErrorKind::Exists.into()),
        }
    }

    /// Writes a new row, unless one stands there, and answers whether it did.
    pub(crate) fn import(&self, digest: &KeyDigest, stored: &Stored) -> Result<bool, Error> {
        let frame = stored.encode()?;
        let subject = stored.listed_under();
        self.transact(|all| {
            let is_free = all.records.get(digest.as_bytes())?.is_none();
            if is_free {
                all.put(digest, stored.expires_at(), &frame, subject, None)?;
            }
            Ok(is_free)
        })
    }

    pub(crate) fn update(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        loop {
            let row = self.require_row(digest)?;
            let (head, subject) = row.record()?;
            let next = record.next_revision_after(head.revision)?;
            if subject != record.subject_digest() || record.expires_at < row.indexed_at {
                return self.update_with_entries(digest, record);
            }
            let frame = record.at_revision(next).encode()?;
            // A failed swap need not be a conflict: a touch or a sweep may have changed
            // the row. The next turn of the loop tells.
            if self.swap_frame(digest, &row, &frame)? {
                return Ok(next);
            }
        }
    }

    /// An update that brings the deadline nearer or changes the subject: the entries
    /// change with the row.
    fn update_with_entries(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        let subject = record.subject_digest();
        self.transact(|all| {
            let (row, next, frame) = next_row(&all, digest, record)?;
            all.put(digest, record.expires_at, &frame, subject, Some(&row))?;
            Ok(next)
        })
    }

    pub(crate) fn touch(
        &self,
        digest: &KeyDigest,
        revision: Revision,
        touch: Touch,
    ) -> Result<(), Error> {
        loop {
            let row = self.require_row(digest)?;
            let head = row.record_head()?;
            if head.revision != revision {
                return Ok(());
            }
            let Some(frame) = FrameHead::touched(row.frame(), touch)? else {
                return Ok(());
            };
            if self.swap_frame(digest, &row, &frame)? {
                return Ok(());
            }
        }
    }

    pub(crate) fn rotate(
        &self,
        old: &KeyDigest,
        new: &KeyDigest,
        record: &Record,
        mark_until: Timestamp,
    ) -> Result<Revision, Error> {
        let mark = Stored::Rotated {
            to: *new,
            until: mark_until,
        };
        let mark = mark.encode()?;
        let subject = record.subject_digest();
        self.transact(|all| {
            let (row, next, frame) = next_row(&all, old, record)?;
            if all.records.get(new.as_bytes())?.is_some() {
                return Err(abort(ErrorKind::Exists));
            }
            all.put(new, record.expires_at, &frame, subject, None)?;
            all.put(old, mark_until, &mark, None, Some(&row))?;
            Ok(next)
        })
    }

    pub(crate) fn end(&self, digest: &KeyDigest, ending: Option<&Ending>) -> Result<(), Error> {
        self.transact(|all| {
            let current = all.session_to_end(digest)?;
            all.end(&current, ending).map(drop)
        })
    }
}

/// The comparison of compare-and-swap: the row that is replaced, and the revision and
/// frame that follow it.
fn next_row(
    all: &Transaction<'_>,
    digest: &KeyDigest,
    record: &Record,
) -> Step<(Row, Revision, Vec<u8>)> {
    let row = all.row(digest)?.map_err(abort)?;
    let row = row.ok_or_else(|| abort(ErrorKind::Gone))?;
    let head = row.record_head().map_err(abort)?;
    let next = record.next_revision_after(head.revision).map_err(abort)?;
    let frame = record.at_revision(next).encode().map_err(abort)?;
    Ok((row, next, frame))
}

//! The three tables, and what holds among them.
//!
//! Each record, rotation mark and tombstone lies in `records`, under a deadline and its
//! digest, and `deadlines` leads from the digest to that deadline. A record with a
//! subject has one entry in `subjects`. Every transaction keeps to this, so only damaged
//! bytes can break it: a record that `deadlines` does not lead to opens nothing, and a
//! sweep removes it.
//!
//! Variable-length keys are `&[u8]`: redb panics on invalid UTF-8.

use std::ops::RangeInclusive;

use cloakroom_core::store::{
    Ending, FrameHead, KeyDigest, Record, Revision, Revoke, RevokeStep, Stored, SubjectDigest,
    Tombstone, Touch,
};
use cloakroom_core::{Error, ErrorKind, Timestamp};
use redb::{Database, ReadableTable as _, StorageError, Table, TableDefinition, WriteTransaction};

use crate::stored_frame::StoredFrame;

pub(crate) type DigestBytes = &'static [u8; KeyDigest::BYTES];

/// A deadline in milliseconds, and a digest.
pub(crate) type RecordKey = (u64, DigestBytes);

/// A subject, and the digest of one of its sessions.
pub(crate) type SubjectKey = (&'static [u8; SubjectDigest::BYTES], DigestBytes);

/// The values are [`StoredFrame`]s.
pub(crate) const RECORDS: TableDefinition<'_, RecordKey, &[u8]> =
    TableDefinition::new("cloakroom/records/v1");
pub(crate) const DEADLINES: TableDefinition<'_, DigestBytes, u64> =
    TableDefinition::new("cloakroom/deadlines/v1");
pub(crate) const SUBJECTS: TableDefinition<'_, SubjectKey, ()> =
    TableDefinition::new("cloakroom/subjects/v1");

pub(crate) const FIRST_DIGEST: [u8; KeyDigest::BYTES] = [0; KeyDigest::BYTES];
pub(crate) const LAST_DIGEST: [u8; KeyDigest::BYTES] = [0xff; KeyDigest::BYTES];

/// Sessions that a revocation ends in one transaction: other writes wait for some
/// milliseconds.
const REVOKE_STEP_MAX: usize = 128;

/// Why an operation on the tables failed.
#[derive(Debug)]
pub(crate) enum TableError {
    /// The store refuses it. Nothing has been changed, and the other writes of the
    /// transaction are not concerned.
    Refused(Error),
    /// The database failed, and with it the whole transaction.
    Database(redb::Error),
}

impl From<Error> for TableError {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl From<ErrorKind> for TableError {
    fn from(kind: ErrorKind) -> Self {
        Self::Refused(kind.into())
    }
}

impl From<StorageError> for TableError {
    fn from(source: StorageError) -> Self {
        Self::Database(source.into())
    }
}

impl From<redb::Error> for TableError {
    fn from(source: redb::Error) -> Self {
        Self::Database(source)
    }
}

/// Makes the tables where they are missing, so that a reader always finds them.
pub(crate) fn make(db: &Database) -> Result<(), redb::Error> {
    let transaction = db.begin_write()?;
    Tables::open(&transaction, 0)?;
    transaction.commit()?;
    Ok(())
}

/// The tables inside a write transaction.
///
/// Every method judges first and writes after: where it is
/// [refused](TableError::Refused), nothing has been changed.
pub(crate) struct Tables<'t> {
    pub(crate) records: Table<'t, RecordKey, &'static [u8]>,
    deadlines: Table<'t, DigestBytes, u64>,
    subjects: Table<'t, SubjectKey, ()>,
    /// How many writes share the transaction.
    pub(crate) writes: usize,
    /// Whether there is anything to commit.
    pub(crate) changed: bool,
}

impl<'t> Tables<'t> {
    pub(crate) fn open(
        transaction: &'t WriteTransaction,
        writes: usize,
    ) -> Result<Self, redb::Error> {
        Ok(Self {
            records: transaction.open_table(RECORDS)?,
            deadlines: transaction.open_table(DEADLINES)?,
            subjects: transaction.open_table(SUBJECTS)?,
            writes,
            changed: false,
        })
    }

    pub(crate) fn stored(&self, digest: &KeyDigest) -> Result<Option<StoredFrame>, StorageError> {
        match self.indexed_at(digest)? {
            Some(indexed_at) => self.stored_at(indexed_at, digest),
            None => Ok(None),
        }
    }

    pub(crate) fn indexed_at(&self, digest: &KeyDigest) -> Result<Option<Timestamp>, StorageError> {
        let indexed_at = self.deadlines.get(digest.as_bytes())?;
        Ok(indexed_at.map(|millis| Timestamp::from_millis(millis.value())))
    }

    pub(crate) fn stored_at(
        &self,
        indexed_at: Timestamp,
        digest: &KeyDigest,
    ) -> Result<Option<StoredFrame>, StorageError> {
        let key = (indexed_at.as_millis(), digest.as_bytes());
        let stored = self.records.get(key)?;
        Ok(stored.map(|bytes| StoredFrame::read(indexed_at, bytes.value())))
    }

    fn exists(&self, digest: &KeyDigest) -> Result<bool, StorageError> {
        Ok(self.stored(digest)?.is_some())
    }

    fn require(&self, digest: &KeyDigest) -> Result<StoredFrame, TableError> {
        Ok(self.stored(digest)?.ok_or(ErrorKind::Gone)?)
    }

    /// Writes a frame under its key, over what lies there.
    fn write(&mut self, digest: &KeyDigest, stored: &StoredFrame) -> Result<(), StorageError> {
        self.changed = true;
        let key = record_key(stored, digest);
        self.records.insert(key, stored.bytes())?;
        Ok(())
    }

    /// Inserts at a digest where nothing is.
    fn insert(
        &mut self,
        indexed_at: Timestamp,
        digest: &KeyDigest,
        subject: Option<SubjectDigest>,
        frame: &[u8],
    ) -> Result<(), StorageError> {
        self.write(digest, &StoredFrame::new(indexed_at, subject, frame))?;
        let millis = indexed_at.as_millis();
        self.deadlines.insert(digest.as_bytes(), millis)?;
        self.list(subject, digest)
    }

    fn replace(
        &mut self,
        indexed_at: Timestamp,
        digest: &KeyDigest,
        subject: Option<SubjectDigest>,
        frame: &[u8],
        replaced: &StoredFrame,
    ) -> Result<(), StorageError> {
        self.put(
            digest,
            &StoredFrame::new(indexed_at, subject, frame),
            replaced,
        )?;
        let listed_under = replaced.subject();
        if subject != listed_under {
            self.unlist(listed_under, digest)?;
            self.list(subject, digest)?;
        }
        Ok(())
    }

    /// Replaces a frame, and moves it where its deadline in the key changes. The index by
    /// subject is left alone: whoever changes the subject changes that too.
    pub(crate) fn put(
        &mut self,
        digest: &KeyDigest,
        stored: &StoredFrame,
        replaced: &StoredFrame,
    ) -> Result<(), StorageError> {
        if stored.indexed_at != replaced.indexed_at {
            self.records.remove(record_key(replaced, digest))?;
            let millis = stored.indexed_at.as_millis();
            self.deadlines.insert(digest.as_bytes(), millis)?;
        }
        self.write(digest, stored)
    }

    /// Removes what lies under a key, and what leads to it. Where another one stands at the
    /// digest, since damaged bytes have hidden this one, that one is left whole.
    pub(crate) fn remove(
        &mut self,
        digest: &KeyDigest,
        removed: &StoredFrame,
    ) -> Result<(), StorageError> {
        self.changed = true;
        self.records.remove(record_key(removed, digest))?;
        let standing = self.stored(digest)?;
        if standing.is_none() {
            self.deadlines.remove(digest.as_bytes())?;
        }
        let subject = removed.subject();
        match (standing, subject) {
            (Some(standing), Some(subject)) if standing.may_be_of(&subject) => Ok(()),
            _ => self.unlist(subject, digest),
        }
    }

    /// Puts a tombstone in the place of what `deadlines` leads to, or removes that.
    pub(crate) fn end_at(
        &mut self,
        digest: &KeyDigest,
        ended: &StoredFrame,
        left: Option<Tombstone>,
    ) -> Result<(), TableError> {
        let Some(tombstone) = left else {
            return Ok(self.remove(digest, ended)?);
        };
        let until = tombstone.until;
        let frame = Stored::Ended(tombstone).encode()?;
        Ok(self.replace(until, digest, None, &frame, ended)?)
    }

    fn list(
        &mut self,
        subject: Option<SubjectDigest>,
        digest: &KeyDigest,
    ) -> Result<(), StorageError> {
        if let Some(subject) = subject {
            let entry = (subject.as_bytes(), digest.as_bytes());
            self.subjects.insert(entry, ())?;
        }
        Ok(())
    }

    fn unlist(
        &mut self,
        subject: Option<SubjectDigest>,
        digest: &KeyDigest,
    ) -> Result<(), StorageError> {
        if let Some(subject) = subject {
            self.changed = true;
            let entry = (subject.as_bytes(), digest.as_bytes());
            self.subjects.remove(entry)?;
        }
        Ok(())
    }

    pub(crate) fn create(
        &mut self,
        digest: &KeyDigest,
        record: &Record,
    ) -> Result<Revision, TableError> {
        let frame = record.at_revision(Revision::FIRST).encode()?;
        if self.exists(digest)? {
            return Err(ErrorKind::Exists.into());
        }
        self.insert(record.expires_at, digest, record.subject_digest(), &frame)?;
        Ok(Revision::FIRST)
    }

    pub(crate) fn import(
        &mut self,
        digest: &KeyDigest,
        stored: &Stored,
    ) -> Result<bool, TableError> {
        let frame = stored.encode()?;
        if self.exists(digest)? {
            return Ok(false);
        }
        let subject = stored.listed_under();
        self.insert(stored.expires_at(), digest, subject, &frame)?;
        Ok(true)
    }

    pub(crate) fn update(
        &mut self,
        digest: &KeyDigest,
        record: &Record,
    ) -> Result<Revision, TableError> {
        let stored = self.require(digest)?;
        let next = record.next_revision_after(stored.record_head()?.revision)?;
        let frame = record.at_revision(next).encode()?;
        // A later deadline stays out of the key: the sweep that comes to the record moves it.
        let indexed_at = stored.indexed_at.min(record.expires_at);
        self.replace(indexed_at, digest, record.subject_digest(), &frame, &stored)?;
        Ok(next)
    }

    pub(crate) fn touch(
        &mut self,
        digest: &KeyDigest,
        revision: Revision,
        touch: Touch,
    ) -> Result<(), TableError> {
        let stored = self.require(digest)?;
        if stored.record_head()?.revision == revision
            && let Some(frame) = FrameHead::touched(stored.frame(), touch)?
        {
            let touched = StoredFrame::new(stored.indexed_at, stored.subject(), &frame);
            self.write(digest, &touched)?;
        }
        Ok(())
    }

    pub(crate) fn rotate(
        &mut self,
        old: &KeyDigest,
        new: &KeyDigest,
        record: &Record,
        mark_until: Timestamp,
    ) -> Result<Revision, TableError> {
        let mark = Stored::Rotated {
            to: *new,
            until: mark_until,
        };
        let mark = mark.encode()?;
        let stored = self.require(old)?;
        let next = record.next_revision_after(stored.record_head()?.revision)?;
        let frame = record.at_revision(next).encode()?;
        if self.exists(new)? {
            return Err(ErrorKind::Exists.into());
        }
        self.insert(record.expires_at, new, record.subject_digest(), &frame)?;
        self.replace(mark_until, old, None, &mark, &stored)?;
        Ok(next)
    }

    /// Where the rotation mark at a digest leads, if one stands there. The inner error is
    /// for a frame that cannot be read.
    fn mark(&self, digest: &KeyDigest) -> Result<Result<Option<KeyDigest>, Error>, StorageError> {
        let stored = self.stored(digest)?;
        let stored = stored.map(|stored| Stored::decode(stored.frame()));
        Ok(stored.transpose().map(|stored| match stored {
            Some(Stored::Rotated { to, .. }) => Some(to),
            _ => None,
        }))
    }

    /// Follows rotation marks to the session that is to be ended.
    fn session_to_end(&self, digest: &KeyDigest) -> Result<KeyDigest, TableError> {
        Stored::resolve_rotations(digest, |at| {
            let stored = self.stored(at)?;
            let moved_to = stored.map(|stored| Stored::moved_to(stored.frame()));
            Ok(moved_to.transpose()?.flatten())
        })
    }

    /// Follows rotation marks to the session that is to be spared. A frame that cannot be
    /// read may be a mark that leads to it: then nobody knows which session that is.
    fn session_to_spare(&self, digest: &KeyDigest) -> Result<KeyDigest, TableError> {
        Stored::resolve_rotations(digest, |at| {
            let unreadable = |error: Error| {
                let message = format!(
                    "cannot find the session that is to be spared, since a record on the way to \
                     it cannot be read: {error}; no more sessions were ended"
                );
                Error::new(ErrorKind::Unavailable, message).with_source(error)
            };
            Ok(self.mark(at)?.map_err(unreadable)?)
        })
    }

    pub(crate) fn end(
        &mut self,
        digest: &KeyDigest,
        ending: Option<&Ending>,
    ) -> Result<(), TableError> {
        let current = self.session_to_end(digest)?;
        match self.stored(&current)? {
            // The first end is the one that counts.
            Some(stored) if ending.is_some() && stored.is_tombstone() => Ok(()),
            Some(stored) => self.end_at(&current, &stored, stored.tombstone(ending)),
            None => Ok(()),
        }
    }

    /// One step of a revocation, over the first entries of the subject. Each entry that is
    /// meant is gone after it, so that the next step begins behind it.
    pub(crate) fn revoke(
        &mut self,
        subject: &SubjectDigest,
        which: Revoke,
        ending: Option<&Ending>,
    ) -> Result<RevokeStep, TableError> {
        let which = which.resolved(|digest| match which {
            Revoke::AllBut(_) => self.session_to_spare(digest),
            Revoke::All | Revoke::One(_) => self.session_to_end(digest),
        })?;
        let mut entries = entries_of(subject);
        if let Revoke::One(meant) = &which {
            entries =
                (subject.as_bytes(), meant.as_bytes())..=(subject.as_bytes(), meant.as_bytes());
        }
        let mut meant = Vec::new();
        for entry in self.subjects.range(entries)? {
            let digest = KeyDigest::from_bytes(*entry?.0.value().1);
            meant.extend(which.means(&digest).then_some(digest));
            if meant.len() == REVOKE_STEP_MAX {
                break;
            }
        }
        let more = meant.len() == REVOKE_STEP_MAX;
        let mut ended = Vec::new();
        for digest in meant {
            let stored = self.stored(&digest)?;
            if let Some(stored) = stored.filter(|stored| stored.may_be_of(subject)) {
                self.end_at(&digest, &stored, stored.tombstone(ending))?;
                ended.push(digest);
            }
            // Where the record was damaged, the entry may be left.
            self.unlist(Some(*subject), &digest)?;
        }
        Ok(RevokeStep { ended, which, more })
    }
}

fn record_key<'a>(stored: &StoredFrame, digest: &'a KeyDigest) -> (u64, &'a [u8; 32]) {
    (stored.indexed_at.as_millis(), digest.as_bytes())
}

/// All the keys that a subject may have in `subjects`.
fn entries_of(
    subject: &SubjectDigest,
) -> RangeInclusive<(&[u8; SubjectDigest::BYTES], &[u8; KeyDigest::BYTES])> {
    (subject.as_bytes(), &FIRST_DIGEST)..=(subject.as_bytes(), &LAST_DIGEST)
}

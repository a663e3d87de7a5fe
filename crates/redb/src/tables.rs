//! The tables, and the invariants among them.
//!
//! A digest has a place, and there one slot; a record with a subject has one entry in
//! `subjects`. A sweep removes slots alone: the place and the entry of each follow
//! later, and until then `removed` has them. Nothing else leads nowhere, but where bytes
//! are damaged: a slot that no place leads to opens nothing, and a sweep removes it.
//!
//! What is not of one length is bytes here, for this crate to read: redb would panic on
//! a text that is none.

use cloakroom_core::store::{
    FrameHead, KeyDigest, Record, Revision, Revoke, Stored, SubjectDigest, Touch,
};
use cloakroom_core::{Error, ErrorKind, Timestamp};
use redb::{Database, ReadableTable as _, StorageError, Table, TableDefinition, WriteTransaction};

use crate::row::{Row, digest_in, entry_key, owner_bytes};

pub(crate) type DigestBytes = &'static [u8; KeyDigest::BYTES];

/// A deadline in milliseconds, and a digest.
pub(crate) type SlotKey = (u64, DigestBytes);

/// A subject, as in a slot, and a digest.
pub(crate) type SubjectKey = &'static [u8];

/// The first half of the key of its slot.
pub(crate) const PLACES: TableDefinition<'_, DigestBytes, u64> =
    TableDefinition::new("cloakroom/places/v1");
/// Whose record it is, as [`Row::owner`] reads it, and the frame.
pub(crate) const SLOTS: TableDefinition<'_, SlotKey, &[u8]> =
    TableDefinition::new("cloakroom/slots/v1");
pub(crate) const SUBJECTS: TableDefinition<'_, SubjectKey, ()> =
    TableDefinition::new("cloakroom/subjects/v1");
/// By a number that rises: a digest, and whose record was there.
const REMOVED: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("cloakroom/removed/v1");
/// How far a round of clearing has come, at number 0.
const ROUND: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("cloakroom/round/v1");

pub(crate) const FIRST: [u8; KeyDigest::BYTES] = [0; KeyDigest::BYTES];
pub(crate) const LAST: [u8; KeyDigest::BYTES] = [0xff; KeyDigest::BYTES];

/// Why a write was not made.
pub(crate) enum Failure {
    /// For a reason of its own: it has changed nothing, and others are not
    /// concerned.
    Refused(Error),
    /// The database failed, and the whole transaction with it.
    Broken(redb::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl From<ErrorKind> for Failure {
    fn from(kind: ErrorKind) -> Self {
        Self::Refused(kind.into())
    }
}

impl From<StorageError> for Failure {
    fn from(source: StorageError) -> Self {
        Self::Broken(source.into())
    }
}

impl From<redb::Error> for Failure {
    fn from(source: redb::Error) -> Self {
        Self::Broken(source)
    }
}

/// Makes the tables where they are not, so that a reader always finds them.
pub(crate) fn make(db: &Database) -> Result<(), redb::Error> {
    let transaction = db.begin_write()?;
    Tables::open(&transaction)?;
    transaction.commit()?;
    Ok(())
}

/// The tables inside a write transaction.
///
/// Every method judges first and writes after: where it is
/// [refused](Failure::Refused), nothing has been changed.
pub(crate) struct Tables<'t> {
    pub(crate) places: Table<'t, DigestBytes, u64>,
    pub(crate) slots: Table<'t, SlotKey, &'static [u8]>,
    subjects: Table<'t, SubjectKey, ()>,
    pub(crate) removed: Table<'t, u64, &'static [u8]>,
    pub(crate) round: Table<'t, u64, &'static [u8]>,
    /// Whether there is anything to commit.
    pub(crate) changed: bool,
}

impl<'t> Tables<'t> {
    pub(crate) fn open(transaction: &'t WriteTransaction) -> Result<Self, redb::Error> {
        Ok(Self {
            places: transaction.open_table(PLACES)?,
            slots: transaction.open_table(SLOTS)?,
            subjects: transaction.open_table(SUBJECTS)?,
            removed: transaction.open_table(REMOVED)?,
            round: transaction.open_table(ROUND)?,
            changed: false,
        })
    }

    pub(crate) fn stored(&self, digest: &KeyDigest) -> Result<Option<Row>, StorageError> {
        match self.place(digest)? {
            Some(at) => self.stored_at(at, digest),
            None => Ok(None),
        }
    }

    pub(crate) fn place(&self, digest: &KeyDigest) -> Result<Option<Timestamp>, StorageError> {
        let at = self.places.get(digest.as_bytes())?;
        Ok(at.map(|at| Timestamp::from_millis(at.value())))
    }

    pub(crate) fn stored_at(
        &self,
        at: Timestamp,
        digest: &KeyDigest,
    ) -> Result<Option<Row>, StorageError> {
        let slot = self.slots.get((at.as_millis(), digest.as_bytes()))?;
        Ok(slot.map(|slot| Row {
            at,
            bytes: slot.value().to_vec(),
        }))
    }

    pub(crate) fn stands(&self, digest: &KeyDigest) -> Result<bool, StorageError> {
        Ok(self.stored(digest)?.is_some())
    }

    fn present(&self, digest: &KeyDigest) -> Result<Row, Failure> {
        Ok(self.stored(digest)?.ok_or(ErrorKind::Gone)?)
    }

    fn put(
        &mut self,
        at: Timestamp,
        digest: &KeyDigest,
        owner: Option<SubjectDigest>,
        frame: &[u8],
    ) -> Result<(), StorageError> {
        self.changed = true;
        let key = (at.as_millis(), digest.as_bytes());
        let bytes = [&owner_bytes(owner)[..], frame].concat();
        self.slots.insert(key, &bytes[..])?;
        Ok(())
    }

    /// Puts what is new at a digest.
    fn put_new(
        &mut self,
        at: Timestamp,
        digest: &KeyDigest,
        owner: Option<SubjectDigest>,
        frame: &[u8],
    ) -> Result<(), StorageError> {
        self.put(at, digest, owner, frame)?;
        self.places.insert(digest.as_bytes(), at.as_millis())?;
        self.list(owner, digest)
    }

    /// Puts a frame in place of what stood there.
    fn replace(
        &mut self,
        at: Timestamp,
        digest: &KeyDigest,
        owner: Option<SubjectDigest>,
        frame: &[u8],
        replaced: &Row,
    ) -> Result<(), StorageError> {
        if at != replaced.at {
            self.take(replaced.at, digest)?;
            self.places.insert(digest.as_bytes(), at.as_millis())?;
        }
        self.put(at, digest, owner, frame)?;
        if owner != replaced.owner() {
            self.unlist(replaced.owner(), digest)?;
            self.list(owner, digest)?;
        }
        Ok(())
    }

    /// Removes a slot, and leaves its place and its entry.
    pub(crate) fn take(&mut self, at: Timestamp, digest: &KeyDigest) -> Result<(), StorageError> {
        self.changed = true;
        self.slots.remove((at.as_millis(), digest.as_bytes()))?;
        Ok(())
    }

    fn remove(&mut self, digest: &KeyDigest, stored: &Row) -> Result<(), StorageError> {
        self.take(stored.at, digest)?;
        self.places.remove(digest.as_bytes())?;
        self.unlist(stored.owner(), digest)
    }

    fn list(
        &mut self,
        owner: Option<SubjectDigest>,
        digest: &KeyDigest,
    ) -> Result<(), StorageError> {
        if let Some(owner) = owner {
            let key = entry_key(&owner, digest.as_bytes());
            self.subjects.insert(&key[..], ())?;
        }
        Ok(())
    }

    pub(crate) fn unlist(
        &mut self,
        owner: Option<SubjectDigest>,
        digest: &KeyDigest,
    ) -> Result<(), StorageError> {
        if let Some(owner) = owner {
            self.changed = true;
            let key = entry_key(&owner, digest.as_bytes());
            self.subjects.remove(&key[..])?;
        }
        Ok(())
    }

    pub(crate) fn create(
        &mut self,
        digest: &KeyDigest,
        record: &Record,
    ) -> Result<Revision, Failure> {
        let frame = record.at_revision(Revision::FIRST).encode()?;
        if self.stands(digest)? {
            return Err(ErrorKind::Exists.into());
        }
        self.put_new(record.expires_at, digest, record.subject_digest(), &frame)?;
        Ok(Revision::FIRST)
    }

    pub(crate) fn import(&mut self, digest: &KeyDigest, slot: &Stored) -> Result<bool, Failure> {
        let frame = slot.encode()?;
        if self.stands(digest)? {
            return Ok(false);
        }
        let owner = match slot {
            Stored::Record(record) => record.subject_digest(),
            Stored::Rotated { .. } => None,
        };
        self.put_new(slot.expires_at(), digest, owner, &frame)?;
        Ok(true)
    }

    pub(crate) fn update(
        &mut self,
        digest: &KeyDigest,
        record: &Record,
    ) -> Result<Revision, Failure> {
        let stored = self.present(digest)?;
        let next = record.next_revision_after(stored.record()?.revision)?;
        let frame = record.at_revision(next).encode()?;
        // A deadline that comes nearer takes the slot along.
        let at = stored.at.min(record.expires_at);
        self.replace(at, digest, record.subject_digest(), &frame, &stored)?;
        Ok(next)
    }

    pub(crate) fn touch(
        &mut self,
        digest: &KeyDigest,
        revision: Revision,
        touch: Touch,
    ) -> Result<(), Failure> {
        let stored = self.present(digest)?;
        if stored.record()?.revision == revision
            && let Some(frame) = FrameHead::touched(stored.frame(), touch)?
        {
            self.put(stored.at, digest, stored.owner(), &frame)?;
        }
        Ok(())
    }

    pub(crate) fn rotate(
        &mut self,
        old: &KeyDigest,
        new: &KeyDigest,
        record: &Record,
        mark_until: Timestamp,
    ) -> Result<Revision, Failure> {
        let mark = Stored::Rotated {
            to: *new,
            until: mark_until,
        };
        let mark = mark.encode()?;
        let stored = self.present(old)?;
        let next = record.next_revision_after(stored.record()?.revision)?;
        let frame = record.at_revision(next).encode()?;
        if self.stands(new)? {
            return Err(ErrorKind::Exists.into());
        }
        self.put_new(record.expires_at, new, record.subject_digest(), &frame)?;
        self.replace(mark_until, old, None, &mark, &stored)?;
        Ok(next)
    }

    /// Where the mark at a digest leads, if one stands there.
    fn mark(&self, digest: &KeyDigest) -> Result<Option<KeyDigest>, StorageError> {
        let stored = self.stored(digest)?;
        let slot = stored.and_then(|stored| Stored::decode(stored.frame()).ok());
        Ok(match slot {
            Some(Stored::Rotated { to, .. }) => Some(to),
            _ => None,
        })
    }

    /// Follows rotation marks from `digest` to the session's current digest.
    fn current_digest(&self, digest: &KeyDigest) -> Result<KeyDigest, Failure> {
        Stored::resolve_rotations(digest, |at| Ok(self.mark(at)?))
    }

    pub(crate) fn delete(&mut self, digest: &KeyDigest) -> Result<(), Failure> {
        let at = self.current_digest(digest)?;
        self.end(&at)?;
        Ok(())
    }

    /// Removes what stands there, and says whether that was a session.
    fn end(&mut self, digest: &KeyDigest) -> Result<bool, StorageError> {
        let stored = self.stored(digest)?;
        if let Some(stored) = &stored {
            self.remove(digest, stored)?;
        }
        Ok(stored.is_some())
    }

    pub(crate) fn revoke(
        &mut self,
        subject: &SubjectDigest,
        which: Revoke,
    ) -> Result<Vec<KeyDigest>, Failure> {
        let which = which.resolved(|digest| self.current_digest(digest))?;
        let mut meant = Vec::new();
        let [first, last] = [FIRST, LAST].map(|digest| entry_key(subject, &digest));
        for entry in self.subjects.range(&first[..]..=&last[..])? {
            let digest = digest_in(entry?.0.value());
            meant.extend(digest.filter(|digest| which.means(digest)));
        }
        let mut ended = Vec::new();
        for digest in meant {
            match self.stored(&digest)? {
                Some(stored) if stored.may_be_of(subject) => {
                    self.remove(&digest, &stored)?;
                    self.unlist(Some(*subject), &digest)?;
                    ended.push(digest);
                }
                _ => self.unlist(Some(*subject), &digest)?,
            }
        }
        Ok(ended)
    }
}

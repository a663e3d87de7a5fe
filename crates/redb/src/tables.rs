//! The three tables, and the invariant among them: what stands has exactly one
//! entry in `expiry`, at its deadline or before it, which says whose record it is;
//! and a record with a subject has exactly one entry in `subjects`.

use cloakroom_core::{
    Error, ErrorKind, FrameHead, FrameKind, KeyDigest, Record, Revision, Revoke, Slot, Subject,
    Timestamp, Touch,
};
use redb::{Database, ReadableTable as _, StorageError, Table, TableDefinition, WriteTransaction};

/// A deadline in milliseconds, and a digest.
type IndexKey = (u64, &'static [u8; KeyDigest::BYTES]);

/// A subject, and a digest.
type SubjectKey = (&'static str, &'static [u8; KeyDigest::BYTES]);

/// Whose record it is.
type Owner = Option<&'static str>;

pub(crate) const RECORDS: TableDefinition<'_, &[u8; KeyDigest::BYTES], &[u8]> =
    TableDefinition::new("cloakroom/records/v1");
const EXPIRY: TableDefinition<'_, IndexKey, Owner> = TableDefinition::new("cloakroom/expiry/v1");
pub(crate) const SUBJECTS: TableDefinition<'_, SubjectKey, ()> =
    TableDefinition::new("cloakroom/subjects/v1");

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

/// What stands in `records` under a digest.
pub(crate) struct Stored {
    /// The deadline of its entry in the index. It is under no CRC of ours: where no
    /// entry stands there, it is damaged, and the entry that a sweep comes to is the
    /// one.
    pub(crate) indexed_at: Timestamp,
    bytes: Vec<u8>,
}

const INDEXED_AT_BYTES: usize = 8;

impl Stored {
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, Error> {
        let (indexed_at, _) = bytes
            .split_first_chunk::<INDEXED_AT_BYTES>()
            .ok_or_else(|| Error::new(ErrorKind::Corrupt, "record ends early"))?;
        Ok(Self {
            indexed_at: Timestamp::from_millis(u64::from_be_bytes(*indexed_at)),
            bytes: bytes.to_vec(),
        })
    }

    pub(crate) fn frame(&self) -> &[u8] {
        &self.bytes[INDEXED_AT_BYTES..]
    }

    /// Whose record it is; nobody's, where it cannot be read.
    fn owner(&self) -> Option<&str> {
        let found = FrameHead::read_with_subject(self.frame());
        found.map_or(None, |(_, subject)| subject)
    }

    pub(crate) fn head(&self) -> Result<FrameHead, Error> {
        FrameHead::read(self.frame())
    }

    /// The head of a record, and whose it is; a mark is nothing to write to.
    fn record(&self) -> Result<(FrameHead, Option<&str>), Error> {
        match FrameHead::read_with_subject(self.frame())? {
            found if found.0.kind == FrameKind::Record => Ok(found),
            _ => Err(ErrorKind::Gone.into()),
        }
    }
}

fn subject_of(record: &Record) -> Option<&str> {
    record.subject.as_ref().map(Subject::as_str)
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
    records: Table<'t, &'static [u8; KeyDigest::BYTES], &'static [u8]>,
    expiry: Table<'t, IndexKey, Owner>,
    subjects: Table<'t, SubjectKey, ()>,
    /// Whether there is anything to commit.
    pub(crate) changed: bool,
}

impl<'t> Tables<'t> {
    pub(crate) fn open(transaction: &'t WriteTransaction) -> Result<Self, redb::Error> {
        Ok(Self {
            records: transaction.open_table(RECORDS)?,
            expiry: transaction.open_table(EXPIRY)?,
            subjects: transaction.open_table(SUBJECTS)?,
            changed: false,
        })
    }

    fn stands(&self, digest: &KeyDigest) -> Result<bool, StorageError> {
        Ok(self.records.get(digest.as_bytes())?.is_some())
    }

    pub(crate) fn stored(&self, digest: &KeyDigest) -> Result<Option<Stored>, Failure> {
        let bytes = self.records.get(digest.as_bytes())?;
        Ok(bytes.map(|bytes| Stored::read(bytes.value())).transpose()?)
    }

    fn present(&self, digest: &KeyDigest) -> Result<Stored, Failure> {
        Ok(self.stored(digest)?.ok_or(ErrorKind::Gone)?)
    }

    /// Puts what is new at a digest, with its entries.
    fn put_new(
        &mut self,
        digest: &KeyDigest,
        deadline: Timestamp,
        frame: &[u8],
        owner: Option<&str>,
    ) -> Result<(), StorageError> {
        self.put(digest, deadline, frame)?;
        self.list(deadline, digest, owner)?;
        self.list_owner(digest, owner)
    }

    /// Puts a frame, with its entries, in place of what stood there.
    fn replace(
        &mut self,
        digest: &KeyDigest,
        deadline: Timestamp,
        frame: &[u8],
        owner: Option<&str>,
        replaced: &Stored,
        replaced_owner: Option<&str>,
    ) -> Result<(), StorageError> {
        self.put(digest, deadline, frame)?;
        if (deadline, owner) == (replaced.indexed_at, replaced_owner) {
            return Ok(());
        }
        self.unlist(replaced.indexed_at, digest)?;
        self.list(deadline, digest, owner)?;
        if owner != replaced_owner {
            self.unlist_owner(digest, replaced_owner)?;
            self.list_owner(digest, owner)?;
        }
        Ok(())
    }

    fn put(
        &mut self,
        digest: &KeyDigest,
        indexed_at: Timestamp,
        frame: &[u8],
    ) -> Result<(), StorageError> {
        self.changed = true;
        let mut bytes = Vec::with_capacity(INDEXED_AT_BYTES + frame.len());
        bytes.extend_from_slice(&indexed_at.as_millis().to_be_bytes());
        bytes.extend_from_slice(frame);
        self.records.insert(digest.as_bytes(), &bytes[..])?;
        Ok(())
    }

    /// Moves the entry of what stands there to another deadline.
    pub(crate) fn move_entry(
        &mut self,
        digest: &KeyDigest,
        deadline: Timestamp,
        stored: &Stored,
    ) -> Result<(), StorageError> {
        self.put(digest, deadline, stored.frame())?;
        let owner = self.unlist(stored.indexed_at, digest)?;
        let owner = owner.unwrap_or_else(|| stored.owner().map(str::to_owned));
        self.list(deadline, digest, owner.as_deref())
    }

    /// Removes what stands there, with its entries. Where the one in `expiry` is not
    /// found, the frame says whose record it is, and a sweep comes to the entry.
    pub(crate) fn remove(
        &mut self,
        digest: &KeyDigest,
        stored: &Stored,
    ) -> Result<(), StorageError> {
        self.remove_record(digest)?;
        let owner = self.unlist(stored.indexed_at, digest)?;
        match &owner {
            Some(owner) => self.unlist_owner(digest, owner.as_deref()),
            None => self.unlist_owner(digest, stored.owner()),
        }
    }

    /// Removes what stands there, and leaves its entries.
    pub(crate) fn remove_record(&mut self, digest: &KeyDigest) -> Result<(), StorageError> {
        self.changed = true;
        self.records.remove(digest.as_bytes())?;
        Ok(())
    }

    /// Whether an entry of `expiry` at this deadline is of what stands there: the one
    /// that it says it has, or one that is found where there is no such.
    pub(crate) fn is_entry_of(
        &self,
        deadline: Timestamp,
        digest: &KeyDigest,
        stored: &Stored,
    ) -> Result<bool, StorageError> {
        let said = (stored.indexed_at.as_millis(), digest.as_bytes());
        Ok(stored.indexed_at == deadline || self.expiry.get(said)?.is_none())
    }

    fn list(
        &mut self,
        deadline: Timestamp,
        digest: &KeyDigest,
        owner: Option<&str>,
    ) -> Result<(), StorageError> {
        let entry = (deadline.as_millis(), digest.as_bytes());
        self.expiry.insert(entry, owner)?;
        Ok(())
    }

    /// Removes an entry of `expiry`, and answers whose record it spoke of, if there
    /// was one.
    fn unlist(
        &mut self,
        deadline: Timestamp,
        digest: &KeyDigest,
    ) -> Result<Option<Option<String>>, StorageError> {
        let entry = (deadline.as_millis(), digest.as_bytes());
        let removed = self.expiry.remove(entry)?;
        Ok(removed.map(|owner| owner.value().map(str::to_owned)))
    }

    fn list_owner(&mut self, digest: &KeyDigest, owner: Option<&str>) -> Result<(), StorageError> {
        if let Some(owner) = owner {
            self.subjects.insert((owner, digest.as_bytes()), ())?;
        }
        Ok(())
    }

    fn unlist_owner(
        &mut self,
        digest: &KeyDigest,
        owner: Option<&str>,
    ) -> Result<(), StorageError> {
        if let Some(owner) = owner {
            self.subjects.remove((owner, digest.as_bytes()))?;
        }
        Ok(())
    }

    /// Removes an entry of `expiry` that is not of what stands there, and the one
    /// in `subjects` that it speaks of, unless that is.
    pub(crate) fn remove_dangling(
        &mut self,
        deadline: Timestamp,
        digest: &KeyDigest,
        stored: Option<&Stored>,
    ) -> Result<(), StorageError> {
        self.changed = true;
        let owner = self.unlist(deadline, digest)?.flatten();
        let is_listed = stored.is_some_and(|stored| {
            let found = FrameHead::read_with_subject(stored.frame());
            // One that cannot be read may be anybody's.
            found.map_or(true, |(_, subject)| subject == owner.as_deref())
        });
        if is_listed {
            return Ok(());
        }
        self.unlist_owner(digest, owner.as_deref())
    }

    /// The first entry of the index after this one, up to `now`.
    pub(crate) fn due_after(
        &self,
        after: Option<(Timestamp, KeyDigest)>,
        now: Timestamp,
    ) -> Result<Option<(Timestamp, KeyDigest)>, StorageError> {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let after = match &after {
            Some((deadline, digest)) => Excluded((deadline.as_millis(), digest.as_bytes())),
            None => Unbounded,
        };
        let until = Included((now.as_millis(), &LAST));
        let mut due = self.expiry.range((after, until))?;
        let Some(entry) = due.next().transpose()? else {
            return Ok(None);
        };
        let (deadline, digest) = entry.0.value();
        let digest = KeyDigest::from_bytes(*digest);
        Ok(Some((Timestamp::from_millis(deadline), digest)))
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
        self.put_new(digest, record.expires_at, &frame, subject_of(record))?;
        Ok(Revision::FIRST)
    }

    pub(crate) fn import(&mut self, digest: &KeyDigest, slot: &Slot) -> Result<bool, Failure> {
        let frame = slot.encode()?;
        if self.stands(digest)? {
            return Ok(false);
        }
        let owner = match slot {
            Slot::Record(record) => subject_of(record),
            Slot::Rotated { .. } => None,
        };
        self.put_new(digest, slot.expires_at(), &frame, owner)?;
        Ok(true)
    }

    pub(crate) fn update(
        &mut self,
        digest: &KeyDigest,
        record: &Record,
    ) -> Result<Revision, Failure> {
        let stored = self.present(digest)?;
        let (head, owner) = stored.record()?;
        let next = record.follow(head.revision)?;
        let frame = record.at_revision(next).encode()?;
        // A deadline that comes nearer takes the index entry along.
        let indexed_at = stored.indexed_at.min(record.expires_at);
        let now_of = subject_of(record);
        self.replace(digest, indexed_at, &frame, now_of, &stored, owner)?;
        Ok(next)
    }

    pub(crate) fn touch(
        &mut self,
        digest: &KeyDigest,
        revision: Revision,
        touch: Touch,
    ) -> Result<(), Failure> {
        let stored = self.present(digest)?;
        let head = stored.head()?;
        if head.kind != FrameKind::Record {
            return Err(ErrorKind::Gone.into());
        }
        if head.revision == revision
            && let Some(frame) = FrameHead::touched(stored.frame(), touch)?
        {
            self.put(digest, stored.indexed_at, &frame)?;
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
        let mark = Slot::Rotated {
            to: *new,
            until: mark_until,
        };
        let mark = mark.encode()?;
        let stored = self.present(old)?;
        let (head, owner) = stored.record()?;
        let next = record.follow(head.revision)?;
        let frame = record.at_revision(next).encode()?;
        if self.stands(new)? {
            return Err(ErrorKind::Exists.into());
        }
        self.put_new(new, record.expires_at, &frame, subject_of(record))?;
        self.replace(old, mark_until, &mark, None, &stored, owner)?;
        Ok(next)
    }

    /// Where the mark at a digest leads, if one stands there.
    fn mark(&self, digest: &KeyDigest) -> Result<Option<KeyDigest>, StorageError> {
        let bytes = self.records.get(digest.as_bytes())?;
        let stored = bytes.and_then(|bytes| Stored::read(bytes.value()).ok());
        let slot = stored.and_then(|stored| Slot::decode(stored.frame()).ok());
        Ok(match slot {
            Some(Slot::Rotated { to, .. }) => Some(to),
            _ => None,
        })
    }

    fn follow(&self, digest: &KeyDigest) -> Result<KeyDigest, StorageError> {
        Slot::follow(digest, |at| self.mark(at))
    }

    pub(crate) fn delete(&mut self, digest: &KeyDigest) -> Result<(), Failure> {
        let at = self.follow(digest)?;
        // After the last hop there may be one mark more, and marks stay.
        if self.mark(&at)?.is_none() {
            self.end(&at)?;
        }
        Ok(())
    }

    /// Removes what stands there, and says whether that was a session.
    fn end(&mut self, digest: &KeyDigest) -> Result<bool, Failure> {
        match self.stored(digest) {
            Ok(None) => return Ok(false),
            Ok(Some(stored)) => self.remove(digest, &stored)?,
            // Too short to say where it stands in the index: a sweep finds that
            // entry dangling.
            Err(Failure::Refused(_)) => self.remove_record(digest)?,
            Err(broken) => return Err(broken),
        }
        Ok(true)
    }

    pub(crate) fn revoke(
        &mut self,
        subject: &Subject,
        which: Revoke,
    ) -> Result<Vec<KeyDigest>, Failure> {
        let which = which.followed(|digest| self.follow(digest))?;
        let subject = subject.as_str();
        let mut meant = Vec::new();
        for entry in self.subjects.range((subject, &FIRST)..=(subject, &LAST))? {
            let digest = KeyDigest::from_bytes(*entry?.0.value().1);
            if which.means(&digest) {
                meant.push(digest);
            }
        }
        let mut ended = Vec::new();
        for digest in meant {
            let is_theirs = match self.stored(&digest) {
                Ok(None) => false,
                Ok(Some(stored)) => match FrameHead::read_with_subject(stored.frame()) {
                    Ok((_, owner)) => owner == Some(subject),
                    Err(_) => true,
                },
                Err(Failure::Refused(_)) => true,
                Err(broken) => return Err(broken),
            };
            self.changed = true;
            self.unlist_owner(&digest, Some(subject))?;
            if is_theirs && self.end(&digest)? {
                ended.push(digest);
            }
        }
        Ok(ended)
    }
}

//! The two tables, and the one invariant between them: a record that stands has
//! exactly one entry in the index, at its deadline or before it.

use cloakroom_core::{
    Error, ErrorKind, FrameHead, FrameKind, KeyDigest, ROTATION_HOPS_MAX, Record, Revision, Slot,
    Timestamp, Touch,
};
use redb::{
    Database, ReadableDatabase as _, ReadableTable as _, StorageError, Table, TableDefinition,
    WriteTransaction,
};

/// A deadline in milliseconds, and a digest.
type IndexKey = (u64, &'static [u8; KeyDigest::BYTES]);

const RECORDS: TableDefinition<'_, &[u8; KeyDigest::BYTES], &[u8]> =
    TableDefinition::new("cloakroom/records/v1");
const EXPIRY: TableDefinition<'_, IndexKey, ()> = TableDefinition::new("cloakroom/expiry/v1");

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
    /// The deadline of its entry in the index.
    pub(crate) indexed_at: Timestamp,
    bytes: Vec<u8>,
}

const INDEXED_AT_BYTES: usize = 8;

impl Stored {
    fn read(bytes: &[u8]) -> Result<Self, Error> {
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

    pub(crate) fn head(&self) -> Result<FrameHead, Error> {
        FrameHead::read(self.frame())
    }

    /// The head of a record; a mark is nothing to write to.
    fn record_head(&self) -> Result<FrameHead, Error> {
        match self.head()? {
            head if head.kind == FrameKind::Record => Ok(head),
            _ => Err(ErrorKind::Gone.into()),
        }
    }
}

/// Makes the tables where they are not, so that a reader always finds them.
pub(crate) fn make(db: &Database) -> Result<(), redb::Error> {
    let transaction = db.begin_write()?;
    Tables::open(&transaction)?;
    transaction.commit()?;
    Ok(())
}

pub(crate) fn load(db: &Database, digest: &KeyDigest) -> Result<Option<Slot>, Failure> {
    let transaction = db.begin_read().map_err(redb::Error::from)?;
    let records = transaction.open_table(RECORDS).map_err(redb::Error::from)?;
    let Some(bytes) = records.get(digest.as_bytes())? else {
        return Ok(None);
    };
    let stored = Stored::read(bytes.value())?;
    Ok(Some(Slot::decode(stored.frame())?))
}

/// Both tables inside a write transaction.
///
/// Every method judges first and writes after: where it is
/// [refused](Failure::Refused), nothing has been changed.
pub(crate) struct Tables<'t> {
    records: Table<'t, &'static [u8; KeyDigest::BYTES], &'static [u8]>,
    expiry: Table<'t, IndexKey, ()>,
    /// Whether there is anything to commit.
    pub(crate) changed: bool,
}

impl<'t> Tables<'t> {
    pub(crate) fn open(transaction: &'t WriteTransaction) -> Result<Self, redb::Error> {
        Ok(Self {
            records: transaction.open_table(RECORDS)?,
            expiry: transaction.open_table(EXPIRY)?,
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

    fn present(&self, digest: &KeyDigest) -> Result<(Stored, FrameHead), Failure> {
        let stored = self.stored(digest)?.ok_or(ErrorKind::Gone)?;
        let head = stored.record_head()?;
        Ok((stored, head))
    }

    /// Puts a frame, with its index entry at `deadline`, in place of what had
    /// one at `replaced`.
    pub(crate) fn put(
        &mut self,
        digest: &KeyDigest,
        deadline: Timestamp,
        frame: &[u8],
        replaced: Option<Timestamp>,
    ) -> Result<(), StorageError> {
        self.changed = true;
        if replaced != Some(deadline) {
            if let Some(replaced) = replaced {
                self.unlist(replaced, digest)?;
            }
            let entry = (deadline.as_millis(), digest.as_bytes());
            self.expiry.insert(entry, ())?;
        }
        let mut bytes = Vec::with_capacity(INDEXED_AT_BYTES + frame.len());
        bytes.extend_from_slice(&deadline.as_millis().to_be_bytes());
        bytes.extend_from_slice(frame);
        self.records.insert(digest.as_bytes(), &bytes[..])?;
        Ok(())
    }

    pub(crate) fn remove(
        &mut self,
        digest: &KeyDigest,
        indexed_at: Timestamp,
    ) -> Result<(), StorageError> {
        self.changed = true;
        self.records.remove(digest.as_bytes())?;
        self.unlist(indexed_at, digest)
    }

    /// Removes an entry of the index.
    pub(crate) fn unlist(
        &mut self,
        deadline: Timestamp,
        digest: &KeyDigest,
    ) -> Result<(), StorageError> {
        self.changed = true;
        let entry = (deadline.as_millis(), digest.as_bytes());
        self.expiry.remove(entry)?;
        Ok(())
    }

    /// The first entry of the index after this one, up to `now`.
    pub(crate) fn due_after(
        &self,
        after: Option<(Timestamp, KeyDigest)>,
        now: Timestamp,
    ) -> Result<Option<(Timestamp, KeyDigest)>, StorageError> {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        const LAST: [u8; KeyDigest::BYTES] = [0xff; KeyDigest::BYTES];
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
        self.put(digest, record.expires_at, &frame, None)?;
        Ok(Revision::FIRST)
    }

    pub(crate) fn update(
        &mut self,
        digest: &KeyDigest,
        record: &Record,
    ) -> Result<Revision, Failure> {
        let (stored, head) = self.present(digest)?;
        let next = record.follow(head.revision)?;
        let frame = record.at_revision(next).encode()?;
        // A deadline that comes nearer takes the index entry along.
        let indexed_at = stored.indexed_at.min(record.expires_at);
        self.put(digest, indexed_at, &frame, Some(stored.indexed_at))?;
        Ok(next)
    }

    pub(crate) fn touch(
        &mut self,
        digest: &KeyDigest,
        revision: Revision,
        touch: Touch,
    ) -> Result<(), Failure> {
        let (stored, head) = self.present(digest)?;
        if head.revision == revision
            && let Some(frame) = FrameHead::touched(stored.frame(), touch)?
        {
            let indexed_at = stored.indexed_at;
            self.put(digest, indexed_at, &frame, Some(indexed_at))?;
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
        let (stored, head) = self.present(old)?;
        let next = record.follow(head.revision)?;
        let frame = record.at_revision(next).encode()?;
        if self.stands(new)? {
            return Err(ErrorKind::Exists.into());
        }
        self.put(new, record.expires_at, &frame, None)?;
        self.put(old, mark_until, &mark, Some(stored.indexed_at))?;
        Ok(next)
    }

    pub(crate) fn delete(&mut self, digest: &KeyDigest) -> Result<(), Failure> {
        let mut at = *digest;
        for _ in 0..ROTATION_HOPS_MAX {
            match self.stored(&at) {
                Ok(None) => return Ok(()),
                Ok(Some(stored)) => match Slot::decode(stored.frame()) {
                    Ok(Slot::Rotated { to, .. }) => at = to,
                    _ => return Ok(self.remove(&at, stored.indexed_at)?),
                },
                // Too short to say where it stands in the index: a sweep finds
                // that entry dangling.
                Err(Failure::Refused(_)) => {
                    self.changed = true;
                    self.records.remove(at.as_bytes())?;
                    return Ok(());
                }
                Err(broken) => return Err(broken),
            }
        }
        Ok(())
    }
}

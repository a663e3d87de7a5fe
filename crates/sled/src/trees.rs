//! The two trees, and the one invariant between them: a record that stands has
//! exactly one entry in the index, at its deadline or before it.

use cloakroom_core::{
    Error, ErrorKind, FrameHead, FrameKind, KeyDigest, ROTATION_HOPS_MAX, Record, Revision, Slot,
    Timestamp, Touch,
};
use sled::transaction::{
    ConflictableTransactionError, ConflictableTransactionResult, TransactionError, Transactional,
    TransactionalTree,
};
use sled::{IVec, Tree};

use crate::failed;

pub(crate) struct Trees {
    pub(crate) records: Tree,
    pub(crate) expiry: Tree,
}

/// What stands in `records` under a digest.
pub(crate) struct Stored {
    /// The deadline of its entry in the index.
    pub(crate) indexed_at: Timestamp,
    bytes: IVec,
}

const INDEXED_AT_BYTES: usize = 8;

impl Stored {
    pub(crate) fn read(bytes: IVec) -> Result<Self, Error> {
        let (indexed_at, _) = bytes
            .split_first_chunk::<INDEXED_AT_BYTES>()
            .ok_or_else(|| Error::new(ErrorKind::Corrupt, "record ends early"))?;
        let indexed_at = Timestamp::from_millis(u64::from_be_bytes(*indexed_at));
        Ok(Self { indexed_at, bytes })
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

pub(crate) fn stored_bytes(indexed_at: Timestamp, frame: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(INDEXED_AT_BYTES + frame.len());
    bytes.extend_from_slice(&indexed_at.as_millis().to_be_bytes());
    bytes.extend_from_slice(frame);
    bytes
}

/// Entries of the index sort by deadline.
pub(crate) fn index_key(deadline: Timestamp, digest: &KeyDigest) -> [u8; 40] {
    let mut key = [0; 40];
    key[..INDEXED_AT_BYTES].copy_from_slice(&deadline.as_millis().to_be_bytes());
    key[INDEXED_AT_BYTES..].copy_from_slice(digest.as_bytes());
    key
}

/// Both trees inside a transaction.
pub(crate) struct Both<'t> {
    pub(crate) records: &'t TransactionalTree,
    pub(crate) expiry: &'t TransactionalTree,
}

type Step<T> = ConflictableTransactionResult<T, Error>;

pub(crate) fn abort(error: impl Into<Error>) -> ConflictableTransactionError<Error> {
    ConflictableTransactionError::Abort(error.into())
}

impl Both<'_> {
    pub(crate) fn stored(&self, digest: &KeyDigest) -> Step<Option<Stored>> {
        let bytes = self.records.get(digest.as_bytes())?;
        bytes.map(Stored::read).transpose().map_err(abort)
    }

    /// Puts a slot and its index entry, in place of what stood there.
    pub(crate) fn put(
        &self,
        digest: &KeyDigest,
        deadline: Timestamp,
        frame: &[u8],
        replaced: Option<&Stored>,
    ) -> Step<()> {
        if let Some(replaced) = replaced {
            let entry = index_key(replaced.indexed_at, digest);
            self.expiry.remove(&entry[..])?;
        }
        self.expiry.insert(&index_key(deadline, digest)[..], &[])?;
        let bytes = stored_bytes(deadline, frame);
        self.records.insert(digest.as_bytes(), bytes)?;
        Ok(())
    }

    pub(crate) fn remove(&self, digest: &KeyDigest, indexed_at: Timestamp) -> Step<()> {
        self.records.remove(digest.as_bytes())?;
        self.expiry.remove(&index_key(indexed_at, digest)[..])?;
        Ok(())
    }
}

impl Trees {
    pub(crate) fn open(db: &sled::Db) -> sled::Result<Self> {
        Ok(Self {
            records: db.open_tree("cloakroom/records/v1")?,
            expiry: db.open_tree("cloakroom/expiry/v1")?,
        })
    }

    pub(crate) fn transact<T>(&self, work: impl Fn(Both<'_>) -> Step<T>) -> Result<T, Error> {
        (&self.records, &self.expiry)
            .transaction(|(records, expiry)| work(Both { records, expiry }))
            .map_err(|error| match error {
                TransactionError::Abort(error) => error,
                TransactionError::Storage(source) => failed(source),
            })
    }

    fn stored(&self, digest: &KeyDigest) -> Result<Option<Stored>, Error> {
        let bytes = self.records.get(digest.as_bytes()).map_err(failed)?;
        bytes.map(Stored::read).transpose()
    }

    fn present(&self, digest: &KeyDigest) -> Result<Stored, Error> {
        self.stored(digest)?.ok_or_else(|| ErrorKind::Gone.into())
    }

    /// Whether the swap held; the index is not touched.
    fn swap(&self, digest: &KeyDigest, old: &Stored, frame: &[u8]) -> Result<bool, Error> {
        let new = stored_bytes(old.indexed_at, frame);
        self.records
            .compare_and_swap(digest.as_bytes(), Some(&old.bytes), Some(new))
            .map(|swapped| swapped.is_ok())
            .map_err(failed)
    }

    pub(crate) fn load(&self, digest: &KeyDigest) -> Result<Option<Slot>, Error> {
        self.stored(digest)?
            .map(|stored| Slot::decode(stored.frame()))
            .transpose()
    }

    pub(crate) fn create(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        let frame = record.at_revision(Revision::FIRST).encode()?;
        self.transact(|both| {
            if both.records.get(digest.as_bytes())?.is_some() {
                return Err(abort(ErrorKind::Exists));
            }
            both.put(digest, record.expires_at, &frame, None)?;
            Ok(Revision::FIRST)
        })
    }

    pub(crate) fn update(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        loop {
            let stored = self.present(digest)?;
            let next = record.follow(stored.record_head()?.revision)?;
            let frame = record.at_revision(next).encode()?;
            if record.expires_at < stored.indexed_at {
                return self.update_sooner(digest, record);
            }
            // Where the swap fails, only a touch or a sweep that moved the index
            // entry may have come between, or another update: look again.
            if self.swap(digest, &stored, &frame)? {
                return Ok(next);
            }
        }
    }

    /// An update that brings the deadline nearer takes the index entry along.
    fn update_sooner(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        self.transact(|both| {
            let stored = both.stored(digest)?.ok_or_else(|| abort(ErrorKind::Gone))?;
            let head = stored.record_head().map_err(abort)?;
            let next = record.follow(head.revision).map_err(abort)?;
            let frame = record.at_revision(next).encode().map_err(abort)?;
            both.put(digest, record.expires_at, &frame, Some(&stored))?;
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
            let stored = self.present(digest)?;
            let head = stored.record_head()?;
            if head.revision != revision {
                return Ok(());
            }
            let Some(frame) = FrameHead::touched(stored.frame(), touch)? else {
                return Ok(());
            };
            if self.swap(digest, &stored, &frame)? {
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
        let mark = Slot::Rotated {
            to: *new,
            until: mark_until,
        };
        let mark = mark.encode()?;
        self.transact(|both| {
            let stored = both.stored(old)?.ok_or_else(|| abort(ErrorKind::Gone))?;
            let head = stored.record_head().map_err(abort)?;
            let next = record.follow(head.revision).map_err(abort)?;
            if both.records.get(new.as_bytes())?.is_some() {
                return Err(abort(ErrorKind::Exists));
            }
            let frame = record.at_revision(next).encode().map_err(abort)?;
            both.put(new, record.expires_at, &frame, None)?;
            both.put(old, mark_until, &mark, Some(&stored))?;
            Ok(next)
        })
    }

    pub(crate) fn delete(&self, digest: &KeyDigest) -> Result<(), Error> {
        self.transact(|both| {
            let mut at = *digest;
            for _ in 0..ROTATION_HOPS_MAX {
                let Some(bytes) = both.records.get(at.as_bytes())? else {
                    return Ok(());
                };
                let Ok(stored) = Stored::read(bytes) else {
                    // Too short to say where it stands in the index: a sweep
                    // finds that entry dangling.
                    both.records.remove(at.as_bytes())?;
                    return Ok(());
                };
                match Slot::decode(stored.frame()) {
                    Ok(Slot::Rotated { to, .. }) => at = to,
                    _ => return both.remove(&at, stored.indexed_at),
                }
            }
            Ok(())
        })
    }
}

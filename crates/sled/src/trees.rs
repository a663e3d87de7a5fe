//! The three trees, and the invariant among them: what stands has exactly one
//! entry in `expiry`, at its deadline or before it, which says whose record it is;
//! and a record with a subject has exactly one entry in `subjects`.

use std::sync::{Mutex, MutexGuard, PoisonError};

use cloakroom_core::store::{
    FrameHead, FrameKind, KeyDigest, Record, Revision, RotationPath, Stored, SubjectDigest, Touch,
};
use cloakroom_core::{Error, ErrorKind, Timestamp};
use sled::transaction::{
    ConflictableTransactionError, ConflictableTransactionResult, TransactionError, Transactional,
    TransactionalTree,
};
use sled::{IVec, Tree};

use crate::{failed, sweep};

// Layout: the names of the trees.
const RECORDS: &str = "cloakroom/records/v1";
const EXPIRY: &str = "cloakroom/expiry/v1";
const SUBJECTS: &str = "cloakroom/subjects/v1";

pub(crate) struct Trees {
    pub(crate) records: Tree,
    pub(crate) expiry: Tree,
    pub(crate) subjects: Tree,
    /// Held by whoever changes which digests a subject has, and by whoever walks
    /// over them: a walk is no part of a transaction in sled.
    listing: Mutex<()>,
    sweep_cursor: sweep::Cursor,
}

/// While it is held, nobody changes which digests a subject has.
pub(crate) struct Listing<'t>(#[expect(dead_code, reason = "a lock")] MutexGuard<'t, ()>);

/// What stands in `records` under a digest.
pub(crate) struct Row {
    /// The deadline of its entry in the index. It is under no CRC: where no entry
    /// stands there, it is damaged, and the entry that a sweep comes to is the one.
    pub(crate) indexed_at: Timestamp,
    bytes: IVec,
}

const INDEXED_AT_BYTES: usize = 8;

impl Row {
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

    /// Whose record it is, as [`owner_of`] writes it; nobody's, where it cannot be
    /// read.
    fn owner(&self) -> Vec<u8> {
        let found = FrameHead::read_with_subject(self.frame());
        found.map_or_else(|_| Vec::new(), |(_, subject)| owner_of(subject))
    }

    /// The head of a record; a mark is nothing to write to.
    fn record_head(&self) -> Result<FrameHead, Error> {
        match self.head()? {
            head if head.kind == FrameKind::Record => Ok(head),
            _ => Err(ErrorKind::Gone.into()),
        }
    }

    /// The head of a record, and whose it is.
    fn record(&self) -> Result<(FrameHead, Option<SubjectDigest>), Error> {
        match FrameHead::read_with_subject(self.frame())? {
            found if found.0.kind == FrameKind::Record => Ok(found),
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

/// How the entries of a subject in `subjects` begin, and what the entry of a record
/// in `expiry` holds. Nothing, where the record is nobody's.
pub(crate) fn owner_of(subject: Option<SubjectDigest>) -> Vec<u8> {
    subject.map_or_else(Vec::new, |subject| subject.as_bytes().to_vec())
}

fn owner_of_record(record: &Record) -> Vec<u8> {
    owner_of(record.subject_digest())
}

fn subject_key(owner: &[u8], digest: &KeyDigest) -> Vec<u8> {
    [owner, digest.as_bytes()].concat()
}

/// The trees inside a transaction.
pub(crate) struct All<'t> {
    pub(crate) records: &'t TransactionalTree,
    pub(crate) expiry: &'t TransactionalTree,
    subjects: &'t TransactionalTree,
}

pub(crate) type Step<T> = ConflictableTransactionResult<T, Error>;

pub(crate) fn abort(error: impl Into<Error>) -> ConflictableTransactionError<Error> {
    ConflictableTransactionError::Abort(error.into())
}

impl All<'_> {
    pub(crate) fn stored(&self, digest: &KeyDigest) -> Step<Option<Row>> {
        let bytes = self.records.get(digest.as_bytes())?;
        bytes.map(Row::read).transpose().map_err(abort)
    }

    /// Puts a stored and its entries, in place of what stood there.
    fn put(
        &self,
        digest: &KeyDigest,
        deadline: Timestamp,
        frame: &[u8],
        owner: &[u8],
        replaced: Option<&Row>,
    ) -> Step<()> {
        let listed = match replaced {
            Some(replaced) => self.take_entry(digest, replaced)?,
            None => IVec::default(),
        };
        if listed != owner {
            self.unlist(&listed, digest)?;
            if !owner.is_empty() {
                self.subjects.insert(subject_key(owner, digest), &[])?;
            }
        }
        self.expiry
            .insert(&index_key(deadline, digest)[..], owner)?;
        let bytes = stored_bytes(deadline, frame);
        self.records.insert(digest.as_bytes(), bytes)?;
        Ok(())
    }

    /// Moves the entry of what stands there to another deadline.
    pub(crate) fn move_entry(
        &self,
        digest: &KeyDigest,
        deadline: Timestamp,
        stored: &Row,
    ) -> Step<()> {
        let owner = self.take_entry(digest, stored)?;
        self.expiry
            .insert(&index_key(deadline, digest)[..], owner)?;
        let bytes = stored_bytes(deadline, stored.frame());
        self.records.insert(digest.as_bytes(), bytes)?;
        Ok(())
    }

    pub(crate) fn remove(&self, digest: &KeyDigest, stored: &Row) -> Step<()> {
        self.records.remove(digest.as_bytes())?;
        let owner = self.take_entry(digest, stored)?;
        self.unlist(&owner, digest)
    }

    /// Removes the entry in `expiry` of what stands there, and answers whose record
    /// it is. Where none is found, the frame says whose, and a sweep comes to the
    /// entry.
    fn take_entry(&self, digest: &KeyDigest, stored: &Row) -> Step<IVec> {
        let entry = index_key(stored.indexed_at, digest);
        let taken = self.expiry.remove(&entry[..])?;
        Ok(taken.unwrap_or_else(|| stored.owner().into()))
    }

    /// Whether an entry of `expiry` at this deadline is of what stands there: the one
    /// that it says it has, or one that is found where there is no such.
    pub(crate) fn is_entry_of(
        &self,
        deadline: Timestamp,
        digest: &KeyDigest,
        stored: &Row,
    ) -> Step<bool> {
        let said = index_key(stored.indexed_at, digest);
        Ok(stored.indexed_at == deadline || self.expiry.get(&said[..])?.is_none())
    }

    fn unlist(&self, owner: &[u8], digest: &KeyDigest) -> Step<()> {
        if !owner.is_empty() {
            self.subjects.remove(subject_key(owner, digest))?;
        }
        Ok(())
    }

    /// Removes an entry of `expiry` that is not of what stands there, and the one
    /// in `subjects` that it speaks of, unless that is.
    pub(crate) fn remove_dangling(
        &self,
        deadline: Timestamp,
        digest: &KeyDigest,
        stored: Option<&Row>,
    ) -> Step<()> {
        let entry = index_key(deadline, digest);
        let owner = self.expiry.remove(&entry[..])?.unwrap_or_default();
        let is_listed = stored.is_some_and(|stored| {
            let found = FrameHead::read_with_subject(stored.frame());
            // One that cannot be read may be anybody's.
            found.map_or(true, |(_, subject)| owner_of(subject) == *owner)
        });
        if is_listed {
            return Ok(());
        }
        self.unlist(&owner, digest)
    }

    /// Where the mark at a digest leads, if one stands there.
    fn mark(&self, digest: &KeyDigest) -> Step<Option<KeyDigest>> {
        let bytes = self.records.get(digest.as_bytes())?;
        let stored = bytes.and_then(|bytes| Row::read(bytes).ok());
        let stored = stored.and_then(|stored| Stored::decode(stored.frame()).ok());
        Ok(match stored {
            Some(Stored::Rotated { to, .. }) => Some(to),
            _ => None,
        })
    }

    pub(crate) fn follow(&self, digest: &KeyDigest) -> Step<KeyDigest> {
        let mut path = RotationPath::from(*digest);
        while let Some(to) = self.mark(path.at())? {
            path.follow(to).map_err(abort)?;
        }
        Ok(*path.at())
    }

    /// Removes what stands there, and says whether that was a session.
    fn end(&self, digest: &KeyDigest) -> Step<bool> {
        let Some(bytes) = self.records.get(digest.as_bytes())? else {
            return Ok(false);
        };
        match Row::read(bytes) {
            Ok(stored) => self.remove(digest, &stored)?,
            // Too short to say where it stands in the index: a sweep finds that
            // entry dangling.
            Err(_) => drop(self.records.remove(digest.as_bytes())?),
        }
        Ok(true)
    }

    /// Removes the session there and the entry, where both are the owner's, and
    /// says whether that was a session.
    pub(crate) fn end_of(&self, owner: &[u8], digest: &KeyDigest) -> Step<bool> {
        if self.subjects.get(subject_key(owner, digest))?.is_none() {
            return Ok(false);
        }
        let is_theirs = match self.stored(digest) {
            Ok(None) => false,
            Ok(Some(stored)) => match FrameHead::read_with_subject(stored.frame()) {
                Ok((_, subject)) => owner_of(subject) == owner,
                Err(_) => true,
            },
            Err(ConflictableTransactionError::Abort(_)) => true,
            Err(error) => return Err(error),
        };
        self.unlist(owner, digest)?;
        Ok(is_theirs && self.end(digest)?)
    }
}

impl Trees {
    pub(crate) fn open(db: &sled::Db) -> sled::Result<Self> {
        Ok(Self {
            records: db.open_tree(RECORDS)?,
            expiry: db.open_tree(EXPIRY)?,
            subjects: db.open_tree(SUBJECTS)?,
            listing: Mutex::new(()),
            sweep_cursor: Mutex::default(),
        })
    }

    pub(crate) fn listing(&self) -> Listing<'_> {
        // It guards no data of its own that a panic could leave half-way.
        Listing(self.listing.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Held by a step of a sweep: steps take turns.
    pub(crate) fn sweep_cursor(&self) -> MutexGuard<'_, Option<IVec>> {
        let cursor = self.sweep_cursor.lock();
        cursor.unwrap_or_else(PoisonError::into_inner)
    }

    /// Transactions take turns anyway: the lock costs them nothing.
    pub(crate) fn transact<T>(&self, work: impl Fn(All<'_>) -> Step<T>) -> Result<T, Error> {
        self.transact_in(&self.listing(), work)
    }

    /// As [`transact`](Self::transact), for who has walked and keeps others out until
    /// this is done.
    pub(crate) fn transact_in<T>(
        &self,
        _: &Listing<'_>,
        work: impl Fn(All<'_>) -> Step<T>,
    ) -> Result<T, Error> {
        (&self.records, &self.expiry, &self.subjects)
            .transaction(|(records, expiry, subjects)| {
                work(All {
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

    fn stored(&self, digest: &KeyDigest) -> Result<Option<Row>, Error> {
        let bytes = self.records.get(digest.as_bytes()).map_err(failed)?;
        bytes.map(Row::read).transpose()
    }

    fn present(&self, digest: &KeyDigest) -> Result<Row, Error> {
        self.stored(digest)?.ok_or_else(|| ErrorKind::Gone.into())
    }

    /// Whether the swap held; no index is touched.
    fn swap(&self, digest: &KeyDigest, old: &Row, frame: &[u8]) -> Result<bool, Error> {
        let new = stored_bytes(old.indexed_at, frame);
        self.records
            .compare_and_swap(digest.as_bytes(), Some(&old.bytes), Some(new))
            .map(|swapped| swapped.is_ok())
            .map_err(failed)
    }

    pub(crate) fn load(&self, digest: &KeyDigest) -> Result<Option<Stored>, Error> {
        self.stored(digest)?
            .map(|stored| Stored::decode(stored.frame()))
            .transpose()
    }

    pub(crate) fn create(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        let frame = record.at_revision(Revision::FIRST).encode()?;
        let owner = owner_of_record(record);
        match self.put_free(digest, record.expires_at, &frame, &owner)? {
            true => Ok(Revision::FIRST),
            false => Err(ErrorKind::Exists.into()),
        }
    }

    pub(crate) fn import(&self, digest: &KeyDigest, stored: &Stored) -> Result<bool, Error> {
        let owner = match stored {
            Stored::Record(record) => owner_of_record(record),
            Stored::Rotated { .. } => Vec::new(),
        };
        self.put_free(digest, stored.expires_at(), &stored.encode()?, &owner)
    }

    /// Whether nothing stood there.
    fn put_free(
        &self,
        digest: &KeyDigest,
        deadline: Timestamp,
        frame: &[u8],
        owner: &[u8],
    ) -> Result<bool, Error> {
        self.transact(|all| {
            let is_free = all.records.get(digest.as_bytes())?.is_none();
            if is_free {
                all.put(digest, deadline, frame, owner, None)?;
            }
            Ok(is_free)
        })
    }

    pub(crate) fn update(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        loop {
            let stored = self.present(digest)?;
            let (head, subject) = stored.record()?;
            let next = record.next_revision_after(head.revision)?;
            let frame = record.at_revision(next).encode()?;
            let moves = subject != record.subject_digest();
            if moves || record.expires_at < stored.indexed_at {
                return self.update_entries(digest, record);
            }
            // Where the swap fails, only a touch or a sweep that moved the index
            // entry may have come between, or another update: look again.
            if self.swap(digest, &stored, &frame)? {
                return Ok(next);
            }
        }
    }

    /// An update that brings the deadline nearer, or gives the session to somebody
    /// else, takes the entries along.
    fn update_entries(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        let owner = owner_of_record(record);
        self.transact(|all| {
            let stored = all.stored(digest)?.ok_or_else(|| abort(ErrorKind::Gone))?;
            let head = stored.record_head().map_err(abort)?;
            let next = record.next_revision_after(head.revision).map_err(abort)?;
            let frame = record.at_revision(next).encode().map_err(abort)?;
            all.put(digest, record.expires_at, &frame, &owner, Some(&stored))?;
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
        let mark = Stored::Rotated {
            to: *new,
            until: mark_until,
        };
        let mark = mark.encode()?;
        let owner = owner_of_record(record);
        self.transact(|all| {
            let stored = all.stored(old)?.ok_or_else(|| abort(ErrorKind::Gone))?;
            let head = stored.record_head().map_err(abort)?;
            let next = record.next_revision_after(head.revision).map_err(abort)?;
            if all.records.get(new.as_bytes())?.is_some() {
                return Err(abort(ErrorKind::Exists));
            }
            let frame = record.at_revision(next).encode().map_err(abort)?;
            all.put(new, record.expires_at, &frame, &owner, None)?;
            all.put(old, mark_until, &mark, &[], Some(&stored))?;
            Ok(next)
        })
    }

    pub(crate) fn delete(&self, digest: &KeyDigest) -> Result<(), Error> {
        self.transact(|all| {
            let at = all.follow(digest)?;
            // After the last hop there may be one mark more, and marks stay.
            if all.mark(&at)?.is_none() {
                all.end(&at)?;
            }
            Ok(())
        })
    }
}

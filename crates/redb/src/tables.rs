//! The tables, and the invariants among them.
//!
//! A digest has a place, and there one slot; a record with a subject has one entry in
//! `subjects`. A sweep removes slots alone: the place and the entry of each follow
//! later, and until then `removed` has them. Nothing else leads nowhere, but where bytes
//! are damaged: a slot that no place leads to opens nothing, and a sweep removes it.
//!
//! What is not of one length is bytes here, for this crate to read: redb would panic on
//! a text that is none.

use cloakroom_core::{
    Error, ErrorKind, FrameHead, FrameKind, KeyDigest, Record, Revision, Revoke, Slot, Subject,
    Timestamp, Touch,
};
use redb::{
    Database, ReadableTable as _, ReadableTableMetadata as _, StorageError, Table, TableDefinition,
    WriteTransaction,
};

pub(crate) type DigestBytes = &'static [u8; KeyDigest::BYTES];

/// A deadline in milliseconds, and a digest.
pub(crate) type SlotKey = (u64, DigestBytes);

/// A subject, as in a slot, and a digest.
pub(crate) type SubjectKey = &'static [u8];

/// The first half of the key of its slot.
pub(crate) const PLACES: TableDefinition<'_, DigestBytes, u64> =
    TableDefinition::new("cloakroom/places/v1");
/// Whose record it is, as [`Stored::owner`] reads it, and the frame.
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

/// A subject's bytes, with their length before them; nobody's is a length of its own.
fn owner_bytes(owner: Option<&[u8]>) -> Vec<u8> {
    let length = owner.map_or(NOBODY, |owner| {
        u16::try_from(owner.len()).expect("SUBJECT_BYTES_MAX is less")
    });
    [&length.to_be_bytes(), owner.unwrap_or_default()].concat()
}

const NOBODY: u16 = u16::MAX;

/// The owner, and what stands behind it. Damage may make it another's, or nobody's.
fn read_owner(bytes: &[u8]) -> (Option<&[u8]>, &[u8]) {
    let Some((length, rest)) = bytes.split_first_chunk() else {
        return (None, &[]);
    };
    match u16::from_be_bytes(*length) {
        NOBODY => (None, rest),
        length => match rest.split_at_checked(length.into()) {
            Some((owner, rest)) => (Some(owner), rest),
            None => (None, &[]),
        },
    }
}

/// The key of an entry in `subjects`.
pub(crate) fn entry_key(owner: &[u8], digest: &[u8; KeyDigest::BYTES]) -> Vec<u8> {
    let mut key = owner_bytes(Some(owner));
    key.extend_from_slice(digest);
    key
}

/// The digest in such a key; `None` where it is damaged.
pub(crate) fn digest_in(entry: &[u8]) -> Option<KeyDigest> {
    let digest = read_owner(entry).1.try_into().ok()?;
    Some(KeyDigest::from_bytes(digest))
}

/// What stands under a digest.
pub(crate) struct Stored {
    /// The first half of its key: its deadline, or one before it.
    pub(crate) at: Timestamp,
    bytes: Vec<u8>,
}

impl Stored {
    /// The frame in a slot's bytes.
    pub(crate) fn frame_in(bytes: &[u8]) -> &[u8] {
        read_owner(bytes).1
    }

    fn frame(&self) -> &[u8] {
        Self::frame_in(&self.bytes)
    }

    pub(crate) fn head(&self) -> Result<FrameHead, Error> {
        FrameHead::read(self.frame())
    }

    /// The head of a record; a mark is nothing to write to.
    fn record(&self) -> Result<FrameHead, Error> {
        match FrameHead::read_with_subject(self.frame())?.0 {
            head if head.kind == FrameKind::Record => Ok(head),
            _ => Err(ErrorKind::Gone.into()),
        }
    }

    /// Whose record it is: as the frame says, which has a CRC, or where that is
    /// damaged, as stands before it.
    fn owner(&self) -> Option<&[u8]> {
        match FrameHead::read_with_subject(self.frame()) {
            Ok((_, subject)) => subject.map(str::as_bytes),
            Err(_) => read_owner(&self.bytes).0,
        }
    }

    /// Whether whoever is listed with it may end it.
    fn may_be_of(&self, subject: &[u8]) -> bool {
        match FrameHead::read_with_subject(self.frame()) {
            Ok((_, found)) => found.map(str::as_bytes) == Some(subject),
            Err(_) => true,
        }
    }
}

fn subject_of(record: &Record) -> Option<&[u8]> {
    let subject = record.subject.as_ref();
    subject.map(|subject| subject.as_str().as_bytes())
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
    places: Table<'t, DigestBytes, u64>,
    slots: Table<'t, SlotKey, &'static [u8]>,
    subjects: Table<'t, SubjectKey, ()>,
    removed: Table<'t, u64, &'static [u8]>,
    round: Table<'t, u64, &'static [u8]>,
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

    pub(crate) fn stored(&self, digest: &KeyDigest) -> Result<Option<Stored>, StorageError> {
        match self.place(digest)? {
            Some(at) => self.stored_at(at, digest),
            None => Ok(None),
        }
    }

    fn place(&self, digest: &KeyDigest) -> Result<Option<Timestamp>, StorageError> {
        let at = self.places.get(digest.as_bytes())?;
        Ok(at.map(|at| Timestamp::from_millis(at.value())))
    }

    pub(crate) fn stored_at(
        &self,
        at: Timestamp,
        digest: &KeyDigest,
    ) -> Result<Option<Stored>, StorageError> {
        let slot = self.slots.get((at.as_millis(), digest.as_bytes()))?;
        Ok(slot.map(|slot| Stored {
            at,
            bytes: slot.value().to_vec(),
        }))
    }

    fn stands(&self, digest: &KeyDigest) -> Result<bool, StorageError> {
        Ok(self.stored(digest)?.is_some())
    }

    fn present(&self, digest: &KeyDigest) -> Result<Stored, Failure> {
        Ok(self.stored(digest)?.ok_or(ErrorKind::Gone)?)
    }

    fn put(
        &mut self,
        at: Timestamp,
        digest: &KeyDigest,
        owner: Option<&[u8]>,
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
        owner: Option<&[u8]>,
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
        owner: Option<&[u8]>,
        frame: &[u8],
        replaced: &Stored,
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
    fn take(&mut self, at: Timestamp, digest: &KeyDigest) -> Result<(), StorageError> {
        self.changed = true;
        self.slots.remove((at.as_millis(), digest.as_bytes()))?;
        Ok(())
    }

    fn remove(&mut self, digest: &KeyDigest, stored: &Stored) -> Result<(), StorageError> {
        self.take(stored.at, digest)?;
        self.places.remove(digest.as_bytes())?;
        self.unlist(stored.owner(), digest)
    }

    fn list(&mut self, owner: Option<&[u8]>, digest: &KeyDigest) -> Result<(), StorageError> {
        if let Some(owner) = owner {
            let key = entry_key(owner, digest.as_bytes());
            self.subjects.insert(&key[..], ())?;
        }
        Ok(())
    }

    fn unlist(&mut self, owner: Option<&[u8]>, digest: &KeyDigest) -> Result<(), StorageError> {
        if let Some(owner) = owner {
            self.changed = true;
            let key = entry_key(owner, digest.as_bytes());
            self.subjects.remove(&key[..])?;
        }
        Ok(())
    }

    /// The keys of so many slots behind this one, up to `now`.
    pub(crate) fn due_after(
        &self,
        after: Option<(Timestamp, KeyDigest)>,
        now: Timestamp,
        max: usize,
    ) -> Result<Vec<(Timestamp, KeyDigest)>, StorageError> {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let after = match &after {
            Some((at, digest)) => Excluded((at.as_millis(), digest.as_bytes())),
            None => Unbounded,
        };
        let until = Included((now.as_millis(), &LAST));
        let due = self.slots.range((after, until))?.take(max);
        let keys = due.map(|slot| {
            let (key, _) = slot?;
            let (at, digest) = key.value();
            Ok((Timestamp::from_millis(at), KeyDigest::from_bytes(*digest)))
        });
        keys.collect()
    }

    /// Moves what a sweep has come to, to its deadline.
    pub(crate) fn move_on(
        &mut self,
        deadline: Timestamp,
        digest: &KeyDigest,
        stored: &Stored,
    ) -> Result<(), StorageError> {
        let bytes = &stored.bytes[..];
        self.take(stored.at, digest)?;
        let at = deadline.as_millis();
        self.slots.insert((at, digest.as_bytes()), bytes)?;
        self.places.insert(digest.as_bytes(), at)?;
        Ok(())
    }

    /// Whether the place of a digest leads there.
    pub(crate) fn is_home(&self, at: Timestamp, digest: &KeyDigest) -> Result<bool, StorageError> {
        Ok(self.place(digest)? == Some(at))
    }

    /// Removes the slot that a sweep has come to; the rest is to follow.
    pub(crate) fn sweep(
        &mut self,
        digest: &KeyDigest,
        stored: &Stored,
    ) -> Result<(), StorageError> {
        self.take(stored.at, digest)?;
        let last = self.removed.last()?.map(|(number, _)| number.value());
        let number = last.map_or(0, |last| last.saturating_add(1));
        let bytes = [&digest.as_bytes()[..], &owner_bytes(stored.owner())].concat();
        self.removed.insert(number, &bytes[..])?;
        Ok(())
    }

    /// How many places there are, and how many of what was removed have yet to follow.
    pub(crate) fn counts(&self) -> Result<(u64, u64), StorageError> {
        Ok((self.places.len()?, self.removed.len()?))
    }

    /// The numbers of the first and the last of those.
    pub(crate) fn removed_ends(&self) -> Result<(u64, u64), StorageError> {
        let first = self.removed.first()?.map(|(number, _)| number.value());
        let last = self.removed.last()?.map(|(number, _)| number.value());
        Ok((first.unwrap_or_default(), last.unwrap_or_default()))
    }

    /// So many of those behind the one number, up to the other, and whether that is all.
    pub(crate) fn removed(
        &self,
        after: Option<u64>,
        upto: u64,
        max: usize,
    ) -> Result<(Vec<Removed>, bool), StorageError> {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let mut found = Vec::new();
        let range = (after.map_or(Unbounded, Excluded), Included(upto));
        for entry in self.removed.range::<u64>(range)? {
            if found.len() == max {
                return Ok((found, false));
            }
            let (number, bytes) = entry?;
            let number = number.value();
            // What is too short names nothing to clear.
            if let Some((digest, owner)) = bytes.value().split_first_chunk() {
                found.push(Removed {
                    number,
                    digest: KeyDigest::from_bytes(*digest),
                    entry: read_owner(owner).0.map(|owner| entry_key(owner, digest)),
                });
            }
        }
        Ok((found, true))
    }

    /// Removes a place, unless it leads anywhere.
    pub(crate) fn clear_place(&mut self, digest: &KeyDigest) -> Result<(), StorageError> {
        let place = self.places.remove(digest.as_bytes())?;
        let Some(place) = place.map(|place| place.value()) else {
            return Ok(());
        };
        self.changed = true;
        if self.slots.get((place, digest.as_bytes()))?.is_some() {
            self.places.insert(digest.as_bytes(), place)?;
        }
        Ok(())
    }

    /// Removes an entry of whom no record stands there.
    pub(crate) fn clear_entry(&mut self, entry: &[u8]) -> Result<(), StorageError> {
        let (Some(owner), Some(digest)) = (read_owner(entry).0, digest_in(entry)) else {
            return Ok(());
        };
        let stored = self.stored(&digest)?;
        if stored.is_none_or(|stored| !stored.may_be_of(owner)) {
            self.unlist(Some(owner), &digest)?;
        }
        Ok(())
    }

    /// Forgets so many of what was removed, up to this number; says whether that was
    /// all of them.
    pub(crate) fn forget(&mut self, upto: u64, max: u64) -> Result<bool, StorageError> {
        let (first, _) = self.removed_ends()?;
        let end = upto.min(first.saturating_add(max));
        self.changed = true;
        self.removed.retain_in(..=end, |_, _| false)?;
        // Those that come after an empty table are numbered from the first again.
        Ok(end == upto || self.removed.is_empty()?)
    }

    /// How far the round of clearing under way has come.
    pub(crate) fn round(&self) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.round.get(0)?.map(|round| round.value().to_vec()))
    }

    pub(crate) fn set_round(&mut self, round: Option<&[u8]>) -> Result<(), StorageError> {
        self.changed = true;
        match round {
            Some(round) => drop(self.round.insert(0, round)?),
            None => drop(self.round.remove(0)?),
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
        self.put_new(record.expires_at, digest, subject_of(record), &frame)?;
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
        self.put_new(slot.expires_at(), digest, owner, &frame)?;
        Ok(true)
    }

    pub(crate) fn update(
        &mut self,
        digest: &KeyDigest,
        record: &Record,
    ) -> Result<Revision, Failure> {
        let stored = self.present(digest)?;
        let next = record.follow(stored.record()?.revision)?;
        let frame = record.at_revision(next).encode()?;
        // A deadline that comes nearer takes the slot along.
        let at = stored.at.min(record.expires_at);
        self.replace(at, digest, subject_of(record), &frame, &stored)?;
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
        let mark = Slot::Rotated {
            to: *new,
            until: mark_until,
        };
        let mark = mark.encode()?;
        let stored = self.present(old)?;
        let next = record.follow(stored.record()?.revision)?;
        let frame = record.at_revision(next).encode()?;
        if self.stands(new)? {
            return Err(ErrorKind::Exists.into());
        }
        self.put_new(record.expires_at, new, subject_of(record), &frame)?;
        self.replace(mark_until, old, None, &mark, &stored)?;
        Ok(next)
    }

    /// Where the mark at a digest leads, if one stands there.
    fn mark(&self, digest: &KeyDigest) -> Result<Option<KeyDigest>, StorageError> {
        let stored = self.stored(digest)?;
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
    fn end(&mut self, digest: &KeyDigest) -> Result<bool, StorageError> {
        let stored = self.stored(digest)?;
        if let Some(stored) = &stored {
            self.remove(digest, stored)?;
        }
        Ok(stored.is_some())
    }

    pub(crate) fn revoke(
        &mut self,
        subject: &Subject,
        which: Revoke,
    ) -> Result<Vec<KeyDigest>, Failure> {
        let which = which.followed(|digest| self.follow(digest))?;
        let subject = subject.as_str().as_bytes();
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
                    self.unlist(Some(subject), &digest)?;
                    ended.push(digest);
                }
                _ => self.unlist(Some(subject), &digest)?,
            }
        }
        Ok(ended)
    }
}

/// What a sweep has removed, and whose place and entry are to follow.
pub(crate) struct Removed {
    pub(crate) number: u64,
    pub(crate) digest: KeyDigest,
    /// The key of its entry in `subjects`.
    pub(crate) entry: Option<Vec<u8>>,
}

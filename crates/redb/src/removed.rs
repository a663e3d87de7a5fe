//! The tables, as a sweep uses them: what is due, what it removes, and what is cleared
//! after it.

use cloakroom_core::Timestamp;
use cloakroom_core::store::KeyDigest;
use redb::{ReadableTable as _, ReadableTableMetadata as _, StorageError};

use crate::row::{Row, digest_in, entry_key, owner_bytes, read_owner};
use crate::tables::{LAST, Tables};

/// What a sweep has removed, and whose place and entry are to follow.
pub(crate) struct Removed {
    pub(crate) number: u64,
    pub(crate) digest: KeyDigest,
    /// The key of its entry in `subjects`.
    pub(crate) entry: Option<Vec<u8>>,
}

impl Tables<'_> {
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
        stored: &Row,
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
    pub(crate) fn sweep(&mut self, digest: &KeyDigest, stored: &Row) -> Result<(), StorageError> {
        self.take(stored.at, digest)?;
        let last = self.removed.last()?.map(|(number, _)| number.value());
        let number = last.map_or(0, |last| last.saturating_add(1));
        let bytes = [&digest.as_bytes()[..], &owner_bytes(stored.owner())[..]].concat();
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
                    entry: read_owner(owner).0.map(|owner| entry_key(&owner, digest)),
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
        if stored.is_none_or(|stored| !stored.may_be_of(&owner)) {
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
}

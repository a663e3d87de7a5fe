//! Which sessions are whose.
//!
//! An entry is put in before its record and removed after it, both under the lock of
//! the record's digest. When moka evicts a record, its entry becomes an orphan. A
//! listener of moka's could not remove it, since it would have to ask the cache from
//! inside; so each entry put in has a few others checked, which keeps orphans few.

use std::collections::BTreeSet;
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::sync::{Mutex, MutexGuard, PoisonError};

use cloakroom_core::store::{KeyDigest, SubjectDigest};

/// Subjects are spread over as many locks.
const SHARDS: usize = 16;

/// Entries that are checked for each one put in. With a single one, orphans could come
/// up as fast as they are removed.
const CHECKS_PER_INSERT: usize = 4;

pub(crate) type Entry = (SubjectDigest, KeyDigest);

#[derive(Default)]
struct Shard {
    entries: BTreeSet<Entry>,
    /// The last entry that was checked.
    cursor: Option<Entry>,
}

#[derive(Default)]
pub(crate) struct Index {
    shards: [Mutex<Shard>; SHARDS],
}

impl Index {
    fn shard(&self, subject: &SubjectDigest) -> MutexGuard<'_, Shard> {
        // A digest is uniform: any of its bytes will do.
        lock(&self.shards[usize::from(subject.as_bytes()[0]) % SHARDS])
    }

    pub(crate) fn insert(&self, subject: &SubjectDigest, digest: &KeyDigest) {
        self.shard(subject).entries.insert((*subject, *digest));
    }

    pub(crate) fn remove(&self, subject: &SubjectDigest, digest: &KeyDigest) {
        self.shard(subject).entries.remove(&(*subject, *digest));
    }

    /// The digests of a subject's entries past this one at one instant, in their order:
    /// `max` of them at most.
    pub(crate) fn digests(
        &self,
        subject: &SubjectDigest,
        after: Option<KeyDigest>,
        max: usize,
    ) -> Vec<KeyDigest> {
        const FIRST: KeyDigest = KeyDigest::from_bytes([0; KeyDigest::BYTES]);
        const LAST: KeyDigest = KeyDigest::from_bytes([0xff; KeyDigest::BYTES]);
        let from = match after {
            Some(after) => Excluded((*subject, after)),
            None => Included((*subject, FIRST)),
        };
        // A range that begins behind its end is a panic.
        if after == Some(LAST) {
            return Vec::new();
        }
        let shard = self.shard(subject);
        let entries = shard.entries.range((from, Included((*subject, LAST))));
        entries.take(max).map(|(_, digest)| *digest).collect()
    }

    /// The next entries to check after one of this subject was put in: some of the same
    /// shard.
    pub(crate) fn next_to_check(&self, subject: &SubjectDigest) -> Vec<Entry> {
        next(&mut self.shard(subject), CHECKS_PER_INSERT)
    }

    /// The next entries to check in a sweep: so many of each shard.
    pub(crate) fn next_to_check_of_all(&self, max: usize) -> Vec<Entry> {
        let shards = self.shards.iter();
        shards
            .flat_map(|shard| next(&mut lock(shard), max))
            .collect()
    }

    pub(crate) fn len(&self) -> usize {
        let shards = self.shards.iter();
        shards.map(|shard| lock(shard).entries.len()).sum()
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    // A panic leaves nothing half done: no code under the lock can panic midway.
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

fn next(shard: &mut Shard, max: usize) -> Vec<Entry> {
    let from = shard.cursor.take().map_or(Unbounded, Excluded);
    let rest = shard.entries.range((from, Unbounded));
    let found: Vec<Entry> = rest.take(max).copied().collect();
    // At the end it begins again.
    shard.cursor = (found.len() == max)
        .then(|| found.last().copied())
        .flatten();
    found
}

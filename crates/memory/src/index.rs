//! Whose sessions are whose.
//!
//! An entry stands from before its record is put until after it is gone, and both
//! change under the lock of the digest. What moka evicts leaves its entry behind:
//! each entry put in has a few others looked at, so that those that dangle are
//! never many.

use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, RandomState};
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::sync::{Mutex, MutexGuard, PoisonError};

use cloakroom_core::store::{KeyDigest, SubjectDigest};

/// SubjectDigests are spread over as many locks.
const SHARDS: usize = 16;

/// Entries that are looked at for each that is put in: with one, those that dangle
/// would grow as fast as they are removed.
pub(crate) const LOOKS_PER_ENTRY: usize = 4;

pub(crate) type Entry = (SubjectDigest, KeyDigest);

#[derive(Default)]
struct Shard {
    entries: BTreeSet<Entry>,
    /// Looked at last.
    cursor: Option<Entry>,
}

pub(crate) struct Index {
    shards: [Mutex<Shard>; SHARDS],
    hasher: RandomState,
}

impl Default for Index {
    fn default() -> Self {
        Self {
            shards: [const {
                Mutex::new(Shard {
                    entries: BTreeSet::new(),
                    cursor: None,
                })
            }; SHARDS],
            hasher: RandomState::new(),
        }
    }
}

impl Index {
    fn shard(&self, subject: &SubjectDigest) -> MutexGuard<'_, Shard> {
        let hash = self.hasher.hash_one(subject);
        lock(&self.shards[usize::try_from(hash % SHARDS as u64).expect("less than SHARDS")])
    }

    pub(crate) fn insert(&self, subject: &SubjectDigest, digest: &KeyDigest) {
        let entry = (*subject, *digest);
        self.shard(subject).entries.insert(entry);
    }

    pub(crate) fn remove(&self, subject: &SubjectDigest, digest: &KeyDigest) {
        let entry = (*subject, *digest);
        self.shard(subject).entries.remove(&entry);
    }

    /// The digests of a subject, as they stand at one instant.
    pub(crate) fn digests(&self, subject: &SubjectDigest) -> Vec<KeyDigest> {
        const FIRST: KeyDigest = KeyDigest::from_bytes([0; KeyDigest::BYTES]);
        const LAST: KeyDigest = KeyDigest::from_bytes([0xff; KeyDigest::BYTES]);
        let from = Included((*subject, FIRST));
        let to = Included((*subject, LAST));
        let shard = self.shard(subject);
        let entries = shard.entries.range((from, to));
        entries.map(|(_, digest)| *digest).collect()
    }

    /// The next few to look at, of those beside a subject's.
    pub(crate) fn next_beside(&self, subject: &SubjectDigest) -> Vec<Entry> {
        next(&mut self.shard(subject), LOOKS_PER_ENTRY)
    }

    /// The next to look at, so many of each shard.
    pub(crate) fn next_of_all(&self, max: usize) -> Vec<Entry> {
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
    // Nothing that is done under it can panic half-way.
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

fn next(shard: &mut Shard, max: usize) -> Vec<Entry> {
    let from = shard.cursor.take().map_or(Unbounded, Excluded);
    let rest = shard.entries.range((from, Unbounded));
    let found: Vec<Entry> = rest.take(max).copied().collect();
    // At the end, from the start.
    shard.cursor = (found.len() == max)
        .then(|| found.last().copied())
        .flatten();
    found
}

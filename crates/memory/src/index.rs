//! Which sessions are whose.
//!
//! An entry changes under the lock of its session's shard of the map, so the index lists
//! what stands and nothing else. Whoever holds a lock of the index takes no other.

use std::collections::BTreeSet;
use std::ops::Bound::{Excluded, Included};
use std::sync::{Mutex, MutexGuard, PoisonError};

use cloakroom_core::store::{KeyDigest, SubjectDigest};

/// Subjects are spread over as many locks.
const SHARDS: usize = 16;

type Shard = BTreeSet<(SubjectDigest, KeyDigest)>;

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
        self.shard(subject).insert((*subject, *digest));
    }

    pub(crate) fn remove(&self, subject: &SubjectDigest, digest: &KeyDigest) {
        self.shard(subject).remove(&(*subject, *digest));
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
        let entries = shard.range((from, Included((*subject, LAST))));
        entries.take(max).map(|(_, digest)| *digest).collect()
    }

    pub(crate) fn len(&self) -> usize {
        let shards = self.shards.iter();
        shards.map(|shard| lock(shard).len()).sum()
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    // A panic leaves nothing half done: no code under the lock can panic midway.
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

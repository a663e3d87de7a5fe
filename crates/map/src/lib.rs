//! A map from digests to values, bounded by bytes: what Cloakroom's in-memory store and its
//! near cache keep their sessions in.
//!
//! [`BoundedMap`] is split into shards, each behind a lock of its own and with its share of
//! the bytes. Whoever holds the lock of a [`Shard`] sees and changes it in one step, so a
//! compare-and-swap is a comparison and an insert under one lock. No method waits for
//! anything but such a lock, and none allocates where a value is read or replaced.
//!
//! ```
//! use cloakroom_map::BoundedMap;
//!
//! let map = BoundedMap::new(1024 * 1024, |text: &String| size_of::<String>() + text.capacity());
//! let digest = [7; 32];
//! assert!(map.lock(&digest).insert(&digest, "seven".to_owned()).evicted.is_empty());
//! assert_eq!(map.lock(&digest).get(&digest), Some(&"seven".to_owned()));
//! ```
//!
//! # Decisions
//!
//! **A full shard evicts the value unused longest** (LRU), and a new value counts as used.
//! Caches that count how often something was used, or try new values out in a small queue
//! (TinyLFU, S3-FIFO), turn new logins away in favour of idle sessions. CLOCK, which
//! approximates LRU by one bit, evicts the oldest sessions, in use or not, where all bits
//! are set.
//!
//! **The digests are the hashes.** They must be uniform and not of a client's choice, as
//! SHA-256 of a random key is.
//!
//! **A value stays in its node** until it is removed, so that whoever reads all of them can
//! release the lock in between. So a place that was used once stays allocated, for the next
//! value: where many small values have given way to few large ones, that may be almost as
//! much again as the bound, which counts what the values take that are there.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod order;
mod shard;

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

pub use crate::shard::{Inserted, Shard};

/// What a value is found by: 32 uniform bytes.
pub type Digest = [u8; 32];

/// How many shards there are at most. Each costs some 700 bytes.
const SHARDS_MAX: u64 = 256;

/// A smaller map has fewer shards, since a shard holds no value that is larger than its
/// share of the bytes, and a share of few values deviates from the mean.
const SHARD_BYTES_MIN: u64 = 4 * 1024 * 1024;

/// A map from digests to values that is bounded by bytes.
pub struct BoundedMap<V> {
    /// A power of two of them, in the order of the digests that they hold.
    shards: Box<[Mutex<Shard<V>>]>,
}

impl<V> fmt::Debug for BoundedMap<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoundedMap")
            .field("values", &self.len())
            .field("bytes", &self.bytes())
            .finish()
    }
}

impl<V> BoundedMap<V> {
    /// An empty map of so many bytes; `value_bytes` says how many bytes of memory a value
    /// takes, its own size and all that it holds. The map adds what it needs itself.
    #[must_use]
    pub fn new(capacity_bytes: u64, value_bytes: fn(&V) -> usize) -> Self {
        let count = (capacity_bytes / SHARD_BYTES_MIN).clamp(1, SHARDS_MAX);
        let count = 1 << count.ilog2();
        let capacity = usize::try_from(capacity_bytes / count).unwrap_or(usize::MAX);
        let shards = (0..count).map(|_| Mutex::new(Shard::new(capacity, value_bytes)));
        Self {
            shards: shards.collect(),
        }
    }

    /// The shard that a digest belongs to, locked. To hold two at once, use
    /// [`lock_both`](Self::lock_both).
    pub fn lock(&self, digest: &Digest) -> MutexGuard<'_, Shard<V>> {
        self.lock_nth(self.shard_of(digest))
    }

    /// The shards that two digests belong to, perhaps the same, locked at once.
    pub fn lock_both(&self, one: &Digest, other: &Digest) -> BothShards<'_, V> {
        // Others may lock the same two, so the locks are always taken in the same order.
        let [first, second] = {
            let mut both = [one, other].map(|digest| self.shard_of(digest));
            both.sort_unstable();
            both
        };
        BothShards {
            first: self.lock_nth(first),
            second: (second != first).then(|| (second, self.lock_nth(second))),
            map: self,
        }
    }

    /// How many shards there are.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// Which shard a digest belongs to. Digests of a shard follow all those of the shards
    /// before it.
    #[must_use]
    pub fn shard_of(&self, digest: &Digest) -> usize {
        usize::from(digest[0]) * self.shards.len() / 256
    }

    /// One of the shards by its number, locked; to be used to go through all of them.
    ///
    /// # Panics
    /// There is no shard of that number.
    pub fn lock_nth(&self, number: usize) -> MutexGuard<'_, Shard<V>> {
        // A panic leaves nothing half done: no code under the lock can panic midway.
        let shard = self.shards[number].lock();
        shard.unwrap_or_else(PoisonError::into_inner)
    }

    /// How many values it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sum(Shard::len)
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes in use, bookkeeping included.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.sum(Shard::bytes) as u64
    }

    fn sum(&self, of: impl Fn(&Shard<V>) -> usize) -> usize {
        (0..self.shards()).map(|n| of(&self.lock_nth(n))).sum()
    }
}

/// The shards of two digests, both locked.
pub struct BothShards<'m, V> {
    map: &'m BoundedMap<V>,
    first: MutexGuard<'m, Shard<V>>,
    /// With its number, where it is another one.
    second: Option<(usize, MutexGuard<'m, Shard<V>>)>,
}

impl<V> BothShards<'_, V> {
    /// The shard of one of the two digests.
    pub fn of(&mut self, digest: &Digest) -> &mut Shard<V> {
        let number = self.map.shard_of(digest);
        match &mut self.second {
            Some((second, shard)) if *second == number => shard,
            _ => &mut self.first,
        }
    }
}

impl<V> fmt::Debug for BothShards<'_, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BothShards").finish_non_exhaustive()
    }
}

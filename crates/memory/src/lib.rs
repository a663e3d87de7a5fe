//! Cloakroom sessions in memory.
//!
//! [`MemoryStore`] is bounded by bytes. A full store evicts the session that has gone
//! unused longest in its shard, so a login is never refused in favour of an idle visitor;
//! an event at `WARN`, once a minute at most, says how many sessions were ended so.
//! Sessions end with the process.
//!
//! Which sessions are whose stands in an index, in memory too; a session without a
//! subject has no entry there. A session that is listed does not count as used.
//!
//! Lists are read page by page. What has to look at many sessions (a scan, a sweep, a
//! revocation) lets the runtime's other tasks run in between, every millisecond or so. A
//! revocation whose future is dropped has ended some of the sessions.
//!
//! ```
//! use cloakroom_core::Expiry;
//! use cloakroom_core::store::{KeyDigest, SessionStore};
//! use cloakroom_memory::MemoryStore;
//!
//! # async fn example() -> Result<(), cloakroom_core::Error> {
//! let store = MemoryStore::builder().capacity_bytes(64 * 1024 * 1024).build();
//! # let now = cloakroom_core::Timestamp::MAX;
//! let digest = KeyDigest::from_bytes([0; 32]);
//! store.create(&digest, &Expiry::default().begin(now)).await?;
//! # Ok(())
//! # }
//! ```
//!
//! **In the book:** [Which store?](https://github.com/cloakroom-rs/cloakroom/blob/main/docs/stores.md).
//!
//! # Decisions
//!
//! **A map of its own** (`cloakroom-map`, which the near cache uses too) keeps the bound, the
//! order of eviction and the locks. A compare-and-swap is a comparison and an insert under
//! the lock of the digest's shard, which is never held over an await. moka has no
//! compare-and-swap, and takes more time than all the rest of a load, and 364 bytes for each
//! session.
//!
//! **Eviction is by last use.** A policy that counts how often a session was used turns
//! every new session away from a full store.
//!
//! **The clock is asked on each call,** so that what has expired is gone by the clock alone.
//! Its memory is freed by the writes that follow: each new session has eight others looked
//! at.
//!
//! **The index changes under the lock of the session's shard,** also where a session is
//! evicted, so it lists what stands and nothing else.
//!
//! **A revocation follows rotation marks.** A session that rotates while it is being ended
//! is ended at its current digest, and one that is to be spared is spared there.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod evictions;
mod index;
mod scan;
mod subjects;
mod sweep;
mod yields;

use std::fmt;
use std::sync::Arc;

use cloakroom_core::store::{
    BoxFuture, Capabilities, Ending, Import, KeyDigest, Record, Revision, SessionStore, Stored,
    Tombstone, Touch,
};
use cloakroom_core::{Clock, Error, ErrorKind, SystemClock, Timestamp};
use cloakroom_map::{BoundedMap, Shard};

use crate::evictions::Evictions;
use crate::index::Index;

/// Bytes a [`MemoryStore`] holds by default: 64 MiB, some 90,000 sessions of
/// 400 bytes.
pub const CAPACITY_BYTES_DEFAULT: u64 = 64 * 1024 * 1024;

/// What the index entry of a session with a subject costs: 64 bytes, in a tree whose nodes
/// are two thirds full.
const INDEX_ENTRY_BYTES: usize = 100;

/// For each session that is added, so many others are looked at, and removed if they have
/// expired. Then at most an eighth of the most that it has held at once have expired.
const LOOKS_PER_INSERT: usize = 8;

const NAME: &str = "memory";

/// A store in this process's memory. Cheap to clone; all clones are the one
/// store.
///
/// It is not durable, and not shared with other processes. A record is gone at its
/// deadline, by the store's clock; no sweep is needed. What has ended is remembered as a
/// tombstone ([`Stored::Ended`]) that counts among the bytes, until it is evicted or due.
#[derive(Clone)]
pub struct MemoryStore {
    inner: Arc<Inner>,
}

struct Inner {
    map: BoundedMap<Stored>,
    index: Index,
    evictions: Evictions,
    clock: Arc<dyn Clock>,
}

impl Default for MemoryStore {
    /// A store of 64 MiB, by the system's clock.
    fn default() -> Self {
        Self::builder().build()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore")
            .field("sessions", &self.inner.map.len())
            .field("bytes", &self.inner.map.bytes())
            .field("listed", &self.inner.index.len())
            .finish()
    }
}

impl MemoryStore {
    /// A store of a size of one's own.
    #[must_use]
    pub fn builder() -> MemoryStoreBuilder {
        MemoryStoreBuilder {
            capacity_bytes: CAPACITY_BYTES_DEFAULT,
            clock: Arc::new(SystemClock),
        }
    }

    /// Bytes in use, bookkeeping included.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.inner.map.bytes()
    }
}

/// Builds a [`MemoryStore`].
#[derive(Clone, Debug)]
pub struct MemoryStoreBuilder {
    capacity_bytes: u64,
    clock: Arc<dyn Clock>,
}

impl MemoryStoreBuilder {
    /// Bytes it may hold, bookkeeping included. Default
    /// [`CAPACITY_BYTES_DEFAULT`]. Where many small sessions have given way to few large
    /// ones, their empty places may take almost as much again. From 8 MiB on it is divided
    /// into up to 256 shards of 4 MiB or more; a session that is larger than such a share
    /// is refused.
    #[must_use]
    pub fn capacity_bytes(mut self, bytes: u64) -> Self {
        self.capacity_bytes = bytes;
        self
    }

    /// The clock that expired records are dropped by; for tests that move the time by
    /// hand. Whether a session is expired, the engine judges.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The store.
    #[must_use]
    pub fn build(self) -> MemoryStore {
        MemoryStore {
            inner: Arc::new(Inner {
                map: BoundedMap::new(self.capacity_bytes, memory_bytes),
                index: Index::default(),
                evictions: Evictions::default(),
                clock: self.clock,
            }),
        }
    }
}

fn memory_bytes(stored: &Stored) -> usize {
    let is_listed = matches!(stored, Stored::Record(record) if record.subject.is_some());
    stored.memory_bytes() + if is_listed { INDEX_ENTRY_BYTES } else { 0 }
}

fn gone() -> Error {
    Error::from(ErrorKind::Gone).in_store(NAME)
}

impl Inner {
    /// Stores a record at a digest where nothing stands.
    fn create(&self, digest: &KeyDigest, stored: Stored) -> Result<(), Error> {
        let now = self.clock.now();
        let shard = &mut *self.map.lock(digest.as_bytes());
        if is_occupied(shard, digest, now) {
            return Err(Error::from(ErrorKind::Exists).in_store(NAME));
        }
        self.put(shard, digest, stored, now)
    }

    /// Replaces the record at a digest.
    fn update(
        &self,
        digest: &KeyDigest,
        change: impl FnOnce(&Record) -> Result<Option<Record>, Error>,
    ) -> Result<(), Error> {
        let now = self.clock.now();
        let shard = &mut *self.map.lock(digest.as_bytes());
        let Some(Stored::Record(stored)) = standing(shard, digest, now) else {
            return Err(gone());
        };
        match change(stored)? {
            Some(changed) => self.put(shard, digest, Stored::Record(changed), now),
            None => Ok(()),
        }
    }

    fn rotate(
        &self,
        old: &KeyDigest,
        new: &KeyDigest,
        record: &Record,
        mark_until: Timestamp,
    ) -> Result<Revision, Error> {
        let now = self.clock.now();
        let mut shards = self.map.lock_both(old.as_bytes(), new.as_bytes());
        let shard = shards.of(old.as_bytes());
        let Some(Stored::Record(stored)) = standing(shard, old, now) else {
            return Err(gone());
        };
        let next = record
            .next_revision_after(stored.revision)
            .map_err(|error| error.in_store(NAME))?;
        let shard = shards.of(new.as_bytes());
        if is_occupied(shard, new, now) {
            return Err(Error::from(ErrorKind::Exists).in_store(NAME));
        }
        // The index lists the new digest before it loses the old one, so that no
        // revocation misses the session.
        self.put(shard, new, Stored::Record(record.at_revision(next)), now)?;
        let mark = Stored::Rotated {
            to: *new,
            until: mark_until,
        };
        self.put(shards.of(old.as_bytes()), old, mark, now)?;
        Ok(next)
    }

    /// Puts something at a digest of this shard, and keeps the index in step. Where there
    /// is no room for it, nothing changes.
    fn put(
        &self,
        shard: &mut Shard<Stored>,
        digest: &KeyDigest,
        stored: Stored,
        now: Timestamp,
    ) -> Result<(), Error> {
        let (bytes, room) = (shard.bytes_of(&stored), shard.capacity_bytes());
        if bytes > room {
            let why = format!(
                "the session takes {bytes} bytes of memory, and the in-memory store has room for \
                 {room} in each of its shards: give it more capacity"
            );
            return Err(Error::new(ErrorKind::TooLarge, why).in_store(NAME));
        }
        let replaced = shard.peek(digest.as_bytes());
        // Most writes keep the subject; they need not hash it.
        let keeps_subject = match (&stored, replaced) {
            (Stored::Record(new), Some(Stored::Record(old))) => {
                (&new.site, &new.subject) == (&old.site, &old.subject)
            }
            _ => false,
        };
        if replaced.is_none() {
            let is_expired = |stored: &Stored| stored.expires_at() <= now;
            for (digest, stored) in shard.remove_some(LOOKS_PER_INSERT, is_expired) {
                self.unlist(&digest, &stored);
                self.remember(shard, &digest, stored.swept(now));
            }
        }
        let subject = (!keeps_subject).then(|| stored.listed_under()).flatten();
        let inserted = shard.insert(digest.as_bytes(), stored);
        if let Some(replaced) = inserted.replaced.filter(|_| !keeps_subject) {
            self.unlist(digest.as_bytes(), &replaced);
        }
        if let Some(subject) = subject {
            self.index.insert(&subject, digest);
        }
        for (digest, stored) in inserted.evicted {
            self.unlist(&digest, &stored);
            if matches!(stored, Stored::Record(_)) && stored.expires_at() > now {
                self.evictions.count();
            }
        }
        Ok(())
    }

    /// Removes what stands at a digest of this shard, and its index entry.
    fn remove(&self, shard: &mut Shard<Stored>, digest: &KeyDigest) {
        if let Some(removed) = shard.remove(digest.as_bytes()) {
            self.unlist(digest.as_bytes(), &removed);
        }
    }

    /// Puts a tombstone, if there is one, where a session stood until now. Without its note
    /// it takes no more room than that, so nothing is evicted; and where there is none left,
    /// it goes before any session.
    fn remember(
        &self,
        shard: &mut Shard<Stored>,
        digest: &[u8; KeyDigest::BYTES],
        left: Option<Tombstone>,
    ) {
        if let Some(tombstone) = left {
            let room = shard.capacity_bytes().saturating_sub(shard.bytes());
            let mut left = Stored::Ended(tombstone);
            if shard.bytes_of(&left) > room
                && let Stored::Ended(tombstone) = &mut left
            {
                tombstone.note = None;
            }
            shard.insert(digest, left);
            shard.evict_next(digest);
        }
    }

    /// Removes the index entry of what is no more at a digest.
    fn unlist(&self, digest: &[u8; KeyDigest::BYTES], stored: &Stored) {
        if let Some(subject) = stored.listed_under() {
            self.index.remove(&subject, &KeyDigest::from_bytes(*digest));
        }
    }
}

/// What stands at a digest. This is a use of it.
fn standing<'s>(
    shard: &'s mut Shard<Stored>,
    digest: &KeyDigest,
    now: Timestamp,
) -> Option<&'s Stored> {
    let stored = shard.get(digest.as_bytes())?;
    (stored.expires_at() > now).then_some(stored)
}

/// Whether anything stands at a digest, or has expired there so lately that it is remembered.
fn is_occupied(shard: &Shard<Stored>, digest: &KeyDigest, now: Timestamp) -> bool {
    let stored = shard.peek(digest.as_bytes());
    stored.is_some_and(|stored| stored.expires_at() > now || stored.swept(now).is_some())
}

impl SessionStore for MemoryStore {
    async fn load(&self, digest: &KeyDigest) -> Result<Option<Stored>, Error> {
        let now = self.inner.clock.now();
        let mut shard = self.inner.map.lock(digest.as_bytes());
        let Some(stored) = shard.get(digest.as_bytes()) else {
            return Ok(None);
        };
        Ok(match stored.expires_at() > now {
            true => Some(stored.clone()),
            false => stored.swept(now).map(Stored::Ended),
        })
    }

    async fn create(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        let stored = Stored::Record(record.at_revision(Revision::FIRST));
        self.inner.create(digest, stored)?;
        self.inner.evictions.tell();
        Ok(Revision::FIRST)
    }

    async fn update(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        let mut next = Revision::NONE;
        self.inner.update(digest, |stored| {
            next = record
                .next_revision_after(stored.revision)
                .map_err(|error| error.in_store(NAME))?;
            Ok(Some(record.at_revision(next)))
        })?;
        self.inner.evictions.tell();
        Ok(next)
    }

    async fn touch(
        &self,
        digest: &KeyDigest,
        revision: Revision,
        touch: Touch,
    ) -> Result<(), Error> {
        self.inner.update(digest, |stored| {
            let mut touched = stored.clone();
            let is_moved = stored.revision == revision && touched.touch(touch);
            Ok(is_moved.then_some(touched))
        })
    }

    async fn rotate(
        &self,
        old: &KeyDigest,
        new: &KeyDigest,
        record: &Record,
        mark_until: Timestamp,
    ) -> Result<Revision, Error> {
        let next = self.inner.rotate(old, new, record, mark_until)?;
        self.inner.evictions.tell();
        Ok(next)
    }

    async fn end(&self, digest: &KeyDigest, ending: Option<&Ending>) -> Result<(), Error> {
        self.inner.end(digest, None, None, ending)?;
        Ok(())
    }

    fn capabilities(&self) -> Capabilities<'_> {
        Capabilities::NONE
            .named("memory")
            .with_sweep(self)
            .with_subjects(self)
            .with_scan(self)
            .with_import(self)
    }
}

impl Import for MemoryStore {
    fn import<'a>(
        &'a self,
        digest: &'a KeyDigest,
        stored: &'a Stored,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async move {
            let imported = self.inner.create(digest, stored.clone());
            self.inner.evictions.tell();
            match imported {
                Ok(()) => Ok(true),
                Err(error) if error.kind() == ErrorKind::Exists => Ok(false),
                Err(error) => Err(error),
            }
        })
    }
}

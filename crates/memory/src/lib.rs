//! Cloakroom sessions in memory.
//!
//! [`MemoryStore`] is bounded by bytes. A full store evicts the session that has gone
//! unused longest, so a login is never refused in favour of an idle visitor; an event at
//! `WARN`, once a minute at most, says how many sessions were ended so. Sessions end with
//! the process.
//!
//! Which sessions are whose stands in an index, in memory too; a session without a
//! subject has no entry there. A session that is listed counts as used. The index entry
//! of an evicted session is removed later, by other logins or by a sweep. A scan reads
//! all sessions for each page, and does not count as a use.
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
//! # Decisions
//!
//! **Readers take no lock, and writers of one digest take turns.** moka keeps the bound,
//! the order of eviction and the expiry. It has no compare-and-swap, so each digest has
//! one of 64 locks, which is never held over an await.
//!
//! **Eviction is by last use (LRU).** moka's default policy counts how often a session was
//! used, and so turns every new session away from a full store.
//!
//! **Whoever adds an entry to the index checks four others,** and removes the orphans among
//! them. A listener of moka's could not do it, since it would have to ask the cache from
//! inside.
//!
//! **A revocation follows rotation marks.** A session that rotates while it is being ended
//! is ended at its current digest, and one that is to be spared is spared there.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod evictions;
mod index;
mod scan;
mod subjects;
mod sweep;
mod ttl;
mod yields;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cloakroom_core::store::{
    BoxFuture, Capabilities, Import, KeyDigest, Record, Revision, RotationPath, SessionStore,
    Stored, SubjectDigest, Touch,
};
use cloakroom_core::{Clock, Error, ErrorKind, SystemClock, Timestamp};
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use crate::evictions::Evictions;
use crate::index::Index;
use crate::ttl::TimeToLive;

/// Bytes a [`MemoryStore`] holds by default: 64 MiB, some 80,000 sessions of
/// 400 bytes.
pub const CAPACITY_BYTES_DEFAULT: u64 = 64 * 1024 * 1024;

/// What a session costs beside what is stored: moka's bookkeeping (364 bytes as
/// measured) and the digest.
const ENTRY_BYTES: usize = 364 + KeyDigest::BYTES;

/// What the index entry of a session with a subject costs: 48 bytes, in a tree that is
/// two thirds full.
const INDEX_ENTRY_BYTES: usize = 72;

/// Digests are spread over as many locks: writers of one digest take turns, since moka
/// has no compare-and-swap; readers take no lock.
const STRIPES: usize = 64;

const NAME: &str = "memory";

/// A store in this process's memory. Cheap to clone; all clones are the one
/// store.
///
/// It is not durable, and not shared with other processes. An expired record is dropped
/// soon after its deadline, by the store's clock; no sweep is needed.
#[derive(Clone)]
pub struct MemoryStore {
    inner: Arc<Inner>,
}

struct Inner {
    map: Cache<KeyDigest, Arc<Stored>>,
    stripes: [Mutex<()>; STRIPES],
    index: Index,
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
            .field("sessions", &self.inner.map.entry_count())
            .field("bytes", &self.inner.map.weighted_size())
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

    /// Bytes in use, bookkeeping included. Does moka's pending evictions first.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.inner.map.run_pending_tasks();
        self.inner.map.weighted_size()
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
    /// [`CAPACITY_BYTES_DEFAULT`].
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
        let evictions = Evictions::default();
        let map = Cache::builder()
            .name("cloakroom-memory")
            .max_capacity(self.capacity_bytes)
            .weigher(|_: &KeyDigest, stored: &Arc<Stored>| weight(stored))
            // moka's default policy weighs how often something was used, and turns every
            // new session away from a full cache.
            .eviction_policy(EvictionPolicy::lru())
            .eviction_listener(move |_, stored, cause| evictions.left(&stored, cause))
            .expire_after(TimeToLive(self.clock))
            .build();
        MemoryStore {
            inner: Arc::new(Inner {
                map,
                stripes: [const { Mutex::new(()) }; STRIPES],
                index: Index::default(),
            }),
        }
    }
}

fn weight(stored: &Stored) -> u32 {
    let index = match stored {
        Stored::Record(record) if record.subject.is_some() => INDEX_ENTRY_BYTES,
        _ => 0,
    };
    u32::try_from(ENTRY_BYTES + index + stored.memory_bytes()).unwrap_or(u32::MAX)
}

fn subject_of(stored: &Stored) -> Option<SubjectDigest> {
    match stored {
        Stored::Record(record) => record.subject_digest(),
        Stored::Rotated { .. } => None,
    }
}

impl Inner {
    fn stripe_of(digest: &KeyDigest) -> usize {
        // A digest is uniform: any of its bytes will do.
        usize::from(digest.as_bytes()[0]) % STRIPES
    }

    /// Keeps other writers of this digest waiting.
    fn lock(&self, digest: &KeyDigest) -> MutexGuard<'_, ()> {
        self.lock_stripe(Self::stripe_of(digest))
    }

    fn lock_stripe(&self, stripe: usize) -> MutexGuard<'_, ()> {
        // The lock holds no data that a panic could leave half done.
        self.stripes[stripe]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The record that stands at a digest.
    fn require(&self, digest: &KeyDigest) -> Result<Record, Error> {
        match self.map.get(digest).as_deref() {
            Some(Stored::Record(record)) => Ok(record.clone()),
            _ => Err(Error::from(ErrorKind::Gone).in_store(NAME)),
        }
    }

    fn require_vacant(&self, digest: &KeyDigest) -> Result<(), Error> {
        match self.map.contains_key(digest) {
            true => Err(Error::from(ErrorKind::Exists).in_store(NAME)),
            false => Ok(()),
        }
    }

    fn rotate(
        &self,
        old: &KeyDigest,
        new: &KeyDigest,
        record: &Record,
        mark_until: Timestamp,
    ) -> Result<Revision, Error> {
        // Two rotations may cross, so the locks are always taken in the same order.
        let mut stripes = [Self::stripe_of(old), Self::stripe_of(new)];
        stripes.sort_unstable();
        let _first = self.lock_stripe(stripes[0]);
        let _second = (stripes[0] != stripes[1]).then(|| self.lock_stripe(stripes[1]));
        let stored = self.require(old)?;
        let next = record
            .next_revision_after(stored.revision)
            .map_err(|error| error.in_store(NAME))?;
        self.require_vacant(new)?;
        self.put(new, Stored::Record(record.at_revision(next)), None);
        let mark = Stored::Rotated {
            to: *new,
            until: mark_until,
        };
        self.put(old, mark, Some(&stored));
        Ok(next)
    }

    /// Removes the record at a digest, or where rotation marks lead from there, if it is
    /// meant; answers the digest that it stood at.
    fn end(
        &self,
        digest: &KeyDigest,
        is_meant: impl Fn(&KeyDigest, &Stored) -> Result<bool, Error>,
    ) -> Result<Option<KeyDigest>, Error> {
        let mut path = RotationPath::from(*digest);
        loop {
            let at = *path.at();
            let _turn = self.lock(&at);
            match self.map.get(&at).as_deref() {
                Some(Stored::Rotated { to, .. }) => {
                    path.follow(*to).map_err(|error| error.in_store(NAME))?;
                }
                Some(stored) if is_meant(&at, stored)? => {
                    self.remove(&at, stored);
                    return Ok(Some(at));
                }
                Some(Stored::Record(_)) | None => return Ok(None),
            }
        }
    }

    /// Puts something at a digest, in place of the record `replaced`, and keeps the index
    /// in step. The caller holds the digest's lock.
    fn put(&self, digest: &KeyDigest, stored: Stored, replaced: Option<&Record>) {
        // Most writes keep the subject; they need not hash it.
        let keeps_subject = match (&stored, replaced) {
            (Stored::Record(new), Some(old)) => {
                (&new.site, &new.subject) == (&old.site, &old.subject)
            }
            _ => false,
        };
        if keeps_subject {
            self.map.insert(*digest, Arc::new(stored));
            return;
        }
        if let Some(subject) = subject_of(&stored) {
            self.index.insert(&subject, digest);
        }
        self.map.insert(*digest, Arc::new(stored));
        if let Some(subject) = replaced.and_then(Record::subject_digest) {
            self.index.remove(&subject, digest);
        }
    }

    /// Removes what stands at a digest, and its index entry. The caller holds the digest's
    /// lock.
    fn remove(&self, digest: &KeyDigest, stored: &Stored) {
        self.map.invalidate(digest);
        if let Some(subject) = subject_of(stored) {
            self.index.remove(&subject, digest);
        }
    }

    /// Removes those of these index entries whose session was evicted or has expired.
    fn remove_orphans(&self, entries: &[index::Entry]) {
        for (subject, digest) in entries {
            let _turn = self.lock(digest);
            // Where anything stands, the write that put it there has kept the index in
            // step. `contains_key` does not count as a use.
            if !self.map.contains_key(digest) {
                self.index.remove(subject, digest);
            }
        }
    }

    /// Is called after a write that may have put an entry in, and with no lock held.
    fn check_index(&self, subject: Option<SubjectDigest>) {
        if let Some(subject) = subject {
            self.remove_orphans(&self.index.next_to_check(&subject));
        }
    }
}

impl SessionStore for MemoryStore {
    async fn load(&self, digest: &KeyDigest) -> Result<Option<Stored>, Error> {
        Ok(self.inner.map.get(digest).map(|stored| (*stored).clone()))
    }

    async fn create(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        {
            let _turn = self.inner.lock(digest);
            self.inner.require_vacant(digest)?;
            let stored = Stored::Record(record.at_revision(Revision::FIRST));
            self.inner.put(digest, stored, None);
        }
        self.inner.check_index(record.subject_digest());
        Ok(Revision::FIRST)
    }

    async fn update(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        let _turn = self.inner.lock(digest);
        let stored = self.inner.require(digest)?;
        let next = record
            .next_revision_after(stored.revision)
            .map_err(|error| error.in_store(NAME))?;
        let updated = Stored::Record(record.at_revision(next));
        self.inner.put(digest, updated, Some(&stored));
        Ok(next)
    }

    async fn touch(
        &self,
        digest: &KeyDigest,
        revision: Revision,
        touch: Touch,
    ) -> Result<(), Error> {
        let _turn = self.inner.lock(digest);
        let stored = self.inner.require(digest)?;
        let mut touched = stored.clone();
        if stored.revision == revision && touched.touch(touch) {
            self.inner
                .put(digest, Stored::Record(touched), Some(&stored));
        }
        Ok(())
    }

    async fn rotate(
        &self,
        old: &KeyDigest,
        new: &KeyDigest,
        record: &Record,
        mark_until: Timestamp,
    ) -> Result<Revision, Error> {
        let next = self.inner.rotate(old, new, record, mark_until)?;
        self.inner.check_index(record.subject_digest());
        Ok(next)
    }

    async fn delete(&self, digest: &KeyDigest) -> Result<(), Error> {
        self.inner.end(digest, |_, _| Ok(true))?;
        Ok(())
    }

    fn capabilities(&self) -> Capabilities<'_> {
        Capabilities::NONE
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
            {
                let _turn = self.inner.lock(digest);
                if self.inner.map.contains_key(digest) {
                    return Ok(false);
                }
                self.inner.put(digest, stored.clone(), None);
            }
            self.inner.check_index(subject_of(stored));
            Ok(true)
        })
    }
}

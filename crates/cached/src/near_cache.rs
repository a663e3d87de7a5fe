//! The cache's entries, and the loads and writes that are in flight.
//!
//! Whether a load or a write may fill the cache is decided in the same step as the
//! fill, under one lock. That lock is never held over an await.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cloakroom_core::store::{CacheStats, Invalidation, KeyDigest, Record, Stored};
use cloakroom_core::{Clock, Error, Timestamp};
use cloakroom_map::BoundedMap;
use futures_util::FutureExt as _;
use futures_util::future::{Shared, WeakShared};

use crate::stats::{Counters, count};
use crate::version::Version;

type Loaded = Result<Option<Stored>, Error>;
type Load = Pin<Box<dyn Future<Output = Loaded> + Send>>;

/// For each fill so many entries are looked at, and dropped if they are too old, so that
/// they take no memory until the cache is full.
const LOOKS_PER_FILL: usize = 8;

/// What a cache that [watches invalidations](crate::Cached::watch_invalidations) does
/// while its subscription is broken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDisconnect {
    /// Answers with entries that are younger than its bound on staleness, as a cache
    /// does that watches no invalidations.
    #[default]
    ServeStale,
    /// Asks the store each time.
    Bypass,
}

struct Entry {
    stored: Stored,
    /// When the load or the write began that filled it: its age counts from there.
    as_of: Timestamp,
}

pub(crate) struct NearCache {
    entries: BoundedMap<Entry>,
    in_flight: Mutex<InFlight>,
    staleness_max: Duration,
    clock: Arc<dyn Clock>,
    /// What was due by then may have been swept from the store.
    swept_until_millis: AtomicU64,
    /// How many subscriptions are open: its own, and one of whoever listens through it.
    subscriptions: Mutex<usize>,
    is_disconnected: AtomicBool,
    on_disconnect: OnDisconnect,
    counters: Counters,
}

#[derive(Default)]
struct InFlight {
    loads: HashMap<KeyDigest, InFlightLoad>,
    writes: HashMap<KeyDigest, InFlightWrites>,
    next_load: u64,
}

/// A load of the store that several callers may wait for, and that may fill the cache
/// as long as it is listed. The list does not keep it alive: it ends with its last
/// caller.
struct InFlightLoad {
    number: u64,
    load: WeakShared<Load>,
    began_at: Timestamp,
}

/// The writes to one digest that are in flight at once.
#[derive(Default)]
struct InFlightWrites {
    count: usize,
    /// Whether none of them may fill the cache: they overlap, so nobody knows which of
    /// them the store took last; or the cache was cleared since they began.
    no_fill: bool,
    /// The latest version that a load has found or another node has announced since
    /// they began.
    seen: Option<Version>,
}

impl InFlightWrites {
    fn saw(&mut self, version: Version) {
        self.seen = Some(self.seen.map_or(version, |seen| seen.later(version)));
    }
}

impl Entry {
    fn memory_bytes(&self) -> usize {
        size_of::<Self>() - size_of::<Stored>() + self.stored.memory_bytes()
    }
}

impl NearCache {
    pub(crate) fn new(
        capacity_bytes: u64,
        staleness_max: Duration,
        on_disconnect: OnDisconnect,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            entries: BoundedMap::new(capacity_bytes, Entry::memory_bytes),
            in_flight: Mutex::default(),
            staleness_max,
            clock,
            swept_until_millis: AtomicU64::new(0),
            subscriptions: Mutex::new(0),
            is_disconnected: AtomicBool::new(false),
            on_disconnect,
            counters: Counters::default(),
        }
    }

    pub(crate) fn staleness_max(&self) -> Duration {
        self.staleness_max
    }

    pub(crate) fn stats(&self) -> CacheStats {
        let is_disconnected = self.is_disconnected.load(Ordering::SeqCst);
        self.counters.stats(is_disconnected)
    }

    fn in_flight(&self) -> MutexGuard<'_, InFlight> {
        // A panic leaves nothing half done: no code under the lock can panic midway.
        self.in_flight
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// What the cache may answer with.
    pub(crate) fn get(&self, digest: &KeyDigest) -> Option<Stored> {
        if self.is_bypassed() {
            return None;
        }
        let now = self.clock.now();
        let mut shard = self.entries.lock(digest.as_bytes());
        let entry = shard.get(digest.as_bytes())?;
        if self.may_answer(entry, now) {
            count(&self.counters.hits);
            Some(entry.stored.clone())
        } else {
            count(&self.counters.stale);
            None
        }
    }

    fn insert(&self, digest: &KeyDigest, stored: Stored, as_of: Timestamp) {
        let now = self.clock.now();
        let mut shard = self.entries.lock(digest.as_bytes());
        let is_stale = |entry: &Entry| self.is_stale(entry.as_of, now);
        let stale = shard.remove_some(LOOKS_PER_FILL, is_stale);
        let inserted = shard.insert(digest.as_bytes(), Entry { stored, as_of });
        // What has left is freed without the shard's lock.
        drop(shard);
        drop((stale, inserted));
    }

    fn invalidate(&self, digest: &KeyDigest) {
        self.entries
            .lock(digest.as_bytes())
            .remove(digest.as_bytes());
    }

    fn is_bypassed(&self) -> bool {
        self.on_disconnect == OnDisconnect::Bypass && self.is_disconnected.load(Ordering::SeqCst)
    }

    /// Only the store can answer for an entry past its deadline: it may have been swept
    /// since, or touched on another node.
    fn may_answer(&self, entry: &Entry, now: Timestamp) -> bool {
        let expires_at = entry.stored.expires_at();
        let swept_until = self.swept_until_millis.load(Ordering::Relaxed);
        expires_at > now && expires_at.as_millis() > swept_until && !self.is_stale(entry.as_of, now)
    }

    fn is_stale(&self, as_of: Timestamp, now: Timestamp) -> bool {
        // A clock that was set back says nothing about an entry's age.
        now < as_of || now.saturating_since(as_of) >= self.staleness_max
    }

    /// From now on, what was due at `now` is asked of the store: a sweep is beginning.
    pub(crate) fn begin_sweep(&self, now: Timestamp) {
        self.swept_until_millis
            .fetch_max(now.as_millis(), Ordering::Relaxed);
    }

    /// The load in flight for this digest, to share its answer; `load` where there is
    /// none.
    pub(crate) fn coalesce(
        self: &Arc<Self>,
        digest: KeyDigest,
        load: impl Future<Output = Loaded> + Send + 'static,
    ) -> Shared<Load> {
        let mut in_flight = self.in_flight();
        let began_at = self.clock.now();
        if let Some(begun) = in_flight.loads.get(&digest)
            && !self.is_bypassed()
            && !self.is_stale(begun.began_at, began_at)
            && let Some(shared) = begun.load.upgrade()
        {
            count(&self.counters.coalesced);
            return shared;
        }
        count(&self.counters.misses);
        let number = in_flight.next_load;
        in_flight.next_load += 1;
        let cache = self.clone();
        let load: Load = Box::pin(async move {
            let guard = LoadGuard {
                cache: &cache,
                digest,
                number,
            };
            let loaded = load.await;
            if let Ok(found) = &loaded {
                guard.fill(found.as_ref(), began_at);
            }
            loaded
        });
        let shared = load.shared();
        let begun = InFlightLoad {
            number,
            load: shared
                .downgrade()
                .expect("only a future that was polled to its end is gone"),
            began_at,
        };
        in_flight.loads.insert(digest, begun);
        shared
    }

    /// A write to this digest begins; it ends when the guard is dropped.
    pub(crate) fn begin_write(self: &Arc<Self>, digest: KeyDigest) -> WriteGuard {
        let mut in_flight = self.in_flight();
        let writes = in_flight.writes.entry(digest).or_default();
        writes.no_fill |= writes.count > 0;
        writes.count += 1;
        WriteGuard {
            cache: self.clone(),
            digest,
            written: None,
            began_at: self.clock.now(),
        }
    }

    fn subscriptions(&self) -> MutexGuard<'_, usize> {
        self.subscriptions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// A subscription is being opened; until one is, no invalidation arrives.
    pub(crate) fn connecting(&self) {
        let open = self.subscriptions();
        self.is_disconnected.store(*open == 0, Ordering::SeqCst);
    }

    /// A subscription is open, and what is written from now on is announced to it.
    /// What was written before may have been missed, so no entry can be trusted.
    pub(crate) fn connected(&self) {
        self.invalidate_all();
        let mut open = self.subscriptions();
        *open += 1;
        self.is_disconnected.store(false, Ordering::SeqCst);
    }

    /// A subscription that was open is broken. What it has missed, another that is open
    /// hears.
    pub(crate) fn disconnected(&self) {
        let mut open = self.subscriptions();
        *open = open.saturating_sub(1);
        if *open == 0 {
            self.is_disconnected.store(true, Ordering::SeqCst);
            count(&self.counters.disconnects);
        }
    }

    /// Some node, perhaps this one, has written to a session. A load in flight may have
    /// read the state before that write; a write in flight may have been overtaken by
    /// it.
    pub(crate) fn announced(&self, invalidation: &Invalidation) {
        let Invalidation { digest, revision } = invalidation;
        let version = Version::announced(*revision);
        let mut in_flight = self.in_flight();
        in_flight.loads.remove(digest);
        if let Some(writes) = in_flight.writes.get_mut(digest) {
            writes.saw(version);
        }
        if self.invalidate_older(digest, version) {
            count(&self.counters.invalidated);
        }
    }

    /// Drops an entry, and keeps the loads and writes of its digest that are in flight from
    /// filling the cache: what they found may be from before this.
    pub(crate) fn forget(&self, digest: &KeyDigest) {
        let mut in_flight = self.in_flight();
        in_flight.loads.remove(digest);
        if let Some(writes) = in_flight.writes.get_mut(digest) {
            writes.no_fill = true;
        }
        self.invalidate(digest);
    }

    /// Drops an entry of an older version; says whether there was one.
    fn invalidate_older(&self, digest: &KeyDigest, version: Version) -> bool {
        let mut shard = self.entries.lock(digest.as_bytes());
        let entry = shard.peek(digest.as_bytes());
        let is_older =
            entry.is_some_and(|entry| Version::of(Some(&entry.stored)).is_older_than(version));
        if is_older {
            shard.remove(digest.as_bytes());
        }
        is_older
    }

    /// Drops every entry, and keeps the loads and writes in flight from filling the
    /// cache.
    pub(crate) fn invalidate_all(&self) {
        let mut in_flight = self.in_flight();
        in_flight.loads.clear();
        for writes in in_flight.writes.values_mut() {
            writes.no_fill = true;
        }
        let shards = 0..self.entries.shards();
        let taken = shards.map(|number| self.entries.lock_nth(number).take());
        let taken: Vec<_> = taken.collect();
        // There may be millions of entries, and every load waits for this lock.
        drop(in_flight);
        drop(taken);
    }
}

/// Takes its load out of the list of those in flight, also where the load fails or
/// its future is dropped.
struct LoadGuard<'c> {
    cache: &'c NearCache,
    digest: KeyDigest,
    number: u64,
}

impl LoadGuard<'_> {
    /// Whether no write and no invalidation has cancelled this load.
    fn is_listed(&self, in_flight: &InFlight) -> bool {
        let listed = in_flight.loads.get(&self.digest);
        listed.is_some_and(|load| load.number == self.number)
    }

    /// Fills the cache unless this load was cancelled.
    ///
    /// A cancelled load may still have read a newer state than the load that is listed
    /// now, or than a write in flight. No later caller may be told less than this
    /// load's callers were, so neither of the two may fill the cache with less.
    fn fill(&self, found: Option<&Stored>, as_of: Timestamp) {
        let version = Version::of(found);
        let mut in_flight = self.cache.in_flight();
        if let Some(writes) = in_flight.writes.get_mut(&self.digest) {
            writes.saw(version);
        }
        match found {
            Some(stored) if self.is_listed(&in_flight) => {
                self.cache.insert(&self.digest, stored.clone(), as_of);
            }
            _ => {
                in_flight.loads.remove(&self.digest);
                self.cache.invalidate_older(&self.digest, version);
            }
        }
    }
}

impl Drop for LoadGuard<'_> {
    fn drop(&mut self) {
        let mut in_flight = self.cache.in_flight();
        if self.is_listed(&in_flight) {
            in_flight.loads.remove(&self.digest);
        }
    }
}

/// A write in flight. When it ends, it cancels the loads in flight of its digest: they
/// still answer their callers, but no longer fill the cache. The cache then holds what
/// was written, or nothing.
pub(crate) struct WriteGuard {
    cache: Arc<NearCache>,
    digest: KeyDigest,
    written: Option<Record>,
    began_at: Timestamp,
}

impl WriteGuard {
    /// The store has taken this record; without this call, the write failed.
    pub(crate) fn wrote(mut self, record: Record) {
        self.written = Some(record);
    }
}

impl Drop for WriteGuard {
    fn drop(&mut self) {
        let written = self.written.take().map(Stored::Record);
        let version = Version::of(written.as_ref());
        let mut in_flight = self.cache.in_flight();
        in_flight.loads.remove(&self.digest);
        let mut may_fill = true;
        if let Some(writes) = in_flight.writes.get_mut(&self.digest) {
            writes.count -= 1;
            let is_overtaken = writes.seen.is_some_and(|seen| version.is_older_than(seen));
            may_fill = !writes.no_fill && !is_overtaken;
            if writes.count == 0 {
                in_flight.writes.remove(&self.digest);
            }
        }
        match written.filter(|_| may_fill) {
            Some(stored) => self.cache.insert(&self.digest, stored, self.began_at),
            None => self.cache.invalidate(&self.digest),
        }
    }
}

//! A near cache in front of any Cloakroom store.
//!
//! [`Cached`] keeps what it has loaded or written in this process's memory, and
//! answers loads from there. The store behind it stays the truth: every write
//! goes there first, and is compared and swapped there.
//!
//! ```
//! use std::time::Duration;
//!
//! use cloakroom_cached::Cached;
//! use cloakroom_core::store::SessionStore;
//!
//! fn nearby<S: SessionStore>(store: S) -> Cached<S> {
//!     // What another process logs out stays logged in here for 5 s at most.
//!     Cached::with_staleness_max(store, Duration::from_secs(5))
//! }
//! ```
//!
//! **In the book:** [Several nodes with a near cache](https://github.com/cloakroom-rs/cloakroom/blob/main/docs/nodes.md#with-a-near-cache).
//!
//! # What is promised
//!
//! - **Within this process** a load is never answered with less than the last write
//!   that was answered before it began, nor with less than an earlier load: a
//!   session that was logged out here stays logged out here, whatever loads were in
//!   flight.
//! - **Across processes** a load is answered with what was true `staleness_max` ago
//!   at the latest. There is no default: you say how long a logout on another node may
//!   go unnoticed here. (A write that was based on a stale entry is refused by the
//!   store, and drops the entry.)
//! - **What ends or moves a session is carried out** though its caller stops waiting, and
//!   costs the other sessions no entry. Outside a tokio runtime it ends with its caller,
//!   and a delete or a revocation then empties the cache.
//! - **A write that failed** leaves no entry that it may have made wrong.
//! - **A store that keeps the session in the client's cookie cannot be cached**, and
//!   does not compile here.
//!
//! # How
//!
//! Loads of one digest at the same time are coalesced into one load of the store.
//! What it finds fills the cache only if no write to its digest has ended since it
//! began: a write cancels the in-flight loads of its digest, so a slow read cannot
//! bring back what was just deleted. No timer is needed for that.
//!
//! A write fills the cache with what it wrote if no other write to the digest
//! overlapped it, since nobody knows which of them the store took last; otherwise it
//! leaves no entry. A load that was cancelled by a write drops an entry that is older
//! than what it read, so that no later load takes back what it has answered. The tests try
//! thousands of schedules of such loads and writes.
//!
//! A touch leaves no entry, since only the store knows which deadline stands then. A
//! session past its deadline is asked of the store, since another node may have prolonged
//! it. A revocation drops the entries of the sessions that the store says it has ended; a
//! delete follows the rotation marks in the store, and drops each entry on that way.
//!
//! # Other nodes
//!
//! Where the store announces what is written to it
//! ([`Invalidations`]: Redis, PostgreSQL),
//! [`Cached::watch_invalidations`] subscribes to that, and drops what another node
//! has changed as soon as it is announced. The bound on staleness then matters only
//! while the subscription is broken, and [`OnDisconnect::Bypass`] asks the store each
//! time even then. Announcements carry the revision, so a node's own writes cost it no
//! entry, and no node needs a name. Of two caches in a row the inner one applies an
//! announcement first, so that the outer one finds no older state there.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod carry_out;
mod measure;
mod near_cache;
mod stats;
mod subscription;
mod version;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cloakroom_core::store::{
    Announced, BoxFuture, Capabilities, Close, Ending, Import, Invalidations, KeyDigest, ListPage,
    Listener, Record, Revision, Revoke, RotationPath, ScanCursor, SessionStore, Stored,
    SubjectDigest, Subjects, Sweep, Swept, Touch,
};
use cloakroom_core::{Clock, Error, ErrorKind, SystemClock, Timestamp};

use crate::carry_out::CarryOut;
pub use crate::near_cache::OnDisconnect;
use crate::near_cache::{NearCache, WriteGuard};
use crate::subscription::WatchTask;
pub use cloakroom_core::store::CacheStats;

/// Bytes a cache holds by default: 64 MiB.
pub const CAPACITY_BYTES_DEFAULT: u64 = 64 * 1024 * 1024;

/// A store with a near cache in front. It is a store itself, so caches can stand in a
/// row.
pub struct Cached<S> {
    inner: Arc<S>,
    cache: Arc<NearCache>,
    watch: WatchTask,
}

impl<S> fmt::Debug for Cached<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cached")
            .field("store", &std::any::type_name::<S>())
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

impl<S: SessionStore> Cached<S> {
    /// A cache of 64 MiB in front of a store, whose answers are never older than
    /// this.
    pub fn with_staleness_max(store: S, staleness_max: Duration) -> Self {
        Self::builder(store, staleness_max).build()
    }

    /// A cache with choices of one's own.
    pub fn builder(store: S, staleness_max: Duration) -> CachedBuilder<S> {
        CachedBuilder {
            store,
            staleness_max,
            capacity_bytes: CAPACITY_BYTES_DEFAULT,
            on_disconnect: OnDisconnect::default(),
            clock: Arc::new(SystemClock),
        }
    }

    /// The store behind it.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// Subscribes to what other nodes announce, and drops the entries that they have
    /// changed. This goes on in the background until the cache is dropped. Of several
    /// caches in a row, the outermost does it for all.
    ///
    /// A subscription that breaks is an event and shows in [`stats`](Self::stats). It
    /// is opened again, after pauses from 0.1 s to 5 s; every entry from before is then
    /// dropped. Until then [`OnDisconnect`] says what the cache does.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] where the store announces nothing.
    ///
    /// # Panics
    /// Outside a tokio runtime with its time enabled.
    pub fn watch_invalidations(&self) -> Result<(), Error> {
        self.watch.start(self.inner.clone(), self.cache.clone())
    }
}

impl<S> Cached<S> {
    /// How it has answered so far.
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        self.cache.stats()
    }
}

/// Builds a [`Cached`].
#[derive(Debug)]
pub struct CachedBuilder<S> {
    store: S,
    staleness_max: Duration,
    capacity_bytes: u64,
    on_disconnect: OnDisconnect,
    clock: Arc<dyn Clock>,
}

impl<S: SessionStore> CachedBuilder<S> {
    /// Bytes it may hold, bookkeeping included; in each of its shards the session unused
    /// longest is evicted first. Where many small sessions have given way to few large ones,
    /// their empty places may take almost as much again. Default [`CAPACITY_BYTES_DEFAULT`].
    #[must_use]
    pub fn capacity_bytes(mut self, bytes: u64) -> Self {
        self.capacity_bytes = bytes;
        self
    }

    /// What it does while its subscription to invalidations is broken. Default
    /// [`OnDisconnect::ServeStale`].
    #[must_use]
    pub fn on_disconnect(mut self, choice: OnDisconnect) -> Self {
        self.on_disconnect = choice;
        self
    }

    /// The clock that staleness is measured by; for tests that move the time by
    /// hand.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The cached store.
    #[must_use]
    pub fn build(self) -> Cached<S> {
        Cached {
            inner: Arc::new(self.store),
            cache: Arc::new(NearCache::new(
                self.capacity_bytes,
                self.staleness_max,
                self.on_disconnect,
                self.clock,
            )),
            watch: WatchTask::default(),
        }
    }
}

impl<S: SessionStore> SessionStore for Cached<S> {
    async fn load(&self, digest: &KeyDigest) -> Result<Option<Stored>, Error> {
        if let Some(stored) = self.cache.get(digest) {
            return Ok(Some(stored));
        }
        let (inner, digest) = (self.inner.clone(), *digest);
        let load = async move { inner.load(&digest).await };
        self.cache.coalesce(digest, load).await
    }

    async fn create(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        let write = self.cache.begin_write(*digest);
        let revision = self.inner.create(digest, record).await?;
        write.wrote(record.at_revision(revision));
        Ok(revision)
    }

    async fn update(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        let write = self.cache.begin_write(*digest);
        let revision = self.inner.update(digest, record).await?;
        write.wrote(record.at_revision(revision));
        Ok(revision)
    }

    /// Leaves no entry: only the store knows which deadline stands now.
    async fn touch(
        &self,
        digest: &KeyDigest,
        revision: Revision,
        touch: Touch,
    ) -> Result<(), Error> {
        let _write = self.cache.begin_write(*digest);
        self.inner.touch(digest, revision, touch).await
    }

    async fn rotate(
        &self,
        old: &KeyDigest,
        new: &KeyDigest,
        record: &Record,
        mark_until: Timestamp,
    ) -> Result<Revision, Error> {
        let (inner, old, new, record) = (self.inner.clone(), *old, *new, record.clone());
        let writes = [old, new].map(|digest| self.cache.begin_write(digest));
        CarryOut::new(async move {
            let [_old, write] = writes;
            let revision = inner.rotate(&old, &new, &record, mark_until).await?;
            write.wrote(record.at_revision(revision));
            Ok(revision)
        })
        .await
    }

    async fn end(&self, digest: &KeyDigest, ending: Option<&Ending>) -> Result<(), Error> {
        let ending = ending.cloned();
        let (inner, cache, digest) = (self.inner.clone(), self.cache.clone(), *digest);
        CarryOut::new(async move {
            // The store follows rotation marks to the session it ends. Until those marks
            // are read, any entry may be of that session: where they cannot be, all of them
            // go.
            let any = InvalidateAll(&cache);
            let _write = cache.begin_write(digest);
            let deleted = inner.end(&digest, ending.as_ref()).await;
            let moved = writes_along_marks(&*inner, &cache, digest).await;
            if moved.is_ok() {
                any.cancel();
            }
            deleted?;
            match moved {
                Err(error) if error.kind() == ErrorKind::Unavailable => Err(error),
                // The session is ended; at most the way to its entry cannot be read.
                _ => Ok(()),
            }
        })
        .await
    }

    /// Those of the store behind.
    fn capabilities(&self) -> Capabilities<'_> {
        let mut all = self.inner.capabilities().with_near_cache(self);
        all = all.with_staleness_max(all.staleness_max.saturating_add(self.cache.staleness_max()));
        if all.sweep.is_some() {
            all = all.with_sweep(self);
        }
        if all.subjects.is_some() {
            all = all.with_subjects(self);
        }
        if all.import.is_some() {
            all = all.with_import(self);
        }
        if all.invalidations.is_some() {
            all = all.with_invalidations(self);
        }
        if all.close.is_some() {
            all = all.with_close(self);
        }
        all
    }
}

impl<S: SessionStore> cloakroom_core::store::NearCache for Cached<S> {
    fn stats(&self) -> CacheStats {
        self.cache.stats()
    }

    fn forget(&self, digest: &KeyDigest) {
        // The inner one first: this one must not be filled from what that one still knows.
        if let Some(inner) = self.inner.capabilities().near_cache {
            inner.forget(digest);
        }
        self.cache.forget(digest);
    }
}

/// Lists come from the store, whatever the cache holds.
impl<S: SessionStore> Subjects for Cached<S> {
    fn list_sessions<'a>(
        &'a self,
        subject: &'a SubjectDigest,
        from: Option<&'a ScanCursor>,
    ) -> BoxFuture<'a, Result<ListPage, Error>> {
        match self.inner.capabilities().subjects {
            Some(subjects) => subjects.list_sessions(subject, from),
            None => Box::pin(async { Ok(ListPage::default()) }),
        }
    }

    fn end_sessions<'a>(
        &'a self,
        subject: &'a SubjectDigest,
        which: Revoke,
        ending: Option<&'a Ending>,
    ) -> BoxFuture<'a, Result<Vec<KeyDigest>, Error>> {
        let (inner, cache, subject) = (self.inner.clone(), self.cache.clone(), *subject);
        let ending = ending.cloned();
        let revocation = async move {
            let Some(subjects) = inner.capabilities().subjects else {
                return Ok(Vec::new());
            };
            // Only the store's answer says which sessions have ended: where it fails,
            // any entry may be of one, unless a single one was to be ended.
            let any = InvalidateAll(&cache);
            let revoked = subjects
                .end_sessions(&subject, which, ending.as_ref())
                .await;
            if revoked.is_err()
                && let Revoke::One(digest) = which
                && let _write = cache.begin_write(digest)
                && writes_along_marks(&*inner, &cache, digest).await.is_ok()
            {
                any.cancel();
                return revoked;
            }
            let ended = revoked?;
            for digest in &ended {
                drop(cache.begin_write(*digest));
            }
            any.cancel();
            Ok(ended)
        };
        Box::pin(async { CarryOut::new(revocation).await })
    }
}

/// Begins a write to each digest that rotation marks lead to from this one, as far as the
/// store follows them. Beyond that it ends no session, so a client whose session has moved
/// too often costs the others no entry.
async fn writes_along_marks<S: SessionStore>(
    store: &S,
    cache: &Arc<NearCache>,
    digest: KeyDigest,
) -> Result<Vec<WriteGuard>, Error> {
    let mut path = RotationPath::from(digest);
    let mut writes = Vec::new();
    while let Some(Stored::Rotated { to, .. }) = store.load(path.at()).await?
        && path.follow(to).is_ok()
    {
        writes.push(cache.begin_write(to));
    }
    Ok(writes)
}

/// Drops every entry, unless it is cancelled.
struct InvalidateAll<'c>(&'c NearCache);

impl InvalidateAll<'_> {
    fn cancel(self) {
        std::mem::forget(self);
    }
}

impl Drop for InvalidateAll<'_> {
    fn drop(&mut self) {
        self.0.invalidate_all();
    }
}

impl<S: SessionStore> Import for Cached<S> {
    fn import<'a>(
        &'a self,
        digest: &'a KeyDigest,
        stored: &'a Stored,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async move {
            let _write = self.cache.begin_write(*digest);
            match self.inner.capabilities().import {
                Some(import) => import.import(digest, stored).await,
                None => Ok(false),
            }
        })
    }
}

/// Sweeps the store behind. From then on the cache does not answer for what was due at
/// that time.
impl<S: SessionStore> Sweep for Cached<S> {
    fn sweep(&self, now: Timestamp, max: usize) -> BoxFuture<'_, Result<Swept, Error>> {
        self.cache.begin_sweep(now);
        match self.inner.capabilities().sweep {
            Some(sweep) => sweep.sweep(now, max),
            None => Box::pin(std::future::ready(Ok(Swept::default()))),
        }
    }

    fn own_time(&self) -> BoxFuture<'_, Result<Option<Timestamp>, Error>> {
        match self.inner.capabilities().sweep {
            Some(sweep) => sweep.own_time(),
            None => Box::pin(std::future::ready(Ok(None))),
        }
    }
}

/// Closes the store behind. The cache answers for nothing from then on.
impl<S: SessionStore> Close for Cached<S> {
    fn close(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async {
            let _any = InvalidateAll(&self.cache);
            match self.inner.capabilities().close {
                Some(close) => close.close().await,
                None => Ok(()),
            }
        })
    }
}

impl<S: SessionStore> Invalidations for Cached<S> {
    fn announced(&self) -> Announced {
        let inner = self.inner.capabilities().invalidations;
        inner.map_or(Announced::Ends, Invalidations::announced)
    }

    fn listen(&self) -> BoxFuture<'_, Result<Box<dyn Listener>, Error>> {
        Box::pin(async {
            let subscription = subscription::subscribe(&*self.inner, &self.cache).await?;
            Ok(Box::new(subscription) as Box<dyn Listener>)
        })
    }
}

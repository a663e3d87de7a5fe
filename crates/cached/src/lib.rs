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
//! # What is promised
//!
//! - **Within this process** a load never answers with less than the last write
//!   that was answered before it began, nor with less than an earlier load: a
//!   session that was logged out here stays dead here, whatever loads were under
//!   way.
//! - **Across processes** it answers with what was true `staleness_max` ago at
//!   the latest. There is no default for that: it is yours to say how long a
//!   logout elsewhere may take to be heard here. (A write based on something
//!   stale is refused by the store behind, and drops the entry.)
//! - **A write that failed** leaves nothing in the cache that it may have
//!   overtaken.
//! - **A store that keeps the session in the client's cookie cannot be cached**,
//!   and does not compile here.
//!
//! # How
//!
//! Loads of one digest at the same time share one load of the store. What such
//! a flight finds is put into the cache only if no write to its digest has ended
//! since it took off: a write takes the flights under way for its digest off the
//! board, so a slow read cannot plant back what was just deleted. No timer is
//! needed for that. A write puts what it wrote into the cache if no other write
//! to the digest overlapped it, since nobody knows which of them the store took
//! last; otherwise it leaves nothing there. A load that a write has overtaken drops
//! what is older than what it read. What is past its deadline is asked of the store,
//! which may have been told of a use on another node.
//!
//! # Other nodes
//!
//! Where the store announces what is written to it
//! ([`Invalidations`](cloakroom_core::store::Invalidations): Redis, PostgreSQL),
//! [`Cached::follow`] listens, and drops what another node has changed as soon as
//! it hears of it; the bound on staleness then is what remains where the channel
//! is broken, unless [`WhileDeaf::Bypass`] asks for more. Announcements carry the
//! revision, so a node's own writes cost it nothing.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod board;
mod follow;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cloakroom_core::store::{
    BoxFuture, Capabilities, Import, KeyDigest, Listed, ROTATION_HOPS_MAX, Record, Revision,
    Revoke, SessionStore, Stored, SubjectDigest, Subjects, Sweep, Swept, Touch,
};
use cloakroom_core::{Clock, Error, ErrorKind, SystemClock, Timestamp};

use crate::board::Board;
use crate::follow::Follower;

/// Bytes a cache holds by default: 64 MiB.
pub const CAPACITY_BYTES_DEFAULT: u64 = 64 * 1024 * 1024;

/// A store with a near cache in front. A store itself, so caches can stand in a
/// row.
pub struct Cached<S> {
    inner: Arc<S>,
    board: Arc<Board>,
    /// Ends with the cache.
    follower: Follower,
}

impl<S> fmt::Debug for Cached<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cached")
            .field("store", &std::any::type_name::<S>())
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

/// How a cache has answered since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Loads answered from memory.
    pub hits: u64,
    /// Loads that went to the store.
    pub misses: u64,
    /// Misses that found an entry which had become too old.
    pub stale: u64,
    /// Loads that waited for another one's answer instead.
    pub coalesced: u64,
    /// Entries dropped because another node announced a change.
    pub invalidated: u64,
    /// How often a channel that was followed has broken.
    pub losses: u64,
    /// Whether it is broken now.
    pub is_deaf: bool,
}

/// What a cache that [follows](Cached::follow) the other nodes does while the
/// channel to them is broken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhileDeaf {
    /// Answers with what is younger than its bound on staleness, as a cache that
    /// follows nobody.
    #[default]
    TrustStaleness,
    /// Asks the store each time.
    Bypass,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) hits: AtomicU64,
    pub(crate) misses: AtomicU64,
    pub(crate) stale: AtomicU64,
    pub(crate) coalesced: AtomicU64,
    pub(crate) invalidated: AtomicU64,
    pub(crate) losses: AtomicU64,
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
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
            while_deaf: WhileDeaf::default(),
            clock: Arc::new(SystemClock),
        }
    }

    /// The store behind it.
    pub fn inner(&self) -> &S {
        &self.inner
    }
}

impl<S> Cached<S> {
    /// How it has answered so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let counters = &self.board.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            hits: read(&counters.hits),
            misses: read(&counters.misses),
            stale: read(&counters.stale),
            coalesced: read(&counters.coalesced),
            invalidated: read(&counters.invalidated),
            losses: read(&counters.losses),
            is_deaf: self.board.is_deaf(),
        }
    }
}

/// Builds a [`Cached`].
#[derive(Debug)]
pub struct CachedBuilder<S> {
    store: S,
    staleness_max: Duration,
    capacity_bytes: u64,
    while_deaf: WhileDeaf,
    clock: Arc<dyn Clock>,
}

impl<S: SessionStore> CachedBuilder<S> {
    /// Bytes it may hold, bookkeeping included; the session unused longest goes
    /// first. Default [`CAPACITY_BYTES_DEFAULT`].
    #[must_use]
    pub fn capacity_bytes(mut self, bytes: u64) -> Self {
        self.capacity_bytes = bytes;
        self
    }

    /// What it does while a channel that it follows is broken. Default
    /// [`WhileDeaf::TrustStaleness`].
    #[must_use]
    pub fn while_deaf(mut self, choice: WhileDeaf) -> Self {
        self.while_deaf = choice;
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
            board: Arc::new(Board::new(
                self.capacity_bytes,
                self.staleness_max,
                self.while_deaf,
                self.clock,
            )),
            follower: Follower::default(),
        }
    }
}

impl<S: SessionStore> SessionStore for Cached<S> {
    async fn load(&self, digest: &KeyDigest) -> Result<Option<Stored>, Error> {
        if let Some(stored) = self.board.look(digest) {
            return Ok(Some((*stored).clone()));
        }
        let (inner, digest) = (self.inner.clone(), *digest);
        let load = async move { inner.load(&digest).await };
        self.board.fly(digest, load).await
    }

    async fn create(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        let write = self.board.begin(*digest);
        let revision = self.inner.create(digest, record).await?;
        write.wrote(record.at_revision(revision));
        Ok(revision)
    }

    async fn update(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        let write = self.board.begin(*digest);
        let revision = self.inner.update(digest, record).await?;
        write.wrote(record.at_revision(revision));
        Ok(revision)
    }

    /// Leaves nothing in the cache: what stands now, only the store knows.
    async fn touch(
        &self,
        digest: &KeyDigest,
        revision: Revision,
        touch: Touch,
    ) -> Result<(), Error> {
        let _write = self.board.begin(*digest);
        self.inner.touch(digest, revision, touch).await
    }

    async fn rotate(
        &self,
        old: &KeyDigest,
        new: &KeyDigest,
        record: &Record,
        mark_until: Timestamp,
    ) -> Result<Revision, Error> {
        let _left = self.board.begin(*old);
        let write = self.board.begin(*new);
        let revision = self.inner.rotate(old, new, record, mark_until).await?;
        write.wrote(record.at_revision(revision));
        Ok(revision)
    }

    async fn delete(&self, digest: &KeyDigest) -> Result<(), Error> {
        // What it ends, where the session has moved, only the store can say: where
        // this is cut short or fails, it may be any.
        let unknown = ForgetAll(&self.board);
        let mut writes = vec![self.board.begin(*digest)];
        self.inner.delete(digest).await?;
        // The store follows rotation marks, and leaves them: follow it.
        let mut at = *digest;
        for _ in 0..ROTATION_HOPS_MAX {
            match self.inner.load(&at).await {
                Ok(Some(Stored::Rotated { to, .. })) => at = to,
                // Deleted it is; but what the cache holds of it, nobody can say.
                Err(error) => {
                    return match error.kind() {
                        ErrorKind::Corrupt | ErrorKind::Unsupported => Ok(()),
                        _ => Err(error),
                    };
                }
                Ok(_) => break,
            }
            writes.push(self.board.begin(at));
        }
        unknown.settle();
        Ok(())
    }

    /// Those of the store.
    fn capabilities(&self) -> Capabilities<'_> {
        let mut all = self.inner.capabilities();
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
        all
    }
}

/// Lists come from the store, whatever the cache holds.
impl<S: SessionStore> Subjects for Cached<S> {
    fn sessions_of<'a>(
        &'a self,
        subject: &'a SubjectDigest,
    ) -> BoxFuture<'a, Result<Vec<Listed>, Error>> {
        match self.inner.capabilities().subjects {
            Some(subjects) => subjects.sessions_of(subject),
            None => Box::pin(async { Ok(Vec::new()) }),
        }
    }

    fn revoke<'a>(
        &'a self,
        subject: &'a SubjectDigest,
        which: Revoke,
    ) -> BoxFuture<'a, Result<Vec<KeyDigest>, Error>> {
        Box::pin(async move {
            let Some(subjects) = self.inner.capabilities().subjects else {
                return Ok(Vec::new());
            };
            // Which ones end, only the store can say: where this is cut short or
            // fails, any of them may have.
            let unknown = ForgetAll(&self.board);
            let ended = subjects.revoke(subject, which).await?;
            for digest in &ended {
                drop(self.board.begin(*digest));
            }
            unknown.settle();
            Ok(ended)
        })
    }
}

/// Forgets all that is in the cache, unless it is told that there is no need.
struct ForgetAll<'b>(&'b Board);

impl ForgetAll<'_> {
    fn settle(self) {
        std::mem::forget(self);
    }
}

impl Drop for ForgetAll<'_> {
    fn drop(&mut self) {
        self.0.forget_all();
    }
}

impl<S: SessionStore> Import for Cached<S> {
    fn import<'a>(
        &'a self,
        digest: &'a KeyDigest,
        stored: &'a Stored,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async move {
            let _write = self.board.begin(*digest);
            match self.inner.capabilities().import {
                Some(import) => import.import(digest, stored).await,
                None => Ok(false),
            }
        })
    }
}

/// Sweeps the store behind. What was due by then is not answered from the cache
/// any more.
impl<S: SessionStore> Sweep for Cached<S> {
    fn sweep(&self, now: Timestamp, max: usize) -> BoxFuture<'_, Result<Swept, Error>> {
        self.board.sweep(now);
        match self.inner.capabilities().sweep {
            Some(sweep) => sweep.sweep(now, max),
            None => Box::pin(std::future::ready(Ok(Swept::default()))),
        }
    }
}

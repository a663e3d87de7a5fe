//! What a cache counts.

use std::sync::atomic::{AtomicU64, Ordering};

/// How a cache has answered since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Loads answered from memory.
    pub hits: u64,
    /// Loads that went to the store.
    pub misses: u64,
    /// Misses that found an entry which could no longer be trusted: it was too old,
    /// or past its deadline.
    pub stale: u64,
    /// Loads that shared the answer of a load in flight.
    pub coalesced: u64,
    /// Entries dropped because another node announced a change.
    pub invalidated: u64,
    /// How often a subscription to invalidations has broken.
    pub disconnects: u64,
    /// Whether a subscription to invalidations was asked for and is broken, or not yet
    /// open.
    pub is_disconnected: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) hits: AtomicU64,
    pub(crate) misses: AtomicU64,
    pub(crate) stale: AtomicU64,
    pub(crate) coalesced: AtomicU64,
    pub(crate) invalidated: AtomicU64,
    pub(crate) disconnects: AtomicU64,
}

impl Counters {
    pub(crate) fn stats(&self, is_disconnected: bool) -> Stats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            hits: read(&self.hits),
            misses: read(&self.misses),
            stale: read(&self.stale),
            coalesced: read(&self.coalesced),
            invalidated: read(&self.invalidated),
            disconnects: read(&self.disconnects),
            is_disconnected,
        }
    }
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

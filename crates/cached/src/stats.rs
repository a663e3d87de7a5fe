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
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) hits: Counter,
    pub(crate) misses: Counter,
    pub(crate) stale: Counter,
    pub(crate) coalesced: Counter,
    pub(crate) invalidated: Counter,
    pub(crate) disconnects: Counter,
}

impl Counters {
    pub(crate) fn stats(&self, is_disconnected: bool) -> Stats {
        Stats {
            hits: self.hits.read(),
            misses: self.misses.read(),
            stale: self.stale.read(),
            coalesced: self.coalesced.read(),
            invalidated: self.invalidated.read(),
            disconnects: self.disconnects.read(),
            is_disconnected,
        }
    }
}

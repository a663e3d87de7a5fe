//! What a cache counts.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::measure::Measure;

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

/// A counter of a cache's own, and the measure of all caches that it is a part of.
#[derive(Debug)]
pub(crate) struct Counter {
    counted: AtomicU64,
    measure: Measure,
}

impl Counter {
    fn of(name: &'static str) -> Self {
        Self {
            counted: AtomicU64::new(0),
            measure: Measure::of(name),
        }
    }

    fn read(&self) -> u64 {
        self.counted.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
pub(crate) struct Counters {
    pub(crate) hits: Counter,
    pub(crate) misses: Counter,
    pub(crate) stale: Counter,
    pub(crate) coalesced: Counter,
    pub(crate) invalidated: Counter,
    pub(crate) disconnects: Counter,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            hits: Counter::of("cloakroom_cache_hits_total"),
            misses: Counter::of("cloakroom_cache_misses_total"),
            stale: Counter::of("cloakroom_cache_stale_total"),
            coalesced: Counter::of("cloakroom_cache_coalesced_total"),
            invalidated: Counter::of("cloakroom_cache_invalidated_total"),
            disconnects: Counter::of("cloakroom_cache_disconnects_total"),
        }
    }
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

pub(crate) fn count(counter: &Counter) {
    counter.counted.fetch_add(1, Ordering::Relaxed);
    counter.measure.count();
}

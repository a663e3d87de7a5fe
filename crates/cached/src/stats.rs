//! What a cache counts.

use std::sync::atomic::{AtomicU64, Ordering};

use cloakroom_core::store::CacheStats;

use crate::measure::Measure;

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
    pub(crate) fn stats(&self, is_disconnected: bool) -> CacheStats {
        let mut stats = CacheStats::default();
        stats.hits = self.hits.read();
        stats.misses = self.misses.read();
        stats.stale = self.stale.read();
        stats.coalesced = self.coalesced.read();
        stats.invalidated = self.invalidated.read();
        stats.disconnects = self.disconnects.read();
        stats.is_disconnected = is_disconnected;
        stats
    }
}

pub(crate) fn count(counter: &Counter) {
    counter.counted.fetch_add(1, Ordering::Relaxed);
    counter.measure.count();
}

//! What a cache counts.

use std::sync::atomic::{AtomicU64, Ordering};

use cloakroom_core::store::CacheStats;

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
    pub(crate) fn stats(&self, is_disconnected: bool) -> CacheStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut stats = CacheStats::default();
        stats.hits = read(&self.hits);
        stats.misses = read(&self.misses);
        stats.stale = read(&self.stale);
        stats.coalesced = read(&self.coalesced);
        stats.invalidated = read(&self.invalidated);
        stats.disconnects = read(&self.disconnects);
        stats.is_disconnected = is_disconnected;
        stats
    }
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

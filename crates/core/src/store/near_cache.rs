//! What a near cache says of itself.

/// A near cache in front of a store, for whoever shows how it does.
pub trait NearCache: Send + Sync {
    /// How it has answered so far; no I/O.
    fn stats(&self) -> CacheStats;
}

/// How a cache has answered since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheStats {
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

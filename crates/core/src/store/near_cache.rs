//! What a near cache says of itself.

use crate::store::KeyDigest;

/// A near cache in front of a store, for whoever shows how it does, and for whoever must not
/// be answered by it.
pub trait NearCache: Send + Sync {
    /// How it has answered so far; no I/O.
    fn stats(&self) -> CacheStats;

    /// Forgets what it knows of a session, and so do the caches behind it: a load that begins
    /// after this is answered with what the store held when it was called, or later; no I/O.
    fn forget(&self, digest: &KeyDigest);
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

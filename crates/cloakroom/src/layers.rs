//! The cache and the seal that a URL's options put in front of a store.

use cloakroom_core::Error;
use cloakroom_core::engine::AnyStore;
use cloakroom_core::store::SessionStore;

use crate::options::{Cache, Layers};

/// The store with the cache and the seal that its URL asks for. The cache stands below
/// the seal, so that it holds sealed data too.
pub(crate) fn over<S: SessionStore>(store: S, layers: &Layers) -> Result<AnyStore, Error> {
    match layers.cache {
        Some(cache) => cached(store, cache, layers.sealed),
        None if layers.sealed => sealed(store),
        None => Ok(AnyStore::new(store)),
    }
}

#[cfg(feature = "cached")]
fn cached<S: SessionStore>(store: S, cache: Cache, seal: bool) -> Result<AnyStore, Error> {
    use cloakroom_cached::{Cached, OnDisconnect};
    let cached = Cached::builder(store, cache.staleness_max)
        .capacity_bytes(cache.bytes)
        .on_disconnect(match cache.bypass_on_disconnect {
            true => OnDisconnect::Bypass,
            false => OnDisconnect::ServeStale,
        })
        .build();
    if cached.capabilities().invalidations.is_some() {
        cached.watch_invalidations()?;
    }
    match seal {
        true => sealed(cached),
        false => Ok(AnyStore::new(cached)),
    }
}

#[cfg(not(feature = "cached"))]
fn cached<S: SessionStore>(_: S, _: Cache, _: bool) -> Result<AnyStore, Error> {
    Err(crate::options::not_built("cached"))
}

#[cfg(feature = "sealed")]
fn sealed<S: SessionStore>(store: S) -> Result<AnyStore, Error> {
    Ok(AnyStore::new(cloakroom_sealed::Sealed::new(store)))
}

#[cfg(not(feature = "sealed"))]
fn sealed<S: SessionStore>(_: S) -> Result<AnyStore, Error> {
    Err(crate::options::not_built("sealed"))
}

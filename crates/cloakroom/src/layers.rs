//! What a URL's options put around a store.

use std::time::Duration;

use cloakroom_core::{AnyStore, Error, SessionStore};

use crate::options::Layers;

/// The store with its cache and its seal. The cache stands below the seal, so
/// that it holds sealed data too.
pub(crate) fn over<S: SessionStore>(store: S, layers: &Layers) -> Result<AnyStore, Error> {
    match layers.cache {
        Some((bytes, staleness_max)) => cached(store, bytes, staleness_max, layers.sealed),
        None if layers.sealed => sealed(store),
        None => Ok(AnyStore::new(store)),
    }
}

#[cfg(feature = "cached")]
fn cached<S: SessionStore>(
    store: S,
    capacity_bytes: u64,
    staleness_max: Duration,
    seal: bool,
) -> Result<AnyStore, Error> {
    let cached = cloakroom_cached::Cached::builder(store, staleness_max)
        .capacity_bytes(capacity_bytes)
        .build();
    match seal {
        true => sealed(cached),
        false => Ok(AnyStore::new(cached)),
    }
}

#[cfg(not(feature = "cached"))]
fn cached<S: SessionStore>(_: S, _: u64, _: Duration, _: bool) -> Result<AnyStore, Error> {
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

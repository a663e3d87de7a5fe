//! The cache and the seal that a URL's options put in front of a store.

use std::fmt::Debug;

use cloakroom_core::Error;
use cloakroom_core::engine::AnyStore;
use cloakroom_core::store::{AnySessionStore, SessionStore};

use crate::options::{Cache, Layers, Seal};

/// What a store that a URL names is opened for.
pub(crate) trait FromStore: Sized {
    /// Says why it cannot have these layers, before anything is opened.
    fn refuse(_: &Layers) -> Result<(), &'static str> {
        Ok(())
    }

    /// Makes it of the store, with the layers that its URL asks for.
    fn over<S: SessionStore + Debug>(store: S, layers: &Layers) -> Result<Self, Error>;
}

/// Sessions. The cache stands below the seal, so that it holds sealed data too.
impl FromStore for AnyStore {
    fn over<S: SessionStore + Debug>(store: S, layers: &Layers) -> Result<Self, Error> {
        let seal = layers.seal.as_ref();
        match layers.cache {
            Some(cache) => maybe_sealed(cached(store, cache)?, seal),
            None => maybe_sealed(store, seal),
        }
    }
}

/// Records under digests, which a seal cannot have: it needs each session's key.
impl FromStore for AnySessionStore {
    fn refuse(layers: &Layers) -> Result<(), &'static str> {
        match &layers.seal {
            Some(_) => Err(
                "sealed=true needs the key of each session, and this program asks its store by \
                 digests, which open no seal: take sealed= and seal_key_file= out",
            ),
            None => Ok(()),
        }
    }

    fn over<S: SessionStore + Debug>(store: S, layers: &Layers) -> Result<Self, Error> {
        Ok(match layers.cache {
            Some(cache) => Self::new(cached(store, cache)?),
            None => Self::new(store),
        })
    }
}

fn maybe_sealed<S: SessionStore>(store: S, seal: Option<&Seal>) -> Result<AnyStore, Error> {
    match seal {
        Some(seal) => sealed(store, seal),
        None => Ok(AnyStore::new(store)),
    }
}

#[cfg(feature = "cached")]
fn cached<S: SessionStore>(store: S, cache: Cache) -> Result<cloakroom_cached::Cached<S>, Error> {
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
    Ok(cached)
}

#[cfg(not(feature = "cached"))]
fn cached<S: SessionStore>(_: S, _: Cache) -> Result<S, Error> {
    Err(crate::options::not_built("cached"))
}

#[cfg(feature = "sealed")]
fn sealed<S: SessionStore>(store: S, seal: &Seal) -> Result<AnyStore, Error> {
    use cloakroom_sealed::{KeyRing, Sealed};
    let sealed = Sealed::new(store);
    Ok(AnyStore::new(match &seal.key_file {
        Some(path) => sealed.with_key_ring(&KeyRing::from_file(path)?),
        None => sealed,
    }))
}

#[cfg(not(feature = "sealed"))]
fn sealed<S: SessionStore>(_: S, _: &Seal) -> Result<AnyStore, Error> {
    Err(crate::options::not_built("sealed"))
}

//! The contract through a seal, a cache or both in front of a store on a server:
//! directly, erased, and by URL.

use std::time::Duration;

use cloakroom::AnyStore;
use cloakroom::engine::{OsEntropy, TokenStore};
use cloakroom::store::SessionStore;
use cloakroom::stores::{Cached, KeyRing, Sealed};
use cloakroom_testkit::{Profile, conformance};

use crate::fresh_stores;

fn cached<S: SessionStore>(store: S) -> Cached<S> {
    Cached::with_staleness_max(store, Duration::from_secs(5))
}

async fn asked<T: TokenStore>(stack: T) {
    conformance(&stack, &Profile::SHARED).await;
    conformance(&AnyStore::new(stack), &Profile::SHARED).await;
}

macro_rules! stacks {
    ($($name:ident: |$store:ident| $stack:expr;)+) => {$(
        #[tokio::test]
        async fn $name() {
            for (_place, $store) in fresh_stores::sql_stores().await {
                asked($stack).await;
            }
            for $store in fresh_stores::redis_stores().await {
                asked($stack).await;
            }
        }
    )+};
}

stacks! {
    sealed: |store| Sealed::new(store);
    ring_sealed: |store| Sealed::new(store).with_key_ring(&KeyRing::generate(&OsEntropy).unwrap());
    cached_: |store| cached(store);
    sealed_and_cached: |store| Sealed::new(cached(store));
}

#[tokio::test]
async fn each_url_conforms() {
    for options in ["", "&cache=8MiB&stale=5s&sealed=true"] {
        for fresh in fresh_stores::all() {
            let url = format!("{}{options}", fresh.url);
            let store = cloakroom::open(&url).await;
            let store = store.unwrap_or_else(|error| panic!("{}: {error}", fresh.name));
            conformance(&store, &Profile::SHARED).await;
        }
    }
}

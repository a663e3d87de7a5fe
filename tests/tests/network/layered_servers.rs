//! The contract through a seal, a cache or both in front of a store on a server:
//! directly, erased, and by URL.

use std::time::Duration;

use cloakroom::engine::{OsEntropy, TokenStore};
use cloakroom::store::SessionStore;
use cloakroom::stores::{Cached, KeyRing, Sealed};
use cloakroom::{AnyStore, ErrorKind};
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
            for $store in fresh_stores::sql_stores().await {
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

#[tokio::test]
async fn a_redis_is_opened_by_the_path_of_its_unix_socket() {
    let Some(server) = cloakroom_servers::redis() else {
        return;
    };
    let user = "ACL SETUSER ada on >a&b ~* &* +@all";
    let user: Vec<&str> = user.split(' ').collect();
    server.command(&user).unwrap();
    let url = format!("redis+unix://{}", server.socket().display());
    let options = "?prefix=socket:&db=3&user=ada&pass=a%26b&cache=8MiB&stale=5s";
    let store = cloakroom::open(&format!("{url}{options}")).await.unwrap();
    conformance(&store, &Profile::SHARED).await;
    let databases = server.command(&["INFO", "keyspace"]).unwrap();
    assert!(databases.contains("db3:"), "{databases}");
    let error = cloakroom::open(&format!("{url}?user=ada&pass=hunter2")).await;
    let text = error.unwrap_err().to_string();
    assert!(text.contains("password is wrong") && !text.contains("hunter2"));
    assert!(text.contains("redis.sock"), "{text}");
}

#[tokio::test]
async fn a_redis_that_evicts_is_opened_only_by_a_url_that_allows_it() {
    let server = cloakroom_servers::Redis::start_with(&["--maxmemory-policy", "allkeys-lru"]);
    let Some(server) = server else {
        return;
    };
    for refused in ["", "?allow_eviction=false"] {
        let error = cloakroom::open(&format!("{}{refused}", server.url())).await;
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
        assert!(error.to_string().contains("`allow_eviction`"), "{error}");
    }
    let url = format!("{}?allow_eviction=true", server.url());
    let store = cloakroom::open(&url).await.unwrap();
    conformance(&store, &Profile::SHARED).await;
}

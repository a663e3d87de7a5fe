//! Stores made of stores: the contract holds through each stack, directly and
//! erased, and what a stack promises about the disk holds too.

use std::path::Path;
use std::time::Duration;

use cloakroom::AnyStore;
use cloakroom::cookie::{CookieStore, KeyRing, Secret};
use cloakroom::engine::TokenStore;
use cloakroom::store::SessionStore;
use cloakroom::stores::{Cached, FileStore, RedbStore, Sealed, SledStore, SqliteStore};
use cloakroom_testkit::{Profile, conformance, survives_reopening};

fn cached<S: SessionStore>(store: S) -> Cached<S> {
    Cached::with_staleness_max(store, Duration::from_secs(5))
}

async fn conforms<T: TokenStore>(profile: Profile, open: impl Fn(&Path) -> T) {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    conformance(&open(&path("direct")), &profile).await;
    conformance(&AnyStore::new(open(&path("erased"))), &profile).await;
    if profile.durable {
        let open = async || open(&path("reopened"));
        survives_reopening(&profile, open).await;
    }
}

macro_rules! stacks {
    ($($name:ident: $profile:ident, |$path:ident| $open:expr;)+) => {$(
        #[tokio::test]
        async fn $name() {
            conforms(Profile::$profile, |$path| $open).await;
        }
    )+};
}

stacks! {
    file: DURABLE, |path| FileStore::open(path).unwrap();
    redb: DURABLE, |path| RedbStore::open(path).unwrap();
    sled: DURABLE, |path| SledStore::open(path).unwrap();
    cached_sled: DURABLE, |path| cached(SledStore::open(path).unwrap());
    cached_cached_redb: DURABLE, |path| cached(cached(RedbStore::open(path).unwrap()));
    sealed_sled: DURABLE, |path| Sealed::new(SledStore::open(path).unwrap());
    ring_sealed_sled: DURABLE, |path| ring_sealed(SledStore::open(path).unwrap());
    ring_sealed_redb: DURABLE, |path| ring_sealed(RedbStore::open(path).unwrap());
    ring_sealed_file: DURABLE, |path| ring_sealed(FileStore::open(path).unwrap());
    sealed_cached_redb: DURABLE, |path| Sealed::new(cached(RedbStore::open(path).unwrap()));
    sealed_file: DURABLE, |path| Sealed::new(FileStore::open(path).unwrap());
    sqlite: SHARED, |path| open_sqlite(path);
    cached_sqlite: SHARED, |path| cached(open_sqlite(path));
    sealed_sqlite: SHARED, |path| Sealed::new(open_sqlite(path));
    ring_sealed_sqlite: SHARED, |path| ring_sealed(open_sqlite(path));
    sealed_cached_sqlite: SHARED, |path| Sealed::new(cached(open_sqlite(path)));
    cookie: CLIENT_SIDE, |_path| cookie_store(false);
    signed_cookie: CLIENT_SIDE, |_path| cookie_store(true);
}

fn open_sqlite(path: &Path) -> SqliteStore {
    SqliteStore::open(path).unwrap()
}

fn ring() -> KeyRing {
    KeyRing::new(Secret::from_bytes(&[7; 32]).unwrap())
}

fn ring_sealed<S: SessionStore>(store: S) -> Sealed<S> {
    Sealed::new(store).with_key_ring(&ring())
}

fn cookie_store(signed: bool) -> CookieStore {
    let ring = ring();
    let builder = CookieStore::builder("__Host-session", &ring);
    let builder = if signed { builder.signed() } else { builder };
    builder.build().unwrap()
}

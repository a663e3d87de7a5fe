//! Stores of a known key, name and time.

#![allow(dead_code)] // Each test file uses a part.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cloakroom_cookie::{CookieStore, CookieStoreBuilder, KeyRing, Secret};
use cloakroom_core::engine::{Token, TokenStore};
use cloakroom_core::store::Record;
use cloakroom_core::{ErrorKind, SystemClock};
use cloakroom_testkit::{key, sample};

pub(crate) const COOKIE: &str = "__Host-session";

pub(crate) fn secret(byte: u8) -> Secret {
    Secret::from_bytes(&[byte; 32]).unwrap()
}

pub(crate) fn ring(active: u8, retired: &[u8]) -> KeyRing {
    let retired = retired.iter().map(|byte| secret(*byte));
    retired.fold(KeyRing::new(secret(active)), |ring, secret| {
        ring.with_retired(secret).unwrap()
    })
}

pub(crate) fn encrypted(ring: &KeyRing) -> CookieStore {
    CookieStore::builder(COOKIE, ring).build().unwrap()
}

pub(crate) fn signed(ring: &KeyRing) -> CookieStore {
    CookieStore::builder(COOKIE, ring).signed().build().unwrap()
}

/// The two modes, as one would configure them.
pub(crate) fn both_modes<'r>(
    cookie: &'static str,
    ring: &'r KeyRing,
) -> [CookieStoreBuilder<'r>; 2] {
    let builder = || CookieStore::builder(cookie, ring).clock(Arc::new(SystemClock));
    [builder(), builder().signed()]
}

pub(crate) async fn issued<T: TokenStore>(store: &T, record: &Record) -> Token {
    let written = store.create_token(&key(), record).await.unwrap();
    written.token.unwrap()
}

pub(crate) async fn load<T: TokenStore>(store: &T, token: &Token) -> Option<Record> {
    let loaded = match store.load_token(token).await {
        // It names a key that is not in the ring.
        Err(error) if error.kind() == ErrorKind::UnknownKey => None,
        loaded => loaded.unwrap(),
    };
    loaded.and_then(|loaded| loaded.stored.into_record())
}

/// It opens nothing and takes no write.
pub(crate) async fn assert_never_opens(store: &CookieStore, token: &str, what: &str) {
    let _any_answer = store.is_well_formed(token);
    let token = Token::new(token);
    assert!(load(store, &token).await.is_none(), "{what}");
    let error = store.update_token(&token, &sample("")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Gone, "{what}");
    store.delete_token(&token).await.unwrap();
}

pub(crate) fn frame(token: &Token) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(token.expose()).unwrap()
}

pub(crate) fn unframe(frame: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(frame)
}

pub(crate) fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle)
}

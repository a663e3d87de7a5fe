//! Sealed cookies, whole and damaged, in both modes, in one cookie and in several:
//! only what was sealed opens, and nothing is an error.

#![no_main]

use std::sync::{Arc, LazyLock};

use arbitrary::Arbitrary;
use cloakroom_cookie::{CookieStore, KeyRing, Secret};
use cloakroom_core::engine::{SessionKey, Token, TokenStore as _};
use cloakroom_core::store::{Data, Record, Stored};
use cloakroom_core::{ErrorKind, Timestamp};
use cloakroom_testkit::ManualClock;
use cloakroom_web::{COOKIE_CHUNKS_MAX, ClientState, CookiePolicy};
use futures_executor::block_on;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    signed: bool,
    data: Vec<u8>,
    /// Changes to the characters of the token: where, and to what.
    changes: Vec<(u16, u8)>,
    cut: Option<u16>,
    /// The same to the cookies of the token: which, where, and to what.
    chunk_changes: Vec<(u8, u16, u8)>,
    /// A cookie that does not come back.
    lost: Option<u8>,
    /// One that comes from the session's next state instead.
    mixed: Option<u8>,
    /// A token from nowhere.
    raw: String,
}

fn store(signed: bool) -> CookieStore {
    let secret = Secret::from_bytes(&[7; 32]).expect("32 bytes");
    let ring = KeyRing::new(secret);
    let builder = CookieStore::builder("session", &ring)
        .clock(Arc::new(ManualClock::at(Timestamp::EPOCH)));
    let builder = if signed { builder.signed() } else { builder };
    builder.build().expect("choices that go together")
}

static POLICY: LazyLock<CookiePolicy> = LazyLock::new(|| {
    let builder = CookiePolicy::builder().chunks_max(COOKIE_CHUNKS_MAX);
    builder.bytes_max(200).build().expect("a policy")
});

/// The cookies of a token, as a browser sends them back.
fn cookies(token: &Token) -> Option<Vec<Vec<u8>>> {
    let set = POLICY.set(token, None, ClientState::default()).ok()?;
    let kept = set.iter().filter(|text| !text.contains("; Max-Age=0"));
    let pairs = kept.map(|text| text.split(';').next().expect("a pair"));
    Some(pairs.map(|pair| pair.as_bytes().to_vec()).collect())
}

/// What the cookies of a request open.
fn opened(store: &CookieStore, cookies: &[Vec<u8>]) -> Option<Record> {
    let lines = cookies.iter().map(Vec::as_slice);
    let found = POLICY.find(lines, |token| store.is_well_formed(token));
    loaded(store, found.token?.expose())
}

/// Cookies that were damaged, lost or mixed open one of the two sessions that
/// were sealed, or nothing.
fn chunked(store: &CookieStore, input: &Input, token: &Token, record: &Record) {
    let next = block_on(store.update_token(token, record));
    let next = next
        .expect("as long as the first")
        .token
        .expect("a session");
    let (Some(mut pairs), Some(others)) = (cookies(token), cookies(&next)) else {
        return;
    };
    assert_eq!(opened(store, &pairs).as_ref(), Some(record));
    let intact = pairs.clone();
    if let Some(at) = input.mixed {
        let at = usize::from(at) % pairs.len();
        pairs[at].clone_from(&others[at]);
    }
    for (which, at, to) in &input.chunk_changes {
        let which = usize::from(*which) % pairs.len();
        let at = usize::from(*at) % pairs[which].len();
        pairs[which][at] = *to;
    }
    if let Some(at) = input.lost {
        pairs.remove(usize::from(at) % pairs.len());
    }
    let Some(found) = opened(store, &pairs) else {
        assert_ne!(pairs, intact);
        return;
    };
    assert_eq!(
        (found.created_at, &found.data),
        (record.created_at, &record.data)
    );
    assert!(pairs.len() == intact.len(), "one is lost");
}

static STORES: LazyLock<[CookieStore; 2]> = LazyLock::new(|| [store(false), store(true)]);

fn loaded(store: &CookieStore, token: &str) -> Option<Record> {
    let loaded = match block_on(store.load_token(&Token::new(token))) {
        // It names a key that is not in the ring.
        Err(error) if error.kind() == ErrorKind::UnknownKey => None,
        loaded => loaded.expect("nothing else is an error"),
    };
    loaded.and_then(|loaded| Stored::into_record(loaded.stored))
}

fuzz_target!(|input: Input| {
    let store = &STORES[usize::from(input.signed)];
    assert!(loaded(store, &input.raw).is_none());

    let mut record = Record::new(Timestamp::EPOCH, Timestamp::MAX);
    record.data = Data::from_bytes(input.data.clone());
    let key = SessionKey::from_bytes([9; 32]);
    let Ok(written) = block_on(store.create_token(&key, &record)) else {
        return;
    };
    let token = written.token.expect("the session");
    let record = record.at_revision(written.revision);
    assert_eq!(loaded(store, token.expose()).as_ref(), Some(&record));

    chunked(store, &input, &token, &record);

    let other = &STORES[usize::from(!input.signed)];
    assert!(loaded(other, token.expose()).is_none(), "another mode");

    let mut text = token.expose().to_owned().into_bytes();
    for (at, to) in &input.changes {
        let at = usize::from(*at) % text.len();
        text[at] = *to;
    }
    if let Some(cut) = input.cut {
        text.truncate(usize::from(cut) % (text.len() + 1));
    }
    let Ok(damaged) = String::from_utf8(text) else {
        return;
    };
    if damaged != token.expose() {
        assert!(loaded(store, &damaged).is_none());
    }
});

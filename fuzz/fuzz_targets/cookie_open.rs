//! Sealed cookies, whole and damaged, in both modes: only what was sealed opens,
//! and nothing is an error.

#![no_main]

use std::sync::{Arc, LazyLock};

use arbitrary::Arbitrary;
use cloakroom_cookie::{CookieStore, KeyRing, Secret};
use cloakroom_core::{Data, Record, SessionKey, Slot, Timestamp, Token, TokenStore as _};
use cloakroom_testkit::ManualClock;
use futures_executor::block_on;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    signed: bool,
    data: Vec<u8>,
    /// Changes to the characters of the token: where, and to what.
    changes: Vec<(u16, u8)>,
    cut: Option<u16>,
    /// A token from nowhere.
    raw: String,
}

fn store(signed: bool) -> CookieStore {
    let secret = Secret::from_bytes(&[7; 32]).expect("32 bytes");
    let ring = KeyRing::new(secret);
    let builder = CookieStore::builder("session", &ring)
        .token_bytes_max(16_000)
        .clock(Arc::new(ManualClock::at(Timestamp::EPOCH)));
    let builder = if signed { builder.signed() } else { builder };
    builder.build().expect("choices that go together")
}

static STORES: LazyLock<[CookieStore; 2]> = LazyLock::new(|| [store(false), store(true)]);

fn loaded(store: &CookieStore, token: &str) -> Option<Record> {
    let loaded = block_on(store.load_token(&Token::new(token))).expect("nothing is an error");
    loaded.and_then(|loaded| Slot::into_record(loaded.slot))
}

fuzz_target!(|input: Input| {
    let store = &STORES[usize::from(input.signed)];
    assert!(loaded(store, &input.raw).is_none());

    let mut record = Record::new(Timestamp::EPOCH, Timestamp::MAX);
    record.data = Data::from_bytes(input.data);
    let key = SessionKey::from_bytes([9; 32]);
    let Ok(written) = block_on(store.create_token(&key, &record)) else {
        return;
    };
    let token = written.token.expect("the session");
    let record = record.at_revision(written.revision);
    assert_eq!(loaded(store, token.expose()).as_ref(), Some(&record));

    let other = &STORES[usize::from(!input.signed)];
    assert!(loaded(other, token.expose()).is_none(), "another mode");

    let mut text = token.expose().to_owned().into_bytes();
    for (at, to) in input.changes {
        let at = usize::from(at) % text.len();
        text[at] = to;
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

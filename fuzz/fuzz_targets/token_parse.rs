//! Text from a client: a token is a key in its one spelling, or nothing.

#![no_main]

use cloakroom_core::engine::SessionKey;
use cloakroom_core::store::KeyDigest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Some(key) = SessionKey::parse(text) {
        assert_eq!(key.to_token().expose(), text);
    }
    if let Some(digest) = KeyDigest::from_hex(text) {
        assert_eq!(digest.to_hex(), text);
    }
});

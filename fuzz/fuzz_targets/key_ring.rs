//! The text of a key ring: a ring or an error that quotes nothing of it.

#![no_main]

use cloakroom_cookie::KeyRing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match KeyRing::parse(text) {
        Ok(ring) => assert!(format!("{ring:?}").len() < 60),
        Err(error) => {
            let message = error.to_string();
            for word in text.split_whitespace().filter(|word| word.len() > 20) {
                assert!(!message.contains(word));
            }
        }
    }
});

//! Reading and writing key rings; errors that quote no secret.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

use cloakroom_core::ErrorKind;
use cloakroom_core::engine::OsEntropy;
use cloakroom_disk::replace_file;
use cloakroom_keyring::{
    KeyRing, RING_KEYS_MAX, RING_TEXT_BYTES_MAX, SECRET_BYTES_MAX, SECRET_BYTES_MIN, Secret,
};

const HEX: &str = "0101010101010101010101010101010101010101010101010101010101010101";
const BASE64: &str = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI";

fn secret(byte: u8) -> Secret {
    Secret::from_bytes(&[byte; 32]).unwrap()
}

/// Whether the ring's secrets are these, the active one first.
fn is_of(ring: &KeyRing, bytes: &[u8]) -> bool {
    let ids = ring.secrets().iter().map(Secret::id);
    ids.eq(bytes.iter().map(|byte| secret(*byte).id()))
}

#[test]
fn the_first_is_active_and_the_others_are_retired() {
    let text = format!("\u{20}# a comment\r\n\n  {HEX}  # active\r\n\t{BASE64}\n# end");
    let upper = format!("{}\n{BASE64}", HEX.to_uppercase());
    let in_one_line = format!("{HEX},{BASE64},");
    for text in [text, upper, in_one_line] {
        let ring = KeyRing::parse(&text).unwrap();
        assert_eq!(format!("{ring:?}"), "KeyRing(1 active, 1 retired)");
        assert!(is_of(&ring, &[1, 2]));
    }
}

#[test]
fn a_retired_secret_is_activated_or_taken_out_and_the_others_keep_their_order() {
    let ring = || {
        let ring = KeyRing::new(secret(1)).with_retired(secret(2)).unwrap();
        ring.with_retired(secret(3)).unwrap()
    };
    let id = |byte| secret(byte).id();
    assert!(is_of(&ring().activated(&id(1)).unwrap(), &[1, 2, 3]));
    assert!(is_of(&ring().activated(&id(2)).unwrap(), &[2, 1, 3]));
    assert!(is_of(&ring().activated(&id(3)).unwrap(), &[3, 1, 2]));
    assert!(is_of(&ring().without(&id(2)).unwrap(), &[1, 3]));
    for error in [
        ring().activated(&id(4)).unwrap_err(),
        ring().without(&id(4)).unwrap_err(),
        // What seals now must not be lost by a slip.
        ring().without(&id(1)).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
    }
}

#[test]
fn what_is_generated_is_read_back() {
    let direct = KeyRing::generate(&OsEntropy).unwrap();
    let text = direct.to_text();
    assert_eq!(text.trim_end().len(), 43);
    let id = |ring: &KeyRing| ring.secrets()[0].id();
    assert_eq!(id(&KeyRing::parse(&text).unwrap()), id(&direct));
    assert_ne!(id(&KeyRing::generate(&OsEntropy).unwrap()), id(&direct));
}

#[test]
fn a_whole_ring_is_written_as_text_and_read_back() {
    let long = |bytes: usize| Secret::from_bytes(&vec![9; bytes]).unwrap();
    let mut ring = KeyRing::new(secret(1));
    for retired in [secret(2), long(33), long(48), long(SECRET_BYTES_MAX)] {
        ring = ring.with_retired(retired).unwrap();
    }
    let text = ring.to_text();
    assert!(text.starts_with("AQEBAQ"), "the active secret is the first");
    assert_eq!(text.lines().count(), 5);
    let back = KeyRing::parse(&text).unwrap();
    assert_eq!(back.to_text(), text);
    let mut full = KeyRing::new(long(SECRET_BYTES_MAX));
    for byte in 1..RING_KEYS_MAX {
        let retired = Secret::from_bytes(&vec![100 + byte as u8; SECRET_BYTES_MAX]);
        full = full.with_retired(retired.unwrap()).unwrap();
    }
    KeyRing::parse(&full.to_text()).unwrap();
}

#[test]
fn a_new_active_secret_retires_the_one_before() {
    let after = KeyRing::new(secret(1)).with_active(secret(2)).unwrap();
    assert!(is_of(&after, &[2, 1]));
    let again = after.with_active(secret(1)).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Misconfigured);
}

#[test]
fn an_error_names_the_line_and_none_of_its_content() {
    let long = "ab".repeat(33);
    let bad = [
        "correct-horse-battery-staple",
        &BASE64[..42],
        "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgJ", // its last bits are not zero
        "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=",
        "zz01010101010101010101010101010101010101010101010101010101010101",
        &HEX[1..],
        &long,
        "base64url:AQEB",
        "base64url:",
        "é",
    ];
    for bad in bad {
        for text in [format!("\n# one\n{bad}"), format!("{HEX}\n\n{bad} # x\n")] {
            let error = KeyRing::parse(&text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Misconfigured);
            assert!(error.to_string().contains("line 3"), "{error}");
            assert!(!format!("{error} {error:?}").contains(bad), "{error}");
        }
    }
}

#[test]
fn the_same_key_twice_is_refused_in_either_spelling() {
    let spelt_otherwise = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE";
    for again in [HEX, spelt_otherwise] {
        let error = KeyRing::parse(&format!("{HEX}\n{BASE64}\n{again}")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
        assert!(error.to_string().contains("line 3"), "{error}");
        assert!(!error.to_string().contains(again), "{error}");
    }
}

#[test]
fn a_ring_without_a_key_or_over_its_limits_is_refused() {
    for text in ["", "\n\n", "# only comments\n", " , ,\n"] {
        let error = KeyRing::parse(text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
    }
    let lines = |count: usize| -> String { (1..=count).map(|at| format!("{at:064x}\n")).collect() };
    KeyRing::parse(&lines(RING_KEYS_MAX)).unwrap();
    let error = KeyRing::parse(&lines(RING_KEYS_MAX + 1)).unwrap_err();
    assert!(error.to_string().contains("line 65"), "{error}");
    let long = format!("{HEX}\n#{}", "x".repeat(RING_TEXT_BYTES_MAX));
    let error = KeyRing::parse(&long).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    let error = Secret::from_bytes(&[1; SECRET_BYTES_MIN - 1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    Secret::from_bytes(&[1; 100]).unwrap();
    let error = Secret::from_bytes(&[0; 100]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    for zeros in ["0".repeat(64), "A".repeat(43)] {
        let error = KeyRing::parse(&zeros).unwrap_err();
        assert!(error.to_string().contains("line 1"), "{error}");
    }
    let error = Secret::from_bytes(&[1; SECRET_BYTES_MAX + 1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
}

#[cfg(unix)]
#[test]
fn a_file_that_others_may_read_is_refused_and_one_for_its_group_is_taken() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cookie.keys");
    replace_file(&path, HEX.as_bytes()).unwrap();
    for mode in [0o600, 0o400, 0o640, 0o660] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        assert!(is_of(&KeyRing::from_file(&path).unwrap(), &[1]));
    }
    for mode in [0o666, 0o644, 0o604, 0o602] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let error = KeyRing::from_file(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
        assert!(error.to_string().contains("chmod go-rwx"), "{error}");
    }
}

#[test]
fn a_file_and_an_environment_variable_are_read_and_named_in_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cookie.keys");
    let error = KeyRing::from_file(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert!(error.to_string().contains("cookie.keys"), "{error}");
    replace_file(&path, b"").unwrap();
    for (content, says) in [
        (&b"\xff\xfe"[..], "UTF-8"),
        (b"\nnonsense", "line 2"),
        (
            &vec![b'#'; RING_TEXT_BYTES_MAX + 1],
            "a text of 65536 bytes",
        ),
    ] {
        std::fs::write(&path, content).unwrap();
        let error = KeyRing::from_file(&path).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("cookie.keys") && text.contains(says),
            "{text}"
        );
        assert!(!text.contains("nonsense"), "{text}");
    }
    std::fs::write(&path, format!("{HEX}\n")).unwrap();
    assert!(is_of(&KeyRing::from_file(&path).unwrap(), &[1]));

    let error = KeyRing::from_env("CLOAKROOM_TEST_NOT_SET").unwrap_err();
    assert!(
        error.to_string().contains("CLOAKROOM_TEST_NOT_SET"),
        "{error}"
    );
    // cargo sets this variable in every test, and it holds no key ring.
    let error = KeyRing::from_env("CARGO_PKG_NAME").unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("CARGO_PKG_NAME") && text.contains("line 1"),
        "{text}"
    );
    assert!(!text.contains("cloakroom-keyring"), "{text}");
}

#[test]
fn a_longer_secret_is_used_whole() {
    let derived = |bytes: &[u8]| *Secret::from_bytes(bytes).unwrap().derive::<32>("purpose");
    assert_ne!(derived(&[1; 33]), derived(&[1; 32]));
    assert_ne!(
        derived(&[1; SECRET_BYTES_MAX]),
        derived(&[1; SECRET_BYTES_MAX - 1])
    );
}

/// What is sealed already hangs on these bytes.
#[test]
fn the_published_derivations() {
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|b| format!("{b:02x}")).collect() };
    let counting: [u8; 32] = std::array::from_fn(|at| at as u8);
    let secret = Secret::from_bytes(&counting).unwrap();
    assert_eq!(hex(&secret.id()), "ba7f69ef");
    assert_eq!(
        hex(&*secret.derive::<32>("purpose")),
        "c938f7c9c926b1456b39fd3811e7b2d8beccd709fed368d133553b438fb89d0b"
    );
}

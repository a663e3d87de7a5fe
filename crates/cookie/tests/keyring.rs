//! Reading and writing key rings; errors that quote no secret.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod common;

use cloakroom_cookie::{
    CookieStore, KeyRing, RING_KEYS_MAX, RING_TEXT_BYTES_MAX, SECRET_BYTES_MAX, SECRET_BYTES_MIN,
    Secret,
};
use cloakroom_core::ErrorKind;
use cloakroom_core::engine::OsEntropy;
use cloakroom_disk::replace_file;
use cloakroom_testkit::sample;

use common::{COOKIE, encrypted, issued, load, secret};

const HEX: &str = "0101010101010101010101010101010101010101010101010101010101010101";
const BASE64: &str = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI";

/// Whether the ring's active secret is `secret(byte)`: only then does that secret alone
/// open what the ring seals.
async fn seals_as(ring: &KeyRing, byte: u8) -> bool {
    let token = issued(&encrypted(ring), &sample("x")).await;
    let alone = encrypted(&KeyRing::new(secret(byte)));
    load(&alone, &token).await.is_some()
}

#[tokio::test]
async fn the_first_is_active_and_the_others_are_retired() {
    let text = format!("\u{20}# a comment\r\n\n  {HEX}  # active\r\n\t{BASE64}\n# end");
    let upper = format!("{}\n{BASE64}", HEX.to_uppercase());
    let in_one_line = format!("{HEX},{BASE64},");
    for text in [text, upper, in_one_line] {
        let ring = KeyRing::parse(&text).unwrap();
        assert_eq!(format!("{ring:?}"), "KeyRing(1 active, 1 retired)");
        assert!(seals_as(&ring, 1).await);
        let retired = issued(&encrypted(&KeyRing::new(secret(2))), &sample("x")).await;
        assert!(load(&encrypted(&ring), &retired).await.is_some());
    }
}

#[tokio::test]
async fn what_is_generated_is_read_back() {
    let direct = KeyRing::generate(&OsEntropy).unwrap();
    let text = direct.to_text();
    assert_eq!(text.trim_end().len(), 43);
    let read = KeyRing::parse(&text).unwrap();
    let token = issued(&encrypted(&direct), &sample("x")).await;
    assert!(load(&encrypted(&read), &token).await.is_some());
    let other = encrypted(&KeyRing::generate(&OsEntropy).unwrap());
    assert!(load(&other, &token).await.is_none());
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

#[tokio::test]
async fn a_new_active_secret_retires_the_one_before() {
    let before = KeyRing::new(secret(1));
    let token = issued(&encrypted(&before), &sample("x")).await;
    let after = before.with_active(secret(2)).unwrap();
    assert!(seals_as(&after, 2).await);
    assert!(load(&encrypted(&after), &token).await.is_some());
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
#[tokio::test]
async fn a_file_that_others_may_read_is_refused_and_one_for_its_group_is_taken() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cookie.keys");
    replace_file(&path, HEX.as_bytes()).unwrap();
    for mode in [0o600, 0o400, 0o640, 0o660] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        assert!(seals_as(&KeyRing::from_file(&path).unwrap(), 1).await);
    }
    for mode in [0o666, 0o644, 0o604, 0o602] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let error = KeyRing::from_file(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
        assert!(error.to_string().contains("chmod go-rwx"), "{error}");
    }
}

#[tokio::test]
async fn a_file_and_an_environment_variable_are_read_and_named_in_errors() {
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
    assert!(seals_as(&KeyRing::from_file(&path).unwrap(), 1).await);

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
    assert!(!text.contains("cloakroom-cookie"), "{text}");
}

#[test]
fn a_longer_secret_is_used_whole() {
    let build = |bytes: &[u8]| {
        let ring = KeyRing::new(Secret::from_bytes(bytes).unwrap());
        CookieStore::builder(COOKIE, &ring).build().unwrap()
    };
    let (one, other) = (build(&[1; 33]), build(&[1; 32]));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let token = issued(&one, &sample("x")).await;
        assert!(load(&other, &token).await.is_none());
    });
}

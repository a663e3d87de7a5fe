//! What the session of the benches takes on the wire. Bytes are exact, so they
//! are asserted; `--nocapture` prints them.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

use cloakroom_benches::{Jar, Ours, Theirs, Typical, record};

/// Bytes of the `Set-Cookie` value, and of the `Cookie` header that answers it.
fn bytes(set: &str) -> (usize, usize) {
    let (pair, _) = set.split_once(';').unwrap();
    (set.len(), pair.len())
}

#[test]
fn a_session_of_417_bytes_of_json_takes_these_bytes() {
    let json = serde_json::to_string(&Typical::new()).unwrap();
    let record = record();
    let encrypted = bytes(&Ours::encrypted().set(&record));
    let signed = bytes(&Ours::signed().set(&record));
    let private_jar = bytes(&Theirs::new(Jar::Private).set(json.clone()));
    let signed_jar = bytes(&Theirs::new(Jar::Signed).set(json));
    println!("Set-Cookie and Cookie, in bytes");
    println!("encrypted {encrypted:?}, PrivateJar {private_jar:?}");
    println!("signed {signed:?}, SignedJar {signed_jar:?}");
    assert_eq!(encrypted, (595, 538));
    assert_eq!(signed, (584, 527));
    // The jars carry the text alone; ours, beside it, whose state it is, its
    // revision and its deadlines. They escape a random number of characters.
    assert!(encrypted.1 * 100 < private_jar.1 * 90);
    assert!(signed.1 * 100 < signed_jar.1 * 85);
}

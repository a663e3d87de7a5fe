//! The contract, what a reader of the store learns, and what a writer of the store can
//! do.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod common;

use std::sync::Arc;
use std::time::Duration;

use cloakroom_core::engine::{AnyStore, Entropy, SessionKey, TokenStore};
use cloakroom_core::store::{Data, Record, Revision, Stored};
use cloakroom_core::{Error, ErrorKind, Subject, Timestamp};
use cloakroom_sealed::{SEAL_BYTES_MAX, Sealed};
use cloakroom_testkit::{Fault, FaultyStore, MapStore, Profile, conformance, key, sample};

use common::{Counting, counting, hex, kept, load, stored};

#[tokio::test]
async fn conforms() {
    conformance(&Sealed::new(MapStore::default()), &Profile::SERVER_SIDE).await;
}

#[tokio::test]
async fn conforms_erased() {
    let store = AnyStore::new(Sealed::new(MapStore::default()));
    conformance(&store, &Profile::SERVER_SIDE).await;
}

/// What a session's visitor loads after a writer of the database has changed its
/// record.
async fn after(tamper: impl Fn(&mut Record)) -> Result<Record, Error> {
    let store = Sealed::new(MapStore::default());
    let key = stored(&store, "the data").await;
    let mut record = kept(&store, &key.digest());
    tamper(&mut record);
    store.inner().plant(key.digest(), Stored::Record(record));
    load(&store, &key).await
}

#[tokio::test]
async fn a_copy_of_the_store_holds_no_data_and_no_key() {
    const PLANTED: &str = "planted: neither clear nor encoded";
    let store = Sealed::new(MapStore::default());
    let mut keys = Vec::new();
    for _ in 0..50 {
        let first = stored(&store, PLANTED).await;
        let second = key();
        let found = load(&store, &first).await.unwrap();
        let token = first.to_token();
        let written = store.update_token(&token, &found).await.unwrap();
        let found = found.at_revision(written.revision);
        store
            .rotate_token(&token, &second, &found, Timestamp::MAX)
            .await
            .unwrap();
        keys.extend([first, second]);
    }
    let mut copy = Vec::new();
    for (digest, stored) in store.inner().snapshot() {
        copy.extend_from_slice(digest.as_bytes());
        copy.extend(stored.encode().unwrap());
    }
    let contains = |needle: &[u8]| copy.windows(needle.len()).any(|window| window == needle);
    assert!(contains(b"user-42"), "the header is clear, as documented");
    assert!(!contains(PLANTED.as_bytes()));
    for key in &keys {
        assert!(contains(key.digest().as_bytes()), "the search finds");
        assert!(!contains(key.expose_bytes()));
        assert!(!contains(key.to_token().expose().as_bytes()));
    }
}

#[tokio::test]
async fn data_swapped_between_two_sessions_is_corrupt() {
    let store = Sealed::new(MapStore::default());
    let (one, two) = (stored(&store, "one").await, stored(&store, "two").await);
    let (mut first, mut second) = (kept(&store, &one.digest()), kept(&store, &two.digest()));
    second.created_at = first.created_at;
    std::mem::swap(&mut first.data, &mut second.data);
    store.inner().plant(one.digest(), Stored::Record(first));
    store.inner().plant(two.digest(), Stored::Record(second));
    for key in [&one, &two] {
        let error = load(&store, key).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert_eq!(error.store(), Some("sealed"));
    }
}

#[tokio::test]
async fn another_subject_or_beginning_is_corrupt() {
    let subject = |text: &str| Some(Subject::new(text).unwrap());
    for other in [None, subject(""), subject("user-4"), subject("user-43")] {
        let error = after(|record| record.subject = other.clone()).await;
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Corrupt, "{other:?}");
    }
    let error = after(|record| {
        record.created_at = record.created_at.saturating_add(Duration::from_millis(1));
    })
    .await
    .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn damaged_data_is_corrupt_whichever_bit_and_wherever_it_is_cut() {
    let store = Sealed::new(MapStore::default());
    let key = stored(&store, "whole").await;
    let record = kept(&store, &key.digest());
    let whole = record.data.as_bytes().to_vec();
    assert_eq!(whole.len(), "whole".len() + SEAL_BYTES_MAX - 4);
    let flips = (0..whole.len() * 8).map(|bit| {
        let mut damaged = whole.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        damaged
    });
    let cuts = (0..whole.len()).map(|end| whole[..end].to_vec());
    let unsealed = [b"\x01\x01a\x01\x00".to_vec(), b"\x02".to_vec()];
    for damaged in flips.chain(cuts).chain(unsealed) {
        let mut record = record.clone();
        record.data = Data::from_bytes(damaged);
        store.inner().plant(key.digest(), Stored::Record(record));
        let error = load(&store, &key).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
}

/// A limit that the documentation states.
#[tokio::test]
async fn a_writer_of_the_store_can_move_deadlines_and_put_an_older_state_back() {
    let moved = after(|record| {
        record.expires_at = Timestamp::MAX;
        record.absolute_deadline = None;
    });
    assert_eq!(moved.await.unwrap().expires_at, Timestamp::MAX);

    let store = Sealed::new(MapStore::default());
    let key = stored(&store, "before").await;
    let before = kept(&store, &key.digest());
    let mut changed = load(&store, &key).await.unwrap();
    changed.data = Data::from_bytes(&b"after"[..]);
    store.update_token(&key.to_token(), &changed).await.unwrap();
    store.inner().plant(key.digest(), Stored::Record(before));
    let back = load(&store, &key).await.unwrap();
    assert_eq!(back.data.as_bytes(), b"before");
}

/// A limit that the documentation states: without a key ring, the server holds no key
/// that a writer of the database would lack. `key_ring.rs` has the same with one.
#[tokio::test]
async fn a_writer_of_the_store_can_plant_a_session_of_any_subject_and_it_opens() {
    // Whoever it is runs the same code over another store, under a key that they drew.
    let theirs = Sealed::new(MapStore::default());
    let their_key = key();
    let mut record = sample("planted");
    record.subject = Some(Subject::new("the-administrator").unwrap());
    theirs.create_token(&their_key, &record).await.unwrap();
    let planted = kept(&theirs, &their_key.digest());

    let store = Sealed::new(MapStore::default());
    store
        .inner()
        .plant(their_key.digest(), Stored::Record(planted));
    let opened = load(&store, &their_key).await.unwrap();
    assert_eq!(opened.subject, record.subject);
    assert_eq!(opened.data, record.data);
}

#[tokio::test]
async fn a_touch_seals_nothing_anew_and_every_other_write_does() {
    let store = Sealed::new(MapStore::default());
    let key = stored(&store, "the same").await;
    let token = key.to_token();
    let first = kept(&store, &key.digest()).data;
    let mut record = load(&store, &key).await.unwrap();
    record.expires_at = Timestamp::MAX;
    store.touch_token(&token, &record).await.unwrap();
    assert_eq!(kept(&store, &key.digest()).data, first);
    store.update_token(&token, &record).await.unwrap();
    assert_ne!(kept(&store, &key.digest()).data, first, "a fresh nonce");
    assert_eq!(load(&store, &key).await.unwrap().data, record.data);
}

#[derive(Debug)]
struct NoEntropy;

impl Entropy for NoEntropy {
    fn fill(&self, _: &mut [u8]) -> Result<(), Error> {
        Err(ErrorKind::Unavailable.into())
    }
}

#[tokio::test]
async fn without_randomness_nothing_is_written() {
    let store = Sealed::with_entropy(MapStore::default(), Arc::new(NoEntropy));
    let error = store.create_token(&key(), &sample("x")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(store.inner().snapshot().is_empty());
}

#[tokio::test]
async fn an_error_of_the_inner_store_comes_through() {
    let store = Sealed::new(FaultyStore::new(MapStore::default()));
    store.inner().fail_always(Some(Fault::Refuse));
    let error = store.load_token(&key().to_token()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

/// The format is a promise: what version 1 sealed must open for ever.
#[tokio::test]
async fn the_published_bytes_of_version_1() {
    const SEALED: &str = concat!(
        "01404142434445464748494a4b4c4d4e4f5051525354555657",
        "ce6bce59d018f74bd70f6789eb64101f85087315358904d6a3"
    );
    let store = Sealed::with_entropy(MapStore::default(), Arc::new(Counting));
    let key = SessionKey::from_bytes(counting(0));
    let mut record = Record::new(Timestamp::from_millis(1_000), Timestamp::from_millis(9_000));
    record.subject = Some(Subject::new("42").unwrap());
    record.data = Data::from_bytes(&b"cloakroom"[..]);
    store.create_token(&key, &record).await.unwrap();
    assert_eq!(hex(kept(&store, &key.digest()).data.as_bytes()), SEALED);
    let found = load(&store, &key).await.unwrap();
    assert_eq!(found, record.at_revision(Revision::FIRST));
}

#[test]
fn debug_shows_the_type_alone() {
    let store = Sealed::new(MapStore::default());
    store
        .inner()
        .plant(key().digest(), Stored::Record(sample("secret")));
    let printed = format!("{store:?}");
    assert!(printed.starts_with("Sealed("), "{printed}");
    assert!(
        !printed.contains("user") && !printed.contains("secret"),
        "{printed}"
    );
}

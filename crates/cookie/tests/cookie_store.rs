//! The contract as far as a cookie can keep it, and what this store adds: deadlines,
//! sizes, changes of the key.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod common;

use std::sync::Arc;
use std::time::Duration;

use cloakroom_cookie::{CookieStore, KeyRing};
use cloakroom_core::engine::{
    AnyStore, Entropy, OsEntropy, SessionKey, TOKEN_BYTES_MAX, Token, TokenStore as _,
};
use cloakroom_core::store::{Data, Record, Revision, Stored};
use cloakroom_core::{Error, ErrorKind, SessionExpiry, Site, Timestamp};
use cloakroom_testkit::{ManualClock, Profile, conformance, key, sample, survives_reopening};
use proptest::prelude::*;

use common::{COOKIE, both_modes, contains, encrypted, frame, issued, load, ring, signed};

#[tokio::test]
async fn conforms() {
    let ring = KeyRing::generate(&OsEntropy).unwrap();
    conformance(&encrypted(&ring), &Profile::CLIENT_SIDE).await;
    conformance(&signed(&ring), &Profile::CLIENT_SIDE).await;
}

#[tokio::test]
async fn conforms_erased() {
    let ring = KeyRing::generate(&OsEntropy).unwrap();
    conformance(&AnyStore::new(encrypted(&ring)), &Profile::CLIENT_SIDE).await;
    conformance(&AnyStore::new(signed(&ring)), &Profile::CLIENT_SIDE).await;
}

#[tokio::test]
async fn a_restart_with_the_same_ring_forgets_nobody() {
    let ring = ring(1, &[]);
    survives_reopening(&Profile::CLIENT_SIDE, async || encrypted(&ring)).await;
}

fn at(secs: u64) -> Timestamp {
    Timestamp::EPOCH.saturating_add(Duration::from_secs(secs))
}

/// Without a deadline inside, a stolen cookie would open for ever.
#[tokio::test]
async fn a_cookie_replayed_after_either_of_its_deadlines_does_not_open() {
    let ring = ring(1, &[]);
    for builder in both_modes(COOKIE, &ring) {
        let clock = Arc::new(ManualClock::at(at(1_000)));
        let store = builder.clock(clock.clone()).build().unwrap();
        let mut idle = Record::new(at(1_000), at(1_060));
        idle.absolute_deadline = Some(at(9_999));
        let mut absolute = Record::new(at(1_000), at(9_999));
        absolute.absolute_deadline = Some(at(1_060));
        for record in [idle, absolute] {
            clock.set(at(1_000));
            let token = issued(&store, &record).await;
            for (secs, opens) in [(1_059, true), (1_060, false), (20_000, false)] {
                clock.set(at(secs));
                assert_eq!(load(&store, &token).await.is_some(), opens, "at {secs}");
            }
            // A touch makes a new token, and the first one keeps its deadline.
            clock.set(at(1_059));
            let mut later = record.at_revision(Revision::FIRST);
            later.expires_at = at(20_000);
            store.touch_token(&token, &later).await.unwrap();
            clock.set(at(1_060));
            assert!(load(&store, &token).await.is_none());
        }
    }
}

#[tokio::test]
async fn a_touch_moves_no_session_past_its_absolute_deadline() {
    let ring = ring(1, &[]);
    let clock = Arc::new(ManualClock::at(at(1_000)));
    let builder = CookieStore::builder(COOKIE, &ring).clock(clock.clone());
    let store = builder.build().unwrap();
    let mut record = Record::new(at(1_000), at(1_060));
    record.absolute_deadline = Some(at(1_100));
    let token = issued(&store, &record).await;
    let mut later = record.at_revision(Revision::FIRST);
    later.expires_at = at(5_000);
    later.absolute_deadline = None; // A touch ignores it.
    let touched = store.touch_token(&token, &later).await.unwrap();
    let token = touched.token.unwrap();
    clock.set(at(1_099));
    assert!(load(&store, &token).await.is_some());
    clock.set(at(1_100));
    assert!(load(&store, &token).await.is_none());
}

/// Where the limit is measured on the plaintext, browsers drop the longer cookie that
/// is sent.
#[tokio::test]
async fn the_limit_is_measured_on_the_sealed_token_and_is_a_typed_error() {
    let ring = ring(1, &[]);
    for builder in both_modes(COOKIE, &ring) {
        let store = builder.build().unwrap();
        let first = issued(&store, &sample("")).await;
        let mut based = sample("").at_revision(Revision::FIRST);
        let mut longest = 11_999;
        for bytes in 12_000..12_300 {
            let mut record = sample("");
            record.data = Data::from_bytes(vec![7; bytes]);
            match store.create_token(&key(), &record).await {
                Ok(written) => {
                    assert_eq!(longest, bytes - 1, "no gap");
                    assert!(written.token.unwrap().expose().len() <= TOKEN_BYTES_MAX);
                    longest = bytes;
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::TooLarge);
                    assert!(error.to_string().contains("TOKEN_BYTES_MAX"), "{error}");
                }
            }
        }
        assert!((12_001..12_299).contains(&longest), "{longest}");
        based.data = Data::from_bytes(vec![7; longest + 1]);
        for written in [
            store.update_token(&first, &based).await,
            store.rotate_token(&first, &key(), &based, at(0)).await,
        ] {
            assert_eq!(written.unwrap_err().kind(), ErrorKind::TooLarge);
        }
    }
}

#[tokio::test]
async fn under_a_retired_key_the_same_session_is_sealed_again() {
    for signed_mode in [false, true] {
        let mode = if signed_mode { signed } else { encrypted };
        let old = mode(&ring(1, &[]));
        let both = mode(&ring(2, &[3, 1]));
        let new = mode(&ring(2, &[]));
        let record = sample("kept");
        let token = issued(&old, &record).await;
        let expected = Some(record.at_revision(Revision::FIRST));

        let loaded = both.load_token(&token).await.unwrap().unwrap();
        let reissue = loaded.reissue.unwrap();
        assert_eq!(loaded.stored.into_record(), expected, "deadlines and all");
        assert_eq!(load(&both, &reissue).await, expected);
        for token in [&token, &reissue] {
            assert!(load(&new, token).await.is_none(), "removed from the ring");
        }
        assert!(load(&old, &reissue).await.is_none());
        let again = both.load_token(&reissue).await.unwrap().unwrap();
        assert!(again.reissue.is_none(), "the active key needs no reissue");
        // In signed mode the payload is clear; it begins with flags and id.
        if signed_mode {
            assert_eq!(frame(&token)[6..14], frame(&reissue)[6..14]);
        }
    }
}

#[tokio::test]
async fn an_update_and_a_touch_keep_the_session_id_and_a_rotation_gives_a_new_one() {
    let store = signed(&ring(1, &[]));
    let record = sample("x").at_revision(Revision::FIRST);
    let token = issued(&store, &record).await;
    let id = |token: &Token| frame(token)[6..14].to_vec();
    let updated = store.update_token(&token, &record).await.unwrap();
    assert_eq!(id(&updated.token.unwrap()), id(&token));
    let mut later = record.clone();
    later.expires_at = Timestamp::MAX;
    let touched = store.touch_token(&token, &later).await.unwrap();
    assert_eq!(id(&touched.token.unwrap()), id(&token));
    let new = key();
    let rotated = store.rotate_token(&token, &new, &record, at(0)).await;
    let rotated = id(&rotated.unwrap().token.unwrap());
    assert_eq!(rotated, new.digest().as_bytes()[..8]);
    assert_ne!(rotated, id(&token));
}

#[tokio::test]
async fn a_write_based_on_another_revision_than_the_tokens_is_a_conflict() {
    let store = encrypted(&ring(1, &[]));
    let token = issued(&store, &sample("x")).await;
    let stale = sample("y").at_revision(Revision::from_u64(7));
    for written in [
        store.update_token(&token, &stale).await,
        store.rotate_token(&token, &key(), &stale, at(0)).await,
    ] {
        assert_eq!(written.unwrap_err().kind(), ErrorKind::Conflict);
    }
    let kept = store.touch_token(&token, &stale).await.unwrap();
    assert!(kept.token.is_none());
}

/// A limit that the documentation states.
#[tokio::test]
async fn without_revocation_a_copied_cookie_outlives_a_logout_and_a_rotation() {
    let store = encrypted(&ring(1, &[]));
    let record = sample("x").at_revision(Revision::FIRST);
    let token = issued(&store, &record).await;
    store.delete_token(&token).await.unwrap();
    store
        .rotate_token(&token, &key(), &record, at(0))
        .await
        .unwrap();
    assert!(load(&store, &token).await.is_some());
}

#[tokio::test]
async fn an_encrypted_cookie_shows_nothing_and_a_signed_one_shows_its_session() {
    let ring = ring(1, &[]);
    let record = sample("planted plaintext");
    let sealed = frame(&issued(&encrypted(&ring), &record).await);
    let clear = frame(&issued(&signed(&ring), &record).await);
    for planted in [&b"planted plaintext"[..], b"user-42", b"Firefox"] {
        assert!(!contains(&sealed, planted));
        assert!(contains(&clear, planted));
    }
    let again = frame(&issued(&encrypted(&ring), &record).await);
    assert_ne!(sealed[5..29], again[5..29], "a fresh nonce each time");
}

#[derive(Debug)]
struct NoEntropy;

impl Entropy for NoEntropy {
    fn fill(&self, _: &mut [u8]) -> Result<(), Error> {
        Err(ErrorKind::Unavailable.into())
    }
}

#[tokio::test]
async fn without_randomness_nothing_is_issued() {
    let ring = ring(1, &[]);
    let builder = CookieStore::builder(COOKIE, &ring).entropy(Arc::new(NoEntropy));
    let store = builder.build().unwrap();
    let error = store.create_token(&key(), &sample("x")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let token = issued(&encrypted(&ring), &sample("x")).await;
    assert!(load(&store, &token).await.is_some(), "reading needs none");
}

#[test]
fn a_name_that_cannot_work_is_refused() {
    let ring = ring(1, &[]);
    for refused in [
        CookieStore::builder("", &ring).build(),
        CookieStore::builder("x".repeat(257), &ring).build(),
    ] {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Misconfigured);
    }
    CookieStore::builder("x".repeat(256), &ring)
        .build()
        .unwrap();
}

#[tokio::test]
async fn debug_shows_no_key_and_no_session() {
    let ring = ring(0x41, &[0x42]);
    let store = encrypted(&ring);
    let token = issued(&store, &sample("planted")).await;
    let loaded = store.load_token(&token).await.unwrap();
    let builder = CookieStore::builder(COOKIE, &ring);
    let printed = format!("{store:?} {builder:?} {ring:?} {token:?} {loaded:?}");
    for secret in [
        "65, 65",
        "41414141414141",
        "QUFB",
        "planted",
        "user-42",
        token.expose(),
    ] {
        assert!(!printed.contains(secret), "{secret} in {printed}");
    }
    assert!(
        printed.contains("KeyRing(1 active, 1 retired)"),
        "{printed}"
    );
}

/// Gives 0x40, 0x41, ...: for the one test that must know the nonce.
#[derive(Debug)]
struct Counting;

impl Entropy for Counting {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), Error> {
        for (byte, value) in buffer.iter_mut().zip(0x40..) {
            *byte = value;
        }
        Ok(())
    }
}

/// The format is a promise. Another program made these tokens by the crate's page: this
/// code must make the same ones, and open them for ever.
#[tokio::test]
async fn the_published_tokens_of_version_1() {
    const ENCRYPTED: &str = concat!(
        "Abp_ae9AQUJDREVGR0hJSktMTU5PUFFSU1RVVlfadnwUqgscX04ILhk7FnEN9r1f8ndxxSvDQln5",
        "MuwOg_zvN61hZCCTQL8Z7svemhCtP3v0p5YkqglKjlIuQKvN8UMO76yI0Yn7bwXhI7g"
    );
    const SIGNED: &str = concat!(
        "Abp_ae8b8X174lJvq8kBAADoBwCAfa7w_________wEJaWRsZToxNTAwAjQyEEZpcmVmb3ggb24g",
        "TGludXgBAWEBAJHhsXTDEcJCpCiTwtDUhM5RHw0sW83ozUzyqTZDLVGt"
    );
    let counting: [u8; 32] = std::array::from_fn(|at| at as u8);
    let secret = cloakroom_cookie::Secret::from_bytes(&counting).unwrap();
    let ring = KeyRing::new(secret);
    let mut record = Record::new(Timestamp::from_millis(1_000), Timestamp::from_millis(9_000));
    record.absolute_deadline = Some(Timestamp::MAX);
    record.expiry = SessionExpiry::Idle(Duration::from_millis(1_500));
    record.site = Site::new("__Host-session").unwrap();
    record.subject = sample("")
        .subject
        .map(|_| cloakroom_core::Subject::new("42").unwrap());
    record.label = sample("").label;
    record.data = Data::from_bytes([1, 1, b'a', 1, 0]);
    for (builder, published) in both_modes(COOKIE, &ring)
        .into_iter()
        .zip([ENCRYPTED, SIGNED])
    {
        let clock = ManualClock::at(Timestamp::from_millis(1_000));
        let builder = builder.clock(Arc::new(clock)).entropy(Arc::new(Counting));
        let store = builder.build().unwrap();
        let key = SessionKey::from_bytes(counting);
        let written = store.create_token(&key, &record).await.unwrap();
        let token = written.token.unwrap();
        assert_eq!(token.expose(), published);
        let loaded = store.load_token(&token).await.unwrap().unwrap();
        assert_eq!(
            loaded.stored,
            Stored::Record(record.at_revision(Revision::FIRST))
        );
    }
}

proptest! {
    #[test]
    fn whatever_is_sealed_opens_as_it_was(
        secret: [u8; 32],
        data in proptest::collection::vec(any::<u8>(), 0..2_048),
        cookie in "[!-~]{1,40}",
        lives in 1_u64..1_000_000,
        is_signed: bool,
    ) {
        let ring = KeyRing::new(cloakroom_cookie::Secret::from_bytes(&secret).unwrap());
        let mut builder = CookieStore::builder(cookie, &ring);
        if is_signed {
            builder = builder.signed();
        }
        let store = builder.build().unwrap();
        let mut record = sample("");
        record.data = Data::from_bytes(data);
        record.expires_at = record.expires_at.saturating_add(Duration::from_secs(lives));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let token = issued(&store, &record).await;
            assert!(store.is_well_formed(token.expose()));
            assert_eq!(load(&store, &token).await, Some(record.at_revision(Revision::FIRST)));
        });
    }
}

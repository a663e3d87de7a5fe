//! Whatever is done to a cookie, it opens nothing and is no error.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod common;

use cloakroom_cookie::CookieStore;
use cloakroom_core::engine::{Token, TokenStore as _};
use cloakroom_testkit::{key, sample};
use proptest::prelude::*;

use common::{COOKIE, assert_never_opens, both_modes, encrypted, frame, issued, load};
use common::{ring, signed, unframe};

#[tokio::test]
async fn a_cookie_with_any_bit_flipped_never_opens() {
    let ring = ring(1, &[2]);
    for builder in both_modes(COOKIE, &ring) {
        let store = builder.build().unwrap();
        let token = issued(&store, &sample("x")).await;
        let whole = frame(&token);
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_never_opens(&store, &unframe(&flipped), &format!("bit {bit}")).await;
        }
        // Nor does another spelling of the same bytes open.
        let text = token.expose().as_bytes();
        for bit in 0..text.len() * 8 {
            let mut flipped = text.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let Ok(text) = String::from_utf8(flipped) {
                assert_never_opens(&store, &text, &format!("bit {bit} of the text")).await;
            }
        }
        assert!(load(&store, &token).await.is_some(), "the whole one does");
    }
}

#[tokio::test]
async fn a_cookie_cut_at_any_length_or_grown_never_opens() {
    let ring = ring(1, &[]);
    for builder in both_modes(COOKIE, &ring) {
        let store = builder.build().unwrap();
        let token = issued(&store, &sample("x")).await;
        let whole = frame(&token);
        for end in 0..whole.len() {
            let what = format!("cut at {end}");
            assert_never_opens(&store, &unframe(&whole[..end]), &what).await;
            assert_never_opens(&store, &unframe(&whole[end + 1..]), &what).await;
        }
        for end in 0..token.expose().len() {
            let what = format!("text cut at {end}");
            assert_never_opens(&store, &token.expose()[..end], &what).await;
        }
        for more in ["A", "AA", "AAA", "AAAA", "=", "==", " ", "\n", "é"] {
            let grown = format!("{}{more}", token.expose());
            assert_never_opens(&store, &grown, &format!("grown by {more:?}")).await;
        }
        let huge = format!("AQ{}", "A".repeat(100_000));
        assert!(!store.is_well_formed(&huge));
        assert_never_opens(&store, &huge, "100 kB").await;
    }
}

#[tokio::test]
async fn a_cookie_moved_to_another_name_never_opens() {
    let ring = ring(1, &[]);
    for (one, other) in both_modes(COOKIE, &ring)
        .into_iter()
        .zip(both_modes("__Host-admin", &ring))
    {
        let (one, other) = (one.build().unwrap(), other.build().unwrap());
        let token = issued(&one, &sample("x")).await;
        assert_never_opens(&other, token.expose(), "another name").await;
    }
}

#[tokio::test]
async fn a_cookie_of_a_key_that_is_not_in_the_ring_never_opens() {
    for mode in [encrypted, signed] {
        let token = issued(&mode(&ring(1, &[])), &sample("x")).await;
        for other in [ring(2, &[]), ring(2, &[3, 4])] {
            assert_never_opens(&mode(&other), token.expose(), "removed").await;
        }
        // Nor does it open where the frame claims the id of a key that is in the ring.
        let theirs = frame(&issued(&mode(&ring(2, &[])), &sample("x")).await);
        let mut forged = frame(&token);
        forged[1..5].copy_from_slice(&theirs[1..5]);
        let forged = unframe(&forged);
        assert_never_opens(&mode(&ring(2, &[1])), &forged, "forged id").await;
    }
}

/// Another library fell back to a coder without encryption where decryption failed
/// (CVE-2026-39324). Here the configured mode is the only one, and a token of another
/// mode, or of none, does not open.
#[tokio::test]
async fn there_is_no_weaker_format_to_fall_back_to() {
    let ring = ring(1, &[]);
    let (encrypted, signed) = (encrypted(&ring), signed(&ring));
    let by_signed = issued(&signed, &sample("x")).await;
    let by_encrypted = issued(&encrypted, &sample("x")).await;
    assert_never_opens(&encrypted, by_signed.expose(), "signed").await;
    assert_never_opens(&signed, by_encrypted.expose(), "encrypted").await;

    // A tag cut to the other mode's length, other versions, and no tag.
    let (of_signed, of_encrypted) = (frame(&by_signed), frame(&by_encrypted));
    let shorter = unframe(&of_signed[..of_signed.len() - 16]);
    let longer = unframe(&[&of_encrypted[..], &[0; 16]].concat());
    let bare = unframe(&of_signed[..of_signed.len() - 32]);
    let record = unframe(&sample("x").encode().unwrap());
    for store in [&encrypted, &signed] {
        for forged in [&shorter, &longer, &bare, &record] {
            assert_never_opens(store, forged, "no tag, or another one").await;
        }
        for version in (0..=255).filter(|version| *version != 1) {
            for whole in [&of_signed, &of_encrypted] {
                let mut other = whole.clone();
                other[0] = version;
                assert!(!store.is_well_formed(&unframe(&other)));
                assert_never_opens(store, &unframe(&other), "another version").await;
            }
        }
    }
}

#[tokio::test]
async fn a_session_key_is_no_cookie() {
    let store = encrypted(&ring(1, &[]));
    for _ in 0..100 {
        let token = key().to_token();
        assert!(!store.is_well_formed(token.expose()));
        assert_never_opens(&store, token.expose(), "a session key").await;
    }
}

#[tokio::test]
async fn each_token_is_well_formed_and_the_check_costs_no_key() {
    let (ours, theirs) = (ring(1, &[]), ring(2, &[]));
    for (one, other) in both_modes(COOKIE, &ours)
        .into_iter()
        .zip(both_modes("other", &theirs))
    {
        let (one, other): (CookieStore, CookieStore) =
            (one.build().unwrap(), other.build().unwrap());
        for length in 0..50 {
            let token = issued(&one, &sample(&"x".repeat(length))).await;
            assert!(one.is_well_formed(token.expose()));
            assert!(other.is_well_formed(token.expose()), "a shape, no more");
            assert!(load(&other, &token).await.is_none());
        }
    }
}

proptest! {
    #[test]
    fn no_text_opens_anything(text in "[A-Za-z0-9_-]{0,600}|\\PC{0,300}|A[Q-f][A-Za-z0-9_-]{140,400}") {
        let ring = ring(1, &[]);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for store in [encrypted(&ring), signed(&ring)] {
            assert!(runtime.block_on(load(&store, &Token::new(text.as_str()))).is_none());
        }
    }
}

//! Changing the key: servers of different rings, and secrets that leaked.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod common;

use cloakroom_cookie::{CookieStore, KeyRing, Secret, Verdict};
use cloakroom_core::engine::{Entropy as _, OsEntropy, Token, TokenStore as _};
use cloakroom_core::store::Record;
use cloakroom_core::{ErrorKind, Subject};
use cloakroom_testkit::{key, sample};
use common::COOKIE;

/// The bytes of a secret, of which each ring makes its own.
type Bytes = [u8; 32];

fn secret() -> Bytes {
    let mut bytes = [0; 32];
    OsEntropy.fill(&mut bytes).unwrap();
    bytes
}

fn ring(secrets: &[&Bytes]) -> KeyRing {
    let mut secrets = secrets
        .iter()
        .map(|bytes| Secret::from_bytes(*bytes).unwrap());
    let ring = KeyRing::new(secrets.next().unwrap());
    secrets.fold(ring, |ring, retired| ring.with_retired(retired).unwrap())
}

/// A server whose ring holds these secrets, the active one first.
fn server(secrets: &[&Bytes]) -> CookieStore {
    CookieStore::builder(COOKIE, &ring(secrets))
        .build()
        .unwrap()
}

async fn create(server: &CookieStore) -> Token {
    let written = server.create_token(&key(), &sample("here")).await;
    written.unwrap().token.unwrap()
}

async fn opened(server: &CookieStore, token: &Token) -> (Record, Option<Token>) {
    let loaded = server.load_token(token).await.unwrap().unwrap();
    (loaded.stored.into_record().unwrap(), loaded.reissue)
}

async fn assert_unknown(server: &CookieStore, token: &Token) {
    let error = server.load_token(token).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownKey, "{error}");
    let text = error.to_string();
    assert!(
        text.contains("under the key") && text.contains("key ring"),
        "{text}"
    );
    let record = sample("there");
    let error = server.update_token(token, &record).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Gone);
    assert_eq!(server.digest_of(token), None);
}

#[tokio::test]
async fn a_cookie_under_a_key_that_is_not_in_the_ring_is_not_judged() {
    let (old, new) = (secret(), secret());
    let token = create(&server(&[&new])).await;
    assert_unknown(&server(&[&old]), &token).await;
    // Distributed first, it opens.
    assert!(opened(&server(&[&old, &new]), &token).await.1.is_some());
}

#[tokio::test]
async fn what_is_sealed_again_ends_when_the_key_leaves_the_ring_under_which_it_began() {
    let (old, new) = (secret(), secret());
    let token = create(&server(&[&old])).await;
    let both = server(&[&new, &old]);
    let (mut record, reissue) = opened(&both, &token).await;
    let again = reissue.unwrap();
    assert!(
        opened(&both, &again).await.1.is_none(),
        "under the active key"
    );
    assert_unknown(&server(&[&new]), &again).await;
    let ids = [&new, &old].map(|bytes| Secret::from_bytes(bytes).unwrap().id());
    assert_eq!(both.opened_by_key(), [(ids[0], 0), (ids[1], 2)]);

    // So does what is written to it. A login begins anew where no data comes along, which
    // may have been forged.
    let written = both.update_token(&again, &record).await.unwrap();
    record.revision = written.revision;
    let written = written.token.unwrap();
    assert_unknown(&server(&[&new]), &written).await;
    record.subject = Some(Subject::new("another").unwrap());
    let key = key();
    for flushed in [false, true] {
        record.flushes += u32::from(flushed);
        let login = both.rotate_token(&written, &key, &record, record.expires_at);
        let login = login.await.unwrap().token.unwrap();
        match flushed {
            true => drop(opened(&server(&[&new]), &login).await),
            false => assert_unknown(&server(&[&new]), &login).await,
        }
    }
}

/// Whoever has the secret that leaked can write into a cookie that it began under another.
#[tokio::test]
async fn no_cookie_is_believed_that_it_began_under_a_later_key() {
    let (leaked, new) = (secret(), secret());
    let token = create(&server(&[&new])).await;
    let forger = server(&[&leaked, &new]);
    let forged = opened(&forger, &token).await.1.unwrap();
    let both = server(&[&new, &leaked]);
    let again = opened(&both, &forged).await.1.unwrap();
    assert_unknown(&server(&[&new]), &again).await;
}

#[tokio::test]
async fn a_cookie_of_a_former_name_opens_and_is_sealed_again_for_the_present_one() {
    let ring = ring(&[&secret()]);
    for signed in [false, true] {
        let store = |cookie: &str, former: Option<&str>| {
            let mut builder = CookieStore::builder(cookie, &ring);
            if signed {
                builder = builder.signed();
            }
            if let Some(former) = former {
                builder = builder.replaces(former);
            }
            builder.build().unwrap()
        };
        let token = create(&store("sid", None)).await;
        assert!(
            store(COOKIE, None)
                .load_token(&token)
                .await
                .unwrap()
                .is_none()
        );
        let (record, reissue) = opened(&store(COOKIE, Some("sid")), &token).await;
        assert_eq!(record.data, sample("here").data);
        let (_, again) = opened(&store(COOKIE, None), &reissue.unwrap()).await;
        assert!(again.is_none());
    }
}

#[tokio::test]
async fn an_operator_is_told_by_which_key_a_cookie_does_not_open() {
    let [old, new] = [secret(), secret()];
    let token = create(&server(&[&old])).await;
    let verdict = async |secrets: &[&Bytes], token: &Token| {
        let seen = server(secrets).inspect(token).await.unwrap();
        (seen.verdict, seen.sealed_under, seen.begun_under)
    };
    let [old_id, new_id] = [&old, &new].map(|bytes| Secret::from_bytes(bytes).unwrap().id());
    let opens = (Verdict::Opens, Some(old_id), Some(old_id));
    assert_eq!(verdict(&[&old], &token).await, opens);
    assert_eq!(verdict(&[&new, &old], &token).await, opens);
    let unknown = (Verdict::UnknownKey, Some(old_id), None);
    assert_eq!(verdict(&[&new], &token).await, unknown);
    // Sealed again under the new key, it still ends with the old one.
    let (_, again) = opened(&server(&[&new, &old]), &token).await;
    let ended = (Verdict::BegunUnderUnknownKey, Some(new_id), Some(old_id));
    assert_eq!(verdict(&[&new], &again.unwrap()).await, ended);
    let made_up = verdict(&[&new], &Token::new("no cookie")).await;
    assert_eq!(made_up, (Verdict::NoToken, None, None));
}

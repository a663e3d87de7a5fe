//! With a key of the server: what a writer of the database can no longer do, what they
//! still can, and how the secrets of a ring take turns.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod common;

use std::sync::Arc;
use std::time::Duration;

use cloakroom_core::engine::{AnyStore, SessionKey, TokenStore};
use cloakroom_core::store::{Data, Record, Revision, Stored};
use cloakroom_core::{
    Aal, Authentication, Binding, Error, ErrorKind, Expiry, Label, Login, SessionExpiry, Site,
    Subject, Timestamp,
};
use cloakroom_sealed::{KeyRing, SEAL_BYTES_MAX, Sealed, Secret};
use cloakroom_testkit::{MapStore, Profile, conformance, key, sample};

use common::{Counting, counting, hex, kept, load, stored};

fn secret(byte: u8) -> Secret {
    Secret::from_bytes(&[byte; 32]).unwrap()
}

/// A store whose ring has these secrets, the active one first.
fn sealed(secrets: &[u8]) -> Sealed<MapStore> {
    let mut ring = KeyRing::new(secret(secrets[0]));
    for retired in &secrets[1..] {
        ring = ring.with_retired(secret(*retired)).unwrap();
    }
    Sealed::new(MapStore::default()).with_key_ring(&ring)
}

/// The same database, under another ring.
fn moved(from: &Sealed<MapStore>, to: Sealed<MapStore>) -> Sealed<MapStore> {
    for (digest, stored) in from.inner().snapshot() {
        to.inner().plant(digest, stored);
    }
    to
}

/// It does not open; where its key is not in the ring, that is no damage.
fn assert_closed(loaded: Result<Record, Error>, says: &str) {
    let error = loaded.unwrap_err();
    let is_of_unknown_key = error.to_string().contains("that this store does not have");
    let kind = match is_of_unknown_key {
        true => ErrorKind::UnknownKey,
        false => ErrorKind::Corrupt,
    };
    assert_eq!(error.kind(), kind, "{says}: {error}");
    assert_eq!(error.store(), Some("sealed"));
    assert!(error.to_string().contains(says), "{says}: {error}");
}

#[tokio::test]
async fn conforms() {
    conformance(&sealed(&[1, 2]), &Profile::SERVER_SIDE).await;
    conformance(&AnyStore::new(sealed(&[1])), &Profile::SERVER_SIDE).await;
}

/// Whoever it is runs the same code over another store, under a session key that they
/// drew, and without the secret of the server or with one of their own.
#[tokio::test]
async fn a_writer_of_the_store_can_plant_no_session() {
    let store = sealed(&[1, 2]);
    let server_id = secret(1).id();
    for (theirs, says) in [
        (Sealed::new(MapStore::default()), "planted it"),
        (sealed(&[9]), "does not have"),
    ] {
        let their_key = key();
        let mut record = sample("planted");
        record.subject = Some(Subject::new("the-administrator").unwrap());
        theirs.create_token(&their_key, &record).await.unwrap();
        assert_eq!(load(&theirs, &their_key).await.unwrap().data, record.data);

        let mut planted = kept(&theirs, &their_key.digest());
        let plant = |record: &Record| {
            let record = Stored::Record(record.clone());
            store.inner().plant(their_key.digest(), record);
        };
        plant(&planted);
        assert_closed(load(&store, &their_key).await, says);

        // The same under the name of the server's secret.
        let sealed = planted.data.as_bytes();
        let nonce_at = if sealed[0] == 2 { 5 } else { 1 };
        let renamed = [&[2], &server_id[..], &sealed[nonce_at..]].concat();
        planted.data = Data::from_bytes(renamed);
        plant(&planted);
        assert_closed(load(&store, &their_key).await, "damaged or changed");
    }
}

/// What a session's visitor loads after a writer of the database has changed its
/// record.
async fn after(tamper: impl Fn(&mut Record)) -> Result<Record, Error> {
    let store = sealed(&[1, 2]);
    let key = stored(&store, "the data").await;
    let mut record = kept(&store, &key.digest());
    let before = record.clone();
    tamper(&mut record);
    assert_ne!(record, before, "it is changed");
    store.inner().plant(key.digest(), Stored::Record(record));
    load(&store, &key).await
}

#[tokio::test]
async fn what_a_session_is_and_how_long_it_may_live_cannot_be_changed() {
    let tampers: [fn(&mut Record); 12] = [
        |record| record.subject = None,
        |record| record.subject = Some(Subject::new("user-43").unwrap()),
        |record| record.created_at = record.created_at.saturating_add(Duration::from_millis(1)),
        |record| record.absolute_deadline = None,
        |record| record.absolute_deadline = Some(Timestamp::MAX),
        |record| record.expiry = SessionExpiry::BrowserClose,
        |record| {
            let for_ever = Expiry::new(Duration::from_secs(1 << 40), None).unwrap();
            record.expiry = SessionExpiry::Own(for_ever);
        },
        |record| record.site = Site::default(),
        |record| record.site = Site::new("elsewhere").unwrap(),
        |record| record.label = None,
        |record| record.label = Some(Label::new("Your own browser").unwrap()),
        // The name of the other secret of the ring.
        |record| {
            let sealed = record.data.as_bytes();
            record.data = Data::from_bytes([&[2], &secret(2).id()[..], &sealed[5..]].concat());
        },
    ];
    for tamper in tampers {
        assert_closed(after(tamper).await, "damaged or changed");
    }
}

/// With a login of more assurance they would pass a step-up, and without the device that the
/// session is bound to, a copied cookie.
#[tokio::test]
async fn how_its_owner_has_logged_in_cannot_be_changed() {
    let logged_in = |level: Aal, device: Option<u8>| {
        let at = Timestamp::from_millis(2_000);
        let mut login = Login::new(&level.into(), at);
        let binding = |byte| Binding::offered([byte; 32], at).bound_to([4; 65]);
        login.binding = device.map(|byte| Box::new(binding(byte)));
        Some(Arc::new(login))
    };
    let of_before = [None, logged_in(Aal::One, Some(1))];
    let others = [logged_in(Aal::Three, Some(1)), logged_in(Aal::One, None)];
    for login in &of_before {
        let store = sealed(&[1, 2]);
        let key = key();
        let mut record = sample("the data");
        record.login = login.clone();
        store.create_token(&key, &record).await.unwrap();
        assert_eq!(load(&store, &key).await.unwrap().login, *login);
        let untouched = kept(&store, &key.digest());
        for other in of_before
            .iter()
            .chain(&others)
            .filter(|other| *other != login)
        {
            let mut changed = untouched.clone();
            changed.login = other.clone();
            store.inner().plant(key.digest(), Stored::Record(changed));
            assert_closed(load(&store, &key).await, "damaged or changed");
        }
    }
}

/// Limits that the documentation states.
#[tokio::test]
async fn a_writer_of_the_store_can_still_move_what_a_touch_moves_and_put_an_older_state_back() {
    let unused = after(|record| {
        record.expires_at = Timestamp::MAX;
        record.last_seen_at = Timestamp::MAX;
    });
    assert_eq!(unused.await.unwrap().expires_at, Timestamp::MAX);

    let store = sealed(&[1]);
    let key = stored(&store, "before").await;
    let before = kept(&store, &key.digest());
    store.delete_token(&key.to_token()).await.unwrap();
    store.inner().plant(key.digest(), Stored::Record(before));
    load(&store, &key).await.unwrap();
}

#[tokio::test]
async fn damaged_data_opens_nothing_whichever_bit_and_wherever_it_is_cut() {
    let store = sealed(&[1]);
    let key = stored(&store, "whole").await;
    let record = kept(&store, &key.digest());
    let whole = record.data.as_bytes().to_vec();
    assert_eq!(whole.len(), "whole".len() + SEAL_BYTES_MAX);
    let flips = (0..whole.len() * 8).map(|bit| {
        let mut damaged = whole.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        damaged
    });
    let cuts = (0..whole.len()).map(|end| whole[..end].to_vec());
    for damaged in flips.chain(cuts) {
        let mut record = record.clone();
        record.data = Data::from_bytes(damaged);
        store.inner().plant(key.digest(), Stored::Record(record));
        assert_closed(load(&store, &key).await, "");
    }
}

#[tokio::test]
async fn a_retired_secret_opens_and_the_next_write_seals_under_the_active_one() {
    let before = sealed(&[1]);
    let key = stored(&before, "lasts").await;
    let after = moved(&before, sealed(&[2, 1]));
    let record = load(&after, &key).await.unwrap();
    assert_eq!(record.data, sample("lasts").data);
    // A touch writes no data.
    let token = key.to_token();
    let mut touched = record.clone();
    touched.expires_at = Timestamp::MAX;
    after.touch_token(&token, &touched).await.unwrap();
    let without = moved(&after, sealed(&[2]));
    assert_closed(load(&without, &key).await, "does not have");

    after.update_token(&token, &record).await.unwrap();
    let without = moved(&after, sealed(&[2]));
    assert_eq!(load(&without, &key).await.unwrap().data, record.data);
    let unaware = moved(&after, sealed(&[1]));
    assert_closed(load(&unaware, &key).await, "does not have");
}

#[tokio::test]
async fn neither_kind_of_seal_opens_in_a_store_of_the_other() {
    let bare = Sealed::new(MapStore::default());
    let key = stored(&bare, "without").await;
    let with_ring = moved(&bare, sealed(&[1]));
    assert_closed(load(&with_ring, &key).await, "given its key ring");

    let with_ring = sealed(&[1]);
    let key = stored(&with_ring, "with").await;
    let bare = moved(&with_ring, Sealed::new(MapStore::default()));
    assert_closed(load(&bare, &key).await, "seal_key_file=");
}

/// The format is a promise: what version 2 sealed must open for ever. Another program
/// made these bytes by the crate's page.
#[tokio::test]
async fn the_published_bytes_of_version_2() {
    const FULL: &str = concat!(
        "027b1b305a404142434445464748494a4b4c4d4e4f5051525354555657",
        "6cb3b38b40e0d6a00f32b0d9fca0f4cf7377e190dd9db5a027"
    );
    const BARE: &str = concat!(
        "027b1b305a404142434445464748494a4b4c4d4e4f5051525354555657",
        "6cb3b38b40e0d6a00f9cbcd61749a4b31a7699dcc80df5c0dc"
    );
    const LOGGED_IN: &str = concat!(
        "027b1b305a404142434445464748494a4b4c4d4e4f5051525354555657",
        "6cb3b38b40e0d6a00fca86b2b7e06a82d6fe7ea3dbba33bff5"
    );
    let ring = KeyRing::new(Secret::from_bytes(&counting(0x80)).unwrap());
    let mut bare = Record::new(Timestamp::from_millis(1_000), Timestamp::from_millis(9_000));
    bare.data = Data::from_bytes(&b"cloakroom"[..]);
    let mut full = bare.clone();
    full.absolute_deadline = Some(Timestamp::from_millis(5_000_000));
    full.expiry = SessionExpiry::Idle(Duration::from_millis(1_500));
    full.site = Site::new("__Host-session").unwrap();
    full.subject = Some(Subject::new("42").unwrap());
    full.label = Some(Label::new("Firefox on Linux").unwrap());
    let mut logged_in = full.clone();
    let passkey = Authentication::from(Aal::Two).by(Label::new("passkey").unwrap());
    let login = Login::new(&passkey, Timestamp::from_millis(7_000));
    logged_in.login = Some(Arc::new(login));
    for (record, published) in [(full, FULL), (bare, BARE), (logged_in, LOGGED_IN)] {
        let store = Sealed::with_entropy(MapStore::default(), Arc::new(Counting));
        let store = store.with_key_ring(&ring);
        let key = SessionKey::from_bytes(counting(0)).of_site(&record.site);
        store.create_token(&key, &record).await.unwrap();
        assert_eq!(hex(kept(&store, &key.digest()).data.as_bytes()), published);
        let found = load(&store, &key).await.unwrap();
        assert_eq!(found, record.at_revision(Revision::FIRST));
    }
}

//! Ending all sessions of a subject.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use cloakroom_cookie::{CookieStore, EpochStore, KeyRing, Revocation, Verdict};
use cloakroom_core::engine::TokenStore as _;
use cloakroom_core::store::{
    BoxFuture, Data, EndReason, Ending, Record, Revision, Stored, Sweep as _,
};
use cloakroom_core::{Error, ErrorKind, Site as At, Subject, Timestamp};
use cloakroom_testkit::{Fault, FaultyStore, MapStore, Profile, conformance, key, sample};

use common::{COOKIE, issued, load, ring};

type Epochs = EpochStore<Arc<FaultyStore<Arc<MapStore>>>>;

/// A cookie store with revocation, and the store of its epochs.
struct Site {
    store: CookieStore,
    epochs: Arc<Epochs>,
    faults: Arc<FaultyStore<Arc<MapStore>>>,
    map: Arc<MapStore>,
}

fn site_of(ring: &KeyRing, logout_ends_all: bool) -> Site {
    let map = Arc::new(MapStore::default());
    let faults = Arc::new(FaultyStore::new(map.clone()));
    let epochs = Arc::new(EpochStore::in_non_evicting(faults.clone()));
    let mut builder = CookieStore::builder(COOKIE, ring).revocation(epochs.clone());
    if logout_ends_all {
        builder = builder.logout_ends_all();
    }
    Site {
        store: builder.build().unwrap(),
        epochs,
        faults,
        map,
    }
}

fn site() -> Site {
    site_of(&ring(1, &[]), false)
}

fn subject(text: &str) -> Subject {
    Subject::new(text).unwrap()
}

/// The site of `sample`.
fn at() -> At {
    sample("").site
}

/// The subject of `sample`.
fn user() -> Subject {
    subject("user-42")
}

fn of_nobody() -> Record {
    let mut record = sample("anonymous");
    record.subject = None;
    record
}

#[tokio::test]
async fn conforms_still() {
    conformance(&site().store, &Profile::CLIENT_SIDE).await;
}

#[tokio::test]
async fn a_session_of_before_the_advance_never_opens_and_takes_no_write() {
    let site = site();
    let record = sample("x").at_revision(Revision::FIRST);
    let token = issued(&site.store, &record).await;
    let other = {
        let mut record = sample("x");
        record.subject = Some(subject("somebody else"));
        issued(&site.store, &record).await
    };
    let anonymous = issued(&site.store, &of_nobody()).await;
    assert!(
        load(&site.store, &token).await.is_some(),
        "no epoch is zero"
    );

    site.epochs.advance(&at(), &user()).await.unwrap();
    assert!(load(&site.store, &token).await.is_none());
    for written in [
        site.store.update_token(&token, &record).await,
        site.store.touch_token(&token, &record).await,
        site.store
            .rotate_token(&token, &key(), &record, Timestamp::MAX)
            .await,
    ] {
        assert_eq!(written.unwrap_err().kind(), ErrorKind::Gone);
    }
    assert!(load(&site.store, &other).await.is_some());
    assert!(load(&site.store, &anonymous).await.is_some());

    let login = issued(&site.store, &record).await;
    assert!(
        load(&site.store, &login).await.is_some(),
        "a new login opens"
    );
    site.epochs.advance(&at(), &user()).await.unwrap();
    assert!(load(&site.store, &login).await.is_none());
    assert!(load(&site.store, &token).await.is_none());
}

#[tokio::test]
async fn a_logout_can_end_all_sessions_of_its_subject_and_an_old_cookie_none() {
    let site = site_of(&ring(1, &[]), true);
    let (one, two) = (
        issued(&site.store, &sample("phone")).await,
        issued(&site.store, &sample("laptop")).await,
    );
    site.store.delete_token(&one).await.unwrap();
    assert!(load(&site.store, &one).await.is_none());
    assert!(load(&site.store, &two).await.is_none());
    let login = issued(&site.store, &sample("again")).await;
    site.store.delete_token(&one).await.unwrap();
    assert!(
        load(&site.store, &login).await.is_some(),
        "one is dead already"
    );

    // A logout that keeps some of the data is a rotation that leaves the subject.
    let record = load(&site.store, &login).await.unwrap();
    let mut farewell = of_nobody();
    farewell.revision = record.revision;
    let written = site
        .store
        .rotate_token(&login, &key(), &farewell, Timestamp::MAX)
        .await
        .unwrap();
    assert!(load(&site.store, &login).await.is_none());
    assert!(load(&site.store, &written.token.unwrap()).await.is_some());
}

/// Whoever has a copy of a cookie can fail to prove its device.
#[tokio::test]
async fn a_session_that_ends_because_of_its_device_takes_no_other_with_it() {
    let site = site_of(&ring(1, &[]), true);
    let (one, two) = (
        issued(&site.store, &sample("phone")).await,
        issued(&site.store, &sample("laptop")).await,
    );
    let ending = |because| Ending::new(because, Timestamp::EPOCH);
    let unproven = ending(EndReason::BindingFailed);
    site.store.end_token(&one, Some(&unproven)).await.unwrap();
    assert!(load(&site.store, &two).await.is_some());
    let logout = ending(EndReason::LoggedOut);
    site.store.end_token(&one, Some(&logout)).await.unwrap();
    assert!(load(&site.store, &two).await.is_none());
}

#[tokio::test]
async fn without_that_choice_a_logout_ends_no_other_session() {
    let site = site();
    let (one, two) = (
        issued(&site.store, &sample("phone")).await,
        issued(&site.store, &sample("laptop")).await,
    );
    site.store.delete_token(&one).await.unwrap();
    assert!(load(&site.store, &two).await.is_some());
    assert!(site.map.snapshot().is_empty());
    let ring = ring(1, &[]);
    let error = CookieStore::builder(COOKIE, &ring)
        .logout_ends_all()
        .build();
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Misconfigured);
}

#[tokio::test]
async fn a_login_takes_the_present_epoch() {
    let site = site();
    let anonymous = issued(&site.store, &of_nobody()).await;
    site.epochs.advance(&at(), &user()).await.unwrap();
    let login = sample("x").at_revision(Revision::FIRST);
    let written = site
        .store
        .rotate_token(&anonymous, &key(), &login, Timestamp::MAX)
        .await
        .unwrap();
    let token = written.token.unwrap();
    assert!(load(&site.store, &token).await.is_some());
}

/// Ends a subject's sessions right after its epoch is read the next time.
#[derive(Debug, Default)]
struct Overtaken {
    epoch: AtomicU64,
    armed: AtomicBool,
}

impl Revocation for Overtaken {
    fn epoch<'a>(&'a self, at: &'a At, subject: &'a Subject) -> BoxFuture<'a, Result<u64, Error>> {
        Box::pin(async move {
            let epoch = self.epoch.load(Ordering::SeqCst);
            if self.armed.swap(false, Ordering::SeqCst) {
                self.advance(at, subject).await?;
            }
            Ok(epoch)
        })
    }

    fn advance<'a>(&'a self, _: &'a At, _: &'a Subject) -> BoxFuture<'a, Result<(), Error>> {
        self.epoch.fetch_add(1, Ordering::SeqCst);
        Box::pin(async { Ok(()) })
    }
}

#[tokio::test]
async fn no_write_that_a_revocation_overtakes_carries_its_session_over() {
    let epochs = Arc::new(Overtaken::default());
    let ring = ring(1, &[]);
    let builder = CookieStore::builder(COOKIE, &ring).revocation(epochs.clone());
    let store = builder.build().unwrap();
    let record = sample("x").at_revision(Revision::FIRST);
    for write in 0..3 {
        let token = issued(&store, &record).await;
        epochs.armed.store(true, Ordering::SeqCst);
        let mut later = record.clone();
        later.expires_at = Timestamp::MAX;
        let written = match write {
            0 => store.update_token(&token, &later).await,
            1 => store.touch_token(&token, &later).await,
            _ => {
                store
                    .rotate_token(&token, &key(), &later, later.expires_at)
                    .await
            }
        };
        let written = written.unwrap().token.unwrap();
        assert!(load(&store, &written).await.is_none(), "write {write}");
        assert!(load(&store, &token).await.is_none());
    }
}

#[tokio::test]
async fn under_a_retired_key_the_original_epoch_is_kept() {
    let old = site();
    old.epochs.advance(&at(), &user()).await.unwrap();
    let token = issued(&old.store, &sample("x")).await;
    let both = CookieStore::builder(COOKIE, &ring(2, &[1]))
        .revocation(old.epochs.clone())
        .build()
        .unwrap();
    let loaded = both.load_token(&token).await.unwrap().unwrap();
    let reissue = loaded.reissue.unwrap();
    assert!(load(&both, &reissue).await.is_some());
    old.epochs.advance(&at(), &user()).await.unwrap();
    for token in [&token, &reissue] {
        assert!(load(&both, token).await.is_none());
    }
}

#[tokio::test]
async fn a_subject_without_an_absolute_deadline_is_refused() {
    let site = site();
    let mut record = sample("x");
    record.absolute_deadline = None;
    let error = site.store.create_token(&key(), &record).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    let before = CookieStore::builder(COOKIE, &ring(1, &[])).build().unwrap();
    let token = issued(&before, &record).await;
    assert!(load(&site.store, &token).await.is_none());
    record.subject = None;
    issued(&site.store, &record).await;
}

#[tokio::test]
async fn without_an_answer_about_epochs_nothing_opens_and_the_cookie_is_kept() {
    let site = site_of(&ring(1, &[]), true);
    let record = sample("x").at_revision(Revision::FIRST);
    let token = issued(&site.store, &record).await;
    let anonymous = issued(&site.store, &of_nobody()).await;
    site.faults.fail_always(Some(Fault::Refuse));
    let load_error = site.store.load_token(&token).await.unwrap_err();
    let errors = [
        load_error,
        site.store.create_token(&key(), &record).await.unwrap_err(),
        site.store.update_token(&token, &record).await.unwrap_err(),
        site.store.delete_token(&token).await.unwrap_err(),
        site.epochs.advance(&at(), &user()).await.unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }
    assert!(
        load(&site.store, &anonymous).await.is_some(),
        "nothing to ask"
    );
    site.faults.reset();
    assert!(load(&site.store, &token).await.is_some());

    // A record that holds no epoch is no answer either.
    site.epochs.advance(&at(), &user()).await.unwrap();
    let (digest, stored) = site.map.snapshot().pop_first().unwrap();
    let mut damaged = stored.into_record().unwrap();
    damaged.data = Data::from_bytes([1, 2, 3]);
    let mark = Stored::Rotated {
        to: digest,
        until: Timestamp::MAX,
    };
    for stored in [Stored::Record(damaged), mark] {
        site.map.plant(digest, stored);
        let error = site.store.load_token(&token).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }
}

#[tokio::test]
async fn epochs_count_outlive_every_cookie_and_name_nobody() {
    let site = site();
    let (one, two) = (subject("one"), subject("two"));
    for _ in 0..3 {
        site.epochs.advance(&at(), &one).await.unwrap();
    }
    assert_eq!(site.epochs.epoch(&at(), &one).await.unwrap(), 3);
    assert_eq!(site.epochs.epoch(&at(), &two).await.unwrap(), 0);
    let latest = Timestamp::MAX.as_millis() - 1;
    let swept = site.map.sweep(Timestamp::from_millis(latest), 10).await;
    assert_eq!(swept.unwrap().removed, 0);
    for (_, stored) in site.map.snapshot() {
        assert!(stored.into_record().unwrap().subject.is_none());
    }
}

/// The store of epochs may be restored from a backup. A cookie of a later epoch could
/// then not be revoked any more, so it does not open.
#[tokio::test]
async fn a_cookie_ahead_of_its_subjects_epoch_does_not_open() {
    let site = site();
    site.epochs.advance(&at(), &user()).await.unwrap();
    let token = issued(&site.store, &sample("x")).await;
    let (digest, stored) = site.map.snapshot().pop_first().unwrap();
    let mut record = stored.into_record().unwrap();
    record.data = Data::from_bytes(0_u64.to_le_bytes());
    site.map.plant(digest, Stored::Record(record));
    assert!(load(&site.store, &token).await.is_none());
}

#[tokio::test]
async fn advances_at_once_are_one_advance_at_least() {
    let map = Arc::new(MapStore::default());
    let epochs = EpochStore::in_non_evicting(map.clone());
    let site = at();
    for round in 0..5 {
        let before = epochs.epoch(&site, &user()).await.unwrap();
        let (a, b) = (user(), user());
        let (a, b) = tokio::join!(epochs.advance(&site, &a), epochs.advance(&site, &b));
        a.unwrap();
        b.unwrap();
        assert!(
            epochs.epoch(&site, &user()).await.unwrap() > before,
            "{round}"
        );
    }
    let record = map.snapshot().pop_first().unwrap().1.into_record().unwrap();
    assert_eq!(record.expires_at, Timestamp::MAX);
    let year = Duration::from_secs(365 * 24 * 3_600);
    assert!(!record.is_expired(Timestamp::EPOCH.saturating_add(200 * year)));
}

#[tokio::test]
async fn the_epochs_of_two_sites_over_one_store_are_apart() {
    let epochs = EpochStore::in_non_evicting(MapStore::default());
    let [shop, admin] = ["shop", "admin"].map(|site| At::new(site).unwrap());
    epochs.advance(&shop, &user()).await.unwrap();
    assert_eq!(epochs.epoch(&shop, &user()).await.unwrap(), 1);
    assert_eq!(epochs.epoch(&admin, &user()).await.unwrap(), 0);
}

/// What the engine calls after a password reset.
#[tokio::test]
async fn a_subjects_sessions_end_through_the_store_itself() {
    let site = site();
    let token = issued(&site.store, &sample("x")).await;
    let elsewhere = At::new("elsewhere").unwrap();
    let ended = site.store.end_sessions_of(&elsewhere, &user(), None).await;
    assert_eq!(ended.unwrap(), 0);
    assert!(load(&site.store, &token).await.is_some(), "another site's");
    site.store
        .end_sessions_of(&at(), &user(), None)
        .await
        .unwrap();
    assert!(load(&site.store, &token).await.is_none());

    site.faults.fail_always(Some(Fault::Refuse));
    let error = site.store.end_sessions_of(&at(), &user(), None).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Unavailable);
    let ring = ring(1, &[]);
    let without = CookieStore::builder(COOKIE, &ring).build().unwrap();
    let error = without
        .end_sessions_of(&at(), &user(), None)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert!(error.message().contains("revocation=URL"), "{error}");
}

#[tokio::test]
async fn a_revoked_cookie_is_told_from_one_that_opens_and_from_no_answer() {
    let site = site();
    let token = site.store.create_token(&key(), &sample("here")).await;
    let token = token.unwrap().token.unwrap();
    let verdict = async || site.store.inspect(&token).await.map(|seen| seen.verdict);
    assert_eq!(verdict().await.unwrap(), Verdict::Opens);
    site.epochs.advance(&at(), &user()).await.unwrap();
    assert_eq!(verdict().await.unwrap(), Verdict::Revoked);
    let seen = site.store.inspect(&token).await.unwrap();
    assert_eq!(seen.record.unwrap().subject, Some(user()));
    site.faults.fail_always(Some(Fault::Refuse));
    let error = verdict().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

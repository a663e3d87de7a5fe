//! Reasons of an end that no store has to remember: what stands there says them.

use std::sync::Arc;
use std::time::Duration;

use cloakroom::cookie::{CookieStore, EpochStore, KeyRing};
use cloakroom::engine::{OsEntropy, SessionKey, TokenStore};
use cloakroom::session::{Ended, Session};
use cloakroom::store::{Data, EndReason, Record, SessionStore as _};
use cloakroom::stores::Sealed;
use cloakroom::{Clock as _, CookiePolicy, Engine, Expiry, Subject, Timestamp};
use cloakroom_testkit::{ManualClock, MapStore};
use cloakroom_tests::in_process::{COOKIE, TestApp, header};

const IDLE: Duration = Duration::from_secs(60);
const ABSOLUTE: Duration = Duration::from_secs(600);

fn subject(name: &str) -> Subject {
    Subject::new(name).unwrap()
}

/// One request over a store; answers the Set-Cookie, without its attributes.
async fn visit(
    engine: &Engine,
    cookie: Option<&str>,
    handle: impl FnOnce(&Session),
) -> Option<String> {
    let exchange = engine.exchange();
    let headers = cookie.into_iter().map(str::as_bytes);
    let session = exchange.open(headers).await.unwrap();
    handle(&session);
    let closing = exchange.close(200).await;
    let set = header(&closing, "set-cookie")?;
    set.split(';').next().map(str::to_owned)
}

async fn told(engine: &Engine, cookie: &str) -> Option<Ended> {
    let mut ended = None;
    visit(engine, Some(cookie), |session| {
        ended = session.ended_because()
    })
    .await;
    ended
}

async fn because(engine: &Engine, cookie: &str) -> Option<EndReason> {
    told(engine, cookie).await.map(|ended| ended.because)
}

fn engine<T: TokenStore>(store: T, clock: &Arc<ManualClock>) -> Engine {
    let builder = Engine::builder(store)
        .cookie(CookiePolicy::default())
        .clock(clock.clone());
    let expiry = Expiry::new(IDLE, Some(ABSOLUTE)).unwrap();
    builder.expiry(expiry).build().unwrap()
}

/// Nobody is told anything who comes with nothing, or with a session that is open.
#[tokio::test]
async fn who_has_lost_no_session_is_told_of_no_end() {
    let app = TestApp::default();
    for _ in 0..2 {
        let answer = app.visit(async |session| {
            assert_eq!(session.ended_because(), None);
            session.insert("n", 1).unwrap();
        });
        assert_eq!(answer.await.vary.as_deref(), Some("Cookie"));
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_told_to_be_damaged() {
    let store = Arc::new(MapStore::default());
    let clock = Arc::new(ManualClock::default());
    let key = SessionKey::generate(&OsEntropy).unwrap();
    let site = cloakroom::Site::new(COOKIE).unwrap();
    let key = key.of_site(&site);
    let mut record = Record::new(clock.now(), Timestamp::MAX);
    record.site = site;
    record.data = Data::from_bytes([0xff; 9]);
    store.create(&key.digest(), &record).await.unwrap();
    let engine = engine(store, &clock);
    let cookie = format!("{COOKIE}={}", key.to_token().expose());
    assert_eq!(because(&engine, &cookie).await, Some(EndReason::Damaged));
}

#[tokio::test]
async fn what_is_sealed_under_a_key_of_nobody_here_is_told_so() {
    let clock = Arc::new(ManualClock::default());
    let map = Arc::new(MapStore::default());
    let rings = [(); 2].map(|()| KeyRing::generate(&OsEntropy).unwrap());
    let [one, other] = rings
        .each_ref()
        .map(|ring| engine(Sealed::new(map.clone()).with_key_ring(ring), &clock));
    let login = visit(&one, None, |session| {
        session.set_subject(subject("ada")).unwrap()
    });
    let cookie = login.await.unwrap();
    assert_eq!(because(&other, &cookie).await, Some(EndReason::KeyUnknown));
    assert_eq!(because(&one, &cookie).await, None);

    let [one, other] = rings.each_ref().map(|ring| {
        let store = CookieStore::builder(COOKIE, ring).clock(clock.clone());
        engine(store.build().unwrap(), &clock)
    });
    let login = visit(&one, None, |session| {
        session.set_subject(subject("ada")).unwrap()
    });
    let cookie = login.await.unwrap();
    assert_eq!(because(&other, &cookie).await, Some(EndReason::KeyUnknown));
    assert_eq!(because(&one, &cookie).await, None);
}

#[tokio::test]
async fn a_cookie_says_of_itself_why_it_opens_nothing() {
    let clock = Arc::new(ManualClock::default());
    let ring = KeyRing::generate(&OsEntropy).unwrap();
    let epochs = Arc::new(EpochStore::in_non_evicting(MapStore::default()));
    let store = CookieStore::builder(COOKIE, &ring)
        .clock(clock.clone())
        .revocation(epochs);
    let engine = engine(store.build().unwrap(), &clock);
    let login = async || {
        let login = visit(&engine, None, |session| {
            session.set_subject(subject("ada")).unwrap();
        });
        login.await.unwrap()
    };
    let cookie = login().await;
    engine.end_sessions_of(&subject("ada")).await.unwrap();
    assert_eq!(
        told(&engine, &cookie).await,
        Some(Ended::new(EndReason::Epoch))
    );

    let cookie = login().await;
    clock.advance(IDLE);
    let idle = Ended::new(EndReason::Idle).at(clock.now());
    assert_eq!(told(&engine, &cookie).await, Some(idle));

    let mut cookie = login().await;
    for _ in 0..11 {
        clock.advance(ABSOLUTE / 12);
        let used = visit(&engine, Some(&cookie), |session| {
            session.insert("n", 1).unwrap();
        });
        cookie = used.await.unwrap();
    }
    clock.advance(ABSOLUTE / 12);
    let absolute = Ended::new(EndReason::Absolute).at(clock.now());
    assert_eq!(told(&engine, &cookie).await, Some(absolute));

    let mut forged = cookie;
    forged.replace_range(COOKIE.len() + 20..COOKIE.len() + 24, "AAAA");
    assert_ne!(because(&engine, &forged).await, Some(EndReason::Absolute));
}

/// Somebody logs in over a login of somebody else, whose session has just moved: it is ended
/// where it is.
#[tokio::test]
async fn a_session_that_another_login_has_flushed_is_told_so() {
    let clock = Arc::new(ManualClock::default());
    let engine = engine(MapStore::default(), &clock);
    let login = visit(&engine, None, |session| {
        session.set_subject(subject("ada")).unwrap()
    });
    let before = login.await.unwrap();

    let exchange = engine.exchange();
    let late = exchange
        .open([before.as_bytes()].into_iter())
        .await
        .unwrap();
    let moved = visit(&engine, Some(&before), |session| {
        session.cycle_key().unwrap()
    });
    let moved = moved.await.unwrap();
    late.set_subject(subject("bob")).unwrap();
    assert!(exchange.close(200).await.failure.is_none());
    assert_eq!(because(&engine, &moved).await, Some(EndReason::Flushed));
}

//! The cookie store behind the engine, as a browser sees it.

use std::sync::Arc;
use std::time::Duration;

use cloakroom::cookie::{CookieStore, CookieStoreBuilder, EpochStore, KeyRing};
use cloakroom::engine::{OsEntropy, SessionKey, TokenStore as _};
use cloakroom::session::Session;
use cloakroom::stores::Sealed;
use cloakroom::{Clock as _, CookiePolicy, Engine, ErrorKind, Expiry, Subject, SystemClock};
use cloakroom_testkit::{Fault, FaultyStore, ManualClock, MapStore};
use cloakroom_tests::in_process::{COOKIE, TestApp};

/// A client of a site whose sessions lie in its cookie, and the site's clock.
fn desk_of(store: CookieStore, clock: &Arc<ManualClock>) -> TestApp {
    let expiry = Expiry::new(Duration::from_secs(600), Some(Duration::from_secs(3_600)));
    TestApp::with(|_| {
        Engine::builder(store)
            .cookie(CookiePolicy::default())
            .expiry(expiry.unwrap())
            .clock(clock.clone())
    })
}

fn store<'r>(ring: &'r KeyRing, clock: &Arc<ManualClock>) -> CookieStoreBuilder<'r> {
    CookieStore::builder(COOKIE, ring).clock(clock.clone())
}

fn site() -> (KeyRing, Arc<ManualClock>) {
    let ring = KeyRing::generate(&OsEntropy).unwrap();
    (ring, Arc::new(ManualClock::default()))
}

async fn number(app: &TestApp, name: &str) -> Option<u64> {
    let mut found = None;
    let answer = app.visit(async |s| found = s.get(name).unwrap()).await;
    assert_eq!(answer.status, 200);
    found
}

#[tokio::test]
async fn a_session_lives_in_the_cookie_from_login_to_logout() {
    let (ring, clock) = site();
    for builder in [store(&ring, &clock), store(&ring, &clock).signed()] {
        let app = desk_of(builder.build().unwrap(), &clock);
        let cart = app.visit(async |s| s.insert("cart", 3).unwrap()).await;
        assert!(cart.sets_token());
        let before = app.token().unwrap();
        let login = async |s: Session| s.set_subject(Subject::new("7").unwrap()).unwrap();
        assert!(app.visit(login).await.sets_token());
        assert_ne!(app.token().unwrap(), before);
        assert_eq!(number(&app, "cart").await, Some(3));

        let increment = async |s: Session| {
            s.update("cart", |n: &mut u64| *n += 1).unwrap();
            s.save().await.unwrap();
            s.update("cart", |n: &mut u64| *n += 1).unwrap();
        };
        app.visit(increment).await;
        assert_eq!(number(&app, "cart").await, Some(5), "a save, then another");

        let logout = app.visit(async |s| s.flush().unwrap()).await;
        assert!(logout.removes_token());
        assert_eq!(number(&app, "cart").await, None);
    }
}

#[tokio::test]
async fn a_read_slides_the_deadline_in_the_cookie_and_never_past_the_absolute_one() {
    let (ring, clock) = site();
    let app = desk_of(store(&ring, &clock).build().unwrap(), &clock);
    app.visit(async |s| s.insert("n", 1).unwrap()).await;
    let first = app.token().unwrap();
    for _ in 0..7 {
        clock.advance(Duration::from_secs(500));
        assert_eq!(number(&app, "n").await, Some(1));
    }
    let latest = app.token().unwrap();
    app.set_token(Some(&first));
    assert_eq!(
        number(&app, "n").await,
        None,
        "replayed after its idle deadline"
    );
    clock.advance(Duration::from_secs(100));
    app.set_token(Some(&latest));
    assert_eq!(number(&app, "n").await, None, "the absolute one has come");
}

#[tokio::test]
async fn a_damaged_cookie_is_a_fresh_session_and_never_an_error_page() {
    let (ring, clock) = site();
    let app = desk_of(store(&ring, &clock).build().unwrap(), &clock);
    app.visit(async |s| s.insert("n", 1).unwrap()).await;
    let good = app.token().unwrap();
    for at in 0..good.len() {
        let mut damaged = good.clone().into_bytes();
        damaged[at] = if damaged[at] == b'A' { b'B' } else { b'A' };
        let damaged = String::from_utf8(damaged).unwrap();
        let rest = &good[at + 1..];
        for token in [&damaged, &good[..at], rest] {
            app.set_token(Some(token));
            let answer = app.visit(async |s| assert!(!s.contains("n"))).await;
            assert_eq!(answer.status, 200);
            let case = format!("at {at}: {} {answer:?}", token.len());
            // With another key's id it may be another node's, and stays. One character
            // holds the last bits of the id and the first ones of the nonce; and one rest
            // in 256 happens to begin as a token does, with an id that is no key's.
            let stays = token.len() == good.len() && (2..6).contains(&at);
            let begins_as_a_token =
                matches!(rest.as_bytes(), [b'A', b'Q'..=b'Z' | b'a'..=b'f', ..]);
            let may_stay = match token.len() == good.len() {
                true => at == 6,
                false => token == rest && begins_as_a_token,
            };
            assert!(may_stay || answer.removes_token() != stays, "{case}");
            assert!(!answer.sets_token(), "{case}");
        }
    }
    app.set_token(Some(&good));
    assert_eq!(number(&app, "n").await, Some(1));
}

#[tokio::test]
async fn a_read_under_a_retired_key_hands_out_the_cookie_sealed_again() {
    let clock = Arc::new(ManualClock::default());
    let old = "01".repeat(32);
    let ring = |text: &str| KeyRing::parse(text).unwrap();
    let before = desk_of(store(&ring(&old), &clock).build().unwrap(), &clock);
    before.visit(async |s| s.insert("n", 1).unwrap()).await;
    let both = ring(&format!("{}\n{old}", "02".repeat(32)));
    let app = desk_of(store(&both, &clock).build().unwrap(), &clock);
    app.set_token(before.token().as_deref());
    let answer = app.visit(async |s| assert!(s.contains("n"))).await;
    assert!(answer.sets_token());
    let again = app.visit(async |s| assert!(s.contains("n"))).await;
    assert!(again.set_cookie.is_none(), "once is enough");
    // It ends with the key under which it began.
    let new = ring(&"02".repeat(32));
    let after = desk_of(store(&new, &clock).build().unwrap(), &clock);
    after.set_token(app.token().as_deref());
    assert_eq!(number(&after, "n").await, None);
}

/// Peer defect 9: what goes out fits into 4,096 bytes as it is sent, or it is an
/// error before it is sent.
#[tokio::test]
async fn a_cookie_that_browsers_would_drop_is_an_error_instead() {
    let (ring, clock) = site();
    let app = desk_of(store(&ring, &clock).build().unwrap(), &clock);
    app.visit(async |s| s.insert("small", 1).unwrap()).await;
    let mut longest = 0;
    for bytes in (2_500..3_000).step_by(20) {
        let text = "x".repeat(bytes);
        let answer = app.visit(async |s| s.insert("text", text).unwrap()).await;
        match answer.set_cookie {
            Some(set) => {
                assert_eq!(answer.status, 200);
                assert!(set.len() <= 4_096);
                longest = set.len();
            }
            None => assert_eq!(answer.status, 500),
        }
    }
    assert!(longest > 4_000, "{longest}");
    assert_eq!(number(&app, "small").await, Some(1), "the session stands");
    app.visit(async |s| {
        s.insert("text", "x".repeat(5_000)).unwrap();
        let error = s.save().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
    })
    .await;
}

#[tokio::test]
async fn a_revoked_session_is_fresh_and_without_epochs_the_answer_is_500() {
    let (ring, clock) = site();
    let kept = Arc::new(FaultyStore::new(MapStore::default()));
    let epochs = Arc::new(EpochStore::in_non_evicting(kept.clone()));
    let builder = store(&ring, &clock).revocation(epochs.clone());
    let app = desk_of(builder.build().unwrap(), &clock);
    let subject = Subject::new("7").unwrap();
    let login = async |s: Session| {
        s.set_subject(Subject::new("7").unwrap()).unwrap();
        s.insert("n", 1).unwrap();
    };
    app.visit(login).await;
    kept.fail_always(Some(Fault::Refuse));
    let answer = app.visit(async |_| {}).await;
    assert_eq!((answer.status, answer.set_cookie), (500, None));
    kept.reset();
    assert_eq!(number(&app, "n").await, Some(1), "the cookie was kept");

    let engine = app.engine();
    assert_eq!(engine.end_sessions_of(&subject).await.unwrap(), 0);
    assert_eq!(number(&app, "n").await, None);
    app.visit(login).await;
    assert_eq!(number(&app, "n").await, Some(1));

    // Ending all the others from within one: it logs in again in the same
    // request, and is the only one left.
    let other = app.token();
    app.visit(async |s: Session| {
        clock.advance(Duration::from_millis(1));
        engine.end_sessions_of(&subject).await.unwrap();
        s.flush().unwrap();
        login(s).await;
    })
    .await;
    assert_eq!(number(&app, "n").await, Some(1));
    app.set_token(other.as_deref());
    assert_eq!(number(&app, "n").await, None);
}

/// A limit that the documentation states.
#[tokio::test]
async fn a_use_that_is_answered_after_a_logout_brings_the_cookie_back_unless_it_is_revoked() {
    for is_revocable in [false, true] {
        let (ring, clock) = site();
        let mut builder = store(&ring, &clock);
        if is_revocable {
            let epochs = Arc::new(EpochStore::in_non_evicting(MapStore::default()));
            builder = builder.revocation(epochs).logout_ends_all();
        }
        let app = desk_of(builder.build().unwrap(), &clock);
        app.visit(async |s| s.set_subject(Subject::new("7").unwrap()).unwrap())
            .await;
        clock.advance(Duration::from_secs(60));
        app.visit(async |s| {
            app.visit(async |s| s.flush().unwrap()).await;
            assert!(s.subject().is_some());
        })
        .await;
        let mut is_logged_in = false;
        app.visit(async |s| is_logged_in = s.subject().is_some())
            .await;
        assert_eq!(is_logged_in, !is_revocable);
    }
}

/// In a roll-out, a node may lack a key that another node seals under already.
#[tokio::test]
async fn a_node_without_the_key_leaves_the_cookie_to_those_that_have_it() {
    let clock = Arc::new(ManualClock::default());
    let [old, new] = [(); 2].map(|()| KeyRing::generate(&OsEntropy).unwrap());
    let map = Arc::new(MapStore::default());
    let sealed = |ring: &KeyRing| {
        let store = Sealed::new(map.clone()).with_key_ring(ring);
        TestApp::with(|_| Engine::builder(store).clock(clock.clone()))
    };
    for [ahead, behind] in [
        [&new, &old].map(|ring| desk_of(store(ring, &clock).build().unwrap(), &clock)),
        [&new, &old].map(sealed),
    ] {
        ahead.visit(async |s| s.insert("n", 1).unwrap()).await;
        let token = ahead.token();
        behind.set_token(token.as_deref());
        let read = async |s: Session| assert_eq!(s.get::<u64>("n").unwrap(), None);
        let answer = behind.visit(read).await;
        assert_eq!((answer.status, answer.set_cookie), (200, None));
        assert_eq!(number(&ahead, "n").await, Some(1));
        // Whoever writes here begins anew, and a logout removes the cookie.
        assert!(
            behind
                .visit(async |s| s.insert("n", 2).unwrap())
                .await
                .sets_token()
        );
        for is_saved in [false, true] {
            behind.set_token(token.as_deref());
            let logout = async |s: Session| {
                s.flush().unwrap();
                if is_saved {
                    s.save().await.unwrap();
                }
            };
            assert!(behind.visit(logout).await.removes_token(), "{is_saved}");
        }
        // What lies on the server is ended there.
        let is_on_server = behind
            .engine
            .store()
            .token_capabilities()
            .client_side
            .is_none();
        ahead.set_token(token.as_deref());
        let left = number(&ahead, "n").await;
        assert_eq!(left.is_none(), is_on_server);
    }
}

/// A logout that could not be written keeps the cookie, so that it can be tried again.
#[tokio::test]
async fn a_logout_of_an_unknown_key_that_the_store_does_not_answer_keeps_the_cookie() {
    let [old, new] = [(); 2].map(|()| KeyRing::generate(&OsEntropy).unwrap());
    let store = Arc::new(FaultyStore::new(MapStore::default()));
    let [ahead, behind] = [&new, &old].map(|ring| {
        let sealed = Sealed::new(store.clone()).with_key_ring(ring);
        TestApp::with(|_| Engine::builder(sealed))
    });
    ahead.visit(async |s| s.insert("n", 1).unwrap()).await;
    behind.set_token(ahead.token().as_deref());
    let logout = async |s: Session| {
        store.fail_always(Some(Fault::Refuse));
        s.flush().unwrap();
    };
    let answer = behind.visit(logout).await;
    assert_eq!((answer.status, answer.set_cookie), (500, None));
    store.reset();
    assert_eq!(number(&ahead, "n").await, Some(1));
}

/// It may be made up, or planted by another host of the domain.
#[tokio::test]
async fn a_stray_cookie_of_an_unknown_key_keeps_nobody_logged_in() {
    let (ring, clock) = site();
    let epochs = Arc::new(EpochStore::in_non_evicting(MapStore::default()));
    let store = store(&ring, &clock).revocation(epochs).logout_ends_all();
    let app = desk_of(store.build().unwrap(), &clock);
    app.visit(async |s| s.set_subject(Subject::new("7").unwrap()).unwrap())
        .await;
    let good = app.token().unwrap();
    let other = KeyRing::generate(&OsEntropy).unwrap();
    let other = desk_of(
        CookieStore::builder(COOKIE, &other).build().unwrap(),
        &clock,
    );
    other.visit(async |s| s.insert("n", 1).unwrap()).await;
    let cookies = format!("{COOKIE}={good}; {COOKIE}={}", other.token().unwrap());
    let logout = async |s: Session| s.flush().unwrap();
    let answer = app.request(&[cookies.as_bytes()], 200, logout).await;
    assert_eq!(answer.status, 200);
    assert!(answer.removes_token());
    app.set_token(Some(&good));
    app.visit(async |s| assert_eq!(s.subject(), None)).await;
}

/// A key ring in a file, as a URL names it.
fn key_file() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = KeyRing::generate(&OsEntropy).unwrap().to_text();
    std::fs::write(&file, text.as_bytes()).unwrap();
    file
}

/// A store by its URL, and a site on it.
async fn opened(url: &str) -> TestApp {
    let store = cloakroom::open(url).await.unwrap();
    TestApp::with(|_| Engine::builder(store).cookie(CookiePolicy::default()))
}

#[tokio::test]
async fn by_its_url_a_logout_ends_the_copied_cookies_of_its_subject() {
    let folder = tempfile::tempdir().unwrap();
    let ring = key_file();
    let url = format!(
        "cookie:?key_file={}&revocation=redb:{}",
        ring.path().display(),
        folder.path().join("epochs.redb").display()
    );
    let subject = || Subject::new("7").unwrap();
    let login = async |s: Session| s.set_subject(subject()).unwrap();
    let nobody = async |app: &TestApp, token: Option<String>, case: &str| {
        app.set_token(token.as_deref());
        app.visit(async |s| assert_eq!(s.subject(), None, "{case}"))
            .await;
    };

    let app = opened(&url).await;
    app.visit(login).await;
    let phone = app.token();
    app.set_token(None);
    app.visit(login).await;
    let laptop = app.token();
    assert!(
        app.visit(async |s| s.flush().unwrap())
            .await
            .removes_token()
    );
    nobody(&app, laptop.clone(), "the copy").await;
    nobody(&app, phone, "another device").await;

    app.set_token(None);
    app.visit(login).await;
    app.visit(async |s| assert_eq!(s.subject(), Some(subject())))
        .await;
    let token = app.token();
    app.engine().end_sessions_of(&subject()).await.unwrap();
    nobody(&app, token, "after a password reset").await;

    app.engine().store().close().await.unwrap();
    drop(app);
    let again = opened(&url).await;
    nobody(&again, laptop, "after a restart").await;
}

/// An epoch is of a subject, so what ends the token of before ends the subject's other
/// sessions too; without one nothing can.
#[tokio::test]
async fn a_login_of_the_same_subject_again_ends_the_token_of_before_where_anything_can() {
    let (ring, clock) = site();
    let epochs = || Arc::new(EpochStore::in_non_evicting(MapStore::default()));
    let subject = || Subject::new("7").unwrap();
    let login = async |s: Session| s.set_subject(subject()).unwrap();
    for (builder, ends) in [
        (store(&ring, &clock), false),
        (store(&ring, &clock).revocation(epochs()), false),
        (
            store(&ring, &clock).revocation(epochs()).logout_ends_all(),
            true,
        ),
    ] {
        let app = desk_of(builder.build().unwrap(), &clock);
        app.visit(login).await;
        let phone = app.token().unwrap();
        app.set_token(None);
        app.visit(async |s| s.insert("cart", 3).unwrap()).await;
        app.visit(login).await;
        let before = app.token().unwrap();
        assert!(opens(&app, &phone).await, "another login ends nobody");

        clock.advance(Duration::from_secs(1));
        app.set_token(Some(&before));
        assert!(app.visit(login).await.sets_token());
        let after = app.token().unwrap();
        assert_ne!(before, after);
        for old in [&before, &phone] {
            assert_eq!(opens(&app, old).await, !ends);
        }
        app.set_token(Some(&after));
        assert_eq!(number(&app, "cart").await, Some(3), "its data came along");
        // Another key for the same login is none.
        app.visit(async |s| s.cycle_key().unwrap()).await;
        assert!(opens(&app, &after).await);
    }
}

/// Whether somebody is logged in with this token.
async fn opens(app: &TestApp, token: &str) -> bool {
    app.set_token(Some(token));
    let mut is_logged_in = false;
    app.visit(async |s| is_logged_in = s.subject().is_some())
        .await;
    is_logged_in
}

#[tokio::test]
async fn by_its_url_a_renamed_cookie_still_opens() {
    let ring = key_file();
    let keys = ring.path().display();
    let url = format!("cookie:?key_file={keys}&name=sid");
    let before = cloakroom::open(&url).await.unwrap();
    let key = SessionKey::generate(&OsEntropy).unwrap();
    let record = Expiry::default().begin(SystemClock.now());
    let token = before.create_token(&key, &record).await;
    let token = token.unwrap().token.unwrap();
    for (options, opens) in [("", false), ("&replaces=sid", true)] {
        let url = format!("cookie:?key_file={keys}{options}");
        let after = cloakroom::open(&url).await.unwrap();
        let loaded = after.load_token(&token).await.unwrap();
        assert_eq!(loaded.is_some(), opens, "{options}");
    }
}

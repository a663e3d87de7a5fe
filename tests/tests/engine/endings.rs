//! Sessions end when they are told to, whoever still waits, and stay ended.

use std::future::Future as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use cloakroom::engine::SubjectSessions;
use cloakroom::store::EndReason;
use cloakroom::{Clock as _, Engine, ErrorKind, Expiry, SessionExpiry, Subject};
use cloakroom_testkit::{Call, InterceptedStore, ManualClock, MapStore};
use cloakroom_tests::in_process::{TestApp, header};
use cloakroom_tests::waiting::Visitor;
use tokio::sync::Notify;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn subject(name: &str) -> Subject {
    Subject::new(name).unwrap()
}

/// As where a Redis is full: it still ends what is there, and takes nothing new.
#[tokio::test]
async fn a_logout_with_a_message_happens_also_where_the_message_finds_no_room() {
    let is_full = Arc::new(AtomicBool::new(false));
    let store = InterceptedStore::from_fn(MapStore::default(), {
        let is_full = is_full.clone();
        move |operation, work| {
            let grows = [Call::Create, Call::Rotate, Call::Update].contains(&operation.call);
            let refused = grows && is_full.load(Ordering::SeqCst);
            Box::pin(async move {
                match refused {
                    true => Err(ErrorKind::Unavailable.into()),
                    false => work.await,
                }
            })
        }
    });
    let engine = Engine::new(store);
    let ada = Visitor::log_in(&engine, "ada").await;
    let before = ada.clone();
    is_full.store(true, Ordering::SeqCst);
    let (exchange, session) = ada.open().await;
    session.flush().unwrap();
    session.flash("notice", "Bye.").unwrap();
    let closing = exchange.close(200).await;
    assert!(closing.failure.is_some(), "the message is lost");
    is_full.store(false, Ordering::SeqCst);
    assert!(
        engine
            .sessions_of(&subject("ada"))
            .await
            .unwrap()
            .is_empty()
    );
    let (_, session) = before.open().await;
    let ended = session.ended_because().map(|ended| ended.because);
    assert_eq!(ended, Some(EndReason::LoggedOut));

    // And where there is room, the message begins a session of nobody.
    let mut ada = Visitor::log_in(&engine, "ada").await;
    let before = ada.clone();
    ada.visit(async |session| {
        session.flush().unwrap();
        session.flash("notice", "Bye.").unwrap();
    })
    .await;
    assert_ne!(ada.token, before.token);
    ada.visit(async |session| {
        assert_eq!(session.subject(), None);
        let notices: Vec<String> = session.take_flash("notice").await.unwrap();
        assert_eq!(notices, ["Bye."]);
    })
    .await;
    let (_, session) = before.open().await;
    let ended = session.ended_because().map(|ended| ended.because);
    assert_eq!(ended, Some(EndReason::LoggedOut));
}

/// An autosave is under way and slow, the visitor logs out and closes the tab: the
/// logout waits for nobody, and is carried out though nobody waits for it.
#[tokio::test(start_paused = true)]
async fn a_logout_whose_client_hangs_up_happens_also_behind_a_slow_write() {
    let begun = Arc::new(Notify::new());
    let release = Arc::new(Notify::new());
    let store = {
        let (begun, release) = (begun.clone(), release.clone());
        InterceptedStore::from_fn(MapStore::default(), move |operation, work| {
            let (begun, release) = (begun.clone(), release.clone());
            Box::pin(async move {
                if operation.call == Call::Update {
                    begun.notify_one();
                    release.notified().await;
                }
                work.await
            })
        })
    };
    let engine = Engine::new(store);
    let exchange = engine.exchange();
    let session = exchange.open(std::iter::empty()).await.unwrap();
    session.insert("n", 1).unwrap();
    let set = header(&exchange.close(200).await, "set-cookie").unwrap();
    let cookie = set.split(';').next().unwrap().to_owned();

    let autosave = tokio::spawn({
        let (engine, cookie) = (engine.clone(), cookie.clone());
        async move {
            let exchange = engine.exchange();
            let session = exchange
                .open([cookie.as_bytes()].into_iter())
                .await
                .unwrap();
            session.insert("draft", "text").unwrap();
            exchange.close(200).await
        }
    });
    begun.notified().await;

    let exchange = engine.exchange();
    let session = exchange
        .open([cookie.as_bytes()].into_iter())
        .await
        .unwrap();
    session.flush().unwrap();
    // The server drops the future of a client that hangs up at its first wait.
    let mut closing = Box::pin(exchange.close(200));
    let waits = std::future::poll_fn(|cx| Poll::Ready(closing.as_mut().poll(cx).is_pending()));
    assert!(waits.await);
    drop(closing);
    tokio::time::sleep(Duration::from_millis(10)).await;

    let exchange = engine.exchange();
    let session = exchange
        .open([cookie.as_bytes()].into_iter())
        .await
        .unwrap();
    assert!(!session.exists(), "it is logged out");
    release.notify_one();
    assert!(autosave.await.unwrap().token_headers().is_empty());
    let exchange = engine.exchange();
    let session = exchange
        .open([cookie.as_bytes()].into_iter())
        .await
        .unwrap();
    assert!(!session.exists(), "and stays so");
}

/// The same of what a handler does before its end: the server drops its future too.
#[tokio::test]
async fn what_a_handler_ends_is_ended_though_its_client_hangs_up() {
    for call in [Call::Delete, Call::Revoke] {
        let store = InterceptedStore::from_fn(MapStore::default(), move |operation, work| {
            Box::pin(async move {
                if operation.call == call {
                    tokio::task::yield_now().await;
                }
                work.await
            })
        });
        let store = Arc::new(store);
        let engine = Engine::new(store.clone());
        let login = async || {
            let exchange = engine.exchange();
            let session = exchange.open(std::iter::empty()).await.unwrap();
            session.set_subject(subject("1")).unwrap();
            session.save().await.unwrap();
            (exchange, session)
        };
        login().await;
        let (exchange, session) = login().await;
        let sessions = SubjectSessions::new(exchange, session.clone());
        let mut handler = Box::pin(async {
            if call == Call::Delete {
                session.flush().unwrap();
                session.save().await.unwrap();
            } else {
                sessions.end_others().await.unwrap();
            }
        });
        let waits = std::future::poll_fn(|cx| Poll::Ready(handler.as_mut().poll(cx).is_pending()));
        assert!(waits.await);
        drop(handler);
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(store.inner().standing().len(), 1, "{call:?}");
    }
}

#[tokio::test]
async fn a_shortened_policy_holds_for_the_sessions_that_are_stored() {
    let store = Arc::new(MapStore::default());
    let clock = Arc::new(ManualClock::default());
    let engine = |expiry: Expiry| {
        let builder = Engine::builder(store.clone()).clock(clock.clone());
        builder.expiry(expiry).build().unwrap()
    };
    let login = async |choice: Option<SessionExpiry>| {
        let exchange = engine(Expiry::default()).exchange();
        let session = exchange.open(std::iter::empty()).await.unwrap();
        session.insert("n", 1).unwrap();
        if let Some(choice) = choice {
            session.set_expiry(choice).unwrap();
        }
        let set = header(&exchange.close(200).await, "set-cookie").unwrap();
        set.split(';').next().unwrap().to_owned()
    };
    let opens = async |expiry: Expiry, cookie: &str| {
        let exchange = engine(expiry).exchange();
        let session = exchange
            .open([cookie.as_bytes()].into_iter())
            .await
            .unwrap();
        session.exists()
    };
    let (plain, own) = (
        login(None).await,
        login(Some(SessionExpiry::Own(Expiry::default()))).await,
    );
    clock.advance(10 * DAY);
    assert!(opens(Expiry::default(), &plain).await);
    assert!(!opens(Expiry::aal3(), &plain).await, "idle for ten days");
    assert!(opens(Expiry::aal3(), &own).await, "its own choice");
}

#[tokio::test]
async fn a_shortened_policy_holds_for_the_cookie_and_for_the_list_of_a_subjects_sessions() {
    let store = Arc::new(MapStore::default());
    let clock = Arc::new(ManualClock::default());
    let engine = |expiry: Expiry| {
        let builder = Engine::builder(store.clone()).clock(clock.clone());
        builder.expiry(expiry).build().unwrap()
    };
    let short = Expiry::new(Duration::from_secs(60 * 60), Some(DAY)).unwrap();
    let (long, short) = (engine(Expiry::default()), engine(short));
    let login = async |engine: &Engine| {
        let exchange = engine.exchange();
        let session = exchange.open(std::iter::empty()).await.unwrap();
        session.set_subject(subject("1")).unwrap();
        let set = header(&exchange.close(200).await, "set-cookie").unwrap();
        set.split(';').next().unwrap().to_owned()
    };
    login(&long).await;
    clock.advance(2 * DAY);
    let cookie = login(&long).await;
    let exchange = short.exchange();
    let session = exchange
        .open([cookie.as_bytes()].into_iter())
        .await
        .unwrap();
    let sessions = SubjectSessions::new(exchange.clone(), session.clone());
    let listed = sessions.list().await.unwrap();
    assert_eq!(listed.len(), 1, "the other has been idle for two days");
    assert!(listed[0].expires_at <= clock.now().saturating_add(Duration::from_secs(60 * 60)));
    session.insert("n", 1).unwrap();
    let set = header(&exchange.close(200).await, "set-cookie").unwrap();
    assert!(set.contains("Max-Age=86400"), "{set}");
}

#[tokio::test]
async fn that_cookies_end_with_the_browser_is_applied_at_once() {
    let store = Arc::new(MapStore::default());
    let engine = |expiry: Expiry| {
        Engine::builder(store.clone())
            .expiry(expiry)
            .build()
            .unwrap()
    };
    let exchange = engine(Expiry::default()).exchange();
    let session = exchange.open(std::iter::empty()).await.unwrap();
    session.insert("n", 1).unwrap();
    let set = header(&exchange.close(200).await, "set-cookie").unwrap();
    assert!(set.contains("Max-Age"));
    let cookie = set.split(';').next().unwrap();
    let exchange = engine(Expiry::default().ending_with_browser()).exchange();
    let session = exchange
        .open([cookie.as_bytes()].into_iter())
        .await
        .unwrap();
    assert!(session.expires_at_browser_close());
    session.cycle_key().unwrap();
    let set = header(&exchange.close(200).await, "set-cookie").unwrap();
    assert!(!set.contains("Max-Age"), "{set}");
}

#[tokio::test]
async fn what_follows_a_flush_begins_a_new_session_though_the_old_one_was_ended_meanwhile() {
    for early in [false, true] {
        for rotated in [false, true] {
            let app = TestApp::default();
            app.visit(async |s| s.insert("old", 1).unwrap()).await;
            let token = app.token();
            let response = app
                .visit(async |session| {
                    app.set_token(token.as_deref());
                    let other = TestApp::visit(&app, async |s| match rotated {
                        true => s.cycle_key().unwrap(),
                        false => s.flush().unwrap(),
                    });
                    other.await;
                    session.flush().unwrap();
                    session.insert("new", 2).unwrap();
                    if early {
                        session.save().await.unwrap();
                    }
                })
                .await;
            assert_eq!(response.status, 200);
            assert!(response.sets_token(), "early: {early}, rotated: {rotated}");
            assert_eq!(app.number("new").await, Some(2));
            assert_eq!(app.number("old").await, None);
        }
    }
}

/// The request arrives when its session has moved already.
#[tokio::test]
async fn what_follows_a_flush_under_a_rotation_mark_begins_a_new_session() {
    let app = TestApp::default();
    app.visit(async |s| s.insert("old", 1).unwrap()).await;
    let old = app.token();
    app.visit(async |s| s.cycle_key().unwrap()).await;
    let moved = app.token();
    app.set_token(old.as_deref());
    let response = app
        .visit(async |session| {
            session.flush().unwrap();
            session.insert("new", 2).unwrap();
        })
        .await;
    assert!(response.sets_token());
    assert_eq!(app.number("new").await, Some(2));
    app.set_token(moved.as_deref());
    assert_eq!(app.number("old").await, None, "the logout has ended it");
}

/// The clock of the second node runs behind: its login is written last and is the
/// earlier one.
#[tokio::test]
async fn a_login_behind_later_ones_at_the_limit_ends_itself() {
    let store = Arc::new(MapStore::default());
    let node = |clock: &Arc<ManualClock>| {
        let builder = Engine::builder(store.clone()).clock(clock.clone());
        builder.sessions_per_subject_max(1).build().unwrap()
    };
    let ahead = Arc::new(ManualClock::default());
    ahead.advance(Duration::from_secs(5));
    let behind = Arc::new(ManualClock::default());
    let (first, second) = (node(&ahead), node(&behind));
    let login = async |engine: &Engine| {
        let exchange = engine.exchange();
        let session = exchange.open(std::iter::empty()).await.unwrap();
        session.set_subject(subject("1")).unwrap();
        header(&exchange.close(200).await, "set-cookie").unwrap()
    };
    login(&first).await;
    let set = login(&second).await;
    assert!(set.contains("Max-Age=0"), "{set}");
    let standing = store.standing().len();
    assert_eq!(standing, 1, "one session stands");
}

//! Sessions end when they are told to, whoever still waits, and stay ended.

use std::future::Future as _;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use cloakroom::axum::{Session, SessionError, SessionLayer};
use cloakroom::engine::SubjectSessions;
use cloakroom::{Clock as _, Engine, ErrorKind, Expiry, SessionExpiry, Subject};
use cloakroom_testkit::{Call, InterceptedStore, ManualClock, MapStore, key};
use cloakroom_tests::in_process::{COOKIE, TestApp, header};
use tokio::sync::Notify;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn subject(name: &str) -> Subject {
    Subject::new(name).unwrap()
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
        assert_eq!(store.inner().snapshot().len(), 1, "{call:?}");
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
    let (long, short) = (engine(Expiry::default()), engine(Expiry::aal2()));
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
    let standing = store.snapshot().len();
    assert_eq!(standing, 1, "one session stands");
}

#[tokio::test]
async fn sessions_of_a_subject_kept_past_the_response_end_none() {
    let app = TestApp::default();
    app.visit(async |s| s.set_subject(subject("1")).unwrap())
        .await;
    let elsewhere = app.token();
    app.set_token(None);
    app.visit(async |s| s.set_subject(subject("1")).unwrap())
        .await;
    let exchange = app.engine.exchange();
    let cookie = format!("{COOKIE}={}", app.token().unwrap());
    let session = exchange
        .open([cookie.as_bytes()].into_iter())
        .await
        .unwrap();
    let sessions = SubjectSessions::new(exchange.clone(), session);
    exchange.close(200).await;
    let error = sessions.end_all().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    app.set_token(elsewhere.as_deref());
    let mut still = None;
    app.visit(async |s| still = s.subject()).await;
    assert_eq!(still, Some(subject("1")));
}

#[tokio::test]
async fn a_dead_cookie_before_a_live_one_locks_nobody_out_and_a_logout_ends_each() {
    let app = TestApp::default();
    let dead = key().to_token().expose().to_owned();
    app.visit(async |s| s.insert("n", 1).unwrap()).await;
    let live = app.token().unwrap();
    app.set_token(None);
    app.visit(async |s| s.insert("n", 2).unwrap()).await;
    let other = app.token().unwrap();
    let line = [&dead, &live, &other]
        .map(|token| format!("{COOKIE}={token}"))
        .join("; ");
    let mut seen = None;
    let response = app
        .request(&[line.as_bytes()], 200, async |s| {
            seen = s.get::<u64>("n").unwrap()
        })
        .await;
    assert_eq!(seen, Some(1));
    assert_eq!(
        response.set_cookie, None,
        "nothing is removed while one is alive"
    );
    assert_eq!(
        response.calls,
        [Call::Load, Call::Load],
        "a dead first costs one more"
    );
    app.request(&[line.as_bytes()], 200, async |s| s.flush().unwrap())
        .await;
    for token in [&live, &other] {
        app.set_token(Some(token));
        assert_eq!(app.number("n").await, None);
    }
}

/// A poll that was sent with an expired cookie must not remove the one that a login has
/// just set.
#[tokio::test]
async fn a_mere_read_removes_a_dead_cookie_in_the_answer_to_a_document_alone() {
    let app = TestApp::default();
    let dead = format!("{COOKIE}={}", key().to_token().expose());
    for (dest, removes) in [
        (None, true),
        (Some(&b"document"[..]), true),
        (Some(b"empty"), false),
        (Some(b"image"), false),
    ] {
        let exchange = app.engine.exchange();
        exchange.note_fetch_dest(dest);
        let session = exchange.open([dead.as_bytes()].into_iter()).await.unwrap();
        assert!(!session.contains("n"));
        let closing = exchange.close(200).await;
        assert_eq!(!closing.token_headers().is_empty(), removes, "{dest:?}");
    }
}

/// The adapter passes on what the request is for.
#[tokio::test]
async fn the_answer_to_a_poll_removes_no_cookie() {
    use axum::{Router, body::Body, http::Request, routing::get};
    use tower::ServiceExt as _;
    async fn look(session: Session) -> &'static str {
        if session.contains("n") { "yes" } else { "no" }
    }
    let engine = Engine::new(MapStore::default());
    let app = Router::new()
        .route("/", get(look))
        .layer(SessionLayer::new(engine));
    let dead = format!("{COOKIE}={}", key().to_token().expose());
    for (dest, removes) in [("document", true), ("empty", false)] {
        let request = Request::get("/")
            .header("cookie", &dead)
            .header("sec-fetch-dest", dest);
        let request = request.body(Body::empty()).unwrap();
        let response = app.clone().oneshot(request).await.unwrap();
        assert_eq!(
            response.headers().contains_key("set-cookie"),
            removes,
            "{dest}"
        );
    }
}

/// A streamed body opens the session when the headers have left.
#[tokio::test]
async fn a_session_first_opened_after_the_headers_left_can_be_read_and_not_changed() {
    let app = TestApp::default();
    app.visit(async |s| s.insert("n", 1).unwrap()).await;
    let cookie = format!("{COOKIE}={}", app.token().unwrap());
    let exchange = app.engine.exchange();
    assert!(exchange.close(200).await.token_headers().is_empty());
    let session = exchange
        .open([cookie.as_bytes()].into_iter())
        .await
        .unwrap();
    assert_eq!(session.get::<u64>("n").unwrap(), Some(1));
    for error in [
        session.insert("n", 2).unwrap_err(),
        session.cycle_key().unwrap_err(),
        session.flush().unwrap_err(),
        session.save().await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Closed);
    }
    assert_eq!(app.number("n").await, Some(1));
}

/// What the handler has changed is written, though something else asks for the session
/// while that waits for an early save.
#[tokio::test]
async fn a_session_asked_for_again_after_the_end_takes_no_change_and_loses_none() {
    let release = Arc::new(Notify::new());
    let held = release.clone();
    let store = InterceptedStore::from_fn(MapStore::default(), move |operation, work| {
        let held = held.clone();
        Box::pin(async move {
            if operation.call == Call::Create {
                held.notified().await;
            }
            work.await
        })
    });
    let engine = Engine::new(store);
    let exchange = engine.exchange();
    let session = exchange.open(std::iter::empty()).await.unwrap();
    session.insert("n", 1).unwrap();
    let mut saving = Box::pin(session.save());
    let mut closing = Box::pin(exchange.close(200));
    std::future::poll_fn(|cx| {
        assert!(saving.as_mut().poll(cx).is_pending());
        session.insert("n", 2).unwrap();
        assert!(closing.as_mut().poll(cx).is_pending());
        Poll::Ready(())
    })
    .await;
    let again = exchange.open(std::iter::empty()).await.unwrap();
    for refused in [again.insert("n", 3), again.flush()] {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Closed);
    }
    release.notify_one();
    saving.await.unwrap();
    let closing = closing.await;
    assert!(closing.failure.is_none(), "{:?}", closing.failure);
    let set = header(&closing, "set-cookie").unwrap();
    let cookie = set.split(';').next().unwrap();
    let exchange = engine.exchange();
    let session = exchange
        .open([cookie.as_bytes()].into_iter())
        .await
        .unwrap();
    assert_eq!(session.get::<u64>("n").unwrap(), Some(2));
}

#[tokio::test]
async fn the_default_expiry_is_nothing_to_store_for_an_anonymous_visitor() {
    let app = TestApp::default();
    let set = async |choice: SessionExpiry| {
        let response = app.visit(async |s| s.set_expiry(choice).unwrap()).await;
        (response.sets_token(), app.records())
    };
    assert_eq!(set(SessionExpiry::Default).await, (false, 0));
    assert_eq!(set(SessionExpiry::BrowserClose).await, (true, 1));
}

/// Two layers of one engine around each other are one: the login of the handler counts.
#[tokio::test]
async fn of_two_layers_of_one_engine_the_inner_one_uses_the_exchange_that_is_there() {
    use axum::{Router, body::Body, http::Request, routing::get};
    use tower::ServiceExt as _;
    async fn login(session: Session) -> Result<&'static str, SessionError> {
        session.set_subject(Subject::new("1")?)?;
        Ok("in")
    }
    async fn look(
        session: Session,
        request: axum::extract::Request,
        next: axum::middleware::Next,
    ) -> axum::response::Response {
        assert_eq!(session.subject(), None);
        session.insert("looked", true).unwrap();
        next.run(request).await
    }
    let engine = Engine::new(MapStore::default());
    let app = Router::new()
        .route("/", get(login))
        .layer(SessionLayer::new(engine.clone()))
        .layer(axum::middleware::from_fn(look))
        .layer(SessionLayer::new(engine.clone()));
    let request = Request::get("/").body(Body::empty()).unwrap();
    let response = app.oneshot(request).await.unwrap();
    let cookies: Vec<_> = response.headers().get_all("set-cookie").iter().collect();
    assert_eq!(cookies.len(), 1, "{cookies:?}");
    let cookie = cookies[0]
        .to_str()
        .unwrap()
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    let exchange = engine.exchange();
    let session = exchange
        .open([cookie.as_bytes()].into_iter())
        .await
        .unwrap();
    assert_eq!(session.subject(), Some(subject("1")));
}

/// Some frameworks send a rejection's text to the client.
#[test]
fn a_session_error_says_nothing_of_the_store() {
    let error = cloakroom::Error::new(ErrorKind::Unavailable, "postgres://db.internal is down");
    let error = SessionError::from(error.in_store("postgres"));
    for text in [format!("{error:?}"), error.to_string()] {
        assert!(
            !text.contains("postgres") && !text.contains("down"),
            "{text}"
        );
    }
    let source = std::error::Error::source(&error).unwrap();
    assert!(source.to_string().contains("postgres"));
}

/// Whoever has waited in the queue begins with what the writer before has stored.
#[tokio::test]
async fn parallel_updates_cost_one_load_and_one_write_each() {
    const CLIENTS: u64 = 100;
    let calls: Arc<Mutex<Vec<Call>>> = Arc::default();
    let store = InterceptedStore::from_fn(MapStore::default(), {
        let calls = calls.clone();
        move |operation, work| {
            calls.lock().unwrap().push(operation.call);
            Box::pin(async move {
                // As a store with a round trip: others run meanwhile.
                tokio::task::yield_now().await;
                work.await
            })
        }
    });
    let engine = Engine::new(store);
    let exchange = engine.exchange();
    let session = exchange.open(std::iter::empty()).await.unwrap();
    session.insert("n", 0_u64).unwrap();
    let set = header(&exchange.close(200).await, "set-cookie").unwrap();
    let cookie = set.split(';').next().unwrap();
    calls.lock().unwrap().clear();
    let requests = (0..CLIENTS).map(|_| async {
        let exchange = engine.exchange();
        let session = exchange
            .open([cookie.as_bytes()].into_iter())
            .await
            .unwrap();
        session.update("n", |n: &mut u64| *n += 1).unwrap();
        assert!(exchange.close(200).await.failure.is_none());
    });
    futures_util::future::join_all(requests).await;
    let made = std::mem::take(&mut *calls.lock().unwrap());
    let count = |call| made.iter().filter(|made| **made == call).count() as u64;
    assert_eq!((count(Call::Load), count(Call::Update)), (CLIENTS, CLIENTS));
    let exchange = engine.exchange();
    let session = exchange
        .open([cookie.as_bytes()].into_iter())
        .await
        .unwrap();
    assert_eq!(session.get::<u64>("n").unwrap(), Some(CLIENTS));
}

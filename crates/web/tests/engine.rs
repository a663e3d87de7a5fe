//! What the engine itself promises, over a store in a map: expired, ended and limited
//! sessions. The whole behaviour is tested in the workspace's `tests`.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

use std::sync::Arc;
use std::time::Duration;

use cloakroom_core::session::Session;
use cloakroom_core::{ErrorKind, Expiry, SessionExpiry, Subject, Timestamp};
use cloakroom_testkit::{Call, InterceptedStore, ManualClock, MapStore};
use cloakroom_web::{Closing, Engine, EngineBuilder, Exchange, SESSIONS_LISTED_MAX};

const IDLE: Duration = Duration::from_secs(60);

struct App {
    engine: Engine,
    store: Arc<MapStore>,
    clock: Arc<ManualClock>,
}

fn app(choose: impl FnOnce(EngineBuilder) -> EngineBuilder) -> App {
    let (store, clock) = (
        Arc::new(MapStore::default()),
        Arc::new(ManualClock::default()),
    );
    let builder = Engine::builder(store.clone())
        .clock(clock.clone())
        .expiry(Expiry::new(IDLE, None).unwrap());
    let engine = choose(builder).build().unwrap();
    App {
        engine,
        store,
        clock,
    }
}

async fn open(app: &App, cookie: Option<&str>) -> (Exchange, Session) {
    let exchange = app.engine.exchange();
    let headers = cookie.into_iter().map(str::as_bytes);
    let session = exchange.open(headers).await.unwrap();
    (exchange, session)
}

/// The cookie that was set, as the browser sends it back.
fn cookie(closing: &Closing) -> String {
    let set = closing.token_headers()[0].value();
    set.split(';').next().unwrap().to_owned()
}

async fn stored(app: &App) -> String {
    let (exchange, session) = open(app, None).await;
    session.insert("n", 1).unwrap();
    cookie(&exchange.close(200).await)
}

#[tokio::test]
async fn an_expired_record_opens_nothing_and_stays_as_it_is() {
    let app = app(|builder| builder);
    let cookie = stored(&app).await;
    app.clock.advance(IDLE);
    let before = app.store.snapshot();
    let (exchange, session) = open(&app, Some(&cookie)).await;
    assert_eq!(session.get::<u64>("n").unwrap(), None);
    exchange.close(200).await;
    assert_eq!(app.store.snapshot(), before, "a sweep removes it");
}

#[tokio::test]
async fn a_session_is_judged_when_it_is_loaded() {
    let app = app(|builder| builder);
    let cookie = stored(&app).await;
    let exchange = app.engine.exchange();
    let opens_later = exchange.open(std::iter::once(cookie.as_bytes()));
    app.clock.advance(IDLE);
    let session = opens_later.await.unwrap();
    assert_eq!(session.get::<u64>("n").unwrap(), None);
}

/// A change is replayed on what another request has left, but not on what has expired
/// meanwhile.
#[tokio::test]
async fn a_change_is_not_replayed_on_a_record_that_has_expired() {
    let app = app(|builder| builder);
    let cookie = stored(&app).await;
    let (slow, change) = open(&app, Some(&cookie)).await;
    let (other, shortens) = open(&app, Some(&cookie)).await;
    let second = Duration::from_secs(1);
    shortens.set_expiry(SessionExpiry::Idle(second)).unwrap();
    other.close(200).await;
    app.clock.advance(second);
    change.insert("late", 1).unwrap();
    let closing = slow.close(200).await;
    assert_eq!(closing.failure.unwrap().kind(), ErrorKind::Gone);
}

#[tokio::test]
async fn what_is_gone_is_not_written_again() {
    let app = app(|builder| builder);
    let cookie = stored(&app).await;
    let (slow, change) = open(&app, Some(&cookie)).await;
    let (other, ends) = open(&app, Some(&cookie)).await;
    ends.flush().unwrap();
    other.close(200).await;
    change.insert("late", 1).unwrap();
    let closing = slow.close(200).await;
    assert_eq!(closing.failure.as_ref().unwrap().kind(), ErrorKind::Gone);
    assert!(closing.token_headers().is_empty());
    assert_eq!(app.store.standing().len(), 0);
}

/// The clock of the node that writes last runs behind.
#[tokio::test]
async fn the_limit_ends_earlier_logins_and_never_a_later_one() {
    let app = app(|builder| builder.sessions_per_subject_max(2).touch_share_percent(0));
    let at = |secs: u64| app.clock.set(Timestamp::from_millis(secs * 1_000));
    let login = async |secs| {
        at(secs);
        let (exchange, session) = open(&app, None).await;
        session.set_subject(Subject::new("ada").unwrap()).unwrap();
        cookie(&exchange.close(200).await)
    };
    let lives = async |cookie: &str| {
        let (exchange, session) = open(&app, Some(cookie)).await;
        let subject = session.subject();
        exchange.close(200).await;
        subject.is_some()
    };
    let earlier = login(10).await;
    let later = login(20).await;
    at(30);
    assert!(lives(&earlier).await, "it was used last of all");
    let between = login(15).await;
    at(30);
    assert!(lives(&later).await && lives(&between).await);
    assert!(!lives(&earlier).await);
}

/// A page that polls must not keep an idle session alive.
#[tokio::test]
async fn whoever_peeks_moves_no_deadline_and_the_response_still_depends_on_the_session() {
    let app = app(|builder| builder.touch_share_percent(0));
    let cookie = stored(&app).await;
    let half = IDLE / 2;
    app.clock.advance(half);
    let (exchange, session) = open(&app, Some(&cookie)).await;
    assert_eq!(session.peek().get::<u64>("n").unwrap(), Some(1));
    let closing = exchange.close(200).await;
    assert!(closing.is_accessed());
    assert_eq!(closing.cost.writes, 0);
    app.clock.advance(half);
    let (_, session) = open(&app, Some(&cookie)).await;
    assert_eq!(session.get::<u64>("n").unwrap(), None, "it has expired");

    // A change is a use.
    let cookie = stored(&app).await;
    app.clock.advance(half);
    let (exchange, session) = open(&app, Some(&cookie)).await;
    session.peek().insert("n", 2).unwrap();
    exchange.close(200).await;
    app.clock.advance(half);
    let (_, session) = open(&app, Some(&cookie)).await;
    assert_eq!(session.get::<u64>("n").unwrap(), Some(2));
}

/// A password reset, an administrator, a job: nobody of them has the visitor's request.
#[tokio::test]
async fn the_engine_lists_and_ends_the_sessions_of_a_subject() {
    let app = app(|builder| builder);
    let [ada, bob] = ["ada", "bob"].map(|name| Subject::new(name).unwrap());
    let login = async |subject: &Subject| {
        app.clock.advance(Duration::from_secs(1));
        let (exchange, session) = open(&app, None).await;
        session.set_subject(subject.clone()).unwrap();
        cookie(&exchange.close(200).await)
    };
    let lives = async |cookie: &str| open(&app, Some(cookie)).await.1.subject().is_some();
    let cookies = [login(&ada).await, login(&ada).await, login(&bob).await];
    let listed = app.engine.sessions_of(&ada).await.unwrap();
    assert_eq!(listed.len(), 2);
    assert!(listed[0].last_seen_at > listed[1].last_seen_at);
    assert!(listed.iter().all(|info| !info.is_current));

    let first = listed[1].id;
    assert!(
        !app.engine.end_session(&bob, &first).await.unwrap(),
        "not bob's"
    );
    assert!(app.engine.end_session(&ada, &first).await.unwrap());
    assert!(!app.engine.end_session(&ada, &first).await.unwrap());
    assert!(!lives(&cookies[0]).await && lives(&cookies[1]).await);
    assert_eq!(app.engine.end_sessions_of(&ada).await.unwrap(), 1);
    assert!(!lives(&cookies[1]).await && lives(&cookies[2]).await);
    assert_eq!(app.engine.sessions_of(&ada).await.unwrap(), []);
}

#[tokio::test]
async fn a_list_passes_over_what_has_expired_however_much_there_is() {
    let app = app(|builder| builder);
    let ada = Subject::new("ada").unwrap();
    let log_in = async || {
        let (exchange, session) = open(&app, None).await;
        session.set_subject(ada.clone()).unwrap();
        assert!(exchange.close(200).await.failure.is_none());
    };
    for _ in 0..2 * SESSIONS_LISTED_MAX {
        log_in().await;
    }
    app.clock.advance(2 * IDLE);
    for _ in 0..20 {
        log_in().await;
    }
    assert_eq!(app.engine.sessions_of(&ada).await.unwrap().len(), 20);
}

#[tokio::test]
async fn a_password_reset_ends_the_sessions_though_its_client_hangs_up() {
    let may_go_on = Arc::new(tokio::sync::Semaphore::new(0));
    let gate = may_go_on.clone();
    let store = InterceptedStore::from_fn(MapStore::default(), move |operation, work| {
        let gate = gate.clone();
        Box::pin(async move {
            if operation.call == Call::Revoke {
                gate.acquire().await.unwrap().forget();
            }
            work.await
        })
    });
    let engine = Engine::new(store);
    let ada = Subject::new("ada").unwrap();
    let exchange = engine.exchange();
    let session = exchange.open(std::iter::empty()).await.unwrap();
    session.set_subject(ada.clone()).unwrap();
    exchange.close(200).await;
    let reset = engine.end_sessions_of(&ada);
    let hung_up = tokio::time::timeout(Duration::from_millis(5), reset).await;
    assert!(hung_up.is_err(), "the store has not answered yet");
    may_go_on.add_permits(1);
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(engine.sessions_of(&ada).await.unwrap(), []);
}

/// What the writer ahead has stored may be older than what a request in its queue has loaded.
#[tokio::test]
async fn a_writer_that_waited_does_not_begin_with_less_than_it_has_read() {
    let map = Arc::new(MapStore::default());
    let other_node = Engine::new(map.clone());
    let [written, answered] = [(); 2].map(|()| Arc::new(tokio::sync::Semaphore::new(0)));
    let (begun, may_answer) = (written.clone(), answered.clone());
    let store = InterceptedStore::from_fn(map, move |operation, work| {
        let (begun, may_answer) = (begun.clone(), may_answer.clone());
        Box::pin(async move {
            let answer = work.await;
            if operation.call == Call::Update {
                begun.add_permits(1);
                may_answer.acquire().await.unwrap().forget();
            }
            answer
        })
    });
    let engine = Engine::builder(store).strict_reads(true).build().unwrap();
    let opened = async |engine: &Engine, cookie: &str| {
        let exchange = engine.exchange();
        let session = exchange.open(std::iter::once(cookie.as_bytes())).await;
        (exchange, session.unwrap())
    };
    let exchange = other_node.exchange();
    let session = exchange.open(std::iter::empty()).await.unwrap();
    session.insert("n", 1).unwrap();
    let cookie = cookie(&exchange.close(200).await);

    let (ahead, session) = opened(&engine, &cookie).await;
    session.insert("m", 1).unwrap();
    let ahead = tokio::spawn(async move { ahead.close(200).await.failure });
    written.acquire().await.unwrap().forget();
    let (other, session) = opened(&other_node, &cookie).await;
    session.insert("n", 2).unwrap();
    assert!(other.close(200).await.failure.is_none());

    let (behind, session) = opened(&engine, &cookie).await;
    let n: u64 = session.get("n").unwrap().unwrap();
    session.insert("n", n + 1).unwrap();
    let behind = tokio::spawn(async move { behind.close(200).await.failure });
    // It enters the queue before the writer ahead has its answer.
    tokio::task::yield_now().await;
    answered.add_permits(2);
    assert!(ahead.await.unwrap().is_none());
    let failure = behind.await.unwrap();
    assert!(
        failure.is_none(),
        "nobody has changed what it read: {failure:?}"
    );
    let (_, session) = opened(&other_node, &cookie).await;
    assert_eq!(session.get::<u64>("n").unwrap(), Some(3));
}

//! A walk on which an engine tells what it can.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cloakroom::cookie::{CookieStore, KeyRing};
use cloakroom::engine::{AnyStore, OsEntropy, SubjectSessions};
use cloakroom::session::Session;
use cloakroom::{CookiePolicy, Engine, ErrorKind, Expiry, Label, Subject, Sweeper};
use cloakroom_testkit::{Call, Fault, FaultyStore, InterceptedStore, ManualClock, MapStore};
use cloakroom_tests::in_process::{COOKIE, TestApp};

/// Whom the walk logs in.
pub(crate) const SUBJECTS: [&str; 3] = ["planted-ada", "planted-bob", "planted-eve"];

/// What the walk puts into sessions, and gives to those whose sessions it ends.
pub(crate) const SECRETS: [&str; 4] = [
    "planted-name",
    "planted-value",
    "planted-label",
    "planted-note",
];

pub(crate) fn subject(name: &str) -> Subject {
    Subject::new(name).unwrap()
}

fn label(text: &str) -> Label {
    Label::new(text).unwrap()
}

fn login(session: &Session, who: &str) {
    session.set_label(label("planted-label")).unwrap();
    session.set_subject(subject(who)).unwrap();
}

fn write(session: &Session, value: &str) {
    session.insert("planted-name", value).unwrap();
}

/// Every token that a client has held.
#[derive(Default)]
struct Tokens(Vec<String>);

impl Tokens {
    fn note(&mut self, app: &TestApp) -> String {
        let token = app.token().unwrap();
        self.0.push(token.clone());
        token
    }
}

/// An app whose sessions end after an hour without use, and after ten.
fn app(names_subjects: bool) -> TestApp {
    let hours = |hours: u64| Duration::from_secs(hours * 3_600);
    let expiry = Expiry::new(hours(1), Some(hours(10))).unwrap();
    TestApp::with(|builder| {
        let builder = builder.subjects_in_events(names_subjects).expiry(expiry);
        builder.sessions_per_subject_max(2)
    })
}

/// Walks; answers the tokens that were on the way.
pub(crate) async fn walk(names_subjects: bool) -> Vec<String> {
    let mut tokens = Tokens::default();
    let app = app(names_subjects);
    from_first_page_to_logout(&app, &mut tokens).await;
    ends_from_elsewhere(&app, &mut tokens).await;
    tokens_that_open_nothing(&app, &mut tokens).await;
    requests_at_once(&app, &mut tokens).await;
    store_that_fails(&app, &mut tokens).await;
    app.engine().end_everybody().await.unwrap();
    unreadable(names_subjects, &mut tokens).await;
    renewal_that_fails(names_subjects, &mut tokens).await;
    in_a_cookie(names_subjects, &mut tokens).await;
    sweeps().await;
    tokens.0
}

async fn from_first_page_to_logout(app: &TestApp, tokens: &mut Tokens) {
    app.visit(async |s| write(&s, "planted-value")).await;
    tokens.note(app);
    app.visit(async |s| login(&s, "planted-ada")).await;
    tokens.note(app);
    app.visit(async |s| login(&s, "planted-bob")).await;
    tokens.note(app);
    let former = app.token();
    app.visit(async |s| s.cycle_key().unwrap()).await;
    let current = tokens.note(app);
    let stray = TestApp::default();
    stray.visit(async |s| write(&s, "planted-value")).await;
    let cookies = [&current, &tokens.note(&stray)].map(|token| format!("{COOKIE}={token}"));
    let cookies = cookies.join("; ");
    app.request(&[cookies.as_bytes()], 200, async |s| s.flush().unwrap())
        .await;
    for dead in [former, Some(current)] {
        app.set_token(dead.as_deref());
        app.visit(async |s| assert!(!s.exists())).await;
    }
    app.set_token(None);
}

async fn another_login(app: &TestApp, tokens: &mut Tokens, who: &str) -> String {
    // Of logins in one millisecond the digests decide which the limit ends.
    app.clock.advance(Duration::from_secs(1));
    app.set_token(None);
    app.visit(async |s| login(&s, who)).await;
    tokens.note(app)
}

async fn ends_from_elsewhere(app: &TestApp, tokens: &mut Tokens) {
    for _ in 0..3 {
        another_login(app, tokens, "planted-eve").await;
    }
    let cookie = format!("{COOKIE}={}", app.token().unwrap());
    let exchange = app.engine().exchange();
    let session = exchange
        .open([cookie.as_bytes()].into_iter())
        .await
        .unwrap();
    let sessions = SubjectSessions::new(exchange.clone(), session);
    assert_eq!(sessions.end_others().await.unwrap(), 1);
    exchange.close(200).await;
    let eve = subject("planted-eve");
    let listed = app.engine().sessions_of(&eve).await.unwrap();
    let ended = app
        .engine()
        .end_session_with_note(&eve, &listed[0].id, label("planted-note"));
    assert!(ended.await.unwrap());
    another_login(app, tokens, "planted-eve").await;
    let ended = app.engine().end_sessions_of(&eve).await;
    assert_eq!(ended.unwrap(), 1);
}

async fn tokens_that_open_nothing(app: &TestApp, tokens: &mut Tokens) {
    let elsewhere = TestApp::default();
    elsewhere.visit(async |s| write(&s, "planted-value")).await;
    let unknown = tokens.note(&elsewhere);
    for token in ["none of ours", &unknown] {
        app.set_token(Some(token));
        app.visit(async |s| assert!(!s.exists())).await;
    }
    app.set_token(None);
    app.visit(async |s| write(&s, "planted-value")).await;
    let idle = tokens.note(app);
    app.clock.advance(Duration::from_secs(3_601));
    app.set_token(Some(&idle));
    app.visit(async |s| assert!(!s.exists())).await;
    app.set_token(None);
    app.visit(async |s| write(&s, "planted-value")).await;
    let old = tokens.note(app);
    for _ in 0..21 {
        app.clock.advance(Duration::from_secs(1_800));
        app.set_token(Some(&old));
        app.visit(async |s| assert!(s.get::<String>("other").unwrap().is_none()))
            .await;
    }
    app.set_token(None);
}

/// Another request writes after this one has read, or ends the session.
async fn requests_at_once(app: &TestApp, tokens: &mut Tokens) {
    let set = |s: &Session, value: &str| {
        s.get::<String>("planted-name").unwrap();
        write(s, value);
    };
    app.visit(async |s| write(&s, "planted-value")).await;
    let token = tokens.note(app);
    let other = async |end: bool| {
        let cookie = format!("{COOKIE}={token}");
        let exchange = app.engine().exchange();
        let session = exchange
            .open([cookie.as_bytes()].into_iter())
            .await
            .unwrap();
        match end {
            true => session.flush().unwrap(),
            false => set(&session, "planted-value of another"),
        }
        exchange.close(200).await
    };
    for end in [false, true] {
        app.visit(async |s| {
            set(&s, "planted-value of this");
            assert!(other(end).await.failure.is_none());
        })
        .await;
    }
    app.set_token(None);
}

async fn store_that_fails(app: &TestApp, tokens: &mut Tokens) {
    let read = async |s: Session| drop(s.get::<String>("planted-name").unwrap());
    app.visit(async |s| write(&s, "planted-value")).await;
    tokens.note(app);
    app.store.reset();
    app.store.fail_always(Some(Fault::Refuse));
    for _ in 0..5 {
        assert_eq!(app.visit(read).await.status, 500);
    }
    app.store.reset();
    assert_eq!(app.visit(read).await.status, 200);
    app.store.reset();
    app.store.fail_at(1, Fault::Refuse);
    let answer = app.visit(async |s| write(&s, "planted-value 2")).await;
    assert_eq!(answer.status, 500);
    app.clock.advance(Duration::from_secs(1_800));
    app.store.reset();
    app.store.fail_at(1, Fault::Refuse);
    assert_eq!(app.visit(read).await.status, 200);
    app.store.reset();
    // The list that a login's limit reads.
    app.set_token(None);
    app.store.fail_at(1, Fault::Refuse);
    app.visit(async |s| login(&s, "planted-ada")).await;
    tokens.note(app);
    app.store.reset();
    app.visit(read).await;
}

/// What is stored cannot be read.
async fn unreadable(names_subjects: bool, tokens: &mut Tokens) {
    let is_damaged = Arc::new(AtomicBool::new(false));
    let damages = is_damaged.clone();
    let store = InterceptedStore::from_fn(MapStore::default(), move |operation, work| {
        let is_damaged = operation.call == Call::Load && damages.load(Ordering::Relaxed);
        Box::pin(async move {
            match is_damaged {
                true => Err(ErrorKind::Corrupt.into()),
                false => work.await,
            }
        })
    });
    let app = TestApp::with(|_| {
        let builder = Engine::builder(store).cookie(CookiePolicy::default());
        builder.subjects_in_events(names_subjects)
    });
    app.visit(async |s| write(&s, "planted-value")).await;
    tokens.note(&app);
    is_damaged.store(true, Ordering::Relaxed);
    app.visit(async |s| assert!(!s.exists())).await;
}

/// The key of a session is due to be renewed, and the store does not answer.
async fn renewal_that_fails(names_subjects: bool, tokens: &mut Tokens) {
    let app = TestApp::with(|builder| {
        let builder = builder.subjects_in_events(names_subjects);
        builder.renew_key_after(Duration::from_secs(600))
    });
    app.visit(async |s| write(&s, "planted-value")).await;
    tokens.note(&app);
    app.clock.advance(Duration::from_secs(601));
    app.store.reset();
    app.store.fail_at(1, Fault::Refuse);
    let read = app.visit(async |s| assert!(s.exists())).await;
    assert_eq!(read.status, 200);
}

async fn in_a_cookie(names_subjects: bool, tokens: &mut Tokens) {
    let ring = KeyRing::generate(&OsEntropy).unwrap();
    let other = KeyRing::generate(&OsEntropy).unwrap();
    let clock = Arc::new(ManualClock::default());
    let [app, behind] = [&ring, &other].map(|ring| {
        let store = CookieStore::builder(COOKIE, ring).clock(clock.clone());
        TestApp::with(|_| {
            let builder = Engine::builder(store.build().unwrap());
            let builder = builder.subjects_in_events(names_subjects);
            builder.cookie(CookiePolicy::default()).clock(clock.clone())
        })
    });
    app.visit(async |s| {
        write(&s, "planted-value");
        login(&s, "planted-ada");
    })
    .await;
    let token = tokens.note(&app);
    behind.set_token(Some(&token));
    behind.visit(async |s| assert!(!s.exists())).await;
    let middle = token.len() / 2;
    let replaced = match &token[middle..=middle] {
        "A" => "B",
        _ => "A",
    };
    let forged = format!("{}{replaced}{}", &token[..middle], &token[middle + 1..]);
    app.set_token(Some(&forged));
    app.visit(async |s| assert!(!s.exists())).await;
}

/// Two passes over a store with one record that is due, and one that fails.
async fn sweeps() {
    let clock = Arc::new(ManualClock::default());
    let store = Arc::new(FaultyStore::new(MapStore::default()));
    let engine = Engine::builder(store.clone()).clock(clock.clone());
    let engine = engine.build().unwrap();
    let exchange = engine.exchange();
    let session = exchange.open(std::iter::empty()).await.unwrap();
    write(&session, "planted-value");
    exchange.close(200).await;
    clock.advance(Duration::from_secs(90 * 24 * 3_600));
    let every = Duration::from_secs(60);
    let sweeper = Sweeper::spawn_with(AnyStore::new(store.clone()), every, clock.clone());
    tokio::time::sleep(Duration::from_secs(90)).await;
    store.fail_always(Some(Fault::Refuse));
    tokio::time::sleep(Duration::from_secs(60)).await;
    sweeper.stop().await;
}

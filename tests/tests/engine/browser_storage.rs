//! What the browser keeps of a site, beside its cookie, when a session ends.

use cloakroom::engine::{Closing, Exchange};
use cloakroom::session::Session;
use cloakroom::{CookiePolicy, Engine, Subject};
use cloakroom_testkit::MapStore;
use cloakroom_tests::in_process::header;

const CLEARS: Option<&str> = Some("\"cache\", \"storage\"");

fn engine(clears: bool, no_store: bool) -> Engine {
    let mut cookie = CookiePolicy::builder();
    if clears {
        cookie = cookie.clear_site_data();
    }
    let builder = Engine::builder(MapStore::default()).no_store(no_store);
    builder.cookie(cookie.build().unwrap()).build().unwrap()
}

async fn open(engine: &Engine, cookie: &str) -> (Exchange, Session) {
    let exchange = engine.exchange();
    let session = exchange.open([cookie.as_bytes()].into_iter()).await;
    (exchange, session.unwrap())
}

fn cookie(closing: &Closing) -> String {
    let set = header(closing, "set-cookie").unwrap();
    set.split(';').next().unwrap().to_owned()
}

async fn log_in(engine: &Engine) -> String {
    let (exchange, session) = open(engine, "").await;
    session.set_subject(Subject::new("ada").unwrap()).unwrap();
    let closing = exchange.close(200).await;
    assert_eq!(header(&closing, "clear-site-data"), None, "a login");
    cookie(&closing)
}

async fn cleared(
    engine: &Engine,
    cookie: &str,
    status: u16,
    handle: impl FnOnce(Session),
) -> Option<String> {
    let (exchange, session) = open(engine, cookie).await;
    handle(session);
    header(&exchange.close(status).await, "clear-site-data")
}

#[tokio::test]
async fn where_it_is_chosen_each_end_of_a_session_clears_what_the_browser_keeps() {
    let engine = engine(true, false);
    let read = |session: Session| _ = session.subject();
    let logout = |session: Session| session.flush().unwrap();

    let cookie = log_in(&engine).await;
    assert_eq!(cleared(&engine, &cookie, 200, read).await, None, "a page");
    let ended = cleared(&engine, &cookie, 200, logout).await;
    assert_eq!(ended.as_deref(), CLEARS, "a logout");
    let dead = cleared(&engine, &cookie, 200, read).await;
    assert_eq!(dead.as_deref(), CLEARS, "a cookie that opens nothing");

    let cookie = log_in(&engine).await;
    let farewell = cleared(&engine, &cookie, 200, |session| {
        session.flush().unwrap();
        session.flash("notice", "Goodbye").unwrap();
    });
    assert_eq!(farewell.await.as_deref(), CLEARS, "with a notice");

    let cookie = log_in(&engine).await;
    let failed = cleared(&engine, &cookie, 500, logout).await;
    assert_eq!(failed.as_deref(), CLEARS, "a page that failed");

    let cookie = log_in(&engine).await;
    let other = cleared(&engine, &cookie, 200, |session| {
        session.set_subject(Subject::new("bob").unwrap()).unwrap();
    });
    assert_eq!(other.await.as_deref(), CLEARS, "somebody else logs in");
}

#[tokio::test]
async fn by_default_a_logout_removes_the_cookie_alone() {
    let engine = engine(false, false);
    let cookie = log_in(&engine).await;
    let logout = |session: Session| session.flush().unwrap();
    assert_eq!(cleared(&engine, &cookie, 200, logout).await, None);
}

#[tokio::test]
async fn where_it_is_chosen_no_browser_stores_an_answer_that_depends_on_the_session() {
    for (no_store, expected) in [(false, "private"), (true, "no-store")] {
        let engine = engine(false, no_store);
        let cookie = log_in(&engine).await;
        let (exchange, session) = open(&engine, &cookie).await;
        assert!(session.subject().is_some());
        let closing = exchange.close(200).await;
        assert_eq!(header(&closing, "cache-control").as_deref(), Some(expected));
        let untouched = engine.exchange().close(200).await;
        assert_eq!(header(&untouched, "cache-control"), None);
    }
}

//! What each kind of request is told: the middleware's table, and the cookie.

use std::net::SocketAddr;

use axum::body::Body;
use axum::http::Method;
use http_body_util::BodyExt as _;

use super::{COOKIE, number, told};
use crate::{Browser, Reply};

/// What a browser holds that was never here, but says so.
const DEAD: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

pub(super) async fn run(site: SocketAddr) {
    who_asks_for_nothing_is_told_nothing(site).await;
    table(site).await;
    failures(site).await;
    caches(site).await;
    the_cookie(site).await;
    dead_cookies(site).await;
    step_up(site).await;
}

async fn send(browser: &Browser, line: &str) -> Reply {
    let (method, path) = line.split_once(' ').expect("a method and a path");
    let method = Method::from_bytes(method.as_bytes()).expect("a method");
    browser.send(method, path).await
}

/// Sends each request in turn, and compares what is told.
async fn walk(browser: &Browser, table: &[(&str, u16, &str, [&str; 3])]) {
    for (line, status, body, expected) in table {
        let reply = send(browser, line).await;
        assert_eq!(
            (reply.status, reply.body.as_str()),
            (*status, *body),
            "{line}"
        );
        assert_eq!(told(&reply), *expected, "{line}");
    }
}

const NOTHING: [&str; 3] = ["", "", ""];
/// The response depends on the session.
const READ: [&str; 3] = ["cookie", "private", ""];
const HANDED_OUT: [&str; 3] = ["cookie", "no-store", "set"];
const REMOVED: [&str; 3] = ["cookie", "no-store", "removed"];

async fn who_asks_for_nothing_is_told_nothing(site: SocketAddr) {
    let browser = Browser::at(site);
    walk(
        &browser,
        &[
            ("GET /plain", 200, "plain", NOTHING),
            ("GET /read", 200, "-", READ),
            ("GET /whose", 200, "nobody", READ),
            ("GET /plain", 200, "plain", NOTHING),
            // There is nothing to end.
            ("POST /logout", 200, "out", READ),
            ("POST /status/500", 500, "status", READ),
            ("GET /read", 200, "-", READ),
        ],
    )
    .await;
    assert_eq!(browser.cookies(), None);
}

async fn table(site: SocketAddr) {
    let browser = Browser::at(site);
    walk(
        &browser,
        &[
            ("POST /count", 200, "1", HANDED_OUT),
            ("GET /plain", 200, "plain", NOTHING),
            ("GET /read", 200, "1", READ),
            ("POST /count", 200, "2", READ),
            ("POST /status/400", 400, "status", READ),
            ("POST /status/404", 404, "status", READ),
            ("GET /read", 200, "4", READ),
            ("POST /status/500", 500, "status", READ),
            ("POST /status/503", 503, "status", READ),
            ("GET /read", 200, "4", READ),
        ],
    )
    .await;
    // The first answer of a session may be an error of the client's.
    let browser = Browser::at(site);
    let table = [("POST /status/404", 404, "status", HANDED_OUT)];
    walk(&browser, &table).await;
    assert_eq!(number(&browser).await, "1");
}

/// A handler that fails at its session is answered with an opaque 500 and changes nothing.
async fn failures(site: SocketAddr) {
    let browser = Browser::at(site);
    browser.post("/count").await;
    let reply = browser.post("/too-long").await;
    assert_eq!(reply.status, 500);
    assert_eq!(told(&reply), READ);
    assert!(!reply.body.contains("bytes"), "{}", reply.body);
    assert_eq!(number(&browser).await, "1");
}

async fn caches(site: SocketAddr) {
    let browser = Browser::at(site);
    let read = browser.get("/cached").await;
    assert_eq!(read.header("vary"), ["Accept-Language, Cookie"]);
    assert_eq!(read.header("cache-control"), ["public, max-age=60"]);
    let set = browser.post("/count-cached").await;
    assert_eq!(set.header("vary"), ["Accept-Language, Cookie"]);
    assert_eq!(set.header("cache-control"), ["no-store"]);
    assert_eq!(set.header("set-cookie").len(), 1);
}

/// Its attributes, what a login and a logout do to it, and that a session of before opens
/// nothing.
async fn the_cookie(site: SocketAddr) {
    let browser = Browser::at(site);
    let reply = browser.post("/count").await;
    let line = reply.header("set-cookie")[0].to_owned();
    let mut parts = line.split("; ");
    let (name, token) = parts
        .next()
        .and_then(|pair| pair.split_once('='))
        .expect("a cookie");
    assert_eq!((name, token.len()), (COOKIE, 43));
    assert_eq!(
        parts.collect::<Vec<_>>(),
        [
            "Path=/",
            "Max-Age=2592000",
            "Secure",
            "HttpOnly",
            "SameSite=Lax"
        ]
    );

    let before = browser.copy();
    let members = browser.get("/members").await;
    assert_eq!((members.status, told(&members)), (401, READ));
    walk(
        &browser,
        &[
            ("POST /login/ada", 200, "in", HANDED_OUT),
            ("GET /members", 200, "ada", READ),
            ("GET /read", 200, "1", READ),
        ],
    )
    .await;
    assert_ne!(browser.cookie(COOKIE), before.cookie(COOKIE));
    // The old token opens nothing, and takes nothing from who has the new one.
    let old = before.get("/whose").await;
    assert_eq!((old.body.as_str(), told(&old)), ("nobody", READ));

    let logged_in = browser.copy();
    let logout = browser.post("/logout").await;
    assert_eq!(
        logout.header("set-cookie"),
        ["__Host-session=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Lax"]
    );
    assert_eq!(told(&logout), REMOVED);
    assert_eq!(browser.cookies(), None);
    for browser in [browser, before, logged_in] {
        assert_eq!(browser.get("/whose").await.body, "nobody");
    }

    // A login that ends in a 500 has moved the session all the same, and changed nothing.
    let browser = Browser::at(site);
    browser.post("/count").await;
    let before = browser.copy();
    let failing = browser.post("/login/failing").await;
    assert_eq!((failing.status, told(&failing)), (500, HANDED_OUT));
    assert_eq!(browser.get("/whose").await.body, "nobody");
    assert_eq!(number(&browser).await, "1");
    assert_eq!(before.get("/read").await.body, "-");
}

/// A sensitive page sends its visitor to prove again who they are, and the proof moves the
/// session to a new key.
async fn step_up(site: SocketAddr) {
    let browser = Browser::at(site);
    // Who is not logged in has nothing to prove.
    assert_eq!(browser.get("/vault").await.status, 401);
    assert_eq!(browser.post("/prove").await.status, 500);
    browser.post("/count").await;
    browser.post("/login/ada").await;
    let sent = browser.get("/vault?box=7").await;
    assert_eq!((sent.status, told(&sent)), (303, READ));
    assert_eq!(
        sent.header("location"),
        ["/prove?next=/vault%3Fbox%3D7&level=2"]
    );
    let script = browser.request(Method::GET, "/vault");
    let script = script.header("sec-fetch-dest", "empty").body(Body::empty());
    let script = browser.try_send(script.expect("a request")).await;
    assert_eq!(script.expect("the site answers").status(), 403);

    let before = browser.copy();
    walk(
        &browser,
        &[
            ("POST /prove", 200, "proven", HANDED_OUT),
            ("GET /vault", 200, "ada", READ),
            ("GET /read", 200, "1", READ),
        ],
    )
    .await;
    assert_ne!(browser.cookie(COOKIE), before.cookie(COOKIE));
    assert_eq!(before.get("/vault").await.status, 401);
    // The instant of a login is kept in whole seconds, so none is as young as that.
    tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    let late = browser.get("/just-now").await;
    assert_eq!((late.status, told(&late)), (303, READ));
    assert_eq!(late.header("location"), ["/prove?next=/just-now"]);
    // Another login proves nothing of the level.
    browser.post("/login/bob").await;
    assert_eq!(browser.get("/vault").await.status, 303);
}

/// A cookie that opens nothing is removed in the answer to a document that uses its session.
async fn dead_cookies(site: SocketAddr) {
    for token in [DEAD, "no-token-at-all"] {
        let browser = Browser::at(site);
        browser.plant(COOKIE, token);
        walk(&browser, &[("GET /plain", 200, "plain", NOTHING)]).await;
        let poll = browser.request(Method::GET, "/read");
        let poll = poll.header("sec-fetch-dest", "empty").body(Body::empty());
        let poll = browser.try_send(poll.expect("a request")).await;
        let poll = poll.expect("the site answers");
        assert!(!poll.headers().contains_key("set-cookie"), "{token}");
        let body = poll.into_body().collect().await.expect("a body").to_bytes();
        assert_eq!(body, "-");
        walk(&browser, &[("GET /read", 200, "-", REMOVED)]).await;
        assert_eq!(browser.cookies(), None);

        browser.plant(COOKIE, token);
        walk(&browser, &[("POST /count", 200, "1", HANDED_OUT)]).await;
        assert_ne!(
            browser.cookie(COOKIE).as_deref(),
            Some(token),
            "never adopted"
        );
    }
}

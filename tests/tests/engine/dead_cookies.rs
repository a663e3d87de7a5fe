//! Cookies that open nothing any more: beside a live one, and which answer removes them.

use cloakroom::Engine;
use cloakroom::axum::{Session, SessionLayer};
use cloakroom_testkit::{Call, MapStore, key};
use cloakroom_tests::in_process::{COOKIE, TestApp};

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

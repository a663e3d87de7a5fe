//! A session that goes on for long gets a new key from time to time.

use std::time::Duration;

use cloakroom::cookie::{CookieStore, KeyRing};
use cloakroom::engine::OsEntropy;
use cloakroom::{Engine, ErrorKind, Expiry, Subject};
use cloakroom_testkit::{Call, Fault};
use cloakroom_tests::in_process::{COOKIE, TestApp, TestResponse};

const HOUR: Duration = Duration::from_secs(60 * 60);
const MINUTE: Duration = Duration::from_secs(60);

/// Logged in at a site that renews keys each hour.
async fn logged_in() -> TestApp {
    let app = TestApp::with(|builder| builder.renew_key_after(HOUR));
    app.visit(async |s| s.set_subject(Subject::new("ada").unwrap()).unwrap())
        .await;
    app
}

async fn read(app: &TestApp) -> TestResponse {
    app.visit(async |s| assert_eq!(s.subject().unwrap().as_str(), "ada"))
        .await
}

#[tokio::test]
async fn the_first_use_after_each_period_renews_the_key_and_ends_the_one_before() {
    let app = logged_in().await;
    let first = app.token().unwrap();
    app.clock.advance(HOUR - MINUTE);
    assert!(!read(&app).await.sets_token(), "not yet");
    app.clock.advance(MINUTE);
    let renewal = read(&app).await;
    assert_eq!(renewal.calls, [Call::Load, Call::Rotate]);
    assert!(renewal.sets_token());
    let second = app.token().unwrap();
    assert_ne!(first, second);
    assert!(!read(&app).await.sets_token(), "once");

    app.set_token(Some(&first));
    app.visit(async |s| assert!(s.subject().is_none(), "a copy of the first key"))
        .await;
    app.set_token(Some(&second));
    // Unused for several periods, and renewed once.
    app.clock.advance(5 * HOUR);
    assert!(read(&app).await.sets_token());
    assert!(!read(&app).await.sets_token());
}

/// A write moves the last use as well, so that it must not pass the boundary without a new
/// key.
#[tokio::test]
async fn a_change_renews_too_and_is_kept() {
    let app = logged_in().await;
    app.clock.advance(HOUR);
    let change = app.visit(async |s| s.insert("n", 1).unwrap()).await;
    assert_eq!(change.calls, [Call::Load, Call::Rotate]);
    assert!(change.sets_token());
    assert_eq!(app.number("n").await, Some(1));
}

#[tokio::test]
async fn by_default_and_for_whoever_only_looks_the_key_stays() {
    let app = TestApp::default();
    app.visit(async |s| s.set_subject(Subject::new("ada").unwrap()).unwrap())
        .await;
    app.clock.advance(48 * HOUR);
    assert!(!read(&app).await.sets_token());

    let app = logged_in().await;
    app.clock.advance(HOUR);
    let peek = app
        .visit(async |s| assert!(s.peek().subject().is_some()))
        .await;
    assert!(!peek.sets_token());
    let failed = app.visit_with(500, async |s| _ = s.subject()).await;
    assert!(!failed.sets_token());
}

/// A page must not fail, nor anybody be logged out, because the key could not be renewed.
#[tokio::test(start_paused = true)]
async fn a_read_goes_on_where_the_renewal_fails_or_its_answer_is_lost() {
    let app = logged_in().await;
    let before = app.token();
    app.clock.advance(HOUR);
    app.store.reset();
    app.store.fail_at(1, Fault::Refuse);
    let page = read(&app).await;
    assert_eq!((page.status, page.sets_token()), (200, false));
    assert_eq!(app.token(), before);

    // The next one renews; its answer is lost, and the new key is found.
    app.store.reset();
    app.store.fail_at(1, Fault::LoseAnswer);
    let page = read(&app).await;
    assert_eq!((page.status, page.sets_token()), (200, true));
    app.store.reset();
    assert!(!read(&app).await.sets_token());
}

/// Two requests at once: the other one has renewed the key.
#[tokio::test]
async fn of_two_requests_at_once_one_renews_and_the_other_reads() {
    let app = logged_in().await;
    let token = app.token().unwrap();
    app.clock.advance(HOUR);
    let cookie = format!("{COOKIE}={token}");
    let slow = app.engine.exchange();
    let session = slow.open([cookie.as_bytes()].into_iter()).await.unwrap();
    assert!(session.subject().is_some());
    assert!(read(&app).await.sets_token());
    let closing = slow.close(200).await;
    assert!(closing.failure.is_none(), "{closing:?}");
    assert!(closing.token_headers().is_empty());
    assert!(!read(&app).await.sets_token());
}

#[test]
fn what_cannot_work_is_refused() {
    let refused = |engine: Result<Engine, cloakroom::Error>, part: &str| {
        let error = engine.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
        assert!(error.message().contains(part), "{error}");
    };
    let builder = Engine::builder(cloakroom_testkit::MapStore::default());
    let seconds = builder.renew_key_after(Duration::from_secs(1)).build();
    refused(seconds, "as long as rotation_mark");
    let ring = KeyRing::generate(&OsEntropy).unwrap();
    let store = CookieStore::builder(COOKIE, &ring).build().unwrap();
    let builder = Engine::builder(store).expiry(Expiry::aal2());
    refused(
        builder.renew_key_after(HOUR).build(),
        "a store on the server",
    );
}

//! What is kept or opened past the end of its request can be read, and changes nothing.

use std::future::Future as _;
use std::sync::Arc;
use std::task::Poll;

use cloakroom::engine::SubjectSessions;
use cloakroom::{Engine, ErrorKind, Subject};
use cloakroom_testkit::{Call, InterceptedStore, MapStore};
use cloakroom_tests::in_process::{COOKIE, TestApp, header};
use tokio::sync::Notify;

fn subject(name: &str) -> Subject {
    Subject::new(name).unwrap()
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

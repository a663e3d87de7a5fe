//! A service that ends in an error of its own.

use cloakroom_core::Subject;
use cloakroom_core::session::Session;
use cloakroom_tower::{Engine, SessionLayer};
use http::{Request, Response};
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::{Store, begin, cookies, look, request, session_of};

/// An error that says nothing, is not cloned, and does not leave its thread.
#[derive(Debug)]
struct Lost(#[allow(dead_code)] std::rc::Rc<()>);

/// A request whose handler does this to its session, and ends in an error.
async fn fail(engine: &Engine, cookie: &str, handle: impl AsyncFn(&Session)) {
    let handler = service_fn(async |request: Request<()>| {
        handle(&session_of(&request).await).await;
        Err::<Response<String>, _>(Lost(std::rc::Rc::default()))
    });
    let service = SessionLayer::new(engine.clone()).layer(handler);
    let Err(Lost(_)) = service.oneshot(request(cookie)).await else {
        panic!("the error is passed on");
    };
}

fn n(session: &Session) -> Option<u64> {
    session.get("n").unwrap()
}

fn subject(name: &str) -> Subject {
    Subject::new(name).unwrap()
}

#[tokio::test]
async fn an_error_drops_the_changes() {
    let store = Store::default();
    let engine = Engine::new(store.clone());
    let cookie = begin(&engine, |session| session.insert("n", 1).unwrap()).await;
    store.reset();
    fail(&engine, &cookie, async |session| {
        assert_eq!(n(session), Some(1));
        session.insert("n", 2).unwrap();
    })
    .await;
    assert_eq!(store.operations(), 1, "it is loaded, and not written");
    assert_eq!(look(&engine, &cookie, n).await, Some(1));
    // Nor does one begin.
    fail(&engine, "", async |session| session.insert("n", 2).unwrap()).await;
    assert_eq!(store.inner().standing().len(), 1);
}

/// With a response of status 500 the session moves, and the response says where to. Here
/// nothing could say it.
#[tokio::test]
async fn an_error_leaves_the_session_under_the_key_that_the_client_has() {
    let engine = Engine::new(Store::default());
    let cookie = begin(&engine, |session| session.insert("n", 1).unwrap()).await;
    fail(&engine, &cookie, async |session| {
        session.set_subject(subject("ada")).unwrap();
    })
    .await;
    fail(&engine, &cookie, async |session| {
        session.cycle_key().unwrap()
    })
    .await;
    let found = look(&engine, &cookie, |session| (n(session), session.subject()));
    assert_eq!(found.await, (Some(1), None));
}

#[tokio::test]
async fn a_logout_is_written_though_its_request_ends_in_an_error() {
    let store = Store::default();
    let engine = Engine::new(store.clone());
    for after in [None, Some("later")] {
        let cookie = begin(&engine, |session| {
            session.set_subject(subject("ada")).unwrap();
        })
        .await;
        fail(&engine, &cookie, async |session| {
            session.flush().unwrap();
            if let Some(after) = after {
                session.insert(after, 1).unwrap();
            }
        })
        .await;
        assert_eq!(look(&engine, &cookie, Session::subject).await, None);
        assert!(store.inner().standing().is_empty(), "nothing follows it");
    }
}

#[tokio::test]
async fn what_was_saved_before_an_error_stays_saved() {
    let engine = Engine::new(Store::default());
    let cookie = begin(&engine, |session| session.insert("n", 1).unwrap()).await;
    fail(&engine, &cookie, async |session| {
        session.insert("n", 2).unwrap();
        session.save().await.unwrap();
        session.insert("n", 3).unwrap();
    })
    .await;
    assert_eq!(look(&engine, &cookie, n).await, Some(2));
}

/// What a session is loses nothing by a fallible service: its responses are written as
/// any others.
#[tokio::test]
async fn a_response_of_a_fallible_service_carries_its_session() {
    let engine = Engine::new(Store::default());
    let handler = service_fn(async |request: Request<()>| {
        session_of(&request).await.insert("n", 7).unwrap();
        Ok::<_, Lost>(Response::new(String::from("done")))
    });
    let service = SessionLayer::new(engine.clone()).layer(handler);
    let response = service.oneshot(request("")).await.unwrap();
    assert_eq!(response.body(), "done");
    let cookie = cookies(&response)[0].split(';').next().unwrap();
    assert_eq!(look(&engine, cookie, n).await, Some(7));
}

//! From a request to its session, in each of its shapes.

use std::convert::Infallible;

use cloakroom_core::{ErrorKind, Subject};
use cloakroom_tower::{Engine, NotLoggedIn, RequestSession as _, SessionError, SessionLayer, open};
use cloakroom_web::Exchange;
use http::{Request, Response};
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::{Store, begin, cookies, look, request};

#[tokio::test]
async fn a_request_and_its_parts_open_the_one_session() {
    let engine = Engine::new(Store::default());
    let cookie = begin(&engine, |session| {
        session.set_subject(Subject::new("ada").unwrap()).unwrap();
    })
    .await;
    let handler = service_fn(async |request: Request<()>| -> Result<_, SessionError> {
        let add = |n: &mut u64| *n += 1;
        request.session().await?.update("n", add)?;
        let parts = (request.extensions(), request.headers());
        parts.session().await?.update("n", add)?;
        let exchange = request.extensions().get::<Exchange>().unwrap();
        open(exchange, request.headers()).await?.update("n", add)?;
        let listed = request.subject_sessions().await?.list().await?;
        assert!(listed.len() == 1 && listed[0].is_current);
        let (parts, ()) = request.into_parts();
        let (session, subject) = parts.logged_in().await.unwrap();
        session.update("n", add)?;
        Ok(Response::new(subject.as_str().to_owned()))
    });
    let service = SessionLayer::new(engine.clone()).layer(handler);
    let response = service.oneshot(request(&cookie)).await.unwrap();
    assert_eq!(response.body(), "ada");
    assert!(cookies(&response).is_empty());
    let n = look(&engine, &cookie, |session| session.get::<u64>("n").unwrap());
    assert_eq!(n.await, Some(4));
}

#[tokio::test]
async fn who_is_not_logged_in_is_told_so_or_sent_to_the_login_page() {
    for (page, dest, status, location) in [
        (None, "document", 401, None),
        (
            Some("/login"),
            "document",
            303,
            Some("/login?next=/a/b%3Fc%3D1"),
        ),
        (Some("/login"), "empty", 401, None),
    ] {
        let handler = service_fn(async |request: Request<()>| {
            let found = request.logged_in().await;
            let NotLoggedIn::Nobody { .. } = found.as_ref().unwrap_err() else {
                panic!("nobody is logged in");
            };
            Ok::<Response<String>, Infallible>(found.unwrap_err().into_response())
        });
        let layer = SessionLayer::new(Engine::new(Store::default()));
        let layer = page.into_iter().fold(layer, SessionLayer::login_page);
        let request = Request::get("/a/b?c=1").header("sec-fetch-dest", dest);
        let request = request.body(()).unwrap();
        let response = layer.layer(handler).oneshot(request).await.unwrap();
        assert_eq!(response.status(), status);
        let found = response.headers().get("location");
        assert_eq!(found.map(|url| url.to_str().unwrap()), location);
        assert_eq!(response.headers()["vary"], "Cookie");
    }
}

/// A site may have an API with sessions of its own inside it.
#[tokio::test]
async fn a_layer_without_a_login_page_does_not_send_to_that_of_another_engine() {
    let handler = service_fn(async |request: Request<()>| {
        let nobody = request.logged_in().await.unwrap_err();
        Ok::<Response<String>, Infallible>(nobody.into_response())
    });
    let layer = || SessionLayer::new(Engine::new(Store::default()));
    let inner = layer().layer(handler);
    let service = layer().login_page("/login").layer(inner);
    let response = service.oneshot(request("")).await.unwrap();
    assert_eq!(response.status(), 401);
}

#[tokio::test]
async fn a_request_without_a_layer_is_misconfigured() {
    let error = request("").session().await.unwrap_err();
    let told = format!("{error} {error:?}");
    assert!(!told.contains("SessionLayer"), "{told}");
    assert_eq!(error.status(), 500);
    let response: Response<String> = error.clone().into_response();
    assert_eq!(
        (response.status().as_u16(), response.body().as_str()),
        (500, "")
    );
    assert_eq!(error.into_inner().kind(), ErrorKind::Misconfigured);
    let error = request("").logged_in().await.unwrap_err();
    let response: Response<String> = error.into_response();
    assert_eq!(response.status(), 500);
}

/// A handler on several threads holds a body that no two threads may share.
#[tokio::test]
async fn its_future_may_change_threads_whatever_the_body() {
    fn is_send<T: Send>(it: T) -> T {
        it
    }
    let request = request("").map(|()| std::cell::Cell::new(1));
    let opened = is_send(async move {
        let opened = request.session().await;
        drop(request);
        opened
    });
    assert!(opened.await.is_err(), "there is no layer");
}

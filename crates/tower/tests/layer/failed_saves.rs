//! The response instead of one whose session could not be saved.

use std::convert::Infallible;

use cloakroom_testkit::Fault;
use cloakroom_tower::{Cost, Engine, SessionLayer};
use http::{Request, Response};
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::{Store, begin, cookies, request, session_of};

#[tokio::test]
async fn a_failed_save_is_answered_with_nothing_of_the_handlers() {
    let store = Store::default();
    let engine = Engine::new(store.clone());
    let cookie = begin(&engine, |session| session.insert("n", 1).unwrap()).await;
    for (content_type, fault, expected) in [
        ("text/plain", Fault::Refuse, (500, None)),
        ("application/grpc+proto", Fault::Refuse, (200, Some("14"))),
        ("application/grpc", Fault::LoseAnswer, (200, Some("14"))),
    ] {
        store.reset();
        store.fail_at(1, fault);
        let handler = service_fn(async |request: Request<()>| {
            session_of(&request).await.insert("n", 2).unwrap();
            let response = Response::builder()
                .header("content-type", content_type)
                .header("x-handler", "was here")
                .body(String::from("saved!"));
            Ok::<_, Infallible>(response.unwrap())
        });
        let service = SessionLayer::new(engine.clone()).report_cost();
        let service = service.layer(handler);
        let response = service.oneshot(request(&cookie)).await.unwrap();
        let headers = response.headers();
        let grpc = headers.get("grpc-status");
        let grpc = grpc.map(|status| status.to_str().unwrap());
        assert_eq!((response.status().as_u16(), grpc), expected);
        if grpc.is_some() {
            assert_eq!(headers["content-type"], content_type);
        }
        assert_eq!(response.body(), "");
        assert!(!headers.contains_key("x-handler"));
        assert_eq!(headers["vary"], "Cookie");
        assert!(cookies(&response).is_empty(), "the client keeps its cookie");
        let cost = response.extensions().get::<Cost>().unwrap();
        assert_eq!((cost.loads, cost.writes), (1, 1));
    }
}

//! How often a request allocates. Counts are exact, so they are asserted. A count may fall;
//! what makes it rise costs every request.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

use std::collections::BTreeMap;

use actix_web::body::MessageBody;
use actix_web::dev::{Service, ServiceResponse};
use actix_web::rt::{System, SystemRunner};
use actix_web::test::{TestRequest, init_service};
use actix_web::{App, Error, web};
use cloakroom_actix::{Engine, Session, SessionMiddleware};
use cloakroom_memory::MemoryStore;

async fn read(session: Session) -> actix_web::Result<&'static str> {
    assert!(session.get::<u64>("user")?.is_some());
    assert!(session.get::<String>("name")?.is_some());
    Ok("x")
}

async fn write(session: Session) -> actix_web::Result<&'static str> {
    assert!(session.exists());
    session.insert("visits", 18)?;
    Ok("x")
}

async fn begin(session: Session) -> actix_web::Result<&'static str> {
    session.insert("user", 7)?;
    session.insert("name", "Ada")?;
    Ok("x")
}

fn routes(site: &mut web::ServiceConfig) {
    site.route("/untouched", web::get().to(async || "x"))
        .route("/read", web::get().to(read))
        .route("/write", web::get().to(write))
        .route("/begin", web::get().to(begin));
}

fn cookie<B>(response: &ServiceResponse<B>) -> String {
    let cookie = response.headers().get("set-cookie").unwrap();
    let (pair, _) = cookie.to_str().unwrap().split_once(';').unwrap();
    pair.to_owned()
}

/// Allocations of one request: the fewest of some, since what a store or a runtime makes
/// once, or now and then, is not the request's.
fn allocations<R, B: MessageBody>(
    runtime: &SystemRunner,
    app: &impl Service<R, Response = ServiceResponse<B>, Error = Error>,
    request: impl Fn() -> R,
) -> u64 {
    let count = |request| {
        allocation_counter::measure(|| {
            let response = runtime.block_on(app.call(request)).unwrap();
            assert_eq!(response.status(), 200);
        })
        .count_total
    };
    (0..20).map(|_| count(request())).min().unwrap()
}

#[test]
fn a_request_allocates_no_more_than_this() {
    let runtime = System::new();
    let bare = runtime.block_on(init_service(App::new().configure(routes)));
    let engine = Engine::new(MemoryStore::default());
    let app = App::new()
        .configure(routes)
        .wrap(SessionMiddleware::new(engine));
    let app = runtime.block_on(init_service(app));
    let begin = TestRequest::get().uri("/begin").to_request();
    let cookie = cookie(&runtime.block_on(app.call(begin)).unwrap());
    let request = |path: &str| {
        let request = TestRequest::get().uri(path);
        request
            .insert_header(("cookie", cookie.as_str()))
            .to_request()
    };
    let without = allocations(&runtime, &bare, || request("/untouched"));
    let mut counts = BTreeMap::new();
    for path in ["/untouched", "/read", "/write"] {
        let count = allocations(&runtime, &app, || request(path));
        counts.insert(path, count - without);
    }
    println!("allocations over a bare site with its {without}: {counts:?}");
    // Of an untouched request: the exchange, and its place among the request's extensions.
    let most = BTreeMap::from([("/untouched", 2), ("/read", 11), ("/write", 19)]);
    for (path, count) in &counts {
        let most = most[path];
        assert!(
            *count <= most,
            "{path}: {count}, and no more than {most} before"
        );
    }
}

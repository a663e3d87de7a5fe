//! The calls to the store that a request makes, and the headers it gets, through the
//! axum layer.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use cloakroom::axum::{Session, SessionError, SessionLayer};
use cloakroom::engine::Cost;
use cloakroom::{Engine, SessionExpiry, Subject};
use cloakroom_testkit::Call::{self, Create, Delete, Load, Rotate, Update};
use cloakroom_testkit::{InterceptedStore, MapStore, RecordingStore, key};
use cloakroom_tests::in_process::{TestApp, header};
use cloakroom_tests::{Browser, Reply, Site};

type Store = Arc<RecordingStore<MapStore>>;
type Page = Result<String, SessionError>;

async fn site() -> (Site, Browser, Store) {
    let store: Store = Arc::default();
    let router = Router::new()
        .route("/untouched", get(async || "no session here"))
        .route("/asked", get(async |_: Session| "asked for, not used"))
        .route(
            "/read",
            get(async |session: Session| -> Page { Ok(format!("{:?}", session.get::<u64>("n")?)) }),
        )
        .route(
            "/write",
            get(async |session: Session| -> Page {
                session.update("n", |n: &mut u64| *n += 1)?;
                Ok("written".into())
            }),
        )
        .route(
            "/write-twice",
            get(async |session: Session| -> Page {
                session.insert("a", 1)?;
                session.save().await?;
                session.insert("b", 2)?;
                Ok("written".into())
            }),
        )
        .route(
            "/login",
            get(async |session: Session| -> Page {
                session.set_subject(Subject::new("ada")?)?;
                Ok("in".into())
            }),
        )
        .route(
            "/logout",
            get(async |session: Session| -> Page {
                session.flush()?;
                Ok("out".into())
            }),
        )
        .route(
            "/clear",
            get(async |session: Session| -> Page {
                session.clear()?;
                Ok("cleared".into())
            }),
        )
        .route(
            "/fails",
            get(async |session: Session| -> (StatusCode, &'static str) {
                session.insert("lost", 1).unwrap();
                (StatusCode::INTERNAL_SERVER_ERROR, "failed")
            }),
        )
        .layer(SessionLayer::new(Engine::new(store.clone())));
    let site = Site::serve(router).await;
    let browser = site.browser();
    (site, browser, store)
}

const COOKIE: &str = "__Host-session";

fn says_nothing(reply: &Reply) {
    assert_eq!(reply.status, 200);
    for name in ["set-cookie", "vary", "cache-control"] {
        assert!(reply.header(name).is_empty(), "{name}: {:?}", reply.headers);
    }
}

#[tokio::test]
async fn an_anonymous_request_costs_nothing_and_says_nothing() {
    let (_site, browser, store) = site().await;
    says_nothing(&browser.get("/untouched").await);
    says_nothing(&browser.get("/asked").await);
    assert_eq!(store.take(), []);
    let read = browser.get("/read").await;
    assert_eq!(read.header("vary"), ["Cookie"]);
    assert_eq!(read.header("cache-control"), ["private"]);
    assert!(read.header("set-cookie").is_empty());
    assert!(browser.get("/clear").await.header("set-cookie").is_empty());
    assert_eq!(store.take(), []);
    assert!(store.inner().snapshot().is_empty());
}

#[tokio::test]
async fn a_request_that_does_not_touch_its_session_costs_nothing() {
    let (_site, browser, store) = site().await;
    browser.get("/write").await;
    store.take();
    says_nothing(&browser.get("/untouched").await);
    assert_eq!(store.take(), []);
    // The extractor has to load it to hand it over; nothing else happens.
    says_nothing(&browser.get("/asked").await);
    assert_eq!(store.take(), [Load]);
}

#[tokio::test]
async fn a_read_is_one_load_and_a_write_one_load_and_one_update() {
    let (_site, browser, store) = site().await;
    let expect = async |path: &str, calls: &[Call]| {
        let reply = browser.get(path).await;
        assert_eq!(store.take(), calls, "{path}");
        reply
    };
    let create = expect("/write", &[Create]).await;
    assert_eq!(create.header("cache-control"), ["no-store"]);
    assert_eq!(create.header("set-cookie").len(), 1);
    let read = expect("/read", &[Load]).await;
    assert_eq!(read.body, "Some(1)");
    assert!(read.header("set-cookie").is_empty());
    let write = expect("/write", &[Load, Update]).await;
    assert_eq!(write.header("cache-control"), ["private"]);
    assert!(write.header("set-cookie").is_empty(), "the browser has it");
    assert_eq!(write.header("vary"), ["Cookie"]);
    expect("/write-twice", &[Load, Update, Update]).await;
    expect("/login", &[Load, Rotate]).await;
    expect("/fails", &[Load]).await;
    expect("/clear", &[Load, Update]).await;
    assert!(browser.cookie(COOKIE).is_some(), "cleared, not ended");
    let logout = expect("/logout", &[Load, Delete]).await;
    assert!(logout.header("set-cookie")[0].contains("Max-Age=0"));
    assert_eq!(browser.cookie(COOKIE), None);
}

#[tokio::test]
async fn a_token_that_opens_nothing_is_never_adopted() {
    let (_site, browser, store) = site().await;
    let unknown = key().to_token().expose().to_owned();
    browser.plant(COOKIE, &unknown);
    says_nothing(&browser.get("/untouched").await);
    assert_eq!(store.take(), []);
    let write = browser.get("/write").await;
    assert_eq!(write.status, 200);
    assert_eq!(store.take(), [Load, Create]);
    assert_ne!(browser.cookie(COOKIE).unwrap(), unknown);

    browser.plant(COOKIE, &unknown);
    let read = browser.get("/read").await;
    assert!(read.header("set-cookie")[0].contains("Max-Age=0"));
    assert_eq!(store.take(), [Load]);

    browser.plant(COOKIE, "../../etc/passwd");
    let read = browser.get("/read").await;
    assert!(read.header("set-cookie")[0].contains("Max-Age=0"));
    assert_eq!(
        store.take(),
        [],
        "a malformed token is refused before any I/O"
    );
}

#[tokio::test]
async fn the_cost_of_a_request_is_left_in_its_response() {
    use axum::middleware::{Next, from_fn};
    let app = Router::new()
        .route(
            "/",
            get(async |session: Session| -> Page {
                session.insert("n", 1)?;
                Ok("written".into())
            }),
        )
        .layer(SessionLayer::new(Engine::new(MapStore::default())).report_cost())
        .layer(from_fn(
            async |request: axum::extract::Request, next: Next| {
                let response = next.run(request).await;
                let cost = response.extensions().get::<Cost>().copied().unwrap();
                format!("{} {} {}", cost.loads, cost.writes, cost.bytes_written)
            },
        ));
    let site = Site::serve(app).await;
    // A count, a name and its length, a value of one byte and its length.
    assert_eq!(site.browser().get("/").await.body, "0 1 5");
}

#[tokio::test]
async fn the_default_expiry_is_nothing_to_store_for_an_anonymous_visitor() {
    let app = TestApp::default();
    let set = async |choice: SessionExpiry| {
        let response = app.visit(async |s| s.set_expiry(choice).unwrap()).await;
        (response.sets_token(), app.records())
    };
    assert_eq!(set(SessionExpiry::Default).await, (false, 0));
    assert_eq!(set(SessionExpiry::BrowserClose).await, (true, 1));
}

/// Whoever has waited in the queue begins with what the writer before has stored.
#[tokio::test]
async fn parallel_updates_cost_one_load_and_one_write_each() {
    const CLIENTS: u64 = 100;
    let calls: Arc<Mutex<Vec<Call>>> = Arc::default();
    let store = InterceptedStore::from_fn(MapStore::default(), {
        let calls = calls.clone();
        move |operation, work| {
            calls.lock().unwrap().push(operation.call);
            Box::pin(async move {
                // As a store with a round trip: others run meanwhile.
                tokio::task::yield_now().await;
                work.await
            })
        }
    });
    let engine = Engine::new(store);
    let exchange = engine.exchange();
    let session = exchange.open(std::iter::empty()).await.unwrap();
    session.insert("n", 0_u64).unwrap();
    let set = header(&exchange.close(200).await, "set-cookie").unwrap();
    let cookie = set.split(';').next().unwrap();
    calls.lock().unwrap().clear();
    let requests = (0..CLIENTS).map(|_| async {
        let exchange = engine.exchange();
        let session = exchange
            .open([cookie.as_bytes()].into_iter())
            .await
            .unwrap();
        session.update("n", |n: &mut u64| *n += 1).unwrap();
        assert!(exchange.close(200).await.failure.is_none());
    });
    futures_util::future::join_all(requests).await;
    let made = std::mem::take(&mut *calls.lock().unwrap());
    let count = |call| made.iter().filter(|made| **made == call).count() as u64;
    assert_eq!((count(Call::Load), count(Call::Update)), (CLIENTS, CLIENTS));
    let exchange = engine.exchange();
    let session = exchange
        .open([cookie.as_bytes()].into_iter())
        .await
        .unwrap();
    assert_eq!(session.get::<u64>("n").unwrap(), Some(CLIENTS));
}

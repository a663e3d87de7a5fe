//! How often a request allocates. Counts are exact, so they are asserted; times are
//! for the benches. A count may fall; what makes it rise costs every request.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

use std::collections::BTreeMap;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::routing::get;
use cloakroom::axum::{Session, SessionError, SessionLayer};
use cloakroom::engine::{
    AnyStore, FormerId, FormerSession, FormerSessions, SessionKey, TokenStore as _,
};
use cloakroom::store::BoxFuture;
use cloakroom::{CookiePolicy, Engine, EngineBuilder, Error, Timestamp};
use cloakroom_benches::{NOW, Typical, fill, record};
use futures_util::FutureExt as _;
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt as _;
use tower::util::MapRequestLayer;

type Page = Result<&'static str, SessionError>;

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().unwrap()
}

fn routes() -> Router {
    Router::new()
        .route("/untouched", get(async || "x"))
        .route(
            "/read",
            get(async |session: Session| -> Page {
                assert!(session.get::<u64>("user")?.is_some());
                assert!(session.get::<String>("name")?.is_some());
                Ok("x")
            }),
        )
        .route(
            "/write",
            get(async |session: Session| -> Page {
                assert!(session.exists());
                session.insert("visits", 18)?;
                Ok("x")
            }),
        )
        .route(
            "/new",
            get(async |session: Session| -> Page {
                fill(&session, &Typical::new());
                Ok("x")
            }),
        )
}

struct Site {
    runtime: Runtime,
    app: Router,
    cookie: Option<String>,
}

impl Site {
    fn of(app: Router) -> Self {
        Self {
            runtime: runtime(),
            app,
            cookie: None,
        }
    }

    /// With a typical session in the default store, and its cookie.
    fn with_a_session(build: impl FnOnce(EngineBuilder) -> EngineBuilder) -> Self {
        let runtime = runtime();
        let store = runtime.block_on(cloakroom::open("memory:")).unwrap();
        let engine = build(Engine::builder(store)).build().unwrap();
        let mut site = Self::of(routes().layer(SessionLayer::new(engine)));
        let request = Request::get("/new").body(Body::empty()).unwrap();
        let made = site.runtime.block_on(site.app.clone().oneshot(request));
        let made = made.unwrap();
        let cookie = made.headers()["set-cookie"].to_str().unwrap();
        site.cookie = Some(cookie.split(';').next().unwrap().to_owned());
        site
    }

    /// Allocations of one request, what the test itself needs apart.
    fn allocations(&self, path: &str) -> u64 {
        let cookie = self.cookie.iter().filter(|_| path != "/new");
        let request = || {
            let request = Request::get(path);
            let request = cookie
                .clone()
                .fold(request, |request, cookie| request.header("cookie", cookie));
            (self.app.clone(), request.body(Body::empty()).unwrap())
        };
        let count = |(app, request): (Router, Request<Body>)| {
            allocation_counter::measure(|| {
                let response = self.runtime.block_on(app.oneshot(request)).unwrap();
                assert_eq!(response.status(), 200);
            })
            .count_total
        };
        // What a store or a runtime makes once, or now and then, is not the request's.
        (0..20).map(|_| count(request())).min().unwrap()
    }
}

/// Sessions of another library, of which no request here brings a cookie.
struct Former(CookiePolicy);

impl FormerSessions for Former {
    fn name(&self) -> &str {
        "former"
    }

    fn cookie(&self) -> &CookiePolicy {
        &self.0
    }

    fn read_cookie(&self, _: &str) -> Option<FormerId> {
        None
    }

    fn load<'a>(
        &'a self,
        _: &'a FormerId,
        _: Timestamp,
    ) -> BoxFuture<'a, Result<Option<FormerSession>, Error>> {
        Box::pin(async { Ok(None) })
    }

    fn delete<'a>(&'a self, _: &'a FormerId) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async { Ok(()) })
    }
}

#[test]
fn a_request_allocates_no_more_than_this() {
    requests_allocate_no_more(|builder| builder);
}

#[test]
fn a_request_without_a_former_cookie_allocates_no_more_where_sessions_are_adopted() {
    requests_allocate_no_more(|builder| builder.adopt(Former(CookiePolicy::loopback_http())));
}

fn requests_allocate_no_more(build: impl FnOnce(EngineBuilder) -> EngineBuilder) {
    let empty = MapRequestLayer::new(|request: Request<Body>| request);
    let bare = Site::of(routes().layer(empty));
    let site = Site::with_a_session(build);
    let mut counts = BTreeMap::new();
    let empty_layer = bare.allocations("/untouched");
    for path in ["/untouched", "/read", "/write", "/new"] {
        counts.insert(path, site.allocations(path) - empty_layer);
    }
    println!("allocations over an empty layer with its {empty_layer}: {counts:?}");
    // Of an untouched request: axum's copy of a layer that holds anything, the exchange, and
    // its place among the request's extensions. Where axum puts three of its own there, as
    // by its default features, a fourth makes their map grow.
    let most = BTreeMap::from([
        ("/untouched", 4),
        ("/read", 11),
        ("/write", 19),
        ("/new", 64),
    ]);
    for (path, count) in &counts {
        assert!(
            count <= &most[path],
            "{path}: {count}, and no more than {} before",
            most[path]
        );
    }
}

#[test]
fn a_load_allocates_no_more_than_its_future() {
    let runtime = runtime();
    let store: AnyStore = runtime.block_on(cloakroom::open("memory:")).unwrap();
    let key = SessionKey::from_bytes([7; 32]);
    let mut record = record();
    record.expires_at = NOW.saturating_add(std::time::Duration::from_secs(100 * 365 * 86_400));
    runtime.block_on(store.create_token(&key, &record)).unwrap();
    let token = key.to_token();
    let load = || {
        let counted = allocation_counter::measure(|| {
            let loaded = store.load_token(&token).now_or_never().unwrap();
            assert!(loaded.unwrap().is_some());
        });
        counted.count_total
    };
    let count = (0..20).map(|_| load()).min().unwrap();
    assert!(count <= 1, "{count} allocations");
}

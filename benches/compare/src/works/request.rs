//! W4: a whole request through the middleware.

use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, header};
use tokio::runtime::Builder;
use tokio::task::unconstrained;
use tower::ServiceExt as _;

use crate::contender::{REPETITIONS, Run, operations};
use crate::profile::Rng;

const SESSIONS: usize = 20_000;
const CHUNK: usize = 256;

/// An application with four routes, all answering 200 and an empty body: `/login` fills a
/// new session with the six keys of `next_profile()`, `/read` reads `user_id` and
/// `username`, `/write` sets `created` to `next_stamp()`, `/none` leaves the session alone.
pub struct App {
    router: Router,
    has_sessions: bool,
}

impl App {
    pub fn new(router: Router) -> Self {
        let has_sessions = true;
        App {
            router,
            has_sessions,
        }
    }

    /// It only answers `/none`.
    pub fn without_sessions(router: Router) -> Self {
        let has_sessions = false;
        App {
            router,
            has_sessions,
        }
    }

    async fn call(&self, request: Request<Body>) -> Response<Body> {
        let response = self.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200);
        response
    }

    /// What a browser sends back after a login.
    async fn log_in(&self) -> String {
        let response = self.call(request("/login", None)).await;
        let set = response.headers().get_all(header::SET_COOKIE).into_iter();
        let pairs = set.filter_map(|cookie| cookie.to_str().unwrap().split(';').next());
        let kept = pairs.filter(|pair| !pair.ends_with('='));
        kept.collect::<Vec<_>>().join("; ")
    }
}

fn request(path: &str, cookie: Option<&str>) -> Request<Body> {
    let mut request = Request::builder().uri(path);
    if let Some(cookie) = cookie {
        request = request.header(header::COOKIE, cookie);
    }
    request.body(Body::empty()).unwrap()
}

/// Nanoseconds a request. Requests are made before the clock starts.
async fn drive(app: &App, path: &str, cookies: &[String], seed: u64, n: usize) -> f64 {
    let mut rng = Rng::new(seed);
    let mut took = Duration::ZERO;
    for first in (0..n).step_by(CHUNK) {
        let requests = (first..n.min(first + CHUNK)).map(|_| {
            let cookie = (!cookies.is_empty()).then(|| &*cookies[rng.below(cookies.len())]);
            request(path, cookie)
        });
        let requests: Vec<_> = requests.collect();
        let start = Instant::now();
        for request in requests {
            app.call(request).await;
        }
        took += start.elapsed();
    }
    took.as_nanos() as f64 / n as f64
}

impl Run {
    pub fn web(&self, open: impl AsyncFnOnce() -> App) {
        if !self.wants("w4") {
            return;
        }
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(unconstrained(async { self.requests(&open().await).await }));
    }

    async fn requests(&self, app: &App) {
        let mut cookies = Vec::new();
        for _ in 0..if app.has_sessions { SESSIONS } else { 0 } {
            cookies.push(app.log_in().await);
        }
        for (variant, path, cookies, max) in [
            ("anonymous", "/none", &[][..], 100_000),
            ("untouched", "/none", &cookies, 100_000),
            ("read", "/read", &cookies, 100_000),
            ("write", "/write", &cookies, 100_000),
            ("new", "/login", &[], 20_000),
        ] {
            if !app.has_sessions && variant != "anonymous" {
                continue;
            }
            let n = operations(drive(app, path, cookies, 1, 500).await, max);
            drive(app, path, cookies, 2, n).await;
            for repetition in 0..REPETITIONS {
                let ns = drive(app, path, cookies, repetition + 3, n).await;
                self.emit("W4", variant, ns, "ns");
            }
        }
    }
}

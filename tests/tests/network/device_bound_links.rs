//! Links on another site, which a real Chromium follows to a site that binds its session: it
//! refreshes nothing for such a navigation.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::REFRESH;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{Html, Response};
use axum::routing::{get, post};
use cloakroom::axum::{Bound, LoggedIn, Session, SessionError, SessionLayer, device_endpoint};
use cloakroom::dbsc::Dbsc;
use cloakroom::stores::MemoryStore;
use cloakroom::{Engine, Subject};
use cloakroom_servers::Chromium;
use cloakroom_tests::tls::TlsSite;
use tokio::net::TcpListener;

/// How long a bound cookie is valid: longer than a browser takes to register.
const LIFE: Duration = Duration::from_secs(6);

/// A request for a page, as the browser has made it, and what it got.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    path: String,
    from: String,
    has_bound_cookie: bool,
    status: u16,
    asks_again: bool,
}

#[derive(Default)]
struct Watch {
    pages: Mutex<Vec<Seen>>,
    /// The statuses of the endpoint, and whether each was asked with a proof.
    endpoint: Mutex<Vec<(u16, bool)>>,
    /// When the browser was given a bound cookie last.
    bound_at: Mutex<Option<Instant>>,
}

type Watched = Arc<Watch>;

fn seen(request: &Request) -> Seen {
    Seen {
        path: request.uri().path().to_owned(),
        from: header(request, "sec-fetch-site"),
        has_bound_cookie: header(request, "cookie").contains("__Host-session-bound"),
        status: 0,
        asks_again: false,
    }
}

fn header(request: &Request, name: &str) -> String {
    let value = request.headers().get(name);
    value.map_or(String::new(), |value| value.to_str().unwrap().to_owned())
}

async fn watch_requests(State(watch): State<Watched>, request: Request, next: Next) -> Response {
    let mut seen = seen(&request);
    let has_proof = !header(&request, "secure-session-response").is_empty();
    let response = next.run(request).await;
    seen.status = response.status().as_u16();
    seen.asks_again = response.headers().contains_key(REFRESH);
    if seen.path == Dbsc::PATH {
        watch
            .endpoint
            .lock()
            .unwrap()
            .push((seen.status, has_proof));
        if seen.status == 200 {
            *watch.bound_at.lock().unwrap() = Some(Instant::now());
        }
    } else {
        watch.pages.lock().unwrap().push(seen);
    }
    response
}

/// A page that leads to another one after a while.
fn leads_to(url: &str, after: &str) -> Html<String> {
    Html(format!(
        "<!DOCTYPE html><title>a page</title><script type=module>
        await {after};
        location = '{url}';
        </script>"
    ))
}

/// Waits until the browser has a bound cookie that has aged.
async fn aged(State(watch): State<Watched>) {
    loop {
        let bound_at = *watch.bound_at.lock().unwrap();
        if bound_at.is_some_and(|at| at.elapsed() > LIFE + Duration::from_secs(2)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Logs in, goes to another site, follows a link of it to `/first` once the bound cookie has
/// aged, and another one to `/second`.
async fn follows_two_links(dbsc: Dbsc) -> Option<Vec<Seen>> {
    let folder = tempfile::tempdir().unwrap();
    let chromium = Chromium::new(folder.path())?;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let elsewhere = format!("http://{}", listener.local_addr().unwrap());
    let watch = Watched::default();

    let engine = Engine::builder(MemoryStore::default());
    let engine = engine.device_bound(dbsc.cookie_life(LIFE)).build().unwrap();
    let half_a_second = "new Promise(done => setTimeout(done, 500))";
    let (to_first, to_second) = (elsewhere.clone(), format!("{elsewhere}/then"));
    let log_in = async move |session: Session| {
        session.set_subject(Subject::new("ada")?)?;
        Ok::<_, SessionError>(leads_to(&to_first, half_a_second))
    };
    let first = async move |_: LoggedIn| leads_to(&to_second, half_a_second);
    let second = async |visitor: Bound| {
        assert_eq!(visitor.subject().as_str(), "ada");
        "arrived"
    };
    let router = Router::new()
        .route("/login", get(log_in))
        .route("/first", get(first))
        .route("/second", get(second))
        .route(Dbsc::PATH, post(device_endpoint))
        .layer(SessionLayer::new(engine))
        .layer(from_fn_with_state(watch.clone(), watch_requests));
    let site = TlsSite::serve(router).await;
    // A fragment must not keep the browser from asking again.
    let [first, second] = ["/first#there", "/second?id=1#there"].map(|path| site.url(path));
    let aged_here = "fetch('/aged')";
    let other = Router::new()
        .route("/", get(async move || leads_to(&first, aged_here)))
        .route("/then", get(async move || leads_to(&second, aged_here)))
        .route("/aged", get(aged))
        .with_state(watch.clone());
    let other = tokio::spawn(async move { axum::serve(listener, other).await });

    let page = chromium.stay_at(&site.url("/login"), &site.key_digest);
    let start = Instant::now();
    let has_arrived = |seen: &Seen| seen.path == "/second" && !seen.asks_again;
    while !watch.pages.lock().unwrap().iter().any(has_arrived) {
        let pages = watch.pages.lock().unwrap().clone();
        let endpoint = watch.endpoint.lock().unwrap().clone();
        assert!(
            start.elapsed() < Duration::from_secs(120),
            "{pages:?}, {endpoint:?}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // It would go on asking if it did so more than once.
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(page);
    other.abort();
    let endpoint = watch.endpoint.lock().unwrap().clone();
    assert_eq!(endpoint[0], (200, true), "registered");
    let is_over = |(status, has_proof): &(u16, bool)| *status != 403 && !has_proof;
    assert!(!endpoint.iter().any(is_over), "{endpoint:?}");
    let mut pages = watch.pages.lock().unwrap().clone();
    pages.retain(|seen| seen.path != "/favicon.ico");
    assert_eq!(pages.remove(0).path, "/login");
    Some(pages)
}

fn page(path: &str, from: &str, has_bound_cookie: bool, asks_again: bool) -> Seen {
    Seen {
        path: path.to_owned(),
        from: from.to_owned(),
        has_bound_cookie,
        status: 200,
        asks_again,
    }
}

#[tokio::test]
async fn who_follows_a_link_in_chromium_arrives_and_proves_the_device_where_a_page_needs_it() {
    let Some(pages) = follows_two_links(Dbsc::prefer()).await else {
        return;
    };
    let expected = [
        page("/first", "cross-site", false, false),
        page("/second", "cross-site", false, true),
        page("/second", "same-origin", true, false),
    ];
    assert_eq!(pages, expected);
}

#[tokio::test]
async fn where_each_device_must_be_bound_the_page_of_a_link_in_chromium_asks_again() {
    let Some(pages) = follows_two_links(Dbsc::require()).await else {
        return;
    };
    let expected = [
        page("/first", "cross-site", false, true),
        page("/first", "same-origin", true, false),
        page("/second", "cross-site", false, true),
        page("/second", "same-origin", true, false),
    ];
    assert_eq!(pages, expected);
}

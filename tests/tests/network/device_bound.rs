//! Sessions that a real Chromium binds to its device, over TLS.

use std::cell::RefCell;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{Html, IntoResponse as _, Response};
use axum::routing::{get, post};
use cloakroom::axum::{Bound, Session, SessionError, SessionLayer, device_endpoint};
use cloakroom::dbsc::Dbsc;
use cloakroom::stores::MemoryStore;
use cloakroom::{Engine, Subject};
use cloakroom_servers::Chromium;
use cloakroom_testkit::{CollectedEvent, CollectedEvents};
use cloakroom_tests::device_walk::proves_itself;
use cloakroom_tests::tls::TlsSite;

use crate::fresh_stores;

/// How long a bound cookie is valid: short, so that a test sees several.
const LIFE: Duration = Duration::from_secs(3);
const BOUND: &str = "__Host-session-bound";

/// Asks who is logged in, and whether the device is proven, and goes where it is told, or rests
/// for longer than a bound cookie lives.
const SCRIPT: &str = "<!DOCTYPE html><title>a page</title><script type=module>
const wait = millis => new Promise(done => setTimeout(done, millis));
for (;;) {
  await fetch('/guarded' + location.search).catch(() => {});
  const told = await fetch('/api' + location.search).then(answer => answer.text(), () => '');
  if (told.startsWith('/')) await fetch(told).catch(() => {});
  await wait(told === 'rest' ? 12000 : 300);
}
</script>";

/// What the site has seen of a browser.
#[derive(Clone, Debug, Default)]
struct Seen {
    who: Option<String>,
    cookies: String,
    ended: Option<String>,
}

#[derive(Default)]
struct Watch {
    pages: Mutex<Vec<Seen>>,
    copied: Mutex<Vec<Seen>>,
    /// Each request that said why the browser did not refresh. One outage says `server_error`
    /// where the browser has asked the endpoint, and `unreachable` while it waits to ask again.
    skipped: Mutex<Vec<String>>,
    /// The statuses of the endpoint, and whether each was asked with a proof.
    endpoint: Mutex<Vec<(u16, bool)>>,
    /// The statuses of a page that asks for a proven device.
    guarded: Mutex<Vec<u16>>,
    is_out: AtomicBool,
    /// Whether the endpoint is out from the second refresh on. The test would say so too late:
    /// the browser would sign a third one.
    goes_out: AtomicBool,
    next: Mutex<Option<&'static str>>,
}

type Watched = Arc<Watch>;

fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap()
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?;
    Some(value.to_str().unwrap().to_owned())
}

async fn log_in(session: Session) -> Result<Html<&'static str>, SessionError> {
    session.set_subject(Subject::new("ada")?)?;
    Ok(Html(SCRIPT))
}

/// Gives a browser the cookies of another one.
async fn plant(State(watch): State<Watched>) -> Response {
    let pages = locked(&watch.pages).clone();
    let with_bound = pages.iter().rfind(|seen| seen.cookies.contains(BOUND));
    let cookies = with_bound.unwrap().cookies.clone();
    let mut response = Html(SCRIPT).into_response();
    for pair in cookies.split("; ") {
        let set = format!("{pair}; Path=/; Secure; HttpOnly; SameSite=Lax");
        response
            .headers_mut()
            .append(SET_COOKIE, set.parse().unwrap());
    }
    response
}

async fn api(State(watch): State<Watched>, session: Session, request: Request) -> Response {
    let subject = session.subject();
    let seen = Seen {
        who: subject.map(|subject| subject.as_str().to_owned()),
        cookies: text(request.headers(), "cookie").unwrap_or_default(),
        ended: session
            .ended_because()
            .map(|ended| ended.because.as_str().to_owned()),
    };
    if request.uri().query() == Some("copied") {
        locked(&watch.copied).push(seen);
        return "".into_response();
    }
    locked(&watch.pages).push(seen);
    if request.uri().query() == Some("rests") && refreshes(&watch) > 0 {
        return "rest".into_response();
    }
    let next = locked(&watch.next).take();
    next.unwrap_or_default().into_response()
}

async fn watch_endpoint(State(watch): State<Watched>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let is_copy = request.uri().query() == Some("copied");
    let has_proof = request.headers().contains_key("secure-session-response");
    let skipped = text(request.headers(), "secure-session-skipped");
    locked(&watch.skipped).extend(skipped.filter(|_| !is_copy));
    if path == Dbsc::PATH && watch.is_out.load(Ordering::Relaxed) {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let response = next.run(request).await;
    let status = response.status().as_u16();
    match path.as_str() {
        Dbsc::PATH => {
            locked(&watch.endpoint).push((status, has_proof));
            if watch.goes_out.load(Ordering::Relaxed) && refreshes(&watch) == 2 {
                watch.is_out.store(true, Ordering::Relaxed);
            }
        }
        "/guarded" if !is_copy => locked(&watch.guarded).push(status),
        _ => {}
    }
    response
}

async fn until(what: &str, watch: &Watch, is: impl Fn(&Watch) -> bool) {
    let start = Instant::now();
    while !is(watch) {
        let pages = locked(&watch.pages).last().cloned();
        let copied = locked(&watch.copied).last().cloned();
        let endpoint = locked(&watch.endpoint).clone();
        assert!(
            start.elapsed() < Duration::from_secs(120),
            "{what}: {pages:?}, {copied:?}, {endpoint:?}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn refreshes(watch: &Watch) -> usize {
    let endpoint = locked(&watch.endpoint);
    let done = endpoint.iter().filter(|(status, _)| *status == 200);
    // The first is the registration.
    done.count().saturating_sub(1)
}

fn last(of: &Mutex<Vec<Seen>>) -> Seen {
    locked(of).last().cloned().unwrap_or_default()
}

fn has_skipped(watch: &Watch, why: &str) -> bool {
    let skipped = locked(&watch.skipped);
    skipped.iter().any(|text| text.starts_with(why))
}

/// The cookies of the site's own browser in another one, which is refused once the bound one
/// has aged.
async fn a_copy_is_refused(other: &Chromium, site: &TlsSite, watch: &Watch) -> impl Drop {
    let copied = other.stay_at(&site.url("/plant?copied"), &site.key_digest);
    until("a refusal", watch, |watch| {
        last(&watch.copied).ended.as_deref() == Some("binding_failed")
    })
    .await;
    assert_eq!(last(&watch.copied).who, None);
    copied
}

/// A site that binds sessions, its engine, and what it sees.
async fn site(dbsc: Dbsc) -> (TlsSite, Engine, Watched) {
    let engine = Engine::builder(MemoryStore::default()).device_bound(dbsc);
    let engine = engine.build().unwrap();
    let watch = Watched::default();
    let log_out = async |session: Session| {
        session.flush()?;
        Ok::<_, SessionError>("")
    };
    let router = Router::new()
        .route("/login", get(log_in))
        .route("/api", get(api))
        .route("/guarded", get(async |_: Bound| "guarded"))
        .route("/logout", get(log_out))
        .route(Dbsc::PATH, post(device_endpoint))
        .layer(SessionLayer::new(engine.clone()))
        .route("/plant", get(plant))
        .layer(from_fn_with_state(watch.clone(), watch_endpoint))
        .with_state(watch.clone());
    (TlsSite::serve(router).await, engine, watch)
}

/// The same as over the stores of one machine: the key lies where the session lies.
#[tokio::test]
async fn a_device_proves_itself_over_every_store_on_a_server() {
    for options in ["", "&cache=8MiB&stale=5s&sealed=true"] {
        for fresh in fresh_stores::all() {
            let store = cloakroom::open(&format!("{}{options}", fresh.url)).await;
            proves_itself(store.unwrap_or_else(|error| panic!("{}: {error}", fresh.name))).await;
        }
    }
}

fn two_browsers(folder: &Path) -> Option<[Chromium; 2]> {
    let profile = |name: &str| {
        let folder = folder.join(name);
        std::fs::create_dir(&folder).unwrap();
        Chromium::new(&folder)
    };
    Some([profile("own")?, profile("other")?])
}

/// Chromium signs six times in nine minutes for one site, a registration included: so the
/// order of what is asked of it here counts.
#[tokio::test]
async fn a_session_is_bound_in_chromium_and_its_copy_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let Some([own, other]) = two_browsers(folder.path()) else {
        return;
    };
    let (site, engine, watch) = site(Dbsc::prefer().cookie_life(LIFE)).await;
    watch.goes_out.store(true, Ordering::Relaxed);
    let page = own.stay_at(&site.url("/login"), &site.key_digest);

    // Registered, and refreshed in one leg from the second time on: three signatures.
    until("two refreshes", &watch, |watch| refreshes(watch) >= 2).await;
    let endpoint = locked(&watch.endpoint).clone();
    let legs = [(200, true), (403, false), (200, true), (200, true)];
    assert_eq!(endpoint, legs, "by status, and whether there was a proof");
    assert!(locked(&watch.guarded).contains(&200));

    drop(a_copy_is_refused(&other, &site, &watch).await);

    // An outage of the endpoint, for five seconds and more.
    until("an outage", &watch, |watch| {
        has_skipped(watch, "server_error")
    })
    .await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(locked(&watch.guarded).last(), Some(&403));
    watch.goes_out.store(false, Ordering::Relaxed);
    watch.is_out.store(false, Ordering::Relaxed);
    until("its end", &watch, |watch| refreshes(watch) > 2).await;

    // More signatures than the browser makes.
    until("the quota", &watch, |watch| {
        has_skipped(watch, "quota_exceeded")
    })
    .await;
    for seen in locked(&watch.pages).iter() {
        assert_eq!(seen.who.as_deref(), Some("ada"), "{seen:?}");
    }

    // Revoked elsewhere.
    let ada = Subject::new("ada").unwrap();
    assert_eq!(engine.end_sessions_of(&ada).await.unwrap(), 1);
    until("the revocation", &watch, |watch| {
        last(&watch.pages).who.is_none()
    })
    .await;
    let told = last(&watch.pages).ended;
    assert_eq!(told.as_deref(), Some("all_ended"));
    drop(page);
}

#[tokio::test]
async fn where_each_device_must_be_bound_the_copy_is_refused_and_the_owner_stays() {
    let folder = tempfile::tempdir().unwrap();
    let Some([own, other]) = two_browsers(folder.path()) else {
        return;
    };
    let events = CollectedEvents::begin();
    // Longer than a browser takes to register on a slow machine: who has not by then is out.
    let life = 3 * LIFE;
    let (site, _, watch) = site(Dbsc::require().cookie_life(life)).await;
    // With less than two minutes left, each request of a browser refreshes: one that does not
    // rest has used up its signatures at once, and is refused.
    let page = own.stay_at(&site.url("/login?rests"), &site.key_digest);
    until("a proven device", &watch, |watch| {
        locked(&watch.guarded).contains(&200) && refreshes(watch) > 0
    })
    .await;
    drop(events.take());
    let copied = a_copy_is_refused(&other, &site, &watch).await;
    // It is told once a minute: another request of this minute may have been the one.
    let told = RefCell::new(Vec::new());
    let is_meant = |event: &CollectedEvent| event.name() == "device_unproven";
    until("an event", &watch, |_| {
        told.borrow_mut().extend(events.take());
        told.borrow().iter().any(is_meant)
    })
    .await;
    drop(copied);
    let told = told.into_inner();
    let unproven = told.iter().find(|event| is_meant(event));
    let unproven = unproven.expect("it was told");
    let refused = &unproven.fields["refused"];
    let why = unproven.fields["why"].as_str();
    assert!(
        refused == "true" && ["expired", "missing"].contains(&why),
        "{unproven:?}"
    );
    let refreshed = refreshes(&watch);
    until("another refresh", &watch, |watch| {
        refreshes(watch) > refreshed && locked(&watch.guarded).last() == Some(&200)
    })
    .await;
    for seen in locked(&watch.pages).iter() {
        assert_eq!(seen.who.as_deref(), Some("ada"), "{seen:?}");
    }
    drop(page);
}

#[tokio::test]
async fn a_logout_in_chromium_ends_the_binding() {
    let folder = tempfile::tempdir().unwrap();
    let Some(chromium) = Chromium::new(folder.path()) else {
        return;
    };
    // As long as on a site: under a short life each request refreshes, until the browser has
    // signed as often as it likes and asks no more, logout or not.
    let (site, _, watch) = site(Dbsc::prefer()).await;
    let page = chromium.stay_at(&site.url("/login"), &site.key_digest);
    until("a proven device", &watch, |watch| {
        locked(&watch.guarded).contains(&200)
    })
    .await;
    *locked(&watch.next) = Some("/logout");
    until("a logout", &watch, |watch| last(&watch.pages).who.is_none()).await;
    until("an empty jar", &watch, |watch| {
        last(&watch.pages).cookies.is_empty()
    })
    .await;
    // The browser is told that it is over, and asks no more.
    tokio::time::sleep(2 * LIFE).await;
    let settled = locked(&watch.endpoint).clone();
    assert!(settled.len() > 1, "it was told nothing: {settled:?}");
    locked(&watch.skipped).clear();
    tokio::time::sleep(2 * LIFE).await;
    assert_eq!(*locked(&watch.endpoint), settled);
    assert_eq!(*locked(&watch.skipped), Vec::<String>::new());
    drop(page);
}

//! A site behind a real nginx that caches.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::Path;
use axum::http::HeaderName;
use axum::response::IntoResponse;
use axum::routing::get;
use cloakroom::axum::{Session, SessionError, SessionLayer};
use cloakroom::cookie::{CookieStore, KeyRing};
use cloakroom::engine::OsEntropy;
use cloakroom::stores::MemoryStore;
use cloakroom::{CookiePolicy, CookiePolicyBuilder, Engine, Prefix};
use cloakroom_servers::Nginx;
use cloakroom_tests::{Browser, Site};

/// Counts this visitor's visits, under a header with which its handler asks a cache to
/// keep the page.
async fn visits(
    session: Session,
    Path((name, value)): Path<(HeaderNameText, String)>,
) -> Result<impl IntoResponse, SessionError> {
    session.update("visits", |visits: &mut u64| *visits += 1)?;
    let visits: u64 = session.get("visits")?.unwrap_or_default();
    Ok(([(name.0, value)], visits.to_string()))
}

/// Reads alone, so that no token is handed out.
async fn look(
    session: Session,
    Path((name, value)): Path<(HeaderNameText, String)>,
) -> Result<impl IntoResponse, SessionError> {
    let visits: u64 = session.get("visits")?.unwrap_or_default();
    Ok(([(name.0, value)], visits.to_string()))
}

struct HeaderNameText(HeaderName);

impl<'de> serde::Deserialize<'de> for HeaderNameText {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_hands_no_visitors_page_or_cookie_to_another() {
    let engine = Engine::builder(MemoryStore::default()).cookie(CookiePolicy::loopback_http());
    let router = Router::new()
        .route("/visits/{name}/{value}", get(visits))
        .route("/look/{name}/{value}", get(look))
        .route(
            "/plain/{value}",
            get(|| async { ([("x-accel-expires", "60")], "plain") }),
        )
        .layer(SessionLayer::new(engine.build().unwrap()));
    let site = Site::serve(router).await;
    let location = "proxy_cache shared; add_header x-cache $upstream_cache_status always;";
    let port = site.addr.port();
    let nginx = tokio::task::spawn_blocking(move || Nginx::start(port, location));
    let Some(nginx) = nginx.await.unwrap() else {
        return;
    };
    let addr = SocketAddr::from(([127, 0, 0, 1], nginx.port()));
    let cached = async |path: &str| {
        let replies = [
            Browser::at(addr).get(path).await,
            Browser::at(addr).get(path).await,
        ];
        for reply in &replies {
            assert_eq!(reply.status, 200, "{path}: {}", nginx.log());
        }
        replies[1].header("x-cache") == ["HIT"]
    };
    assert!(cached("/plain/60").await, "this nginx caches");
    for page in ["visits", "look"] {
        for header in ["x-accel-expires/60", "cache-control/max-age=60"] {
            let path = format!("/{page}/{header}");
            let shared = cached(&path).await;
            // A handler's own Cache-Control counts where no token is handed out.
            let by_choice = (page, header) == ("look", "cache-control/max-age=60");
            assert_eq!(shared, by_choice, "{path}");
        }
    }
    let (one, other) = (Browser::at(addr), Browser::at(addr));
    for _ in 0..2 {
        one.get("/visits/x-accel-expires/60").await;
    }
    let reply = other.get("/visits/x-accel-expires/60").await;
    assert_eq!(reply.body, "1");
    assert_ne!(one.cookie("session"), other.cookie("session"));
}

/// Puts so many bytes into the session, which is in its cookie.
async fn fill(session: Session, Path(bytes): Path<usize>) -> Result<&'static str, SessionError> {
    session.insert("data", "x".repeat(bytes))?;
    Ok("filled")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cookie_for_default_proxies_passes_an_nginx_that_answers_a_longer_one_with_502() {
    const BAD_GATEWAY: u16 = 502;
    let ring = KeyRing::generate(&OsEntropy).unwrap();
    let answers = async |policy: CookiePolicyBuilder, bytes: usize| {
        let policy = policy.prefix(Prefix::None).build().unwrap();
        let store = CookieStore::builder(policy.name(), &ring).build().unwrap();
        let engine = Engine::builder(store).cookie(policy).build().unwrap();
        let router = Router::new().route("/fill/{bytes}", get(fill));
        let site = Site::serve(router.layer(SessionLayer::new(engine))).await;
        let port = site.addr.port();
        let nginx = tokio::task::spawn_blocking(move || Nginx::start(port, ""));
        let nginx = nginx.await.unwrap()?;
        let addr = SocketAddr::from(([127, 0, 0, 1], nginx.port()));
        Some(
            Browser::at(addr)
                .get(&format!("/fill/{bytes}"))
                .await
                .status,
        )
    };
    // As docs/proxies.md says, from some 2,800 bytes of data on.
    let Some(short) = answers(CookiePolicy::builder(), 2_750).await else {
        return;
    };
    assert_eq!(short, 200);
    let Some(long) = answers(CookiePolicy::builder(), 2_900).await else {
        return;
    };
    assert_eq!(long, BAD_GATEWAY, "this is what the limit is for");
    for (bytes, status) in [(2_000, 200), (2_250, 500), (2_900, 500)] {
        let policy = CookiePolicy::builder().behind_default_proxies();
        assert_eq!(answers(policy, bytes).await, Some(status), "{bytes}");
    }
}

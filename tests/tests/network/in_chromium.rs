//! Cookies in a real Chromium, over plain http on this machine.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Path, Request};
use axum::http::HeaderMap;
use axum::response::Html;
use axum::routing::get;
use cloakroom::axum::{Session, SessionError, SessionLayer};
use cloakroom::stores::MemoryStore;
use cloakroom::{AnyStore, BearerPolicy, CookiePolicy, Engine, Prefix, Site as EngineSite};
use cloakroom_servers::Chromium;
use cloakroom_tests::Site;
use tower::ServiceExt as _;

async fn count(session: Session) -> Result<String, SessionError> {
    session.update("visits", |visits: &mut u64| *visits += 1)?;
    Ok(format!(
        "visit {}",
        session.get::<u64>("visits")?.unwrap_or_default()
    ))
}

/// The same site before and after each change of its cookie.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_a_former_cookie_stays_and_holds_the_present_one_alone() {
    let folder = tempfile::tempdir().unwrap();
    let Some(chromium) = Chromium::new(folder.path()) else {
        return;
    };
    let first = || {
        let first = CookiePolicy::builder().prefix(Prefix::None).name("sid");
        first.path("/shop").build().unwrap()
    };
    let second = || CookiePolicy::default().replaces(first());
    let third = CookiePolicy::builder().prefix(Prefix::HostHttp).build();
    let third = third.unwrap().replaces(second());
    let store = AnyStore::new(MemoryStore::default());
    let routers = [first(), second(), third].map(|policy| {
        let engine = Engine::builder(store.clone()).cookie(policy);
        let engine = engine
            .site(EngineSite::new("sid").unwrap())
            .build()
            .unwrap();
        let router = Router::new().route("/shop/count", get(count));
        router.layer(SessionLayer::new(engine))
    });
    let (release, sent) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(Mutex::new(String::new())),
    );
    let router = {
        let (release, sent) = (release.clone(), sent.clone());
        Router::new().fallback(move |headers: HeaderMap, request: Request| {
            let router = routers[release.load(Ordering::Relaxed)].clone();
            if request.uri().path() == "/shop/count" {
                let cookies = headers.get("cookie").map(|value| value.to_str().unwrap());
                *sent.lock().unwrap() = cookies.unwrap_or_default().to_owned();
            }
            async move { router.oneshot(request).await }
        })
    };
    let site = Site::serve(router).await;
    let url = format!("http://{}/shop/count", site.addr);
    let visits = [
        (0, ""),
        (0, "sid"),
        (1, "sid"),
        (1, "__Host-session"),
        (2, "__Host-session"),
        (2, "__Host-Http-session"),
    ];
    for (visit, (number, cookie)) in visits.into_iter().enumerate() {
        release.store(number, Ordering::Relaxed);
        let (page, browser) = (url.clone(), &chromium);
        let dom = tokio::task::block_in_place(|| browser.visit(&page));
        assert!(
            dom.contains(&format!("visit {}<", visit + 1)),
            "{visit}: {dom}"
        );
        let sent = sent.lock().unwrap().clone();
        let names: Vec<&str> = sent
            .split("; ")
            .map(|pair| pair.split('=').next().unwrap())
            .collect();
        assert_eq!(names, [cookie], "{visit}");
    }
}

/// A site of its own store, whose cookie has this name.
async fn counting(name: &str) -> Site {
    let policy = CookiePolicy::builder().name(name).build().unwrap();
    let engine = Engine::builder(MemoryStore::default()).cookie(policy);
    let router = Router::new().route("/count", get(count));
    Site::serve(router.layer(SessionLayer::new(engine.build().unwrap()))).await
}

/// Browsers keep cookies by host, and not by port.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_applications_on_one_host_need_two_names() {
    let folder = tempfile::tempdir().unwrap();
    let Some(chromium) = Chromium::new(folder.path()) else {
        return;
    };
    let visit = |site: &Site| {
        let url = format!("http://{}/count", site.addr);
        tokio::task::block_in_place(|| chromium.visit(&url))
    };
    for (other, expected) in [("shop", "visit 1<"), ("admin", "visit 2<")] {
        let [shop, admin] = [counting("shop").await, counting(other).await];
        for site in [&shop, &admin] {
            assert!(visit(site).contains("visit 1<"), "{other}");
        }
        let again = visit(&shop);
        assert!(again.contains(expected), "{other}: {again}");
    }
}

/// A script of another origin reads a response header only where the API names it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bearer_token_crosses_origins_where_its_header_is_exposed() {
    let folder = tempfile::tempdir().unwrap();
    let Some(chromium) = Chromium::new(folder.path()) else {
        return;
    };
    let engine = Engine::builder(MemoryStore::default()).bearer(BearerPolicy::default());
    let layer = SessionLayer::new(engine.build().unwrap());
    let any = ("access-control-allow-origin", "*");
    let expose = ("access-control-expose-headers", "x-session-token");
    let login = async |session: &Session| session.insert("n", 1);
    let api = Router::new()
        .route(
            "/hidden",
            get(async move |session: Session| {
                login(&session).await?;
                Ok::<_, SessionError>([any])
            }),
        )
        .route(
            "/exposed",
            get(async move |session: Session| {
                login(&session).await?;
                Ok::<_, SessionError>([any, expose])
            }),
        );
    let api = Site::serve(api.layer(layer)).await;
    let ask = move |path: &str| {
        let url = format!("http://{}/{path}", api.addr);
        Html(format!(
            "<p></p><script>fetch('{url}').then(answer => document.querySelector('p').textContent \
             = 'token: ' + answer.headers.get('x-session-token'))</script>"
        ))
    };
    let page = Router::new().route(
        "/{path}",
        get(async move |Path(path): Path<String>| ask(&path)),
    );
    let page = Site::serve(page).await;
    let visit = |path: &str| {
        let url = format!("http://localhost:{}/{path}", page.addr.port());
        tokio::task::block_in_place(|| chromium.visit(&url))
    };
    let hidden = visit("hidden");
    assert!(hidden.contains("<p>token: null</p>"), "{hidden}");
    let exposed = visit("exposed");
    assert!(
        exposed.contains("<p>token: ") && !exposed.contains("null"),
        "{exposed}"
    );
}

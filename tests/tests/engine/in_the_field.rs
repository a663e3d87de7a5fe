//! What the page of `cloakroom-web` says of sites in the field; `network/in_chromium` has
//! what takes a browser.

use axum::Router;
use axum::routing::{get, post};
use cloakroom::axum::{Session, SessionError, SessionLayer};
use cloakroom::{BearerPolicy, CookiePolicy, Engine};
use cloakroom_testkit::MapStore;
use cloakroom_tests::Site;
use std::sync::Arc;

async fn count(session: Session) -> Result<String, SessionError> {
    session.update("n", |n: &mut u64| *n += 1)?;
    Ok(session.get::<u64>("n")?.unwrap_or_default().to_string())
}

async fn logout(session: Session) -> Result<[(&'static str, &'static str); 2], SessionError> {
    session.flush()?;
    Ok([
        ("cache-control", "no-store"),
        ("clear-site-data", "\"cache\""),
    ])
}

fn cookies(store: &Arc<MapStore>) -> SessionLayer {
    let engine = Engine::builder(store.clone()).cookie(CookiePolicy::loopback_http());
    SessionLayer::new(engine.build().unwrap())
}

#[tokio::test]
async fn a_cookie_and_an_api_are_two_engines_over_one_store() {
    let store = Arc::new(MapStore::default());
    let api = Engine::builder(store.clone()).bearer(BearerPolicy::default());
    let api = SessionLayer::new(api.build().unwrap());
    let api = Router::new().route("/count", get(count)).layer(api);
    let pages = Router::new()
        .route("/count", get(count))
        .layer(cookies(&store));
    let site = Site::serve(pages.nest("/api", api)).await;
    let browser = site.browser();
    browser.get("/count").await;
    let token = browser.cookie("session").unwrap();
    let reply = browser.get("/api/count").await;
    assert_eq!(reply.body, "1", "the cookie is none of the API's");
    let own = reply.header("x-session-token")[0].to_owned();
    browser.plant("session", &own);
    assert_eq!(
        browser.get("/count").await.body,
        "1",
        "nor is its token a cookie"
    );
    browser.plant("session", &token);
    assert_eq!(browser.get("/count").await.body, "2");
}

/// Under `SameSite=Lax` a browser sends no cookie with it.
#[tokio::test]
async fn a_form_of_another_site_begins_a_session_where_the_page_writes() {
    let router = Router::new().route("/count", post(count));
    let site = Site::serve(router.layer(cookies(&Arc::default()))).await;
    let visitor = site.browser();
    visitor.post("/count").await;
    let own = visitor.cookie("session").unwrap();
    let foreign = site.browser().post("/count").await;
    visitor.keep(foreign.header("set-cookie")[0]);
    assert_ne!(visitor.cookie("session").unwrap(), own);
}

#[tokio::test]
async fn a_logout_may_clear_what_the_browser_has_kept() {
    let router = Router::new().route("/count", post(count));
    let router = router.route("/logout", post(logout));
    let site = Site::serve(router.layer(cookies(&Arc::default()))).await;
    let browser = site.browser();
    browser.post("/count").await;
    let reply = browser.post("/logout").await;
    assert_eq!(browser.cookie("session"), None);
    assert_eq!(reply.header("cache-control"), ["no-store"]);
    assert_eq!(reply.header("clear-site-data"), ["\"cache\""]);
}

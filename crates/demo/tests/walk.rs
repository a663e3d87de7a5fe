//! What a visitor does here, in order.

mod common;

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use cloakroom::{CookiePolicy, Engine};
use cloakroom_testkit::{ManualClock, MapStore};
use common::{PASSWORD, Site};

const PAGES: [&str; 10] = [
    "/",
    "/count",
    "/cart",
    "/test-cookie",
    "/admin",
    "/devices",
    "/record",
    "/about",
    "/login",
    "/register",
];

#[tokio::test]
async fn looking_around_sets_no_cookie_and_costs_nothing() {
    let site = Site::new().await;
    let mut browser = site.browser();
    for path in PAGES {
        let page = browser.get(path).await;
        assert_eq!(page.status, StatusCode::OK, "{path}");
        assert!(!page.headers.contains_key("set-cookie"), "{path}");
        let bill = "<b>0 loads</b>, <b>0 writes</b>, <b>0 bytes</b> read, <b>0 bytes</b> written";
        assert!(page.text.contains(bill), "{path}: {}", page.text);
        assert!(!page.text.contains("<!--"), "{path}: no bill in its room");
        assert!(page.text.contains(r#"<html lang="en">"#), "{path}");
    }
}

#[tokio::test]
async fn a_cart_is_kept_through_login_and_logout_ends_all() {
    let site = Site::new().await;
    let mut browser = site.browser();
    browser.submit("/cart/add", &[("item", "hat")]).await;
    browser.submit("/cart/add", &[("item", "hat")]).await;
    let anonymous = browser.cookie.clone().unwrap();

    let home = browser.enter("/register", "ada").await;
    assert!(home.text.contains("<b>ada</b>"), "{}", home.text);
    assert_ne!(browser.cookie.as_ref(), Some(&anonymous));
    let cart = browser.get("/cart").await;
    assert!(cart.text.contains("€136.00"), "{}", cart.text);

    browser.submit("/count", &[]).await;
    let counter = browser.submit("/count", &[]).await;
    assert_eq!(counter.stub(), "2");

    let home = browser.submit("/logout", &[]).await;
    assert!(home.text.contains(r#"href="/login""#));
    assert_eq!(browser.cookie, None);
    assert_eq!(browser.get("/count").await.stub(), "0");

    browser.enter("/login", "ada").await;
    assert_eq!(browser.get("/count").await.stub(), "0");
    let cart = browser.get("/cart").await;
    assert!(cart.text.contains("Your cart is empty"));
}

#[tokio::test]
async fn a_cart_can_be_changed_and_emptied() {
    let site = Site::new().await;
    let mut browser = site.browser();
    for item in ["hat", "scarf", "gloves"] {
        browser.submit("/cart/add", &[("item", item)]).await;
    }
    let change = [("item", "hat"), ("count", "3")];
    let cart = browser.submit("/cart/change", &change).await;
    assert!(cart.text.contains("€204.00"), "{}", cart.text);
    let cart = browser.submit("/cart/remove", &[("item", "scarf")]).await;
    assert!(cart.text.contains("€256.00"), "{}", cart.text);
    let change = [("item", "gloves"), ("count", "0")];
    let cart = browser.submit("/cart/change", &change).await;
    assert!(
        !cart
            .text
            .contains("€52.00</span><form method=\"post\" action=\"/cart/change\"")
    );
    for change in [
        [("item", "hat"), ("count", "100")],
        [("item", "hat"), ("count", "-1")],
        [("item", "hat"), ("count", "")],
        [("item", "yacht"), ("count", "1")],
    ] {
        let refused = browser.post("/cart/change", &change).await;
        assert_eq!(
            refused.status,
            StatusCode::UNPROCESSABLE_ENTITY,
            "{change:?}"
        );
        assert_eq!(refused.cost.unwrap().writes, 0);
    }
    let cart = browser.submit("/cart/empty", &[]).await;
    assert!(cart.text.contains("Your cart is empty"));
}

#[tokio::test]
async fn counting_costs_one_load_and_one_write_and_looking_one_load() {
    let site = Site::new().await;
    let mut browser = site.browser();
    let first = browser.post("/count", &[]).await.cost.unwrap();
    assert_eq!((first.loads, first.writes), (0, 1));
    let second = browser.post("/count", &[]).await.cost.unwrap();
    assert_eq!((second.loads, second.writes), (1, 1));
    let page = browser.get("/count").await;
    let cost = page.cost.unwrap();
    assert_eq!((cost.loads, cost.writes), (1, 0));
    assert!(cost.bytes_loaded > 0);
    let bill = format!(
        "<b>1 load</b>, <b>0 writes</b>, <b>{} bytes</b> read",
        cost.bytes_loaded
    );
    assert!(page.text.contains(&bill), "{}", page.text);

    let about = browser.get("/about").await;
    assert_eq!(about.cost, None);
    assert!(about.text.contains("<b>0 loads</b>, <b>0 writes</b>"));
    assert!(!about.headers.contains_key("vary"));
}

#[tokio::test]
async fn the_test_cookie_works_where_the_browser_keeps_it() {
    let site = Site::new().await;
    let mut browser = site.browser();
    assert_eq!(browser.get("/test-cookie").await.stub(), "?");
    let page = browser.submit("/test-cookie/set", &[]).await;
    assert_eq!(page.stub(), "yes");
    assert!(page.text.contains("It worked"));
    assert_eq!(browser.submit("/test-cookie/delete", &[]).await.stub(), "?");

    let mut refusing = site.browser();
    let answer = refusing.post("/test-cookie/set", &[]).await;
    refusing.cookie = None;
    assert_eq!(refusing.get(answer.location()).await.stub(), "no");
}

#[tokio::test]
async fn admin_mode_asks_for_the_password_and_changes_the_key_both_ways() {
    let site = Site::new().await;
    let mut browser = site.browser();
    let page = browser.get("/admin").await;
    assert!(page.text.contains("Only somebody who is logged in"));
    browser.enter("/register", "ada").await;
    browser.submit("/count", &[]).await;
    let before = browser.cookie.clone().unwrap();

    browser.get("/admin").await;
    let wrong = [("password", "wrong password")];
    let refused = browser.post("/admin/enter", &wrong).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert!(refused.text.contains("That is not your password"));
    assert_eq!(browser.cookie.as_ref(), Some(&before));

    let old_token = browser.token.clone();
    let right = [("password", PASSWORD)];
    let page = browser.submit("/admin/enter", &right).await;
    assert_eq!(page.stub(), "on");
    assert!(page.text.contains("key has just changed"));
    assert!(page.text.contains("opens nothing any more"));
    let inside = browser.cookie.clone().unwrap();
    assert_ne!(inside, before);
    assert_ne!(browser.token, old_token);
    assert!(!page.text.contains(&inside) && !page.text.contains(&before));

    let page = browser.submit("/admin/leave", &[]).await;
    assert_eq!(page.stub(), "off");
    assert!(page.text.contains("key has just changed"));
    assert_ne!(browser.cookie.as_ref(), Some(&inside));
    assert_eq!(browser.get("/count").await.stub(), "1");

    let mut thief = site.browser();
    thief.cookie = Some(before);
    assert_eq!(thief.get("/count").await.stub(), "0");
}

#[tokio::test]
async fn admin_mode_asks_for_the_password_again_after_a_quarter_of_an_hour() {
    let clock = Arc::new(ManualClock::default());
    let engine = Engine::builder(MapStore::default())
        .cookie(CookiePolicy::loopback_http())
        .clock(clock.clone());
    let site = Site::of(engine.build().unwrap());
    let mut browser = site.browser();
    browser.enter("/register", "ada").await;
    browser.get("/admin").await;
    let right = [("password", PASSWORD)];
    assert_eq!(browser.submit("/admin/enter", &right).await.stub(), "on");
    assert_eq!(browser.get("/admin/sessions").await.status, StatusCode::OK);

    clock.advance(Duration::from_secs(16 * 60));
    let sent = browser.get("/admin/sessions?subject=1").await;
    assert_eq!(sent.status, StatusCode::SEE_OTHER);
    assert_eq!(sent.location(), "/admin?next=/admin/sessions%3Fsubject%3D1");
    let page = browser.get(sent.location()).await;
    assert_eq!(page.stub(), "off");
    assert!(page.text.contains("Enter your password once more."));
    assert_eq!(browser.submit("/admin/enter", &right).await.stub(), "on");
    assert_eq!(browser.get("/admin/sessions").await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_store_is_shown_without_key_token_or_secret() {
    let site = Site::new().await;
    let mut browser = site.browser();
    let page = browser.get("/record").await;
    assert!(page.text.contains("Nothing."), "{}", page.text);
    browser.submit("/cart/add", &[("item", "umbrella")]).await;
    browser.get("/register").await;
    let fields = [("name", "ada"), ("password", PASSWORD), ("remember", "yes")];
    browser.submit("/register", &fields).await;
    let page = browser.get("/record").await;
    for shown in [
        "Firefox on Linux",
        "30 days, its own choice",
        "<dt>Ends with the browser</dt><dd>no</dd>",
        "{&quot;umbrella&quot;: 1}",
        "&quot;ada&quot;",
        " UTC</time>",
        "<dt>Revision</dt><dd>2</dd>",
    ] {
        assert!(page.text.contains(shown), "{shown} in {}", page.text);
    }
    assert!(!page.text.contains(browser.cookie.as_ref().unwrap()));
    let (_, listed) = page.text.split_once("<main").unwrap();
    assert!(!listed.contains(browser.token.as_ref().unwrap()));
}

#[tokio::test]
async fn to_be_remembered_is_a_choice() {
    let site = Site::new().await;
    site.browser().enter("/register", "ada").await;
    for (remember, ends_with_browser) in [(None, "yes"), (Some("yes"), "no")] {
        let mut browser = site.browser();
        let mut fields = vec![("name", "ada"), ("password", PASSWORD)];
        fields.extend(remember.map(|yes| ("remember", yes)));
        let answer = browser.post("/login", &fields).await;
        let cookie = answer.header("set-cookie");
        assert_eq!(cookie.contains("Max-Age=2592000"), remember.is_some());
        assert_eq!(cookie.contains("Max-Age"), remember.is_some());
        let page = browser.get("/record").await;
        let row = format!("<dt>Ends with the browser</dt><dd>{ends_with_browser}</dd>");
        assert!(page.text.contains(&row), "{}", page.text);
    }
}

#[tokio::test]
async fn logging_in_as_somebody_else_takes_nothing_over() {
    let site = Site::new().await;
    let mut browser = site.browser();
    browser.enter("/register", "grace").await;
    browser.submit("/logout", &[]).await;
    browser.enter("/register", "ada").await;
    browser.submit("/cart/add", &[("item", "hat")]).await;
    let page = browser.enter("/login", "grace").await;
    assert!(page.text.contains("<b>grace</b>"), "{}", page.text);
    assert!(
        browser
            .get("/cart")
            .await
            .text
            .contains("Your cart is empty")
    );
}

#[tokio::test]
async fn the_devices_page_ends_one_session_and_all_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let mut urls = vec![
        "memory:".to_owned(),
        format!("sled:{}", path("sled")),
        format!("redb:{}", path("redb")),
    ];
    let patient = |url: String| format!("{url}?timeout=60s");
    urls.extend(cloakroom_servers::postgres().map(|server| patient(server.url())));
    urls.extend(cloakroom_servers::redis().map(|server| patient(server.url())));
    for url in urls {
        let store = cloakroom::open(&url).await.unwrap();
        devices_of(&Site::over(store)).await;
    }
}

/// Three cookie jars.
async fn devices_of(site: &Site) {
    let mut laptop = site.browser();
    laptop.enter("/register", "ada").await;
    let alone = laptop.get("/devices").await;
    assert!(alone.text.contains("and nowhere else"), "{}", alone.text);
    assert!(alone.text.contains("this one"));
    let mut phone = site.browser();
    phone.enter("/login", "ada").await;
    let mut tablet = site.browser();
    tablet.enter("/login", "ada").await;

    let page = laptop.get("/devices").await;
    assert_eq!(page.text.matches("name=\"id\"").count(), 3);
    let phones = {
        // The latest comes after the current one: the tablet, then the phone.
        let ids = page.text.split("name=\"id\" value=\"").skip(1);
        let ids: Vec<_> = ids.map(|rest| &rest[..64]).collect();
        ids[2].to_owned()
    };
    let page = laptop.submit("/devices/end", &[("id", &phones)]).await;
    assert_eq!(page.text.matches("name=\"id\"").count(), 2);
    assert!(phone.get("/").await.text.contains("href=\"/login\""));
    assert!(tablet.get("/").await.text.contains("<b>ada</b>"));

    let page = laptop.submit("/devices/end-others", &[]).await;
    assert!(page.text.contains("and nowhere else"), "{}", page.text);
    assert!(tablet.get("/").await.text.contains("href=\"/login\""));
    assert!(laptop.get("/").await.text.contains("<b>ada</b>"));
}

#[tokio::test]
async fn nobody_ends_the_session_of_somebody_else() {
    let site = Site::new().await;
    let mut ada = site.browser();
    ada.enter("/register", "ada").await;
    let page = ada.get("/devices").await;
    let (_, rest) = page.text.split_once("name=\"id\" value=\"").unwrap();
    let adas = rest[..64].to_owned();
    let mut grace = site.browser();
    grace.enter("/register", "grace").await;
    grace.get("/devices").await;
    grace.submit("/devices/end", &[("id", &adas)]).await;
    assert!(ada.get("/").await.text.contains("<b>ada</b>"));
    let refused = grace.post("/devices/end", &[("id", "all")]).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    let mut foreign = site.browser();
    foreign.cookie = ada.cookie.clone();
    let refused = foreign.post("/devices/end-others", &[]).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "no form token");
}

//! What the site refuses, and how it says so.

mod common;

use std::sync::Arc;

use axum::http::StatusCode;
use cloakroom_demo::FORM_BYTES_MAX;
use cloakroom_testkit::{Fault, FaultyStore, MapStore};
use common::{PASSWORD, Site};

fn watched() -> (Site, Arc<FaultyStore<MapStore>>) {
    let store = Arc::new(FaultyStore::new(MapStore::default()));
    (Site::over(store.clone()), store)
}

#[tokio::test]
async fn a_form_from_another_site_is_refused_before_anything_is_loaded() {
    let (site, store) = watched();
    let mut browser = site.browser();
    browser.enter("/register", "ada").await;
    let token = browser.token.clone().unwrap();
    store.reset();
    for headers in [
        vec![("sec-fetch-site", "cross-site")],
        vec![("sec-fetch-site", "same-site")],
        vec![("origin", "https://evil.example")],
        vec![("origin", "null")],
        vec![
            ("sec-fetch-site", "cross-site"),
            ("origin", "http://127.0.0.1:8000"),
        ],
    ] {
        for path in ["/count", "/cart/add", "/logout", "/login"] {
            let fields = [("csrf", token.as_str()), ("item", "hat")];
            let answer = browser.send("POST", path, &headers, &fields).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path} {headers:?}");
            assert!(answer.text.contains("sent from another site"));
            assert!(!answer.headers.contains_key("set-cookie"));
        }
    }
    assert_eq!(store.operations(), 0);

    let mut stranger = site.browser();
    let cross = [("sec-fetch-site", "cross-site")];
    let answer = stranger.send("POST", "/count", &cross, &[]).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert_eq!((store.operations(), stranger.cookie), (0, None));
}

#[tokio::test]
async fn whoever_is_logged_in_must_send_the_token_of_this_login() {
    let (site, store) = watched();
    let mut browser = site.browser();
    browser.enter("/register", "ada").await;
    let token = browser.token.clone().unwrap();
    store.reset();
    let other = if token.starts_with('x') { 'y' } else { 'x' };
    let wrong = format!("{other}{}", &token[1..]);
    for fields in [
        vec![],
        vec![("csrf", "")],
        vec![("csrf", wrong.as_str())],
        vec![("csrf", &token[1..])],
    ] {
        for path in ["/count", "/logout", "/admin/enter", "/login"] {
            let same = [("sec-fetch-site", "same-origin")];
            let answer = browser.send("POST", path, &same, &fields).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}");
            assert!(answer.text.contains("older than your log-in"));
            assert_eq!(answer.cost.unwrap().writes, 0);
        }
    }
    let fields = [("csrf", token.as_str())];
    let answer = browser.send("POST", "/count", &[], &fields).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);

    browser.enter("/login", "ada").await;
    assert_ne!(browser.token.as_deref(), Some(token.as_str()));
    let answer = browser.send("POST", "/count", &[], &fields).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn curl_needs_no_token_until_it_logs_in() {
    let site = Site::new().await;
    let mut curl = site.browser();
    for _ in 0..2 {
        let answer = curl.send("POST", "/count", &[], &[]).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER);
    }
    let own = [("origin", "http://127.0.0.1:8000")];
    curl.send("POST", "/count", &own, &[]).await;
    assert_eq!(curl.get("/count").await.stub(), "3");
}

#[tokio::test]
async fn a_name_is_shown_as_it_was_typed_and_never_as_markup() {
    let site = Site::new().await;
    let mut browser = site.browser();
    let name = r#"<b>"ada"</b><!-- cloakroom: the bill -->"#;
    let page = browser.enter("/register", name).await;
    let escaped = "&lt;b&gt;&quot;ada&quot;&lt;/b&gt;&lt;!-- cloakroom: the bill --&gt;";
    assert!(page.text.contains(escaped), "{}", page.text);
    assert!(!page.text.contains("<b>\"ada\""));
    assert!(browser.get("/record").await.text.contains("&lt;b&gt;"));
    browser.submit("/logout", &[]).await;
    let fields = [("name", "\"><script>"), ("password", "nothing at all")];
    let page = browser.post("/login", &fields).await;
    assert!(page.text.contains(r#"value="&quot;&gt;&lt;script&gt;""#));
    assert!(!page.text.contains("<script>"));
}

#[tokio::test]
async fn a_form_that_fails_says_why_and_keeps_the_name() {
    let site = Site::new().await;
    let mut browser = site.browser();
    let long = "x".repeat(1_025);
    for (name, password, said) in [
        ("ada", "short", "8 to 1024 bytes"),
        ("ada", long.as_str(), "8 to 1024 bytes"),
        ("  ", PASSWORD, "1 to 64 characters"),
        (&long[..65], PASSWORD, "1 to 64 characters"),
        ("a\u{7}da", PASSWORD, "1 to 64 characters"),
    ] {
        let fields = [("name", name), ("password", password)];
        let page = browser.post("/register", &fields).await;
        assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY, "{name}");
        assert!(page.text.contains(said), "{}", page.text);
        assert!(
            page.text.contains(&format!(r#"value="{name}""#)),
            "{}",
            page.text
        );
        assert!(!page.text.contains(password));
    }
    assert_eq!(browser.cookie, None);
    browser.enter("/register", "ada").await;
    let mut other = site.browser();
    let fields = [("name", " ada "), ("password", PASSWORD)];
    let page = other.post("/register", &fields).await;
    assert!(page.text.contains("This name is taken"));

    let said = "There is no account with this name and password.";
    for name in ["ada", "nobody"] {
        let fields = [
            ("name", name),
            ("password", "not the one"),
            ("remember", "yes"),
        ];
        let page = other.post("/login", &fields).await;
        assert_eq!(page.status, StatusCode::FORBIDDEN);
        assert!(page.text.contains(said));
        assert!(page.text.contains(&format!(r#"value="{name}""#)));
        assert!(page.text.contains(" checked"));
    }
    assert_eq!(other.cookie, None);
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_said_kindly_and_keeps_the_cookie() {
    let (site, store) = watched();
    let mut browser = site.browser();
    browser.enter("/register", "ada").await;
    let cookie = browser.cookie.clone();
    store.fail_always(Some(Fault::Refuse));
    let page = browser.get("/").await;
    assert_eq!(page.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(
        page.text
            .contains("The store did not answer. Your cookie is kept, try again.")
    );
    assert!(page.header("content-type").starts_with("text/html"));
    assert!(!page.text.contains("planned fault"));
    let page = browser.post("/count", &[]).await;
    assert_eq!(page.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(browser.cookie, cookie);
    assert_eq!(browser.get("/about").await.status, StatusCode::OK);
    store.fail_always(None);
    assert!(browser.get("/").await.text.contains("<b>ada</b>"));
}

#[tokio::test]
async fn every_error_is_a_page() {
    let site = Site::new().await;
    let mut browser = site.browser();
    let long = "x".repeat(FORM_BYTES_MAX);
    for (method, path, fields, status) in [
        ("GET", "/nowhere", vec![], 404),
        ("POST", "/nowhere", vec![], 404),
        ("GET", "/logout", vec![], 405),
        ("PUT", "/count", vec![], 405),
        ("POST", "/count", vec![("x", long.as_str())], 413),
    ] {
        let page = browser.send(method, path, &[], &fields).await;
        assert_eq!(page.status.as_u16(), status, "{method} {path}");
        assert!(page.text.starts_with("<!DOCTYPE html>"), "{}", page.text);
        assert!(page.text.contains("<b>0 loads</b>"), "{}", page.text);
    }
    assert_eq!(browser.cookie, None);
}

#[tokio::test]
async fn every_answer_tells_the_browser_to_trust_nothing_else() {
    let site = Site::new().await;
    let mut browser = site.browser();
    for path in [
        "/",
        "/about",
        "/style.css",
        "/icon.svg",
        "/nowhere",
        "/logout",
    ] {
        let page = browser.get(path).await;
        assert_eq!(
            page.header("content-security-policy"),
            "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
             img-src 'self'; form-action 'self'; \
             base-uri 'none'; frame-ancestors 'none'",
            "{path}"
        );
        assert_eq!(page.header("x-content-type-options"), "nosniff");
        assert_eq!(page.header("referrer-policy"), "same-origin");
        assert!(!page.text.contains("<script") && !page.text.contains("style=\""));
    }
    let home = browser.get("/").await;
    let (_, rest) = home
        .text
        .split_once(r#"<link rel="stylesheet" href=""#)
        .unwrap();
    let style = browser.get(rest.split_once('"').unwrap().0).await;
    assert_eq!(style.status, StatusCode::OK);
    assert!(style.header("cache-control").contains("immutable"));
    assert!(style.header("content-type").starts_with("text/css"));
    let (_, rest) = home.text.split_once(r#"<link rel="icon" "#).unwrap();
    let (_, rest) = rest.split_once(r#"href=""#).unwrap();
    let icon = browser.get(rest.split_once('"').unwrap().0).await;
    assert_eq!(icon.status, StatusCode::OK);
    assert_eq!(icon.header("content-type"), "image/svg+xml");
    assert!(icon.header("cache-control").contains("immutable"));
    assert!(icon.text.starts_with("<svg "), "{}", icon.text);
}

#[tokio::test]
async fn head_and_get_agree() {
    let site = Site::new().await;
    let mut browser = site.browser();
    let get = browser.get("/").await;
    let head = browser.send("HEAD", "/", &[], &[]).await;
    assert_eq!(head.text, "");
    assert_eq!(head.header("content-length"), get.text.len().to_string());
    assert_eq!(get.header("content-length"), get.text.len().to_string());
}

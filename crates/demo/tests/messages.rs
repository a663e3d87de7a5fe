//! What the pages say of what was done, and that it is true of the store they are over.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod common;

use axum::http::StatusCode;
use cloakroom::AnyStore;
use common::{Browser, PASSWORD, Seen, Site};

/// A site over a cookie store, and the file of its key ring.
async fn over_cookies() -> (Site, tempfile::NamedTempFile) {
    let ring = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&ring, "11".repeat(32)).unwrap();
    let url = format!("cookie:?name=session&key_file={}", ring.path().display());
    let store: AnyStore = cloakroom::open(&url).await.unwrap();
    (Site::over(store), ring)
}

/// What is said of what was done.
fn notice(page: &Seen) -> &str {
    let Some((_, rest)) = page.text.split_once(r#" id="notice""#) else {
        return "";
    };
    let (_, text) = rest.split_once('>').unwrap();
    text.split_once("</p>").unwrap().0
}

/// What has the focus on the page after a form: what the fragment of its address names.
async fn lands(browser: &mut Browser, path: &str, fields: &[(&str, &str)]) -> String {
    let answer = browser.post(path, fields).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{path}");
    let location = answer.location().to_owned();
    let page = browser.get(&location).await;
    let (_, id) = location.split_once('#').unwrap();
    let (before, rest) = page.text.split_once(&format!(r#" id="{id}""#)).unwrap();
    let (_, tag) = before.rsplit_once('<').unwrap();
    let tag = tag.split(' ').next().unwrap();
    let (rest, _) = rest.split_once('>').unwrap();
    assert!(tag == "button" || rest.contains("tabindex"), "{path}");
    format!("{tag} {id}")
}

#[tokio::test]
async fn a_login_and_a_logout_are_answered_with_a_message() {
    let site = Site::new().await;
    let mut browser = site.browser();
    let home = browser.enter("/register", "ada").await;
    assert_eq!(notice(&home), "Welcome, ada. You are logged in.");
    let home = browser.submit("/logout", &[]).await;
    assert!(notice(&home).starts_with("You are logged out."));
    assert_eq!(browser.cookie, None);
    let home = browser.enter("/login", "ada").await;
    assert_eq!(notice(&home), "Welcome, ada. You are logged in.");
    // An address alone makes nothing true.
    assert_eq!(notice(&browser.get("/?logged-out").await), "");
    assert_eq!(notice(&browser.get("/").await), "");
}

#[tokio::test]
async fn a_browser_that_blocks_cookies_is_told_so() {
    let site = Site::new().await;
    site.browser().enter("/register", "ada").await;
    for (path, fields, said) in [
        (
            "/login",
            vec![("name", "ada"), ("password", PASSWORD)],
            "You are not logged in.",
        ),
        (
            "/register",
            vec![("name", "grace"), ("password", PASSWORD)],
            "You are not logged in.",
        ),
        ("/count", vec![], "This visit was not counted."),
        (
            "/cart/add",
            vec![("item", "hat")],
            "Nothing was put into your cart.",
        ),
    ] {
        let mut blocking = site.browser();
        let answer = blocking.post(path, &fields).await;
        blocking.cookie = None;
        let page = blocking.get(answer.location()).await;
        let notice = notice(&page);
        assert!(notice.starts_with(said), "{path}: {notice}");
        assert!(notice.contains("Allow cookies"), "{path}: {notice}");

        let mut keeping = site.browser();
        let answer = keeping.post(path, &fields).await;
        if answer.status == StatusCode::SEE_OTHER {
            let page = keeping.get(answer.location()).await;
            assert!(!page.text.contains("Allow cookies"), "{path}");
        }
    }
}

#[tokio::test]
async fn after_a_form_the_keyboard_goes_on_where_it_was() {
    let site = Site::new().await;
    let mut browser = site.browser();
    let at = &mut browser;
    assert_eq!(lands(at, "/count", &[]).await, "button count");
    assert_eq!(lands(at, "/test-cookie/set", &[]).await, "button test");
    assert_eq!(lands(at, "/test-cookie/delete", &[]).await, "button test");
    let hat = ("item", "hat");
    assert_eq!(lands(at, "/cart/add", &[hat]).await, "button add-hat");
    let three = lands(at, "/cart/change", &[hat, ("count", "3")]).await;
    assert_eq!(three, "button change-hat");
    assert_eq!(lands(at, "/cart/remove", &[hat]).await, "p in-cart");
    let ada = [("name", "ada"), ("password", PASSWORD)];
    let done = "p notice";
    assert_eq!(lands(at, "/register", &ada).await, done);
    assert_eq!(lands(at, "/login", &ada).await, done);
    assert_eq!(
        lands(at, "/admin/enter", &[("password", PASSWORD)]).await,
        done
    );
    assert_eq!(lands(at, "/devices/end-others", &[]).await, done);
    assert_eq!(lands(at, "/logout", &[]).await, done);
}

/// The tag of the field of this name.
fn field(page: &Seen, name: &str) -> String {
    let (before, rest) = page.text.split_once(&format!(r#" name="{name}""#)).unwrap();
    let (_, begin) = before.rsplit_once('<').unwrap();
    let (end, _) = rest.split_once('>').unwrap();
    format!("{begin} {end}")
}

fn is_tied(field: &str) -> bool {
    field.contains(r#"aria-invalid="true""#) && field.contains(r#"aria-describedby="problem"#)
}

#[tokio::test]
async fn an_error_is_tied_to_its_field_and_in_the_title() {
    let site = Site::new().await;
    let mut browser = site.browser();
    browser.submit("/cart/add", &[("item", "hat")]).await;
    for (path, fields, wrong, right) in [
        (
            "/register",
            vec![("name", ""), ("password", PASSWORD)],
            vec!["name"],
            vec!["password"],
        ),
        (
            "/register",
            vec![("name", "ada"), ("password", "short")],
            vec!["password"],
            vec!["name"],
        ),
        (
            "/login",
            vec![("name", "ada"), ("password", "not the one")],
            vec!["name", "password"],
            vec![],
        ),
        (
            "/cart/change",
            vec![("item", "hat"), ("count", "many")],
            vec!["count"],
            vec![],
        ),
    ] {
        let page = browser.post(path, &fields).await;
        assert!(page.status.is_client_error(), "{path}");
        assert!(page.text.contains("<title>Error: "), "{}", page.text);
        assert_eq!(page.text.matches(r#" id="problem""#).count(), 1, "{path}");
        assert_eq!(page.text.matches(" autofocus").count(), 1, "{path}");
        for name in wrong {
            assert!(is_tied(&field(&page, name)), "{path}: {name}");
        }
        for name in right {
            assert!(!field(&page, name).contains("aria-invalid"), "{path}");
        }
    }
    browser.enter("/register", "ada").await;
    browser.get("/admin").await;
    let page = browser
        .post("/admin/enter", &[("password", "not mine")])
        .await;
    assert!(is_tied(&field(&page, "password")), "{}", page.text);
    assert!(page.text.contains("<title>Error: "));
}

#[tokio::test]
async fn over_a_cookie_store_a_copied_cookie_opens_and_the_pages_say_so() {
    let (site, _ring) = over_cookies().await;
    let mut browser = site.browser();
    browser.enter("/register", "ada").await;
    browser.get("/admin").await;
    let old = browser.cookie.clone();
    let page = browser
        .submit("/admin/enter", &[("password", PASSWORD)])
        .await;
    assert_ne!(browser.cookie, old);
    let said = notice(&page);
    assert!(said.contains("still opens"), "{said}");
    let page = browser.submit("/logout", &[]).await;
    let said = notice(&page);
    assert!(said.contains("still opens"), "{said}");

    // They are right.
    let mut copy = site.browser();
    copy.cookie = old;
    assert!(copy.get("/").await.text.contains("<b>ada</b>"));

    let claims = [
        "opens nothing",
        "the store keeps",
        "we have your coat",
        "digest of",
        "cost the store",
        "it counts ten",
        "stays logged out",
        "log out there from here",
        "none is lost",
    ];
    for path in ["/", "/count", "/admin", "/record", "/devices", "/about"] {
        for page in [copy.get(path).await, site.browser().get(path).await] {
            for claim in claims {
                assert!(!page.text.contains(claim), "{path} says {claim:?}");
            }
        }
    }
    let about = copy.get("/about").await;
    assert!(about.text.contains("What a cookie cannot do"));

    // Over a store each is said somewhere.
    let site = Site::new().await;
    let mut browser = site.browser();
    browser.enter("/register", "ada").await;
    let mut all = String::new();
    for path in ["/", "/count", "/record", "/about"] {
        all.push_str(&browser.get(path).await.text);
    }
    for claim in claims {
        assert!(all.contains(claim), "{claim:?} is said nowhere");
    }
}

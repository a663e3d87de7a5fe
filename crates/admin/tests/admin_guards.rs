//! Who may see the page, and which forms count.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod common;

use std::sync::Arc;

use axum::http::StatusCode;
use cloakroom::store::{BoxFuture, Capabilities, Scan, ScanCursor, ScanPage};
use cloakroom::{Error, ErrorKind};
use cloakroom_testkit::{
    Fault, FaultyStore, Intercept, InterceptedStore, MapStore, Operation, Work,
};
use common::{AT, Site};

const METHODS: [&str; 8] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE",
];

#[tokio::test]
async fn nobody_but_an_administrator_sees_or_does_anything() {
    let site = Site::over(MapStore::default());
    let mut root = site.root().await;
    let ada = site.log_in("lovelace", "phone").await;
    let digest = site.engine.sessions_of(&subject("lovelace")).await.unwrap()[0].id;
    for mut browser in [site.browser(), ada.clone()] {
        for method in METHODS {
            for path in [
                "",
                "?subject=lovelace",
                "?subject=root",
                "/ada",
                "/a/b?subject=lovelace",
            ] {
                // With the token of the administrator, should somebody have got hold of it.
                let fields = [
                    ("do", "one"),
                    ("subject", "lovelace"),
                    ("session", &digest.to_hex()),
                    ("confirmation", "end everybody"),
                    ("token", &root.token),
                ];
                let fields = if method == "POST" { &fields[..] } else { &[] };
                let page = browser
                    .send(method, &format!("{AT}{path}"), &[], fields)
                    .await;
                assert_eq!(page.status, StatusCode::FORBIDDEN, "{method} {path}");
                if method != "HEAD" {
                    assert!(page.text.contains("Only administrators"), "{}", page.text);
                }
                for told in ["lovelace", "phone", "MapStore", "token", &digest.short()] {
                    assert!(!page.text.contains(told), "{method} {path}: {told}");
                }
            }
        }
    }
    assert_eq!(
        site.engine
            .sessions_of(&subject("lovelace"))
            .await
            .unwrap()
            .len(),
        1
    );
    let page = root.get(AT).await;
    assert_eq!(page.status, StatusCode::OK);
    for method in ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"] {
        let page = root.send(method, AT, &[], &[]).await;
        assert_eq!(page.status, StatusCode::METHOD_NOT_ALLOWED, "{method}");
        assert_eq!(page.header("allow"), "GET, HEAD, POST");
    }
    let page = root.get(&format!("{AT}/nowhere")).await;
    assert_eq!(page.status, StatusCode::NOT_FOUND);
}

fn subject(name: &str) -> cloakroom::Subject {
    cloakroom::Subject::new(name).unwrap()
}

#[tokio::test]
async fn a_form_counts_with_the_token_of_this_administrators_session_alone() {
    let store = Arc::new(FaultyStore::new(MapStore::default()));
    let site = Site::over(store.clone());
    let _ada = site.log_in("ada", "phone").await;
    let mut root = site.root().await;
    let other = site.root().await;
    assert_ne!(root.token, other.token);
    let token = root.token.clone();
    let mut changed = token.clone();
    changed.replace_range(..1, if changed.starts_with('0') { "1" } else { "0" });
    for token in ["", &changed, &token[1..], &other.token] {
        let fields = [("do", "all"), ("subject", "ada"), ("token", token)];
        let page = root.send("POST", AT, &[], &fields).await;
        assert_eq!(page.status, StatusCode::FORBIDDEN, "{token}");
        assert!(page.text.contains("form is too old"), "{}", page.text);
    }
    let fields = [("do", "all"), ("subject", "ada"), ("token", token.as_str())];
    store.reset();
    for from in ["cross-site", "same-site", "", "x"] {
        let page = root
            .send("POST", AT, &[("sec-fetch-site", from)], &fields)
            .await;
        assert_eq!(page.status, StatusCode::FORBIDDEN, "{from}");
        assert!(page.text.contains("from another site"), "{}", page.text);
    }
    assert_eq!(store.operations(), 0, "refused before anything is loaded");
    assert_eq!(
        site.engine
            .sessions_of(&subject("ada"))
            .await
            .unwrap()
            .len(),
        1
    );
    // A GET never does anything.
    for fields in [
        "do=all&subject=ada",
        "do=everybody&confirmation=end%20everybody",
    ] {
        root.get(&format!("{AT}?{fields}&token={token}")).await;
    }
    assert_eq!(
        site.engine
            .sessions_of(&subject("ada"))
            .await
            .unwrap()
            .len(),
        1
    );
    let page = root.send("POST", AT, &[], &fields).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER);
    assert_eq!(site.engine.sessions_of(&subject("ada")).await.unwrap(), []);
}

#[tokio::test]
async fn every_page_tells_the_browser_to_keep_and_trust_nothing() {
    let site = Site::over(MapStore::default());
    let mut root = site.root().await;
    let mut nobody = site.browser();
    let mut pages = Vec::new();
    for path in ["", "?subject=ada", "/nowhere"] {
        pages.push(root.get(&format!("{AT}{path}")).await);
        pages.push(nobody.get(&format!("{AT}{path}")).await);
    }
    pages.push(root.form(&[("do", "nothing"), ("subject", "ada")]).await);
    pages.push(
        root.form(&[("do", "everybody"), ("confirmation", "yes")])
            .await,
    );
    pages.push(root.form(&[]).await);
    let elsewhere = [("sec-fetch-site", "cross-site")];
    pages.push(root.send("POST", AT, &elsewhere, &[("x", "y")]).await);
    pages.push(
        root.form(&[("do", "everybody"), ("confirmation", "end everybody")])
            .await,
    );
    for page in pages {
        assert_eq!(page.header("cache-control"), "no-store", "{}", page.text);
        let policy = page.header("content-security-policy");
        assert!(
            policy.starts_with("default-src 'none'; style-src 'sha256-"),
            "{policy}"
        );
        assert!(
            policy.ends_with("'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"),
            "{policy}"
        );
        assert_eq!(page.header("x-content-type-options"), "nosniff");
        assert_eq!(page.header("referrer-policy"), "same-origin");
        assert!(page.text.starts_with("<!DOCTYPE html><html lang=\"en\">"));
        assert!(!page.text.contains("<script") && !page.text.contains("style=\""));
    }
}

#[tokio::test]
async fn a_store_that_is_down_is_told_to_nobody_but_an_administrator() {
    let store = Arc::new(FaultyStore::new(MapStore::default()));
    let site = Site::over(store.clone());
    let mut ada = site.log_in("ada", "phone").await;
    let mut root = site.root().await;
    let id = site.engine.sessions_of(&subject("ada")).await.unwrap()[0]
        .id
        .to_hex();
    store.fail_always(Some(Fault::Refuse));
    for browser in [&mut ada, &mut root] {
        let cookie = browser.cookie.clone();
        let page = browser.get(AT).await;
        assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(
            page.text.contains("The store did not answer"),
            "{}",
            page.text
        );
        assert!(!page.text.contains("planned fault"));
        assert_eq!(browser.cookie, cookie);
    }
    store.fail_always(None);
    // The administrator's session can be loaded, and what follows fails.
    for path in ["?subject=ada", "?subject=bob"] {
        store.reset();
        store.fail_at(1, Fault::Refuse);
        let page = root.get(&format!("{AT}{path}")).await;
        assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        for said in [
            "nothing was changed",
            "Check that the store is up",
            "planned fault",
        ] {
            assert!(page.text.contains(said), "{path}: {}", page.text);
        }
    }
    for form in [
        [("do", "one"), ("subject", "ada"), ("session", id.as_str())],
        [("do", "all"), ("subject", "ada"), ("note", "")],
        [
            ("do", "everybody"),
            ("confirmation", "end everybody"),
            ("note", ""),
        ],
    ] {
        store.reset();
        store.fail_at(1, Fault::Refuse);
        let page = root.form(&form).await;
        assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE, "{form:?}");
        for said in [
            "may still be alive",
            "Once the store answers, send the form again",
            "planned fault",
        ] {
            assert!(page.text.contains(said), "{form:?}: {}", page.text);
        }
    }
    store.reset();
    assert_eq!(ada.why().await, "logged in");
    assert_eq!(root.get(AT).await.status, StatusCode::OK);
}

/// A scan that fails.
struct BrokenScan;

impl Intercept for BrokenScan {
    fn intercept<'a>(&'a self, _: Operation, work: Work<'a>) -> Work<'a> {
        work
    }

    fn capabilities<'a>(&'a self, offered: Capabilities<'a>) -> Capabilities<'a> {
        offered.with_scan(self)
    }
}

impl Scan for BrokenScan {
    fn scan<'a>(
        &'a self,
        _: Option<&'a ScanCursor>,
        _: usize,
    ) -> BoxFuture<'a, Result<ScanPage, Error>> {
        let error = Error::new(ErrorKind::Unavailable, "<planned> fault");
        Box::pin(async { Err(error) })
    }
}

#[tokio::test]
async fn a_store_that_cannot_be_read_through_at_present_is_a_page_too() {
    let site = Site::over(InterceptedStore::with(MapStore::default(), BrokenScan));
    let mut root = site.root().await;
    for path in ["", "?subject=ada"] {
        let page = root.get(&format!("{AT}{path}")).await;
        assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        for said in ["nothing was changed", "&lt;planned&gt; fault"] {
            assert!(page.text.contains(said), "{path}: {}", page.text);
        }
    }
}

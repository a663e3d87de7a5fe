//! A link on another site: the browser does not refresh for it, and says nothing of that.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod browser;

use browser::{Browser, Site};
use cloakroom_dbsc::Dbsc;
use cloakroom_web::{DeviceHints, DeviceProof};

const LINK: DeviceHints<'_> = DeviceHints {
    method: "GET",
    query: Some("id=1"),
    skipped: None,
    fetch_site: Some(b"cross-site"),
    fetch_mode: Some(b"navigate"),
    fetch_dest: Some(b"document"),
};

#[tokio::test]
async fn who_follows_a_link_from_another_site_stays_logged_in_and_is_asked_to_prove_the_device() {
    for (dbsc, goes_on) in [
        (Dbsc::observe(), true),
        (Dbsc::prefer(), true),
        (Dbsc::require(), false),
    ] {
        let site = Site::new(dbsc);
        let mut browser = Browser::new(&site);
        browser.bind("ada").await;
        let proven = browser.page_hinting(LINK, async |_| {}).await;
        assert_eq!((proven.proof, proven.reload), (DeviceProof::Proven, None));
        site.wait(600);
        browser.drop_bound_cookie();
        for fetch_site in [&b"cross-site"[..], b"same-site"] {
            let link = DeviceHints {
                fetch_site: Some(fetch_site),
                ..LINK
            };
            let mut who = None;
            let answer = browser.page_hinting(link, async |session| who = session.subject());
            let answer = answer.await;
            assert_eq!(who.is_some(), goes_on);
            assert_eq!(
                answer.proof,
                DeviceProof::Unproven,
                "no `Bound` page goes by it"
            );
            let reload = answer.reload.expect("and such a page asks again");
            assert!(reload.contains(&("refresh".to_owned(), "0;url=?id=1".to_owned())));
            assert!(reload.contains(&("cache-control".to_owned(), "no-store".to_owned())));
        }
    }
}

/// Nor is anything else that another site can bring about, or that comes from this one: what
/// asks again by itself comes from this site, so it does so once.
#[tokio::test]
async fn nothing_else_is_taken_for_a_link_from_another_site() {
    let site = Site::new(Dbsc::prefer());
    let mut browser = Browser::new(&site);
    browser.bind("ada").await;
    browser.drop_bound_cookie();
    for (what, hints) in [
        ("nothing is said", DeviceHints::default()),
        (
            "a form",
            DeviceHints {
                method: "POST",
                ..LINK
            },
        ),
        (
            "HEAD",
            DeviceHints {
                method: "HEAD",
                ..LINK
            },
        ),
        (
            "a frame",
            DeviceHints {
                fetch_dest: Some(b"iframe"),
                ..LINK
            },
        ),
        (
            "a script",
            DeviceHints {
                fetch_mode: Some(b"cors"),
                ..LINK
            },
        ),
        (
            "its own",
            DeviceHints {
                fetch_site: Some(b"same-origin"),
                ..LINK
            },
        ),
        (
            "typed",
            DeviceHints {
                fetch_site: Some(b"none"),
                ..LINK
            },
        ),
        (
            "no site",
            DeviceHints {
                fetch_site: None,
                ..LINK
            },
        ),
    ] {
        let mut who = None;
        let answer = browser.page_hinting(hints, async |session| who = session.subject());
        assert_eq!(answer.await.reload, None, "{what}");
        assert_eq!(who, None, "{what}");
    }
    // A session that is bound to none is not made to ask again either.
    let mut unbound = Browser::new(&site);
    unbound.log_in("bob").await;
    unbound.drop_bound_cookie();
    assert_eq!(unbound.page_hinting(LINK, async |_| {}).await.reload, None);
}

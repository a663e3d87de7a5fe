//! What the pages show, and what their forms end.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod common;

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use cloakroom::engine::SESSIONS_LISTED_MAX;
use cloakroom::store::{KeyDigest, Record, Stored};
use cloakroom::stores::Cached;
use cloakroom::{AnyStore, Subject, SweepReport};
use cloakroom_admin::SCAN_ITEMS_MAX;
use cloakroom_testkit::{ManualClock, MapStore};
use common::{AT, NOON, Site};

async fn id_of(site: &Site, name: &str, device: &str) -> KeyDigest {
    let infos = site
        .engine
        .sessions_of(&Subject::new(name).unwrap())
        .await
        .unwrap();
    let mut of_device = infos.into_iter().filter(|info| {
        info.label
            .as_ref()
            .is_some_and(|label| label.as_str() == device)
    });
    of_device.next().unwrap().id
}

#[tokio::test]
async fn one_session_ends_with_its_note_and_no_other() {
    let site = Site::over(MapStore::default());
    let [mut phone, mut laptop] = [
        site.log_in("ada", "phone").await,
        site.log_in("ada", "laptop").await,
    ];
    let mut bob = site.log_in("bob", "tablet").await;
    let mut root = site.root().await;
    let page = root.get(&format!("{AT}?subject=ada")).await;
    let id = id_of(&site, "ada", "phone").await;
    for shown in [
        "2 live sessions",
        "phone",
        "laptop",
        &id.short(),
        "2026-03-01 12:00:00 UTC",
    ] {
        assert!(page.text.contains(shown), "{shown}: {}", page.text);
    }
    assert!(!page.text.contains("tablet"));

    let note = "your phone was found; come & fetch it";
    let fields = [
        ("do", "one"),
        ("subject", "ada"),
        ("session", &id.to_hex()),
        ("note", note),
    ];
    // An id of somebody else's session ends nothing.
    let mut theirs = fields;
    theirs[1].1 = "bob";
    let page = root.form(&theirs).await;
    assert_eq!(page.header("location"), "?subject=bob&done=none");

    let page = root.form(&fields).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.text);
    let location = format!("{AT}{}", page.header("location"));
    let page = root.get(&location).await;
    for shown in [
        "That session has ended.",
        "1 live session.",
        "Ended by an administrator",
        "your phone was found; come &amp; fetch it",
    ] {
        assert!(page.text.contains(shown), "{shown}: {}", page.text);
    }
    assert_eq!(phone.why().await, format!("ended_by_administrator:{note}"));
    assert_eq!(laptop.why().await, "logged in");
    assert_eq!(bob.why().await, "logged in");
    assert_eq!(
        root.form(&fields).await.header("location"),
        "?subject=ada&done=none"
    );
}

#[tokio::test]
async fn all_of_a_user_end_and_nobody_elses() {
    let site = Site::over(MapStore::default());
    let odd = "a%2Fd%20a";
    let [mut phone, mut laptop] = [
        site.log_in(odd, "phone").await,
        site.log_in(odd, "laptop").await,
    ];
    let mut bob = site.log_in("bob", "tablet").await;
    let mut root = site.root().await;
    let page = root
        .form(&[("do", "all"), ("subject", "a/d a"), ("note", " \n")])
        .await;
    let page = root.get(&format!("{AT}{}", page.header("location"))).await;
    for shown in [
        "a/d a",
        "All sessions of this user",
        "not logged in anywhere",
        "all_ended",
    ] {
        assert!(page.text.contains(shown), "{shown}: {}", page.text);
    }
    assert!(
        !page.text.contains("End all sessions"),
        "there is none to end"
    );
    for browser in [&mut phone, &mut laptop] {
        assert_eq!(browser.why().await, "all_ended:");
    }
    assert_eq!(bob.why().await, "logged in");
}

#[tokio::test]
async fn everybodys_session_ends_where_it_is_typed_and_not_before() {
    let site = Site::over(MapStore::default());
    let mut ada = site.log_in("ada", "phone").await;
    let mut root = site.root().await;
    for typed in ["", "yes", "End Everybody", "end everybody!"] {
        let page = root
            .form(&[("do", "everybody"), ("confirmation", typed)])
            .await;
        assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY, "{typed}");
        assert!(
            page.text.contains("Nothing was done: what you typed"),
            "{}",
            page.text
        );
        assert!(page.text.contains("<details open>"));
    }
    let page = root.form(&[("do", "everybody")]).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(ada.why().await, "logged in");
    let page = root
        .form(&[("do", "everybody"), ("confirmation", " end everybody ")])
        .await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text);
    assert!(
        page.text.contains("2 sessions of this site ended."),
        "{}",
        page.text
    );
    assert_eq!(ada.why().await, "all_ended:");
    assert_eq!(root.get(AT).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn an_administrator_who_ends_their_own_session_is_out() {
    let site = Site::over(MapStore::default());
    let mut root = site.root().await;
    let page = root.form(&[("do", "all"), ("subject", "root")]).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.text);
    assert_eq!(root.get(AT).await.status, StatusCode::FORBIDDEN);
    assert_eq!(root.why().await, "nobody", "the page before has told them");
}

#[tokio::test]
async fn what_people_have_written_is_shown_as_text() {
    let site = Site::over(MapStore::default());
    let hostile = "%22%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E";
    let mut visitor = site.log_in(hostile, hostile).await;
    let mut root = site.root().await;
    let text = "\"><script>alert(1)</script>";
    let escaped = "&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;";
    let page = root.get(&format!("{AT}?subject={hostile}")).await;
    assert_eq!(page.text.matches(escaped).count(), 4, "{}", page.text);
    let fields = [("do", "all"), ("subject", text), ("note", text)];
    let answer = root.form(&fields).await;
    let pages = [
        page,
        root.get(&format!("{AT}{}", answer.header("location")))
            .await,
        root.get(AT).await,
        root.form(&[("do", "everybody"), ("confirmation", text)])
            .await,
    ];
    for page in pages {
        assert!(!page.text.contains("<script"), "{}", page.text);
        assert!(page.text.contains("Administrator: <bdi>&lt;root&gt;</bdi>"));
        assert!(page.text.contains(escaped), "{}", page.text);
    }
    assert_eq!(visitor.why().await, format!("all_ended:{text}"));
}

#[tokio::test]
async fn no_page_holds_a_key_a_token_or_a_value() {
    let site = Site::over(MapStore::default());
    let ada = site.log_in("ada", "phone").await;
    let mut gone = site.log_in("ada", "laptop").await;
    let mut root = site.root().await;
    let id = id_of(&site, "ada", "laptop").await;
    root.form(&[("do", "one"), ("subject", "ada"), ("session", &id.to_hex())])
        .await;
    gone.why().await;
    for path in ["", "?subject=ada", "?subject=root"] {
        let page = root.get(&format!("{AT}{path}")).await;
        for cookie in [&ada.cookie, &root.cookie] {
            assert!(!page.text.contains(cookie.as_ref().unwrap()), "{path}");
        }
        assert!(!page.text.contains("a-value-of-the-session"), "{path}");
        // What has ended is named by 8 characters, and so is what lives, outside its form.
        assert!(!page.text.contains(&id.to_hex()), "{path}");
        let forms = page.text.matches(r#"name="session" value=""#).count();
        let mut digests = 0;
        for (at, _) in page.text.match_indices(r#"value=""#) {
            let value = page.text[at + 7..].split('"').next().unwrap();
            digests += usize::from(KeyDigest::from_hex(value).is_some() && value != root.token);
        }
        assert_eq!(digests, forms, "{path}");
    }
}

#[tokio::test]
async fn the_first_page_counts_why_sessions_ended_and_what_the_store_holds() {
    let store = Cached::with_staleness_max(MapStore::default(), Duration::from_secs(5));
    let mut report = SweepReport::default();
    report.passes = 3;
    report.removed = 1_234;
    report.last_pass_at = Some(cloakroom::Timestamp::from_millis(NOON));
    let site = Site::with(store, |page| page.sweep_reports(move || report.clone()));
    for name in ["ada", "bob", "cyd"] {
        site.log_in(name, "phone").await;
    }
    let end = async |name: &str| {
        let subject = Subject::new(name).unwrap();
        site.engine.end_sessions_of(&subject).await.unwrap();
    };
    end("ada").await;
    site.clock.advance(Duration::from_secs(2 * 60 * 60));
    end("bob").await;
    let mut root = site.root().await;
    let page = root.get(AT).await;
    for shown in [
        r#"<code>all_ended</code></th><td class="number">1</td><td class="number">2</td>"#,
        "2; 2 of them logged in",
        "0 sessions expired or of another site, 0 rotation marks, 2 tombstones",
        "<code>Cached&lt;MapStore&gt;</code>",
        "for up to 5 seconds",
        "1,234",
        "2026-03-01 12:00:00 UTC",
        "Answered from memory",
    ] {
        assert!(page.text.contains(shown), "{shown}: {}", page.text);
    }
    let (bob, ada) = (
        page.text.find("2026-03-01 14:"),
        page.text.find("2026-03-01 12:00:03"),
    );
    assert!(bob < ada, "the latest first: {}", page.text);
    site.clock.advance(Duration::from_secs(23 * 60 * 60));
    let page = root.get(AT).await;
    assert!(
        page.text.contains("1 tombstone<"),
        "for a day: {}",
        page.text
    );
}

#[tokio::test]
async fn a_store_that_cannot_tell_says_so_instead_of_nothing() {
    use cloakroom::cookie::{CookieStore, KeyRing};
    use cloakroom::engine::OsEntropy;
    let ring = KeyRing::generate(&OsEntropy).unwrap();
    let clock = ManualClock::at(cloakroom::Timestamp::from_millis(NOON));
    let cookie = CookieStore::builder("session", &ring).clock(Arc::new(clock));
    let cookie = cookie.build().unwrap();
    let site = Site::over(AnyStore::new(cookie));
    let _ada = site.log_in("ada", "phone").await;
    let mut root = site.root().await;
    let page = root.get(AT).await;
    for shown in [
        "This store cannot be read through",
        "in the visitors’ cookies; nothing ends one before its deadline",
        "unknown: it cannot be read through",
        "put a new secret into the key file",
    ] {
        assert!(page.text.contains(shown), "{shown}: {}", page.text);
    }
    assert!(!page.text.contains("Type “"), "{}", page.text);
    let page = root.get(&format!("{AT}?subject=ada")).await;
    assert!(
        page.text.contains("This store keeps no list"),
        "{}",
        page.text
    );
    assert!(!page.text.contains("<button>End"), "{}", page.text);
}

#[tokio::test]
async fn a_form_that_makes_no_sense_does_nothing_and_says_why() {
    let site = Site::over(MapStore::default());
    let mut ada = site.log_in("ada", "phone").await;
    let mut root = site.root().await;
    let long = "ä".repeat(129);
    let huge = "x".repeat(20_000);
    for (fields, status, said) in [
        (
            vec![("do", "one"), ("subject", "ada")],
            422,
            "which session",
        ),
        (
            vec![("do", "one"), ("subject", "ada"), ("session", "ab")],
            422,
            "which session",
        ),
        (vec![("do", "all")], 422, "whose session"),
        (vec![("do", "all"), ("subject", &long)], 422, "256 bytes"),
        (
            vec![("do", "all"), ("subject", "ada"), ("note", &long)],
            422,
            "256 bytes",
        ),
        (
            vec![("do", "sing"), ("subject", "ada")],
            422,
            "no form of these pages",
        ),
        (vec![("subject", "ada")], 422, "no form of these pages"),
        (
            vec![("do", "all"), ("subject", "ada"), ("note", &huge)],
            413,
            "nothing was done",
        ),
    ] {
        let page = root.form(&fields).await;
        assert_eq!(page.status.as_u16(), status, "{fields:?}");
        assert!(page.text.contains(said), "{said}: {}", page.text);
        assert!(page.text.contains("<title>Error: "), "{}", page.text);
    }
    let page = root.get(&format!("{AT}?subject={}", "x".repeat(257))).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(ada.why().await, "logged in");
}

#[tokio::test]
async fn of_more_sessions_than_are_listed_none_are_said_to_be_the_latest() {
    let map = Arc::new(MapStore::default());
    let site = Site::over(map.clone());
    let [began, until] = [NOON, NOON + 3_600_000].map(cloakroom::Timestamp::from_millis);
    let mut record = Record::new(began, until);
    record.site = cloakroom::Site::new("session").unwrap();
    record.subject = Some(Subject::new("ada").unwrap());
    let plant = |number: usize| {
        let mut bytes = [7; 32];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        map.plant(KeyDigest::from_bytes(bytes), Stored::Record(record.clone()));
    };
    (1..SESSIONS_LISTED_MAX).for_each(plant);
    let mut root = site.root().await;
    let page = root.get(&format!("{AT}?subject=ada")).await;
    assert!(page.text.contains("999 live sessions."), "{}", page.text);
    assert!(page.text.contains("These were used last"), "{}", page.text);
    (SESSIONS_LISTED_MAX..=SESSIONS_LISTED_MAX + 1).for_each(plant);
    let page = root.get(&format!("{AT}?subject=ada")).await;
    assert!(page.text.contains("1,000 live sessions or more"));
    assert!(page.text.contains("These are some of them"));
    assert!(!page.text.contains("These were used last"));
}

#[tokio::test]
async fn a_store_that_holds_more_than_a_page_reads_is_not_read_to_its_end() {
    let map = Arc::new(MapStore::default());
    let site = Site::over(map.clone());
    let until = cloakroom::Timestamp::from_millis(NOON + 1_000);
    let to = KeyDigest::from_bytes([0; 32]);
    for number in 0..=SCAN_ITEMS_MAX {
        let mut bytes = [7; 32];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        map.plant(KeyDigest::from_bytes(bytes), Stored::Rotated { to, until });
    }
    let mut root = site.root().await;
    let page = root.get(AT).await;
    for shown in ["holds more than was read for this page", "at least "] {
        assert!(page.text.contains(shown), "{shown}: {}", page.text);
    }
    assert!(
        !page.text.contains("20,001 rotation marks"),
        "{}",
        page.text
    );
}

//! A cookie policy that replaces others: nobody is logged out by it.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

use std::sync::Arc;

use cloakroom_core::{ErrorKind, Site};
use cloakroom_testkit::MapStore;
use cloakroom_web::{CookiePolicy, Engine, Exchange, Prefix};

fn former() -> CookiePolicy {
    let former = CookiePolicy::builder().prefix(Prefix::None).name("sid");
    former.path("/shop").partitioned().build().unwrap()
}

fn site() -> Site {
    Site::new("sid").unwrap()
}

/// The engine before the change and the one after it, over one store.
fn engines() -> [Engine; 2] {
    let store = Arc::new(MapStore::default());
    let engine = |policy| {
        let builder = Engine::builder(store.clone()).cookie(policy).site(site());
        let builder = builder.touch_share_percent(0);
        builder.build().unwrap()
    };
    [former(), CookiePolicy::default().replaces(former())].map(engine)
}

async fn request(engine: &Engine, cookies: &str, dest: Option<&[u8]>) -> Exchange {
    let exchange = engine.exchange();
    exchange.note_fetch_dest(dest);
    let cookies = [cookies.as_bytes()].into_iter();
    exchange.open(cookies).await.unwrap();
    exchange
}

async fn set(exchange: &Exchange) -> Vec<String> {
    let closing = exchange.close(200).await;
    assert!(closing.failure.is_none(), "{:?}", closing.failure);
    let headers = closing.token_headers().iter();
    headers.map(|header| header.value().to_owned()).collect()
}

fn number(exchange: &Exchange) -> Option<u64> {
    exchange.session().unwrap().get("n").unwrap()
}

/// The cookie of a session that began before the change.
async fn begun(engine: &Engine) -> String {
    let exchange = request(engine, "", None).await;
    exchange.session().unwrap().insert("n", 1).unwrap();
    let set = set(&exchange).await;
    set[0].split(';').next().unwrap().to_owned()
}

const REMOVED: &str = "sid=; Path=/shop; Max-Age=0; Secure; HttpOnly; SameSite=Lax; Partitioned";

#[tokio::test]
async fn a_former_cookie_opens_its_session_and_gives_way_to_the_present_one() {
    let [before, after] = engines();
    let old = begun(&before).await;
    let page = request(&after, &old, Some(b"document")).await;
    assert_eq!(number(&page), Some(1));
    let headers = set(&page).await;
    let [present, removal] = &headers[..] else {
        panic!("{headers:?}");
    };
    let token = old.strip_prefix("sid=").unwrap();
    assert!(present.starts_with(&format!("__Host-session={token}; Path=/; ")));
    assert_eq!(removal, REMOVED);
    // It opens the same session, and is set once.
    let cookie = present.split(';').next().unwrap();
    let next = request(&after, cookie, Some(b"document")).await;
    assert_eq!(number(&next), Some(1));
    assert!(set(&next).await.is_empty());
}

/// It may arrive after the answer to a login.
#[tokio::test]
async fn the_answer_to_a_script_moves_no_cookie() {
    let [before, after] = engines();
    let old = begun(&before).await;
    let poll = request(&after, &old, Some(b"empty")).await;
    assert_eq!(number(&poll), Some(1));
    assert!(set(&poll).await.is_empty());
}

#[tokio::test]
async fn a_login_and_a_logout_remove_the_former_cookie_too() {
    let [before, after] = engines();
    let old = begun(&before).await;
    let login = request(&after, &old, Some(b"empty")).await;
    let session = login.session().unwrap();
    session.cycle_key().unwrap();
    let headers = set(&login).await;
    assert_eq!(headers.len(), 2, "{headers:?}");
    assert!(!headers[0].contains(old.strip_prefix("sid=").unwrap()));
    assert_eq!(headers[1], REMOVED);

    // Both are held, and both sessions end.
    let new = headers[0].split(';').next().unwrap().to_owned();
    let other = begun(&before).await;
    let logout = request(&after, &format!("{other}; {new}"), None).await;
    logout.session().unwrap().flush().unwrap();
    let headers = set(&logout).await;
    assert!(headers[0].starts_with("__Host-session=; "), "{headers:?}");
    assert_eq!(headers[1..], [REMOVED]);
    for cookie in [&new, &other] {
        assert_eq!(number(&request(&after, cookie, None).await), None);
    }
}

#[tokio::test]
async fn a_former_cookie_that_opens_nothing_is_removed_and_a_present_one_wins() {
    let [before, after] = engines();
    let dead = begun(&before).await;
    let ended = request(&before, &dead, None).await;
    ended.session().unwrap().flush().unwrap();
    set(&ended).await;
    let page = request(&after, &dead, Some(b"document")).await;
    assert_eq!(number(&page), None);
    assert_eq!(set(&page).await.last().unwrap(), REMOVED);

    let new = begun(&after).await;
    let page = request(&after, &format!("{dead}; {new}"), Some(b"document")).await;
    assert_eq!(number(&page), Some(1));
    assert!(set(&page).await.is_empty());
}

#[test]
fn a_change_that_would_log_everybody_out_or_cannot_be_told_is_refused() {
    let build = |policy: CookiePolicy, site: Option<Site>| {
        let mut builder = Engine::builder(MapStore::default()).cookie(policy);
        if let Some(site) = site {
            builder = builder.site(site);
        }
        builder.build().map(drop)
    };
    let present = || CookiePolicy::default().replaces(former());
    assert!(build(present(), Some(site())).is_ok());
    let same_name = CookiePolicy::builder().prefix(Prefix::None).name("sid");
    let same_name = same_name.build().unwrap().replaces(former());
    for (policy, site, says) in [
        (present(), None, "`site` the name of the former cookie"),
        (same_name, Some(site()), "another name"),
    ] {
        let error = build(policy, site).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
        assert!(error.to_string().contains(says), "{error}");
    }
}

/// Its answer may arrive after the login's.
#[tokio::test]
async fn a_page_whose_session_was_moved_meanwhile_sets_no_cookie() {
    let [before, after] = engines();
    for change in [false, true] {
        let old = begun(&before).await;
        let slow = request(&after, &old, Some(b"document")).await;
        let other = request(&after, &old, Some(b"document")).await;
        other.session().unwrap().cycle_key().unwrap();
        assert_eq!(set(&other).await.len(), 2);
        std::thread::sleep(std::time::Duration::from_millis(5));
        let session = slow.session().unwrap();
        match change {
            true => session.insert("late", 1).unwrap(),
            // A touch is due by then, and finds the mark.
            false => assert_eq!(session.get::<u64>("n").unwrap(), Some(1)),
        }
        assert_eq!(set(&slow).await, Vec::<String>::new(), "change: {change}");
    }
}

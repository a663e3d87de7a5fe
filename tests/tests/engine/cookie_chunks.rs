//! Sessions of the cookie store that take several cookies, over real HTTP.

use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use cloakroom::axum::{Session, SessionError, SessionLayer};
use cloakroom::cookie::{CookieStore, KeyRing};
use cloakroom::engine::OsEntropy;
use cloakroom::{CookiePolicy, Engine, ErrorKind};
use cloakroom_tests::in_process::{COOKIE, headers};
use cloakroom_tests::{Browser, Reply, Site};

/// No two parts of it are alike.
fn text(bytes: u32) -> String {
    let letter = |at: u32| b'a' + u8::try_from((at * at / 7 + at * 31) % 26).unwrap();
    (0..bytes).map(|at| char::from(letter(at))).collect()
}

async fn write(session: Session, Path(bytes): Path<u32>) -> Result<(), SessionError> {
    session.insert("text", text(bytes))?;
    Ok(())
}

async fn read(session: Session) -> Result<String, SessionError> {
    let kept: Option<String> = session.get("text")?;
    Ok(match kept {
        None => "fresh".to_owned(),
        Some(kept) => {
            assert_eq!(kept, text(u32::try_from(kept.len()).unwrap()));
            kept.len().to_string()
        }
    })
}

async fn logout(session: Session) -> Result<(), SessionError> {
    session.flush()?;
    Ok(())
}

fn policy(chunks_max: usize) -> CookiePolicy {
    let builder = CookiePolicy::builder().chunks_max(chunks_max);
    builder.build().unwrap()
}

/// A site in each mode.
async fn sites() -> [Site; 2] {
    let ring = KeyRing::generate(&OsEntropy).unwrap();
    let serve = async |signed: bool| {
        let policy = policy(4);
        let mut store = CookieStore::builder(policy.name(), &ring);
        if signed {
            store = store.signed();
        }
        let engine = Engine::builder(store.build().unwrap()).cookie(policy);
        let router = Router::new()
            .route("/write/{bytes}", get(write))
            .route("/read", get(read))
            .route("/logout", get(logout))
            .layer(SessionLayer::new(engine.build().unwrap()));
        Site::serve(router).await
    };
    [serve(false).await, serve(true).await]
}

/// The cookies of the jar, by what their names say beside the policy's.
fn jar(browser: &Browser) -> Vec<String> {
    let cookies = browser.cookies().unwrap_or_default();
    let pairs = cookies.split("; ").filter(|pair| !pair.is_empty());
    let suffixes = pairs.map(|pair| {
        let (name, _) = pair.split_once('=').unwrap();
        name.strip_prefix(COOKIE).unwrap().to_owned()
    });
    suffixes.collect()
}

async fn ok(browser: &Browser, path: &str) -> Reply {
    let reply = browser.get(path).await;
    assert_eq!(reply.status, 200, "{path}: {}", reply.body);
    for line in reply.header("set-cookie") {
        assert!(line.len() <= 4_096, "{}", line.len());
    }
    reply
}

/// Sizes of the session, and the cookies that it takes.
const SIZES: [(u32, &[&str]); 4] = [
    (100, &[""]),
    (4_500, &[".1", ".2"]),
    (8_000, &[".1", ".2", ".3"]),
    (11_000, &[".1", ".2", ".3", ".4"]),
];

#[tokio::test]
async fn a_session_grows_and_shrinks_through_its_cookies_and_a_logout_removes_them_all() {
    for site in sites().await {
        let browser = site.browser();
        for (_, before) in SIZES.into_iter().zip(0..) {
            for (bytes, cookies) in SIZES {
                ok(&browser, &format!("/write/{}", SIZES[before].0)).await;
                assert_eq!(jar(&browser), SIZES[before].1);
                ok(&browser, &format!("/write/{bytes}")).await;
                assert_eq!(jar(&browser), cookies, "from {before}");
                assert_eq!(ok(&browser, "/read").await.body, bytes.to_string());
            }
        }
        for (bytes, _) in SIZES {
            ok(&browser, &format!("/write/{bytes}")).await;
            ok(&browser, "/logout").await;
            assert_eq!(browser.cookies(), None);
            assert_eq!(ok(&browser, "/read").await.body, "fresh");
        }
    }
}

#[tokio::test]
async fn a_session_that_four_cookies_do_not_hold_is_an_error_before_it_is_sent() {
    for site in sites().await {
        let browser = site.browser();
        ok(&browser, "/write/8000").await;
        let reply = browser.get("/write/12000").await;
        assert_eq!((reply.status, reply.header("set-cookie")), (500, vec![]));
        assert_eq!(ok(&browser, "/read").await.body, "8000");
    }
}

#[tokio::test]
async fn a_damaged_chunk_is_a_fresh_session_and_never_an_error_page() {
    for site in sites().await {
        let good = site.browser();
        ok(&good, "/write/8000").await;
        let newer = good.copy();
        ok(&newer, "/write/7999").await;
        assert_eq!((jar(&good).len(), jar(&newer).len()), (3, 3));

        let fresh = async |why: &str, browser: Browser| {
            assert_eq!(ok(&browser, "/read").await.body, "fresh", "{why}");
            assert_eq!(browser.cookies(), None, "{why}: all removed");
            ok(&browser, "/write/10").await;
            assert_eq!(ok(&browser, "/read").await.body, "10", "{why}");
        };
        let name = |at: usize| format!("{COOKIE}.{at}");
        for at in 1..=3 {
            let value = good.cookie(&name(at)).unwrap();
            for index in [0, 1, 2, 9, 10, 11, 12, value.len() / 2, value.len() - 1] {
                let mut flipped = value.clone().into_bytes();
                flipped[index] = if flipped[index] == b'A' { b'B' } else { b'A' };
                let browser = good.copy();
                browser.plant(&name(at), std::str::from_utf8(&flipped).unwrap());
                fresh("a flipped character", browser).await;
            }
            let browser = good.copy();
            browser.keep(&format!("{}=; Max-Age=0", name(at)));
            fresh("missing", browser).await;
            let browser = good.copy();
            browser.plant(&name(at), &value[..value.len() - 1]);
            fresh("cut", browser).await;
            let browser = good.copy();
            browser.plant(&name(at), &newer.cookie(&name(at)).unwrap());
            fresh("of another generation", browser).await;
            let next = at % 3 + 1;
            let browser = good.copy();
            browser.plant(&name(at), &good.cookie(&name(next)).unwrap());
            browser.plant(&name(next), &value);
            fresh("swapped", browser).await;
        }
        assert_eq!(ok(&good, "/read").await.body, "8000");
        assert_eq!(ok(&newer, "/read").await.body, "7999");
    }
}

/// As with one cookie: of two replies that set it, the later counts. Never a
/// mixture, whatever each of them knew of the other.
#[tokio::test]
async fn of_two_overlapping_replies_the_later_one_counts() {
    for site in sites().await {
        let browser = site.browser();
        for (start, _) in SIZES {
            for (one, _) in SIZES {
                for (other, _) in SIZES {
                    ok(&browser, &format!("/write/{start}")).await;
                    let one = ok(&browser.copy(), &format!("/write/{}", one + 1)).await;
                    let path = format!("/write/{}", other + 2);
                    let other_reply = ok(&browser.copy(), &path).await;
                    for reply in [one, other_reply] {
                        for line in reply.header("set-cookie") {
                            browser.keep(line);
                        }
                    }
                    let kept = ok(&browser, "/read").await.body;
                    assert_eq!(kept, (other + 2).to_string(), "from {start}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_logout_whose_reply_comes_last_leaves_nothing_that_opens() {
    for site in sites().await {
        for (start, _) in SIZES {
            for (grown, _) in SIZES {
                let browser = site.browser();
                ok(&browser, &format!("/write/{start}")).await;
                let write = ok(&browser.copy(), &format!("/write/{}", grown + 1)).await;
                let logout = ok(&browser.copy(), "/logout").await;
                for line in [write.header("set-cookie"), logout.header("set-cookie")].concat() {
                    browser.keep(line);
                }
                let kept = ok(&browser, "/read").await.body;
                assert_eq!(kept, "fresh", "from {start}, {grown}");
            }
        }
    }
}

/// A reply that sets nothing removes nothing either: what looks stale to it may
/// be what a parallel one has just set.
#[tokio::test]
async fn stale_chunks_go_with_the_next_reply_that_sets_the_cookie() {
    for site in sites().await {
        let older = site.browser();
        ok(&older, "/write/11000").await;
        for (bytes, cookies) in &SIZES[..3] {
            let browser = older.copy();
            ok(&browser, &format!("/write/{bytes}")).await;
            let stale = older.cookie(&format!("{COOKIE}.4")).unwrap();
            browser.plant(&format!("{COOKIE}.4"), &stale);
            let reply = ok(&browser, "/read").await;
            assert_eq!(reply.body, bytes.to_string());
            assert_eq!(reply.header("set-cookie"), Vec::<&str>::new());
            ok(&browser, &format!("/write/{}", bytes + 1)).await;
            assert_eq!(jar(&browser), *cookies);
        }
    }
}

/// The size is configured once, in the policy; the engine measures each token by it.
#[tokio::test]
async fn a_session_longer_than_its_policy_carries_is_a_typed_error_that_says_what_to_do() {
    let ring = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&ring, "11".repeat(32)).unwrap();
    let url = format!("cookie:?key_file={}", ring.path().display());
    for chunks in 1..=4 {
        let store = cloakroom::open(&url).await.unwrap();
        let engine = Engine::builder(store).cookie(policy(chunks)).build();
        let engine = engine.unwrap();
        let (mut most, mut refused) = (0, 0);
        for bytes in (1_000..13_000).step_by(250) {
            let exchange = engine.exchange();
            let session = exchange.open(std::iter::empty()).await.unwrap();
            session.insert("text", text(bytes)).unwrap();
            // Early, and at the end of the request.
            let early = session.save().await;
            let closing = exchange.close(200).await;
            let cookies = headers(&closing, "set-cookie");
            match closing.failure {
                None => most = cookies.len(),
                Some(error) => {
                    refused += 1;
                    assert_eq!(early.unwrap_err().kind(), ErrorKind::TooLarge);
                    assert_eq!(error.kind(), ErrorKind::TooLarge);
                    let said = error.to_string();
                    let limit = format!("chunks_max is {chunks}");
                    let names_it = said.contains(&limit) || said.contains("TOKEN_BYTES_MAX");
                    assert!(names_it, "{said}");
                    assert!(cookies.is_empty(), "nothing is sent");
                }
            }
        }
        // Beside chunks goes the removal of the whole cookie.
        assert_eq!(most, if chunks == 1 { 1 } else { chunks + 1 });
        assert!(refused > 0, "the longest is more than {chunks} cookies");
    }
}

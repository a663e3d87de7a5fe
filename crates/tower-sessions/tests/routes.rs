//! What tower-sessions' own tests ask of each store, through its layer: thirteen
//! situations, over our stores and both versions.

#![cfg(all(feature = "v0_14", feature = "v0_15"))]
#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod common;

/// An attribute of a `Set-Cookie`; empty for one without a value.
fn attribute<'a>(set_cookie: &'a str, name: &str) -> Option<&'a str> {
    let parts = set_cookie.split(';').map(str::trim);
    parts.skip(1).find_map(|part| {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        key.eq_ignore_ascii_case(name).then_some(value)
    })
}

/// The lifetime of a cookie, in seconds.
fn max_age(set_cookie: &str) -> Option<i64> {
    Some(attribute(set_cookie, "Max-Age")?.parse().unwrap())
}

/// Some seconds may pass in a test.
fn is_about(seconds: Option<i64>, expected: i64) -> bool {
    seconds.is_some_and(|seconds| (expected - 5..=expected).contains(&seconds))
}

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;
const UNKNOWN: &str = "id=AAAAAAAAAAAAAAAAAAAAAA";

macro_rules! routes {
    ($module:ident, $tower_sessions:ident, $open:path) => {
        mod $module {
            use axum::Router;
            use axum::http::StatusCode;
            use axum::routing::get;
            use time::{Duration, OffsetDateTime};
            use $tower_sessions::{Expiry, Session, SessionManagerLayer};

            use super::common::Browser;
            use super::{DAY, HOUR, UNKNOWN, attribute, is_about, max_age};

            fn routes() -> Router {
                Router::new()
                    .route("/", get(async |_: Session| "hello"))
                    .route(
                        "/insert",
                        get(async |session: Session| session.insert("n", 42).await.unwrap()),
                    )
                    .route(
                        "/get",
                        get(async |session: Session| {
                            format!("{:?}", session.get::<usize>("n").await.unwrap())
                        }),
                    )
                    .route(
                        "/remove",
                        get(async |session: Session| {
                            session.remove::<usize>("n").await.unwrap();
                        }),
                    )
                    .route(
                        "/cycle",
                        get(async |session: Session| session.cycle_id().await.unwrap()),
                    )
                    .route(
                        "/flush",
                        get(async |session: Session| session.flush().await.unwrap()),
                    )
                    .route(
                        "/a_day",
                        get(async |session: Session| {
                            let day = OffsetDateTime::now_utc() + Duration::days(1);
                            session.set_expiry(Some(Expiry::AtDateTime(day)));
                        }),
                    )
                    .route(
                        "/with_the_browser",
                        get(async |session: Session| {
                            session.set_expiry(Some(Expiry::OnSessionEnd));
                        }),
                    )
            }

            macro_rules! browser {
                ($layer:ident => $changed:expr) => {{
                    let Some(opened) = $open().await else { return };
                    let $layer = SessionManagerLayer::new(opened.store.clone());
                    (Browser::new(routes().layer($changed)), opened)
                }};
            }

            macro_rules! an_hour {
                () => {
                    browser!(layer => {
                        layer.with_expiry(Expiry::OnInactivity(Duration::seconds(HOUR)))
                    })
                };
            }

            #[tokio::test]
            async fn a_session_that_nobody_touches_sets_no_cookie() {
                let (mut browser, _opened) = an_hour!();
                assert_eq!(browser.get("/").await.set_cookie, None);
            }

            #[tokio::test]
            async fn an_unknown_id_is_replaced() {
                let (browser, _opened) = an_hour!();
                let mut browser = browser.with_cookie(Some(UNKNOWN.to_owned()));
                let page = browser.get("/insert").await;
                assert_eq!(page.status, StatusCode::OK);
                assert!(browser.cookie.is_some_and(|cookie| cookie != UNKNOWN));
            }

            #[tokio::test]
            async fn a_malformed_id_is_removed() {
                let (browser, _opened) = an_hour!();
                let mut browser = browser.with_cookie(Some("id=malformed".to_owned()));
                let page = browser.get("/").await;
                assert_eq!(page.status, StatusCode::OK);
                assert_eq!(browser.cookie, None);
                assert!(page.set_cookie.unwrap().starts_with("id=;"));
            }

            #[tokio::test]
            async fn a_new_session_sets_a_cookie_for_its_time() {
                let (mut browser, _opened) = an_hour!();
                let set = browser.get("/insert").await.set_cookie.unwrap();
                assert!(set.starts_with("id="), "{set}");
                assert!(is_about(max_age(&set), HOUR), "{set}");
                for (name, value) in [
                    ("HttpOnly", ""),
                    ("Secure", ""),
                    ("SameSite", "Strict"),
                    ("Path", "/"),
                ] {
                    assert_eq!(attribute(&set, name), Some(value), "{set}");
                }
            }

            #[tokio::test]
            async fn without_a_time_the_cookie_ends_with_the_browser() {
                let (mut browser, _opened) = browser!(layer => layer);
                let set = browser.get("/insert").await.set_cookie.unwrap();
                assert_eq!(attribute(&set, "Max-Age"), None, "{set}");
                assert_eq!(attribute(&set, "HttpOnly"), Some(""), "{set}");
            }

            #[tokio::test]
            async fn a_later_request_reads_what_was_inserted() {
                let (mut browser, _opened) = an_hour!();
                browser.get("/insert").await;
                let page = browser.get("/get").await;
                assert_eq!(page.status, StatusCode::OK);
                assert_eq!(page.text, "Some(42)");
            }

            #[tokio::test]
            async fn without_a_session_there_is_no_value() {
                let (mut browser, _opened) = an_hour!();
                assert_eq!(browser.get("/get").await.text, "None");
            }

            #[tokio::test]
            async fn the_last_value_can_be_removed() {
                let (mut browser, _opened) = an_hour!();
                browser.get("/insert").await;
                let first = browser.clone();
                browser.get("/remove").await;
                for mut browser in [first, browser] {
                    assert_eq!(browser.get("/get").await.text, "None");
                }
            }

            #[tokio::test]
            async fn a_rotated_session_has_another_id_and_its_values() {
                let (mut browser, _opened) = an_hour!();
                browser.get("/insert").await;
                let first = browser.clone();
                browser.get("/cycle").await;
                assert_ne!(browser.cookie, first.cookie);
                assert_eq!(browser.get("/get").await.text, "Some(42)");
                assert_eq!(first.answer("GET", "/get", "").await.text, "None");
            }

            #[tokio::test]
            async fn a_flushed_session_removes_its_cookie() {
                let (mut browser, _opened) = an_hour!();
                browser.get("/insert").await;
                let first = browser.clone();
                let set = browser.get("/flush").await.set_cookie.unwrap();
                assert!(set.starts_with("id=;"), "{set}");
                assert_eq!(max_age(&set), Some(0));
                assert_eq!(attribute(&set, "Path"), Some("/"));
                assert_eq!(first.answer("GET", "/get", "").await.text, "None");
            }

            #[tokio::test]
            async fn a_flushed_session_removes_the_cookie_of_its_domain() {
                let (mut browser, _opened) =
                    browser!(layer => layer.with_domain("localhost".to_owned()));
                browser.get("/insert").await;
                let set = browser.get("/flush").await.set_cookie.unwrap();
                assert_eq!(max_age(&set), Some(0));
                assert_eq!(attribute(&set, "Domain"), Some("localhost"));
                assert_eq!(attribute(&set, "Path"), Some("/"));
            }

            #[tokio::test]
            async fn a_session_can_choose_its_time() {
                let (mut browser, _opened) = an_hour!();
                let set = browser.get("/insert").await.set_cookie.unwrap();
                assert!(is_about(max_age(&set), HOUR), "{set}");
                let set = browser.get("/a_day").await.set_cookie.unwrap();
                assert!(is_about(max_age(&set), DAY), "{set}");
            }

            #[tokio::test]
            async fn a_session_can_change_the_kind_of_its_time() {
                let (mut browser, opened) = browser!(layer => layer);
                let set = browser.get("/insert").await.set_cookie.unwrap();
                assert_eq!(max_age(&set), None, "{set}");
                let set = browser.get("/a_day").await.set_cookie.unwrap();
                assert!(is_about(max_age(&set), DAY), "{set}");

                let layer = SessionManagerLayer::new(opened.store.clone());
                let hour = Expiry::OnInactivity(Duration::seconds(HOUR));
                let mut browser = Browser::new(routes().layer(layer.with_expiry(hour)));
                let set = browser.get("/insert").await.set_cookie.unwrap();
                assert!(is_about(max_age(&set), HOUR), "{set}");
                let set = browser.get("/with_the_browser").await.set_cookie.unwrap();
                assert_eq!(max_age(&set), None, "{set}");
                assert_eq!(browser.get("/get").await.text, "Some(42)");
            }
        }
    };
}

routes!(memory_0_14, tower_sessions_0_14, super::common::memory);
routes!(redb_0_14, tower_sessions_0_14, super::common::redb);
routes!(sqlite_0_14, tower_sessions_0_14, super::common::sqlite);
routes!(postgres_0_14, tower_sessions_0_14, super::common::postgres);
routes!(redis_0_14, tower_sessions_0_14, super::common::redis);
routes!(memory_0_15, tower_sessions_0_15, super::common::memory);
routes!(redb_0_15, tower_sessions_0_15, super::common::redb);
routes!(sqlite_0_15, tower_sessions_0_15, super::common::sqlite);
routes!(postgres_0_15, tower_sessions_0_15, super::common::postgres);
routes!(redis_0_15, tower_sessions_0_15, super::common::redis);

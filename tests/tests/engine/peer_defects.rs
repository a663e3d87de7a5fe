//! Defects seen in other session libraries: each test makes the same situation here and
//! asserts the right outcome.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use cloakroom::axum::{Session as AxumSession, SessionError, SessionLayer};
use cloakroom::engine::{OsEntropy, SessionKey};
use cloakroom::session::Session;
use cloakroom::store::{Data, SessionStore as _, Stored};
use cloakroom::stores::MemoryStore;
use cloakroom::{AnyStore, CookiePolicy, Engine, Prefix, SessionExpiry, Subject, Sweeper};
use cloakroom_testkit::Call::{Create, Load, Update};
use cloakroom_testkit::{Fault, FaultyStore, MapStore, key, sample};
use cloakroom_tests::Site;
use cloakroom_tests::in_process::{COOKIE, TestApp};

async fn desk_with(name: &str, value: u64) -> TestApp {
    let app = TestApp::default();
    app.visit(async |s| s.insert(name, value).unwrap()).await;
    app
}

async fn delete(app: &TestApp) {
    let token = app.token().unwrap();
    let digest = app.digest_of(&token).unwrap();
    app.model().delete(&digest).await.unwrap();
}

/// Runs a request that is overtaken, between load and save, by another one of
/// the same client.
async fn overtaken(
    app: &TestApp,
    other: impl AsyncFnOnce(Session),
    slow: impl AsyncFnOnce(&Session),
) -> cloakroom_tests::in_process::TestResponse {
    let token = app.token();
    app.visit(async |session| {
        let seen = app.token();
        app.visit(other).await;
        // Both replies reach the one browser, the overtaken one last.
        assert_eq!(seen, token);
        slow(&session).await;
    })
    .await
}

/// 1.
#[tokio::test]
async fn clear_and_insert_on_an_unknown_cookie_do_not_keep_the_clients_id() {
    let app = TestApp::default();
    let planted = key().to_token().expose().to_owned();
    app.set_token(Some(&planted));
    app.visit(async |s| {
        s.clear().unwrap();
        s.insert("n", 1).unwrap();
        s.save().await.unwrap();
    })
    .await;
    assert_ne!(app.token().unwrap(), planted);
    assert!(app.stored(&planted).is_none());
}

/// 2.
#[tokio::test]
async fn a_slow_request_that_saves_after_a_logout_revives_nothing() {
    let app = desk_with("n", 1).await;
    let token = app.token().unwrap();
    let slow = overtaken(
        &app,
        async |s| s.flush().unwrap(),
        async |s| {
            s.insert("n", 2).unwrap();
        },
    )
    .await;
    assert_eq!((slow.status, &slow.set_cookie), (409, &None));
    assert_eq!(app.records(), 0);
    app.set_token(Some(&token));
    assert_eq!(app.number("n").await, None);
}

/// 2, where the handler wants to know.
#[tokio::test]
async fn an_early_save_after_a_logout_says_that_the_session_is_gone() {
    let app = desk_with("n", 1).await;
    let slow = overtaken(
        &app,
        async |s| s.flush().unwrap(),
        async |s| {
            s.insert("n", 2).unwrap();
            let error = s.save().await.unwrap_err();
            assert_eq!(error.kind(), cloakroom::ErrorKind::Gone);
        },
    )
    .await;
    assert_eq!((slow.status, slow.set_cookie), (200, None));
    assert_eq!(app.records(), 0);
}

/// 3.
#[tokio::test]
async fn two_requests_that_write_different_keys_both_survive() {
    let app = desk_with("n", 1).await;
    overtaken(
        &app,
        async |s| s.insert("one", 1).unwrap(),
        async |s| {
            s.insert("two", 2).unwrap();
        },
    )
    .await;
    for (name, value) in [("n", 1), ("one", 1), ("two", 2)] {
        assert_eq!(app.number(name).await, Some(value), "{name}");
    }
}

/// 4. Every other fault and every other operation stand in `faults.rs`.
#[tokio::test]
async fn a_rotation_whose_create_fails_leaves_the_old_session() {
    let app = desk_with("n", 1).await;
    let old = app.token().unwrap();
    app.store.reset();
    app.store.fail_at(1, Fault::Refuse);
    let answer = app.visit(async |s| s.cycle_key().unwrap()).await;
    assert_eq!((answer.status, answer.set_cookie), (500, None));
    app.store.reset();
    assert_eq!(app.token().unwrap(), old);
    assert_eq!(app.number("n").await, Some(1));
}

/// 6.
#[tokio::test]
async fn nothing_prints_the_key_or_the_data() {
    let app = TestApp::default();
    app.visit(async |s| {
        s.insert("password", "hunter2").unwrap();
        s.set_subject(Subject::new("ada@example.org").unwrap())
            .unwrap();
    })
    .await;
    let token = app.token().unwrap();
    let exchange = app.engine.exchange();
    let cookie = format!("{COOKIE}={token}");
    let session = exchange
        .open([cookie.as_bytes()].into_iter())
        .await
        .unwrap();
    session.insert("more", "hunter2").unwrap();
    let changeset = session.changeset().unwrap();
    let record = session.stored_record();
    let value = session.get_value("password").unwrap();
    let closing = exchange.close(200).await;
    let printed = format!(
        "{session:?} {session:#?} {exchange:?} {changeset:?} {record:#?} {value:?} {closing:?} {:?}",
        app.engine
    );
    for secret in ["hunter2", "ada@example.org", token.as_str(), "password"] {
        assert!(!printed.contains(secret), "{secret} in {printed}");
    }
}

/// 7.
#[tokio::test]
async fn a_change_in_place_marks_the_session_changed() {
    let app = desk_with("n", 1).await;
    let answer = app
        .visit(async |s| s.update("n", |n: &mut u64| *n += 1).unwrap())
        .await;
    assert_eq!(answer.calls, [Load, Update]);
    assert_eq!(app.number("n").await, Some(2));
}

/// 8.
#[tokio::test]
async fn a_request_that_never_touches_the_session_costs_no_load() {
    let app = desk_with("n", 1).await;
    let answer = app.visit_without_session().await;
    assert_eq!(answer.calls, []);
    assert_eq!((answer.set_cookie, answer.vary), (None, None));
}

/// 11.
#[tokio::test]
async fn an_id_that_the_client_sends_becomes_no_row() {
    let app = TestApp::default();
    for planted in [
        key().to_token().expose(),
        "1",
        "admin",
        "' OR 1=1",
        &"A".repeat(43),
    ] {
        app.set_token(Some(planted));
        app.visit_without_session().await;
        app.visit(async |s| drop(s.keys())).await;
        assert_eq!(app.records(), 0, "{planted}");
        app.set_token(Some(planted));
        app.visit(async |s| s.insert("n", 1).unwrap()).await;
        assert_ne!(app.token().as_deref(), Some(planted));
        delete(&app).await;
    }
}

/// 12.
#[tokio::test]
async fn a_transient_read_error_overwrites_nothing() {
    let app = desk_with("n", 1).await;
    let before = app.model().snapshot();
    app.store.reset();
    app.store.fail_at(0, Fault::Refuse);
    let answer = app.visit(async |s| s.insert("n", 2).unwrap()).await;
    assert_eq!((answer.status, answer.set_cookie), (500, None));
    assert_eq!(app.model().snapshot(), before);
    // The same, where the error comes with the load after a conflict.
    let answer = {
        let (token, store) = (app.token(), app.store.clone());
        app.visit(async |s| {
            app.visit(async |s| s.insert("n", 3).unwrap()).await;
            assert_eq!(app.token(), token);
            store.reset();
            store.fail_at(1, Fault::Refuse);
            s.insert("m", 2).unwrap();
        })
        .await
    };
    assert_eq!(answer.status, 500);
    app.store.reset();
    assert_eq!(app.number("n").await, Some(3));
    assert_eq!(app.number("m").await, None);
}

/// 13.
#[tokio::test]
async fn an_anonymous_hit_costs_nothing() {
    let app = TestApp::default();
    for answer in [
        app.visit_without_session().await,
        app.visit(async |_| {}).await,
        app.visit(async |s| assert!(s.keys().unwrap().is_empty()))
            .await,
    ] {
        assert_eq!((answer.calls, answer.set_cookie), (vec![], None));
    }
}

/// 14.
#[tokio::test]
async fn a_cookie_is_read_back_under_each_prefix() {
    for prefix in [Prefix::Host, Prefix::Secure, Prefix::None] {
        let policy = CookiePolicy::builder().prefix(prefix).build().unwrap();
        let name = policy.name().to_owned();
        let engine = Engine::builder(MemoryStore::default())
            .cookie(policy)
            .build()
            .unwrap();
        let first = engine.exchange();
        let session = first.open([].into_iter()).await.unwrap();
        session.insert("n", 1).unwrap();
        let header = first.close(200).await.token_headers()[0].clone();
        let pair = header.value().split(';').next().unwrap().to_owned();
        assert!(pair.starts_with(&format!("{name}=")), "{pair}");
        let second = engine.exchange();
        let session = second.open([pair.as_bytes()].into_iter()).await.unwrap();
        assert_eq!(session.get::<u64>("n").unwrap(), Some(1), "{prefix:?}");
    }
}

/// 15.
#[tokio::test(start_paused = true)]
async fn the_sweep_goes_on_after_an_error() {
    let store = Arc::new(FaultyStore::new(MapStore::default()));
    let due = Stored::Rotated {
        to: key().digest(),
        until: cloakroom::Timestamp::EPOCH,
    };
    store.inner().plant(key().digest(), due);
    store.fail_always(Some(Fault::Refuse));
    let minute = Duration::from_secs(60);
    let sweeper = Sweeper::spawn(AnyStore::new(store.clone()), minute);
    tokio::time::sleep(20 * minute).await;
    let report = sweeper.report();
    // It backs off: after 2, 4, 8 minutes, not one error a minute.
    assert!((3..=6).contains(&report.errors), "{report:?}");
    assert_eq!(report.removed, 0);
    store.fail_always(None);
    tokio::time::sleep(60 * minute).await;
    let report = sweeper.report();
    assert_eq!(report.removed, 1, "{report:?}");
    assert!(report.passes > 20, "it is back to its rhythm: {report:?}");
    drop(sweeper);
    let operations = store.operations();
    tokio::time::sleep(60 * minute).await;
    assert_eq!(store.operations(), operations, "it ends when dropped");
}

/// 17, over HTTP.
#[tokio::test]
async fn a_failed_save_is_a_500_with_nothing_of_the_handlers() {
    let store = Arc::new(FaultyStore::new(MapStore::default()));
    let page = async |session: AxumSession| -> Result<_, SessionError> {
        session.insert("n", 1)?;
        Ok(([("x-handler", "was here")], "saved!"))
    };
    let policy = CookiePolicy::loopback_http();
    let engine = Engine::builder(store.clone())
        .cookie(policy)
        .build()
        .unwrap();
    let router = Router::new()
        .route("/", get(page))
        .layer(SessionLayer::new(engine));
    let site = Site::serve(router).await;
    let browser = site.browser();
    assert_eq!(browser.get("/").await.body, "saved!");
    let token = browser.cookie("session");
    store.reset();
    store.fail_at(1, Fault::Refuse);
    let reply = browser.get("/").await;
    assert_eq!((reply.status, reply.body.as_str()), (500, ""));
    assert!(reply.header("x-handler").is_empty());
    assert_eq!(browser.cookie("session"), token);
    assert_eq!(browser.get("/").await.status, 200);
}

/// 18.
#[tokio::test]
async fn a_load_error_is_a_500_and_no_fresh_session() {
    let app = desk_with("n", 1).await;
    for fault in [Fault::Refuse, Fault::LoseAnswer] {
        app.store.reset();
        app.store.fail_at(0, fault);
        let answer = app
            .visit(async |_| unreachable!("there is no session"))
            .await;
        assert_eq!((answer.status, answer.set_cookie), (500, None));
    }
    app.store.reset();
    assert_eq!(app.number("n").await, Some(1));
}

/// 19.
#[tokio::test]
async fn removing_a_value_from_an_otherwise_unchanged_session_is_saved() {
    let app = desk_with("n", 1).await;
    let answer = app.visit(async |s| assert!(s.remove("n").unwrap())).await;
    assert_eq!(answer.calls, [Load, Update]);
    assert_eq!(app.number("n").await, None);
}

/// 20.
#[tokio::test]
async fn a_corrupt_record_is_a_fresh_session_and_no_500_for_ever() {
    let app = desk_with("n", 1).await;
    let token = app.token().unwrap();
    let digest = app.digest_of(&token).unwrap();
    let mut record = sample("");
    record.expires_at = cloakroom::Timestamp::MAX;
    record.data = Data::from_bytes(&b"not entries"[..]);
    app.model().plant(digest, Stored::Record(record));
    let answer = app
        .visit(async |s| assert!(s.is_empty() && !s.contains("n")))
        .await;
    assert_eq!(answer.status, 200);
    assert!(answer.removes_token());
    app.set_token(Some(&token));
    let answer = app.visit(async |s| s.insert("n", 2).unwrap()).await;
    assert_eq!(answer.calls, [Load, Create]);
    assert_ne!(app.token().unwrap(), token);
    assert_eq!(app.number("n").await, Some(2));
}

/// 21. Every attribute of every policy stands in the cookie's own tests.
#[tokio::test]
async fn the_logout_cookie_has_the_attributes_of_the_set() {
    let policy = CookiePolicy::builder()
        .prefix(Prefix::Secure)
        .domain("example.org")
        .path("/app")
        .build()
        .unwrap();
    let app = TestApp::with(|builder| builder.cookie(policy));
    let attributes = |text: &str| -> HashSet<String> {
        let (_, rest) = text.split_once(';').unwrap();
        let parts = rest.split(';').map(str::trim);
        parts
            .filter(|part| !part.starts_with("Max-Age"))
            .map(str::to_owned)
            .collect()
    };
    let set = app
        .visit(async |s| s.insert("n", 1).unwrap())
        .await
        .set_cookie
        .unwrap();
    let cookie = format!("__Secure-session={}", app.token().unwrap());
    let answer = app
        .request(&[cookie.as_bytes()], 200, async |s| s.flush().unwrap())
        .await;
    let removal = answer.set_cookie.unwrap();
    assert!(removal.starts_with("__Secure-session=; ") && removal.contains("Max-Age=0"));
    assert_eq!(attributes(&removal), attributes(&set));
    assert_eq!(attributes(&set).len(), 5, "{set}");
}

/// 23.
#[tokio::test]
async fn on_a_conflict_operations_are_replayed_and_no_values_merged() {
    let app = TestApp::default();
    app.visit(async |s| s.insert("cart", ["hat"]).unwrap())
        .await;
    // One removes what the other adds to: merging values would lose either.
    overtaken(
        &app,
        async |s| {
            s.update("cart", |cart: &mut Vec<String>| cart.clear())
                .unwrap()
        },
        async |s| {
            s.update("cart", |cart: &mut Vec<String>| {
                cart.push("umbrella".into())
            })
            .unwrap();
        },
    )
    .await;
    let mut cart = Vec::<String>::new();
    app.visit(async |s| cart = s.get("cart").unwrap().unwrap())
        .await;
    assert_eq!(cart, ["umbrella"]);
}

/// What replay cannot save is said.
#[tokio::test]
async fn a_value_read_then_set_while_another_changes_it_is_a_409_in_strict_mode() {
    for strict in [false, true] {
        let app = TestApp::with(|builder| builder.strict_reads(strict));
        app.visit(async |s| s.insert("n", 1).unwrap()).await;
        let slow = overtaken(
            &app,
            async |s| s.insert("n", 10).unwrap(),
            async |s| {
                // Read before the other request wrote: see `overtaken`.
                let n = s.get::<u64>("n").unwrap().unwrap();
                s.insert("n", n + 1).unwrap();
            },
        )
        .await;
        assert_eq!(slow.status, if strict { 409 } else { 200 });
        assert_eq!(app.number("n").await, Some(if strict { 10 } else { 2 }));
    }
}

/// 26.
#[tokio::test]
async fn a_new_login_outlives_an_idle_old_session_in_a_full_store() {
    let store = MemoryStore::builder().capacity_bytes(300_000).build();
    let engine = Engine::new(store.clone());
    let login = async || {
        let exchange = engine.exchange();
        let session = exchange.open([].into_iter()).await.unwrap();
        session
            .set_subject(Subject::new("somebody").unwrap())
            .unwrap();
        let header = exchange.close(200).await.token_headers()[0].clone();
        header.value().split(';').next().unwrap().to_owned()
    };
    for _ in 0..2_000 {
        login().await;
    }
    let _housekeeping = store.bytes();
    let mut logins = Vec::new();
    for _ in 0..200 {
        logins.push(login().await);
    }
    let _housekeeping = store.bytes();
    for cookie in logins {
        let exchange = engine.exchange();
        let session = exchange
            .open([cookie.as_bytes()].into_iter())
            .await
            .unwrap();
        assert!(session.subject().is_some());
    }
}

/// Beyond the list: a flash value is read once, whoever asks at the same time.
#[tokio::test]
async fn a_flash_value_is_read_by_one_of_two_requests() {
    let app = TestApp::default();
    app.visit(async |s| s.flash("notice", "sent").unwrap())
        .await;
    let mut read = Vec::new();
    let token = app.token();
    app.visit(async |slow| {
        app.visit(async |s| read.extend(s.take_flash::<String>("notice").await.unwrap()))
            .await;
        assert_eq!(app.token(), token);
        read.extend(slow.take_flash::<String>("notice").await.unwrap());
    })
    .await;
    assert_eq!(read, ["sent"]);
    let answer = app
        .visit(async |s| assert!(s.take_flash::<String>("notice").await.unwrap().is_empty()))
        .await;
    assert_eq!(answer.calls, [Load], "nothing left costs nothing");
}

#[test]
fn two_keys_are_never_the_same() {
    let keys: HashSet<String> = (0..1_000)
        .map(|_| {
            SessionKey::generate(&OsEntropy)
                .unwrap()
                .to_token()
                .expose()
                .to_owned()
        })
        .collect();
    assert_eq!(keys.len(), 1_000);
}

/// Beyond the list: after an early save that found the session gone, the
/// request's later changes are dropped too, and it is told so each time.
#[tokio::test]
async fn a_session_found_gone_stays_gone_for_the_request_but_for_a_login() {
    let app = desk_with("n", 1).await;
    app.visit(async |session| {
        delete(&app).await;
        for _ in 0..2 {
            session.insert("n", 2).unwrap();
            let error = session.save().await.unwrap_err();
            assert_eq!(error.kind(), cloakroom::ErrorKind::Gone);
            assert!(session.is_empty());
        }
        assert_eq!(app.records(), 0);
        session.set_subject(Subject::new("ada").unwrap()).unwrap();
    })
    .await;
    let mut subject = None;
    app.visit(async |session| subject = session.subject()).await;
    assert_eq!(subject.unwrap().as_str(), "ada");
    assert_eq!(app.number("n").await, None, "nothing of the old session");
}

/// Beyond the list: what nobody would write is refused, not swallowed.
#[tokio::test]
async fn a_change_during_the_last_save_is_refused() {
    let app = desk_with("n", 1).await;
    let cookie = format!("{COOKIE}={}", app.token().unwrap());
    let exchange = app.engine.exchange();
    let session = exchange
        .open([cookie.as_bytes()].into_iter())
        .await
        .unwrap();
    let inner = session.clone();
    let seen = Arc::new(std::sync::Mutex::new(None));
    let told = seen.clone();
    let mut runs = 0;
    session
        .update("n", move |n: &mut u64| {
            *n += 1;
            runs += 1;
            // The second run is the replay, while the last save is under way.
            if runs == 2 {
                *told.lock().unwrap() = inner.insert("late", 1).err();
            }
        })
        .unwrap();
    app.visit(async |s| s.insert("other", 1).unwrap()).await;
    exchange.close(200).await;
    let error = seen.lock().unwrap().take().unwrap();
    assert_eq!(error.kind(), cloakroom::ErrorKind::Closed);
    assert_eq!(app.number("n").await, Some(2));
}

/// Beyond the list: a stale touch does not undo a shorter expiry.
#[tokio::test]
async fn a_read_that_overlaps_a_shortened_expiry_does_not_lengthen_it_again() {
    let app = desk_with("n", 1).await;
    app.clock.advance(Duration::from_secs(7 * 86_400));
    let minute = Duration::from_secs(60);
    let shorten = async |s: Session| s.set_expiry(SessionExpiry::Idle(minute)).unwrap();
    overtaken(&app, shorten, async |s| assert!(s.contains("n"))).await;
    app.clock.advance(2 * minute);
    assert_eq!(app.number("n").await, None);
}

/// Beyond the list: limits that were lowered let a session shrink.
#[tokio::test]
async fn a_session_over_lowered_limits_can_be_read_and_made_smaller() {
    let wide = desk_with("n", 1).await;
    wide.visit(async |s| s.insert("big", "x".repeat(5_000)).unwrap())
        .await;
    let narrow = Engine::builder(wide.store.clone())
        .limits(cloakroom::Limits::default().with_record_bytes_max(1_000))
        .clock(wide.clock.clone())
        .build()
        .unwrap();
    let cookie = format!("{COOKIE}={}", wide.token().unwrap());
    for (name, value, fits) in [
        ("more", "x", false),
        ("big", "small", true),
        ("more", "x", true),
    ] {
        let exchange = narrow.exchange();
        let session = exchange
            .open([cookie.as_bytes()].into_iter())
            .await
            .unwrap();
        assert_eq!(session.get::<u64>("n").unwrap(), Some(1));
        assert_eq!(session.insert(name, value).is_ok(), fits, "{name}");
        assert!(exchange.close(200).await.failure.is_none());
    }
}

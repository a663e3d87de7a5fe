//! The behaviour of Django's sessions, row by row: the flags of the dictionary, the
//! middleware, the expiry. Each row is a test, named for the situation.
//!
//! The flags `accessed` and `modified` show in what the engine does: a session
//! that was accessed varies on its cookie, one that was modified is written.

use std::time::Duration;

use cloakroom::session::Session;
use cloakroom::store::Stored;
use cloakroom::{Clock as _, Expiry, SessionExpiry, Timestamp};
use cloakroom_testkit::Call::{Create, Delete, Load, Rotate, Update};
use cloakroom_testkit::{Fault, key};
use cloakroom_tests::in_process::{TestApp, TestResponse};

/// A app whose client holds a session with one entry, and has been away since.
async fn app() -> TestApp {
    let app = TestApp::default();
    let answer = app
        .visit(async |session| session.insert("there", 1).unwrap())
        .await;
    assert!(answer.sets_token());
    app
}

/// What a call on a stored session shows: (accessed, modified).
async fn flags(call: impl AsyncFnOnce(Session)) -> (bool, bool) {
    let app = app().await;
    let answer = app.visit(call).await;
    assert_eq!(answer.status, 200);
    let written = answer.calls.iter().any(|call| *call != Load);
    (answer.vary.is_some(), written)
}

const UNTOUCHED: (bool, bool) = (false, false);
const READ: (bool, bool) = (true, false);
const WRITTEN: (bool, bool) = (true, true);

macro_rules! flag_rows {
    ($($name:ident: $flags:ident, |$session:ident| $call:expr;)+) => {$(
        #[tokio::test]
        async fn $name() {
            let shown = flags(async |$session: Session| {
                let _ = $call;
            })
            .await;
            assert_eq!(shown, $flags);
        }
    )+};
}

mod flags_of_the_dictionary {
    use super::*;

    flag_rows! {
        opening_touches_nothing: UNTOUCHED, |s| s;
        get_reads: READ, |s| s.get::<u64>("there").unwrap();
        get_of_nothing_reads: READ, |s| s.get::<u64>("missing").unwrap();
        contains_reads: READ, |s| s.contains("there");
        keys_reads: READ, |s| s.keys().unwrap();
        values_reads: READ, |s| s.values().unwrap();
        items_reads: READ, |s| s.items().unwrap();
        len_reads: READ, |s| s.len();
        // Django counts neither; but a response that says so depends on the session.
        is_empty_reads: READ, |s| s.is_empty();
        exists_reads: READ, |s| s.exists();
        test_cookie_worked_reads: READ, |s| s.test_cookie_worked();
        pop_of_nothing_reads: READ, |s| s.pop::<u64>("missing").unwrap();
        get_or_insert_of_what_is_there_reads: READ, |s| s.get_or_insert("there", 2_u64).unwrap();
        expiry_age_reads: READ, |s| s.expiry_age();
        expiry_date_reads: READ, |s| s.expiry_date();
        expires_at_browser_close_reads: READ, |s| s.expires_at_browser_close();
        subject_reads: READ, |s| s.subject();

        insert_writes: WRITTEN, |s| s.insert("new", 1).unwrap();
        insert_of_the_same_value_writes: WRITTEN, |s| s.insert("there", 1).unwrap();
        remove_writes: WRITTEN, |s| s.remove("there").unwrap();
        pop_of_what_is_there_writes: WRITTEN, |s| s.pop::<u64>("there").unwrap();
        get_or_insert_of_something_new_writes: WRITTEN, |s| s.get_or_insert("new", 1_u64).unwrap();
        extend_writes: WRITTEN, |s| s.extend([("a", 1), ("b", 2)]).unwrap();
        update_writes: WRITTEN, |s| s.update("there", |n: &mut u64| *n += 1).unwrap();
        clear_writes: WRITTEN, |s| s.clear().unwrap();
        flush_writes: WRITTEN, |s| s.flush().unwrap();
        cycle_key_writes: WRITTEN, |s| s.cycle_key().unwrap();
        set_test_cookie_writes: WRITTEN, |s| s.set_test_cookie().unwrap();
        set_expiry_writes: WRITTEN, |s| s.set_expiry(SessionExpiry::BrowserClose).unwrap();
    }

    #[tokio::test]
    async fn clear_keeps_the_key() {
        let app = app().await;
        let token = app.token();
        let answer = app.visit(async |s| s.clear().unwrap()).await;
        assert_eq!(answer.calls, [Load, Update]);
        assert_eq!(app.token(), token);
        assert_eq!(app.number("there").await, None);
    }

    #[tokio::test]
    async fn flush_deletes_the_record_and_drops_the_key() {
        let app = app().await;
        let token = app.token().unwrap();
        let answer = app.visit(async |s| s.flush().unwrap()).await;
        assert_eq!(answer.calls, [Load, Delete]);
        assert!(answer.removes_token());
        assert!(app.stored(&token).is_none());
    }

    #[tokio::test]
    async fn cycle_key_keeps_the_data_under_a_new_key_and_the_old_one_opens_nothing() {
        let app = app().await;
        let old = app.token().unwrap();
        let answer = app.visit(async |s| s.cycle_key().unwrap()).await;
        assert_eq!(answer.calls, [Load, Rotate]);
        assert_ne!(app.token().unwrap(), old);
        assert_eq!(app.number("there").await, Some(1));
        assert!(matches!(app.stored(&old), Some(Stored::Rotated { .. })));
    }

    #[tokio::test]
    async fn saving_without_a_key_creates_and_with_one_updates_only() {
        let app = app().await;
        let first = app.visit(async |s| s.insert("n", 1).unwrap()).await;
        assert_eq!(first.calls, [Load, Update]);
        // Deleted meanwhile: Django answers 400.
        let token = app.token().unwrap();
        let late = app
            .visit(async |s| {
                s.insert("n", 2).unwrap();
                delete(&app, &token).await;
            })
            .await;
        assert_eq!(late.status, 409);
        assert_eq!(late.set_cookie, None);
        assert!(app.stored(&token).is_none());
    }

    #[tokio::test]
    async fn the_test_cookie_works_once_it_has_come_back() {
        let app = TestApp::default();
        let worked = async || {
            let mut worked = false;
            app.visit(async |s| worked = s.test_cookie_worked()).await;
            worked
        };
        assert!(!worked().await);
        app.visit(async |s| s.set_test_cookie().unwrap()).await;
        assert!(worked().await);
        app.visit(async |s| s.delete_test_cookie().unwrap()).await;
        assert!(!worked().await);
        // A browser without cookies.
        app.visit(async |s| s.set_test_cookie().unwrap()).await;
        app.set_token(None);
        assert!(!worked().await);
    }

    #[tokio::test]
    async fn a_change_in_place_is_recorded_by_update() {
        let app = TestApp::default();
        app.visit(async |s| s.insert("list", [1]).unwrap()).await;
        app.visit(async |s| {
            s.update("list", |list: &mut Vec<u64>| list.push(2))
                .unwrap()
        })
        .await;
        let mut list = Vec::<u64>::new();
        app.visit(async |s| list = s.get("list").unwrap().unwrap())
            .await;
        assert_eq!(list, [1, 2]);
    }
}

async fn delete(app: &TestApp, token: &str) {
    use cloakroom::store::SessionStore as _;
    let digest = app.digest_of(token).unwrap();
    app.model().delete(&digest).await.unwrap();
}

fn vary_only(answer: &TestResponse) {
    assert_eq!(answer.status, 200);
    assert_eq!(answer.vary.as_deref(), Some("Cookie"));
    assert_eq!(answer.cache_control.as_deref(), Some("private"));
    assert_eq!(answer.set_cookie, None);
}

fn nothing(answer: &TestResponse) {
    assert_eq!(answer.status, 200);
    assert_eq!(answer.vary, None);
    assert_eq!(answer.cache_control, None);
    assert_eq!(answer.set_cookie, None);
    assert_eq!(answer.calls, []);
}

mod middleware {
    use super::*;

    #[tokio::test]
    async fn no_cookie_read() {
        let app = TestApp::default();
        let answer = app.visit(async |s| assert!(!s.contains("n"))).await;
        vary_only(&answer);
        assert_eq!(answer.calls, []);
    }

    #[tokio::test]
    async fn no_cookie_clear() {
        let app = TestApp::default();
        let answer = app.visit(async |s| s.clear().unwrap()).await;
        vary_only(&answer);
        assert_eq!(app.records(), 0);
    }

    #[tokio::test]
    async fn valid_untouched() {
        nothing(&app().await.visit_without_session().await);
    }

    #[tokio::test]
    async fn valid_all_keys_removed() {
        let app = app().await;
        let answer = app
            .visit(async |s| assert!(s.remove("there").unwrap()))
            .await;
        assert_eq!(answer.calls, [Load, Update]);
        // The browser keeps the cookie it has. Django sends it again with every
        // write; a reply that is late would then undo a login: see
        // ARCHITECTURE.md.
        assert_eq!(answer.set_cookie, None);
        let Some(Stored::Record(record)) = app.stored(&app.token().unwrap()) else {
            panic!("the empty session stands in the store");
        };
        assert_eq!(record.data, cloakroom::store::Data::empty());
    }

    #[tokio::test]
    async fn unknown_key_untouched() {
        let app = TestApp::default();
        app.set_token(Some(key().to_token().expose()));
        nothing(&app.visit_without_session().await);
        assert!(app.token().is_some());
    }

    #[tokio::test]
    async fn unknown_key_read() {
        let app = TestApp::default();
        app.set_token(Some(key().to_token().expose()));
        let answer = app.visit(async |s| assert!(!s.contains("n"))).await;
        assert!(answer.removes_token());
        assert_eq!(answer.vary.as_deref(), Some("Cookie"));
        assert_eq!(answer.cache_control.as_deref(), Some("no-store"));
        assert_eq!((answer.calls, app.records()), (vec![Load], 0));
    }

    #[tokio::test]
    async fn unknown_key_write() {
        let app = TestApp::default();
        let unknown = key().to_token().expose().to_owned();
        app.set_token(Some(&unknown));
        let answer = app.visit(async |s| s.insert("n", 1).unwrap()).await;
        assert_eq!(answer.calls, [Load, Create]);
        assert_ne!(app.token().unwrap(), unknown);
        assert!(app.stored(&unknown).is_none());
        assert_eq!(app.number("n").await, Some(1));
    }

    #[tokio::test]
    async fn malformed_cookie_untouched() {
        let app = TestApp::default();
        app.set_token(Some("malformed"));
        nothing(&app.visit_without_session().await);
        assert_eq!(app.token().as_deref(), Some("malformed"));
    }

    #[tokio::test]
    async fn malformed_cookie_read() {
        let app = TestApp::default();
        app.set_token(Some("malformed"));
        let answer = app.visit(async |s| assert!(!s.contains("n"))).await;
        assert!(answer.removes_token());
        assert_eq!(answer.calls, []);
    }

    #[tokio::test]
    async fn flush_then_500() {
        let app = app().await;
        let token = app.token().unwrap();
        let answer = app.visit_with(500, async |s| s.flush().unwrap()).await;
        assert!(answer.removes_token());
        assert!(app.stored(&token).is_none());
    }

    #[tokio::test]
    async fn cycle_key_then_500() {
        let app = app().await;
        let old = app.token().unwrap();
        let answer = app
            .visit_with(500, async |s| {
                s.insert("dropped", 1).unwrap();
                s.cycle_key().unwrap();
            })
            .await;
        assert!(answer.sets_token());
        assert_ne!(app.token().unwrap(), old);
        assert_eq!(app.number("there").await, Some(1));
        assert_eq!(app.number("dropped").await, None);
    }

    #[tokio::test]
    async fn the_cookie_is_sent_again_when_what_the_browser_holds_has_changed() {
        let app = app().await;
        let write = async || app.visit(async |s| s.insert("n", 1).unwrap()).await;
        assert!(!write().await.sets_token());
        // A tenth of the idle time has passed: the record's deadline moves, and the
        // cookie's, which is the absolute one, does not.
        app.clock.advance(Duration::from_secs(1_209_600 / 10));
        assert!(!write().await.sets_token());
        let chosen = SessionExpiry::BrowserClose;
        let answer = app.visit(async |s| s.set_expiry(chosen).unwrap()).await;
        assert!(!answer.set_cookie.unwrap().contains("Max-Age"));
        assert!(!write().await.sets_token());
    }

    #[tokio::test]
    async fn write_then_500() {
        let app = app().await;
        let answer = app
            .visit_with(503, async |s| s.insert("there", 2).unwrap())
            .await;
        assert_eq!((answer.status, answer.calls), (503, vec![Load]));
        assert_eq!(app.number("there").await, Some(1));
    }

    #[tokio::test]
    async fn write_then_400_is_saved() {
        let app = app().await;
        app.visit_with(404, async |s| s.insert("there", 2).unwrap())
            .await;
        assert_eq!(app.number("there").await, Some(2));
    }

    #[tokio::test]
    async fn a_touch_on_every_read_never_creates_a_record() {
        let app = TestApp::with(|builder| builder.touch_share_percent(0));
        app.set_token(Some(key().to_token().expose()));
        nothing(&app.visit_without_session().await);
        app.visit(async |s| drop(s.keys())).await;
        assert_eq!(app.records(), 0);
    }

    #[tokio::test]
    async fn store_down() {
        let app = app().await;
        let token = app.token();
        app.store.fail_always(Some(Fault::Refuse));
        let answer = app
            .visit(async |_| unreachable!("it cannot be loaded"))
            .await;
        assert_eq!((answer.status, answer.set_cookie), (500, None));
        assert_eq!(app.token(), token, "an outage is no logout");
        app.store.fail_always(None);
        assert_eq!(app.number("there").await, Some(1));
    }

    #[tokio::test]
    async fn vary_is_not_said_twice_and_a_star_stays() {
        let app = app().await;
        let exchange = app.engine.exchange();
        let session = exchange.open([].into_iter()).await.unwrap();
        assert_eq!(session.len(), 0);
        let closing = exchange.close(200).await;
        let vary = |existing: &str| {
            let mut edits = closing.header_edits([("vary", existing)]);
            let vary = edits.find(|edit| edit.name() == "vary");
            vary.map(|edit| edit.value().to_owned())
        };
        assert_eq!(vary("Accept, COOKIE"), None);
        assert_eq!(vary("*"), None);
        assert_eq!(vary("Accept").as_deref(), Some("Accept, Cookie"));
    }
}

mod expiry {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    /// The Max-Age of the cookie and the deadline of the record, in seconds
    /// from now, after a session chose an expiry.
    async fn chosen(app: &TestApp, choice: SessionExpiry) -> (Option<u64>, u64) {
        let answer = app
            .visit(async |s| {
                s.insert("n", 1).unwrap();
                s.set_expiry(choice).unwrap();
            })
            .await;
        let text = answer.set_cookie.unwrap();
        let age = text
            .split("; ")
            .find_map(|part| part.strip_prefix("Max-Age="));
        let stored = app.stored(&app.token().unwrap()).unwrap();
        let left = stored.expires_at().saturating_since(app.clock.now());
        (age.map(|age| age.parse().unwrap()), left.as_secs())
    }

    #[tokio::test]
    async fn the_default_is_two_weeks() {
        let app = TestApp::default();
        // In the browser it lives as long as it can at all.
        let two_weeks = (Some(2_592_000), 1_209_600);
        assert_eq!(chosen(&app, SessionExpiry::Default).await, two_weeks);
    }

    #[tokio::test]
    async fn a_number_of_seconds() {
        let app = TestApp::default();
        let choice = SessionExpiry::Idle(Duration::from_secs(300));
        assert_eq!(chosen(&app, choice).await, (Some(2_592_000), 300));
    }

    #[tokio::test]
    async fn ages_are_floored_to_whole_seconds() {
        let app = TestApp::default();
        let end = Duration::from_millis(300_999);
        let choice = SessionExpiry::At(app.clock.now().saturating_add(end));
        assert_eq!(chosen(&app, choice).await.0, Some(300));
    }

    #[tokio::test]
    async fn an_instant_is_a_fixed_end_however_the_session_is_used() {
        let app = TestApp::default();
        let end = app.clock.now().saturating_add(10 * DAY);
        chosen(&app, SessionExpiry::At(end)).await;
        for _ in 0..9 {
            app.clock.advance(DAY);
            assert_eq!(app.number("n").await, Some(1));
            app.visit(async |s| s.insert("m", 1).unwrap()).await;
            assert_eq!(app.stored(&app.token().unwrap()).unwrap().expires_at(), end);
        }
        app.clock.advance(DAY);
        assert_eq!(app.number("n").await, None);
    }

    #[tokio::test]
    async fn zero_is_until_the_browser_closes_and_the_record_gets_the_full_age() {
        let app = TestApp::default();
        let (age, left) = chosen(&app, SessionExpiry::BrowserClose).await;
        assert_eq!((age, left), (None, 1_209_600));
    }

    #[tokio::test]
    async fn none_is_back_to_the_default() {
        let app = TestApp::default();
        chosen(&app, SessionExpiry::BrowserClose).await;
        // In the browser it lives as long as it can at all.
        let two_weeks = (Some(2_592_000), 1_209_600);
        assert_eq!(chosen(&app, SessionExpiry::Default).await, two_weeks);
    }

    #[tokio::test]
    async fn a_choice_outlives_the_request_and_later_writes() {
        let app = TestApp::default();
        chosen(&app, SessionExpiry::Idle(Duration::from_secs(300))).await;
        app.clock.advance(Duration::from_secs(200));
        let mut age = Duration::ZERO;
        app.visit(async |s| {
            age = s.expiry_age();
            s.insert("m", 1).unwrap();
        })
        .await;
        assert_eq!(age.as_secs(), 300);
        app.clock.advance(Duration::from_secs(299));
        assert_eq!(app.number("m").await, Some(1));
        app.clock.advance(Duration::from_secs(301));
        assert_eq!(app.number("m").await, None);
    }

    #[tokio::test]
    async fn expire_at_browser_close_is_the_setting_where_nothing_was_chosen() {
        for setting in [false, true] {
            let expiry = match setting {
                true => Expiry::default().ending_with_browser(),
                false => Expiry::default(),
            };
            let app = TestApp::with(|builder| builder.expiry(expiry));
            let mut shown = None;
            let answer = app
                .visit(async |s| {
                    s.insert("n", 1).unwrap();
                    shown = Some(s.expires_at_browser_close());
                })
                .await;
            assert_eq!(shown, Some(setting));
            assert_eq!(answer.set_cookie.unwrap().contains("Max-Age"), !setting);
            let chosen = SessionExpiry::Idle(DAY);
            app.visit(async |s| s.set_expiry(chosen).unwrap()).await;
            app.visit(async |s| shown = Some(s.expires_at_browser_close()))
                .await;
            assert_eq!(shown, Some(false));
        }
    }

    #[tokio::test]
    async fn an_expiry_in_the_past_ends_the_session_on_the_server() {
        let app = TestApp::default();
        chosen(&app, SessionExpiry::At(Timestamp::EPOCH)).await;
        assert_eq!(app.number("n").await, None);
    }

    #[tokio::test]
    async fn remembering_one_login_for_30_days_changes_no_other() {
        let short = Expiry::new(Duration::from_secs(3_600), Some(12 * DAY / 24)).unwrap();
        let app = TestApp::with(|builder| builder.expiry(short));
        let own = Expiry::new(30 * DAY, Some(30 * DAY)).unwrap();
        chosen(&app, SessionExpiry::Own(own)).await;
        let remembered = app.token();
        app.set_token(None);
        app.visit(async |s| s.insert("n", 2).unwrap()).await;
        let other = app.token();
        app.clock.advance(29 * DAY);
        app.set_token(remembered.as_deref());
        assert_eq!(app.number("n").await, Some(1));
        app.set_token(other.as_deref());
        assert_eq!(app.number("n").await, None);
    }

    #[tokio::test]
    async fn reads_slide_the_deadline_with_few_writes_and_never_past_the_absolute_one() {
        let hour = Duration::from_secs(3_600);
        let app = TestApp::with(|b| b.expiry(Expiry::new(hour, Some(10 * hour)).unwrap()));
        app.visit(async |s| s.insert("n", 1).unwrap()).await;
        let mut touches = 0;
        let minute = Duration::from_secs(60);
        for passed in 1..600 {
            app.clock.advance(minute);
            let answer = app
                .visit(async |s| assert!(s.contains("n"), "after {passed} min"))
                .await;
            let touched = answer.calls == [Load, cloakroom_testkit::Call::Touch];
            // The cookie lives until the absolute end: a touch has nothing to tell.
            assert!(!answer.sets_token(), "{passed}");
            touches += usize::from(touched);
        }
        assert!(
            (80..=100).contains(&touches),
            "{touches} touches in 600 reads"
        );
        app.clock.advance(minute);
        assert_eq!(app.number("n").await, None, "ten hours are over");
    }
}

//! The store fails, or does the work and loses the answer, at every operation
//! of a request, and then answers again. Whatever it was: the old or the new key
//! opens the whole session, a key that was logged out opens nothing, and the
//! client holds a cookie that works or got a 500 and kept its own.

use std::time::Duration;

use cloakroom::session::Session;
use cloakroom::store::Stored;
use cloakroom::{Engine, ErrorKind, Subject};
use cloakroom_testkit::Fault::{self, LoseAnswer, Refuse};
use cloakroom_testkit::{Call, InterceptedStore, MapStore};
use cloakroom_tests::in_process::{COOKIE, TestApp, TestResponse};

/// What a handler does to a stored session that holds `n = 1`.
type Handler = fn(&Session);

const CYCLE: Handler = |s| s.cycle_key().unwrap();
const LOGIN: Handler = |s| s.set_subject(Subject::new("ada").unwrap()).unwrap();
const LOGOUT: Handler = |s| s.flush().unwrap();
const WRITE: Handler = |s| s.insert("m", 2).unwrap();
const FLUSH_AND_WRITE: Handler = |s| {
    s.flush().unwrap();
    s.insert("m", 2).unwrap();
};

/// One request under a plan of faults, and what it left.
struct Outcome {
    app: TestApp,
    before: String,
    answer: TestResponse,
    plan: String,
}

impl Outcome {
    /// The client's token opens a session with this number.
    async fn opens(&self, name: &str) -> Option<u64> {
        self.app.number(name).await
    }

    /// How many records in the store hold anything.
    fn records(&self) -> usize {
        let map = self.app.model().snapshot();
        map.values()
            .filter(|stored| matches!(stored, Stored::Record(_)))
            .count()
    }

    fn kept_its_cookie(&self) -> bool {
        self.answer.status == 500
            && self.answer.set_cookie.is_none()
            && self.app.token().as_ref() == Some(&self.before)
    }
}

async fn app() -> TestApp {
    let app = TestApp::default();
    app.visit(async |s| s.insert("n", 1).unwrap()).await;
    app.store.reset();
    app
}

async fn run(handler: Handler, status: u16, faults: &[(usize, Fault)]) -> Outcome {
    let app = app().await;
    let before = app.token().unwrap();
    for (at, fault) in faults {
        app.store.fail_at(*at, *fault);
    }
    let answer = app.visit_with(status, async |s| handler(&s)).await;
    app.store.reset();
    Outcome {
        app,
        before,
        answer,
        plan: format!("faults {faults:?}, status {status}"),
    }
}

/// Every single fault, and every pair of them, over as many operations as a
/// request can have.
fn plans() -> Vec<Vec<(usize, Fault)>> {
    let faults = [Refuse, LoseAnswer];
    let single = |at| faults.map(|fault| (at, fault));
    let mut plans = vec![Vec::new()];
    for at in 0..6 {
        plans.extend(single(at).map(|fault| vec![fault]));
        for later in at + 1..6 {
            for first in single(at) {
                plans.extend(single(later).map(|second| vec![first, second]));
            }
        }
    }
    plans
}

#[tokio::test(start_paused = true)]
async fn a_rotation_leaves_one_whole_session_and_a_cookie_that_works_or_was_kept() {
    for (handler, status) in [(CYCLE, 200), (CYCLE, 500), (LOGIN, 200)] {
        for plan in plans() {
            let outcome = run(handler, status, &plan).await;
            let plan = &outcome.plan;
            assert_eq!(outcome.records(), 1, "{plan}");
            if outcome.kept_its_cookie() {
                continue;
            }
            assert!(outcome.answer.sets_token(), "{plan}");
            assert_ne!(
                outcome.app.token().as_ref(),
                Some(&outcome.before),
                "{plan}"
            );
            assert_eq!(outcome.opens("n").await, Some(1), "{plan}");
            let stored = outcome.app.stored(&outcome.before);
            assert!(matches!(stored, Some(Stored::Rotated { .. })), "{plan}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_rotation_whose_answer_was_lost_the_new_cookie_goes_out_with_the_500() {
    for handler in [CYCLE, LOGIN] {
        let outcome = run(handler, 200, &[(1, LoseAnswer)]).await;
        assert_eq!(outcome.answer.status, 500);
        assert!(outcome.answer.sets_token());
        assert_eq!(outcome.opens("n").await, Some(1));
        // It looks again where the look fails, too.
        let outcome = run(handler, 200, &[(1, LoseAnswer), (2, Refuse), (3, Refuse)]).await;
        assert!(outcome.answer.sets_token());
        assert_eq!(outcome.opens("n").await, Some(1));
        // And gives up, with the cookie kept, where the store stays away.
        let faults = [(1, LoseAnswer), (2, Refuse), (3, Refuse), (4, Refuse)];
        let outcome = run(handler, 200, &faults).await;
        assert!(outcome.kept_its_cookie());
        assert_eq!(outcome.records(), 1);
        // A rotation that did not happen is not made to have happened.
        let outcome = run(handler, 200, &[(1, Refuse)]).await;
        assert!(outcome.kept_its_cookie());
        assert_eq!(outcome.opens("n").await, Some(1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_logout_that_was_answered_holds_and_one_that_was_not_can_be_repeated() {
    for status in [200, 500] {
        for plan in plans() {
            let outcome = run(LOGOUT, status, &plan).await;
            let plan = &outcome.plan;
            if outcome.answer.removes_token() {
                assert_eq!(outcome.records(), 0, "{plan}");
                assert_eq!(outcome.app.token(), None, "{plan}");
            } else {
                assert!(outcome.kept_its_cookie(), "{plan}");
                outcome.app.visit(async |s| LOGOUT(&s)).await;
                assert_eq!(outcome.records(), 0, "{plan}");
            }
            outcome.app.set_token(Some(&outcome.before));
            assert_eq!(
                outcome.opens("n").await,
                None,
                "{plan}: it never opens again"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_flush_followed_by_writes_never_shows_the_old_data_under_the_new_key() {
    for plan in plans() {
        let outcome = run(FLUSH_AND_WRITE, 200, &plan).await;
        let plan = &outcome.plan;
        // None where it was flushed and what follows was not stored.
        assert!(outcome.records() <= 1, "{plan}");
        if !outcome.kept_its_cookie() {
            assert_eq!(outcome.opens("n").await, None, "{plan}");
            assert_eq!(outcome.opens("m").await, Some(2), "{plan}");
            outcome.app.set_token(Some(&outcome.before));
            assert_eq!(outcome.opens("n").await, None, "{plan}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_happens_or_does_not_and_is_never_written_twice() {
    const COUNT: Handler = |s| s.update("n", |n: &mut u64| *n += 1).unwrap();
    for handler in [WRITE, COUNT] {
        for plan in plans() {
            let outcome = run(handler, 200, &plan).await;
            let plan = &outcome.plan;
            assert_eq!(
                outcome.app.token().as_ref(),
                Some(&outcome.before),
                "{plan}"
            );
            assert!(matches!(outcome.answer.status, 200 | 500), "{plan}");
            let n = outcome.opens("n").await.unwrap();
            let m = outcome.opens("m").await;
            assert!(n <= 2 && (n, m) != (2, Some(2)), "{plan}: {n} {m:?}");
            if outcome.answer.status == 200 {
                assert!(n == 2 || m == Some(2), "{plan}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_early_save_whose_answer_was_lost_is_not_saved_again() {
    let app = app().await;
    app.store.fail_at(1, LoseAnswer);
    let answer = app
        .visit(async |s| {
            s.update("n", |n: &mut u64| *n += 1).unwrap();
            assert!(s.save().await.is_err());
            s.update("n", |n: &mut u64| *n += 10).unwrap();
        })
        .await;
    assert_eq!(answer.status, 500);
    app.store.reset();
    assert_eq!(app.number("n").await, Some(2));
}

#[tokio::test(start_paused = true)]
async fn an_early_save_that_was_certainly_not_written_can_be_repeated() {
    let app = app().await;
    let answer = app
        .visit(async |slow| {
            slow.update("n", |n: &mut u64| *n += 1).unwrap();
            // A conflict, and the load after it fails: nothing was written.
            app.visit(async |s| s.insert("other", 1).unwrap()).await;
            app.store.reset();
            app.store.fail_at(1, Refuse);
            assert!(slow.save().await.is_err());
            app.store.reset();
            slow.save().await.unwrap();
        })
        .await;
    assert_eq!(answer.status, 200);
    assert_eq!(app.number("n").await, Some(2));
    assert_eq!(app.number("other").await, Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_save_that_was_abandoned_half_way_is_not_written_again() {
    // The answer to an update comes a second after it is done.
    let store = InterceptedStore::from_fn(MapStore::default(), |operation, work| {
        Box::pin(async move {
            let answer = work.await;
            if operation.call == Call::Update {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            answer
        })
    });
    let engine = Engine::new(store);
    let first = engine.exchange();
    let session = first.open([].into_iter()).await.unwrap();
    session.insert("n", 1).unwrap();
    let headers = first.close(200).await.token_headers().to_vec();
    let cookie = headers[0].value().split(';').next().unwrap().to_owned();

    let second = engine.exchange();
    let session = second.open([cookie.as_bytes()].into_iter()).await.unwrap();
    session.update("n", |n: &mut u64| *n += 1).unwrap();
    let given_up = tokio::time::timeout(Duration::from_millis(10), session.save()).await;
    assert!(given_up.is_err());
    let closing = second.close(200).await;
    assert!(closing.failure.is_some(), "nobody knows what was written");
    assert!(closing.token_headers().is_empty());

    let third = engine.exchange();
    let session = third.open([cookie.as_bytes()].into_iter()).await.unwrap();
    assert_eq!(session.get::<u64>("n").unwrap(), Some(2), "once");
}

#[tokio::test(start_paused = true)]
async fn a_new_session_whose_create_was_lost_is_a_500_without_a_cookie() {
    for fault in [Refuse, LoseAnswer] {
        let app = TestApp::default();
        app.store.fail_at(0, fault);
        let answer = app.visit(async |s| s.insert("n", 1).unwrap()).await;
        assert_eq!((answer.status, answer.set_cookie), (500, None));
        assert_eq!(app.token(), None);
    }
}

/// What one request of a visitor comes to, and how long it takes.
async fn timed(
    engine: &Engine,
    cookie: &str,
    handle: impl FnOnce(&Session),
) -> (cloakroom::engine::Closing, Duration) {
    let exchange = engine.exchange();
    let session = exchange.open([cookie.as_bytes()].into_iter()).await;
    handle(&session.unwrap());
    let start = tokio::time::Instant::now();
    (exchange.close(200).await, start.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_holds_up_one_request_and_not_each_in_turn() {
    let app = TestApp::default();
    app.visit(async |s| s.insert("n", 1).unwrap()).await;
    let cookie = format!("{COOKIE}={}", app.token().unwrap());
    let write = |n: u64| timed(&app.engine, &cookie, move |s| s.insert("n", n).unwrap());
    // The first one's load, and its write.
    app.store.fail_at(app.store.operations() + 1, Fault::Hang);
    let hanging = write(0);
    let others = futures_util::future::join_all((1..6).map(write));
    let hanging = tokio::time::timeout(Duration::from_secs(60), hanging);
    let (hanging, others) = tokio::join!(hanging, others);
    assert!(hanging.is_err(), "it waits for the store");
    for (closing, took) in others {
        assert!(closing.token_headers().is_empty(), "the cookie stays");
        let error = closing.failure.expect("it could not be written");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(took <= Duration::from_secs(11), "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_look_for_a_rotated_session_does_not_wait_for_ever() {
    let app = TestApp::default();
    app.visit(async |s| s.insert("n", 1).unwrap()).await;
    let cookie = format!("{COOKIE}={}", app.token().unwrap());
    // The load, the rotation, the look.
    let next = app.store.operations();
    app.store.fail_at(next + 1, Fault::LoseAnswer);
    app.store.fail_at(next + 2, Fault::Hang);
    let (closing, took) = timed(&app.engine, &cookie, |s| s.cycle_key().unwrap()).await;
    assert_eq!(closing.failure.unwrap().kind(), ErrorKind::Unavailable);
    assert!(took <= Duration::from_secs(3), "{took:?}");
}

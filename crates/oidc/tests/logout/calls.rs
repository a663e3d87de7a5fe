//! What a tie costs, and what becomes of a login whose calls to the store fail or are broken off.

use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use cloakroom_core::session::Session;
use cloakroom_core::store::{Record, SessionStore as _, Stored};
use cloakroom_core::{Aal, Expiry, Label, Subject};
use cloakroom_testkit::{
    Fault, FaultyStore, Intercept, InterceptedStore, MapStore, Operation, Work,
};

use crate::site::TestSite;

type Site = TestSite<FaultyStore<MapStore>>;

fn site() -> Site {
    let store = FaultyStore::new(MapStore::default());
    TestSite::over(Arc::new(store), |builder| builder)
}

fn log_in<'s>(site: &'s Site, sid: &'s str) -> impl AsyncFn(&Session) + 's {
    async move |session: &Session| {
        session.set_subject(Subject::new("ada").unwrap()).unwrap();
        session.set_label(Label::new("phone").unwrap()).unwrap();
        site.logout.tie(session, sid).unwrap();
    }
}

/// How often a request with this cookie calls the store, and the cookie that it sets.
async fn calls(
    site: &Site,
    cookie: &str,
    handler: impl AsyncFnOnce(&Session),
) -> (usize, Option<String>) {
    site.store.reset();
    let cookie = site.ask(cookie, handler).await;
    (site.store.operations(), cookie)
}

/// All that the store holds beside rotation marks and tombstones.
async fn records(site: &Site) -> Vec<Record> {
    let scan = site.store.inner().capabilities().scan.unwrap();
    let found = scan.scan(None, 100).await.unwrap().items.into_iter();
    let records = found.filter_map(|item| match item.stored.unwrap() {
        Stored::Record(record) => Some(record),
        Stored::Rotated { .. } | Stored::Ended(_) => None,
    });
    records.collect()
}

#[tokio::test]
async fn a_tied_login_costs_two_calls_more_and_nothing_else_costs_any() {
    let site = site();
    let plain = async |session: &Session| {
        session.set_subject(Subject::new("bob").unwrap()).unwrap();
    };
    let read = async |session: &Session| drop(session.subject());
    let change = async |session: &Session| session.insert("cart", 1).unwrap();
    let step_up = async |session: &Session| session.reauthenticated(Aal::Two).unwrap();

    let (login, cookie) = calls(&site, "", plain).await;
    let cookie = cookie.unwrap();
    assert_eq!(login, 1);
    assert_eq!(calls(&site, &cookie, read).await.0, 1);
    assert_eq!(calls(&site, &cookie, change).await.0, 2);
    assert_eq!(calls(&site, &cookie, step_up).await.0, 2);

    let (login, cookie) = calls(&site, "", log_in(&site, "s1")).await;
    let cookie = cookie.unwrap();
    assert_eq!(login, 3);
    assert_eq!(calls(&site, &cookie, read).await.0, 1);
    assert_eq!(calls(&site, &cookie, change).await.0, 2);
    site.clock.advance(Duration::from_secs(3 * 24 * 60 * 60));
    assert_eq!(calls(&site, &cookie, read).await.0, 2, "a load and a touch");
}

#[tokio::test]
async fn a_session_that_may_slide_for_ever_is_pointed_to_anew_once_a_month() {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let store = Arc::new(FaultyStore::new(MapStore::default()));
    let expiry = Expiry::new(14 * DAY, None).unwrap();
    let site = TestSite::over(store, |builder| builder.expiry(expiry));
    let cookie = site.ask("", log_in(&site, "s1")).await.unwrap();
    let read = async |session: &Session| drop(session.subject());
    let mut all = 0;
    for _ in 0..90 {
        site.clock.advance(2 * DAY);
        all += calls(&site, &cookie, read).await.0;
    }
    // A load and a touch each, and six times the pointer, the list, and the former one removed.
    assert_eq!(all, 90 * 2 + 6 * 3);
}

#[tokio::test]
async fn a_session_that_is_lengthened_again_and_again_leaves_one_pointer() {
    let site = site();
    let mut cookie = site.ask("", log_in(&site, "s1")).await.unwrap();
    for _ in 0..10 {
        site.clock.advance(Duration::from_secs(1));
        let step_up = async |session: &Session| session.reauthenticated(Aal::Two).unwrap();
        cookie = site.ask(&cookie, step_up).await.unwrap();
    }
    let records = records(&site).await.into_iter();
    let (pointers, sessions): (Vec<_>, Vec<_>) = records.partition(|one| one.site.is_internal());
    assert_eq!((pointers.len(), sessions.len()), (1, 1));
}

/// Who is answered an error holds no session that a logout could have missed.
#[tokio::test]
async fn a_login_of_which_a_logout_may_have_missed_something_fails() {
    for fault in [Fault::Refuse, Fault::LoseAnswer] {
        for call in 0..3 {
            let site = site();
            site.store.fail_at(call, fault);
            let exchange = site.engine.exchange();
            let session = exchange.open([].into_iter()).await.unwrap();
            log_in(&site, "s1")(&session).await;
            let closing = exchange.close(200).await;
            assert!(closing.failure.is_some(), "{fault:?} at {call}");
            let mut edits = closing.header_edits([]);
            assert!(!edits.any(|edit| edit.name() == "set-cookie"));
            if (call, fault) == (0, Fault::Refuse) {
                assert!(site.browsers("ada").await.is_empty());
                assert!(records(&site).await.is_empty());
            }
        }
    }
}

/// The pointer of before leads to it as well.
#[tokio::test]
async fn a_step_up_does_not_fail_since_nobody_could_look() {
    let site = site();
    let cookie = site.ask("", log_in(&site, "s1")).await.unwrap();
    site.clock.advance(Duration::from_secs(1));
    site.store.reset();
    // A load, the pointer, the rotation, and then the list.
    site.store.fail_at(3, Fault::Refuse);
    let step_up = async |session: &Session| session.reauthenticated(Aal::Two).unwrap();
    let cookie = site.ask(&cookie, step_up).await.unwrap();
    assert_eq!(site.store.operations(), 4);
    assert_eq!(site.told(&cookie).await, "ada");
    assert_eq!(site.log_out("1", &[("sid", "s1")]).await, 1);
}

#[tokio::test]
async fn a_login_whose_answer_was_lost_ends_as_well() {
    // A load, the pointer, and then the rotation and the list.
    for lost in [&[2][..], &[2, 3]] {
        let site = site();
        let cart = async |session: &Session| session.insert("cart", 1).unwrap();
        let visit = site.ask("", cart).await.unwrap();
        site.log_out("1", &[("sid", "s1")]).await;
        site.store.reset();
        for call in lost {
            site.store.fail_at(*call, Fault::LoseAnswer);
        }
        let exchange = site.engine.exchange();
        let session = exchange.open([visit.as_bytes()].into_iter()).await.unwrap();
        log_in(&site, "s1")(&session).await;
        assert!(exchange.close(200).await.failure.is_some());
        assert!(site.browsers("ada").await.is_empty(), "{lost:?}");
        assert_eq!(site.told(&visit).await, "rotated");
    }
}

/// Lets another task go on before each call.
struct Slow;

impl Intercept for Slow {
    fn intercept<'a>(&'a self, _: Operation, work: Work<'a>) -> Work<'a> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            work.await
        })
    }
}

#[tokio::test]
async fn who_hangs_up_while_a_session_is_being_tied_keeps_nothing_that_a_logout_has_missed() {
    for polls in 1..8 {
        let store = InterceptedStore::with(MapStore::default(), Slow);
        let site = TestSite::over(Arc::new(store), |builder| builder);
        let cookie = site.log_in("ada", None, "phone").await;
        site.log_out("1", &[("sid", "s1")]).await;
        let exchange = site.engine.exchange();
        let cookies = [cookie.as_bytes()].into_iter();
        let session = exchange.open(cookies).await.unwrap();
        site.logout.tie(&session, "s1").unwrap();
        {
            let mut hangs_up = std::pin::pin!(exchange.close(200));
            let mut context = Context::from_waker(Waker::noop());
            for _ in 0..polls {
                if hangs_up.as_mut().poll(&mut context).is_ready() {
                    break;
                }
            }
        }
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        assert_eq!(site.told(&cookie).await, "logged_out_elsewhere", "{polls}");
    }
}

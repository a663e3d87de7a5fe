//! What goes wrong over the stores of tower-sessions and does not over ours: the table on
//! the crate's first page, a test each. Where their in-memory store is at hand, the same
//! situation is run over it too, and shows the defect.

#![cfg(feature = "v0_14")]
#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod common;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use cloakroom_core::session::Limits;
use cloakroom_core::store::{Data, Record, Revoke, SessionStore};
use cloakroom_core::{Clock as _, Subject, Timestamp};
use cloakroom_memory::MemoryStore;
use cloakroom_testkit::{Fault, FaultyStore, ManualClock, MapStore};
use cloakroom_tower_sessions::CloakroomStore;
use tower_sessions_0_14::session::{Error, Id};
use tower_sessions_0_14::session_store::{Error as StoreError, ExpiredDeletion as _};
use tower_sessions_0_14::{
    Expiry, MemoryStore as Theirs, Session, SessionManagerLayer, SessionStore as Foreign,
};

use common::Browser;

fn ours() -> CloakroomStore<MemoryStore> {
    CloakroomStore::new(MemoryStore::builder().build())
}

/// A session as the handler of a request has it. Two of one id are two requests at once.
fn request<S: Foreign + Clone>(store: &S, id: Option<Id>) -> Session {
    Session::new(id, Arc::new(store.clone()), None)
}

/// A session with a cart, and its id.
async fn begun<S: Foreign + Clone>(store: &S) -> Option<Id> {
    let session = request(store, None);
    session.insert("cart", "tea").await.unwrap();
    session.save().await.unwrap();
    session.id()
}

/// A request that has looked at its session already.
async fn loaded<S: Foreign + Clone>(store: &S, id: Option<Id>) -> Session {
    let session = request(store, id);
    session.get_value("cart").await.unwrap();
    session
}

async fn text<S: Foreign + Clone>(store: &S, id: Option<Id>, name: &str) -> Option<String> {
    request(store, id).get(name).await.unwrap()
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[tokio::test]
async fn changes_of_two_requests_both_survive() {
    async fn outcome(store: impl Foreign + Clone) -> [Option<String>; 3] {
        let id = begun(&store).await;
        let (one, other) = (loaded(&store, id).await, loaded(&store, id).await);
        one.insert("theme", "dark").await.unwrap();
        other.insert("lang", "en").await.unwrap();
        one.save().await.unwrap();
        other.save().await.unwrap();
        [
            text(&store, id, "cart").await,
            text(&store, id, "theme").await,
            text(&store, id, "lang").await,
        ]
    }
    assert_eq!(
        outcome(Theirs::default()).await,
        [some("tea"), None, some("en")]
    );
    assert_eq!(
        outcome(ours()).await,
        [some("tea"), some("dark"), some("en")]
    );
}

#[tokio::test]
async fn what_a_request_removes_is_not_put_back_by_another() {
    async fn outcome(store: impl Foreign + Clone, removes_last: bool) -> [Option<String>; 2] {
        let id = begun(&store).await;
        let (remover, other) = (loaded(&store, id).await, loaded(&store, id).await);
        remover.remove_value("cart").await.unwrap();
        other.insert("lang", "en").await.unwrap();
        let mut saves = [remover, other];
        if removes_last {
            saves.reverse();
        }
        for request in saves {
            request.save().await.unwrap();
        }
        [
            text(&store, id, "cart").await,
            text(&store, id, "lang").await,
        ]
    }
    let theirs = Theirs::default();
    assert_eq!(outcome(theirs, false).await, [some("tea"), some("en")]);
    assert_eq!(outcome(Theirs::default(), true).await, [None, None]);
    for removes_last in [false, true] {
        assert_eq!(outcome(ours(), removes_last).await, [None, some("en")]);
    }
}

#[tokio::test]
async fn a_second_save_of_a_request_keeps_what_another_saved_between() {
    async fn outcome(store: impl Foreign + Clone) -> [Option<String>; 2] {
        let id = begun(&store).await;
        let one = loaded(&store, id).await;
        one.insert("cart", "coffee").await.unwrap();
        one.save().await.unwrap();
        let other = loaded(&store, id).await;
        other.insert("cart", "milk").await.unwrap();
        other.save().await.unwrap();
        one.insert("lang", "en").await.unwrap();
        one.save().await.unwrap();
        [
            text(&store, id, "cart").await,
            text(&store, id, "lang").await,
        ]
    }
    assert_eq!(
        outcome(Theirs::default()).await,
        [some("coffee"), some("en")]
    );
    assert_eq!(outcome(ours()).await, [some("milk"), some("en")]);
}

#[tokio::test]
async fn a_slow_request_does_not_bring_a_logged_out_session_back() {
    async fn outcome(store: impl Foreign + Clone, logouts: usize) -> (bool, Option<String>) {
        let id = begun(&store).await;
        let slow = loaded(&store, id).await;
        for _ in 0..logouts {
            request(&store, id).flush().await.unwrap();
        }
        slow.insert("late", true).await.unwrap();
        (slow.save().await.is_ok(), text(&store, id, "cart").await)
    }
    // The first logout leaves the data for a moment, the second one removes it.
    for logouts in [1, 2] {
        let theirs = outcome(Theirs::default(), logouts).await;
        assert_eq!(theirs, (true, some("tea")));
        assert_eq!(outcome(ours(), logouts).await, (false, None));
    }
}

#[tokio::test]
async fn a_late_request_does_not_bring_the_old_id_back_after_a_rotation() {
    async fn outcome(store: impl Foreign + Clone) -> (bool, Option<String>) {
        let id = begun(&store).await;
        let (late, login) = (loaded(&store, id).await, loaded(&store, id).await);
        login.cycle_id().await.unwrap();
        login.save().await.unwrap();
        late.insert("late", true).await.unwrap();
        (late.save().await.is_ok(), text(&store, id, "cart").await)
    }
    assert_eq!(outcome(Theirs::default()).await, (true, some("tea")));
    assert_eq!(outcome(ours()).await, (false, None));
}

#[tokio::test]
async fn a_rotation_keeps_what_another_request_has_saved() {
    async fn outcome(store: impl Foreign + Clone) -> [Option<String>; 3] {
        let id = begun(&store).await;
        let (login, other) = (loaded(&store, id).await, loaded(&store, id).await);
        other.insert("lang", "en").await.unwrap();
        other.save().await.unwrap();
        login.cycle_id().await.unwrap();
        login.insert("user", "ada").await.unwrap();
        login.save().await.unwrap();
        assert_ne!(login.id(), id);
        let id = login.id();
        [
            text(&store, id, "cart").await,
            text(&store, id, "lang").await,
            text(&store, id, "user").await,
        ]
    }
    assert_eq!(
        outcome(Theirs::default()).await,
        [some("tea"), None, some("ada")]
    );
    assert_eq!(
        outcome(ours()).await,
        [some("tea"), some("en"), some("ada")]
    );
}

#[tokio::test]
async fn an_id_of_the_clients_making_becomes_no_session() {
    async fn outcome(store: impl Foreign + Clone) -> (bool, Option<String>) {
        let made_up = Some(Id(7));
        let session = request(&store, made_up);
        session.clear().await;
        session.insert("user", "ada").await.unwrap();
        (
            session.save().await.is_ok(),
            text(&store, made_up, "user").await,
        )
    }
    assert_eq!(outcome(Theirs::default()).await, (true, some("ada")));
    assert_eq!(outcome(ours()).await, (false, None));
}

#[tokio::test]
async fn what_follows_a_logout_stands_under_another_id() {
    async fn is_same_id(store: impl Foreign + Clone) -> bool {
        let id = begun(&store).await;
        let logout = loaded(&store, id).await;
        logout.flush().await.unwrap();
        logout.insert("notice", "Good bye.").await.unwrap();
        logout.save().await.unwrap();
        assert_eq!(text(&store, logout.id(), "cart").await, None);
        assert!(text(&store, logout.id(), "notice").await.is_some());
        logout.id() == id
    }
    assert!(is_same_id(Theirs::default()).await);
    assert!(!is_same_id(ours()).await);
}

#[tokio::test]
async fn a_request_with_the_old_id_leaves_the_new_cookie_alone() {
    /// Whether the answer removes the cookie, in the middle of a rotation and after it.
    async fn outcome(store: impl Foreign + Clone) -> [bool; 2] {
        let look = get(async |session: Session| {
            session.get_value("cart").await.unwrap();
        });
        let app = Router::new().route("/", look);
        let app = app.layer(SessionManagerLayer::new(store.clone()));
        let id = begun(&store).await;
        let browser = Browser::new(app).with_cookie(id.map(|id| format!("id={id}")));
        let removes = async || {
            let page = browser.answer("GET", "/", "").await;
            page.set_cookie.is_some()
        };
        let login = loaded(&store, id).await;
        login.cycle_id().await.unwrap();
        let during = removes().await;
        login.save().await.unwrap();
        [during, removes().await]
    }
    assert_eq!(outcome(Theirs::default()).await, [true, true]);
    assert_eq!(outcome(ours()).await, [false, false]);
}

#[tokio::test]
async fn a_session_that_was_ended_elsewhere_does_not_come_back_by_a_rotation() {
    async fn login<S: SessionStore>(store: &CloakroomStore<S>) -> Session {
        let session = request(store, None);
        session.insert("user", "ada").await.unwrap();
        session.insert("cart", "tea").await.unwrap();
        session.save().await.unwrap();
        loaded(store, session.id()).await
    }
    let ada = Subject::new("ada").unwrap();
    let memory = MemoryStore::builder().build();
    let store = CloakroomStore::builder(memory).subject(|data| {
        let user = data.get("user")?.as_str()?;
        Subject::new(user).ok()
    });
    let store = store.build();
    for by_another_request in [true, false] {
        let session = login(&store).await;
        let id = session.id();
        session.cycle_id().await.unwrap();
        if by_another_request {
            request(&store, id).delete().await.unwrap();
        } else {
            store.end_sessions_of(&ada, Revoke::All).await.unwrap();
        }
        // What this very request has set is no part of what was ended.
        session.insert("notice", "Welcome.").await.unwrap();
        session.save().await.unwrap();
        let id = session.id();
        assert_eq!(text(&store, id, "user").await, None);
        assert_eq!(text(&store, id, "cart").await, None);
        assert_eq!(text(&store, id, "notice").await, some("Welcome."));
        assert_eq!(store.sessions_of(&ada, 9).await.unwrap(), []);
    }
}

#[tokio::test]
async fn a_logged_out_session_is_in_no_list() {
    let store = CloakroomStore::builder(MemoryStore::builder().build())
        .subject(|_| Subject::new("ada").ok())
        .build();
    let ada = Subject::new("ada").unwrap();
    let id = begun(&store).await;
    assert_eq!(store.sessions_of(&ada, 9).await.unwrap().len(), 1);
    request(&store, id).flush().await.unwrap();
    assert_eq!(store.sessions_of(&ada, 9).await.unwrap(), []);
}

#[tokio::test]
async fn a_rotation_whose_answer_is_lost_is_found() {
    let faulty = Arc::new(FaultyStore::new(MapStore::default()));
    let store = CloakroomStore::new(Arc::clone(&faulty));
    let session = loaded(&store, begun(&store).await).await;
    session.cycle_id().await.unwrap();
    faulty.reset();
    faulty.fail_at(1, Fault::LoseAnswer);
    session.save().await.unwrap();
    assert_eq!(text(&store, session.id(), "cart").await, some("tea"));

    // One that did not happen is an error, and can be tried again.
    session.cycle_id().await.unwrap();
    faulty.reset();
    faulty.fail_at(1, Fault::Refuse);
    session.save().await.unwrap_err();
    session.save().await.unwrap();
    assert_eq!(text(&store, session.id(), "cart").await, some("tea"));
}

#[tokio::test]
async fn a_copy_of_the_database_holds_no_id() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sessions.redb");
    let store = CloakroomStore::new(cloakroom_redb::RedbStore::open(&path).unwrap());
    let id = begun(&store).await.unwrap();
    assert_eq!(text(&store, Some(id), "cart").await, some("tea"));
    drop(store);
    let copy = std::fs::read(&path).unwrap();
    let holds = |part: &[u8]| copy.windows(part.len()).any(|window| window == part);
    assert!(holds(b"cart") && holds(b"tea"));
    assert!(!holds(id.to_string().as_bytes()));
    assert!(!holds(&id.0.to_le_bytes()) && !holds(&id.0.to_be_bytes()));
    assert!(!holds(id.0.to_string().as_bytes()));
    assert!(
        !holds(b"cloakroom/loaded"),
        "the reserved entry is not stored"
    );
}

#[tokio::test]
async fn an_expired_session_opens_nothing_and_a_save_does_not_renew_it() {
    let clock = Arc::new(ManualClock::default());
    clock.set(cloakroom_core::SystemClock.now());
    let store = CloakroomStore::builder(MapStore::default());
    let store = store.clock(Arc::clone(&clock) as _).build();
    let hour = Some(Expiry::OnInactivity(time::Duration::hours(1)));
    let session = Session::new(None, Arc::new(store.clone()), hour);
    session.insert("cart", "tea").await.unwrap();
    session.save().await.unwrap();
    clock.advance(Duration::from_secs(3_500));
    let slow = loaded(&store, session.id()).await;
    assert_eq!(text(&store, session.id(), "cart").await, some("tea"));
    clock.advance(Duration::from_secs(200));
    assert_eq!(text(&store, session.id(), "cart").await, None);
    slow.clear().await;
    slow.insert("late", 1).await.unwrap();
    slow.save().await.unwrap_err();
    assert_eq!(text(&store, session.id(), "late").await, None);
}

#[tokio::test]
async fn a_damaged_record_is_a_fresh_session() {
    let memory = Arc::new(MemoryStore::builder().build());
    let store = CloakroomStore::new(Arc::clone(&memory));
    for data in [b"\xff\xff".to_vec(), vec![1, 1, b'a', 1, 0x0f]] {
        let id = Id::default();
        let mut record = Record::new(Timestamp::EPOCH, Timestamp::MAX);
        record.data = Data::from_bytes(data);
        memory
            .create(&store.digest_of(id.0), &record)
            .await
            .unwrap();
        let session = request(&store, Some(id));
        assert_eq!(session.get_value("a").await.unwrap(), None);
        session.insert("cart", "tea").await.unwrap();
        session.save().await.unwrap();
        assert_ne!(session.id(), Some(id));
    }
}

#[tokio::test]
async fn the_sweep_goes_on_after_a_failure() {
    let clock = Arc::new(ManualClock::default());
    let faulty = Arc::new(FaultyStore::new(MapStore::default()));
    let store = CloakroomStore::builder(Arc::clone(&faulty));
    let store = store.clock(Arc::clone(&clock) as _).build();
    let record = Record::new(Timestamp::EPOCH, Timestamp::from_millis(1));
    let digest = store.digest_of(7);
    faulty.create(&digest, &record).await.unwrap();
    clock.advance(Duration::from_secs(1));
    faulty.fail_always(Some(Fault::Refuse));
    store.delete_expired().await.unwrap();
    faulty.fail_always(None);
    assert!(faulty.load(&digest).await.unwrap().is_some());
    store.delete_expired().await.unwrap();
    assert!(faulty.load(&digest).await.unwrap().is_none());
}

#[tokio::test]
async fn a_session_that_grows_past_a_limit_is_an_error_and_keeps_what_it_was() {
    let store = CloakroomStore::builder(MemoryStore::builder().build());
    let store = store
        .limits(Limits::default().with_record_bytes_max(100))
        .build();
    let id = begun(&store).await;
    let session = loaded(&store, id).await;
    session.insert("cart", "x".repeat(100)).await.unwrap();
    let error = session.save().await.unwrap_err();
    assert!(
        matches!(error, Error::Store(StoreError::Encode(_))),
        "{error:?}"
    );
    assert!(
        error.to_string().contains("record_bytes_max is 100"),
        "{error}"
    );
    assert_eq!(text(&store, id, "cart").await, some("tea"));
}

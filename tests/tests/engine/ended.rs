//! Who waits for the end of a session is told of it, and why, whoever ends it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cloakroom::cookie::{CookieStore, EpochStore, KeyRing};
use cloakroom::engine::{OsEntropy, TokenStore};
use cloakroom::session::Session;
use cloakroom::store::{AnySessionStore, EndReason, SessionStore as _};
use cloakroom::stores::{Cached, MemoryStore, Migrating, RedbStore, Sealed};
use cloakroom::{
    Clock as _, CookiePolicy, Engine, EngineBuilder, ErrorKind, Expiry, Label, Subject,
};
use cloakroom_testkit::{Fault, FaultyStore, ManualClock, MapStore, RecordingStore};
use cloakroom_tests::in_process::COOKIE;
use cloakroom_tests::waiting::{Visitor, goes_on, soon};

/// Never, within a test: what is told is told by this node itself.
const NEVER: Duration = Duration::from_secs(3_600);

/// The rhythm of those who are told by the store.
const OFTEN: Duration = Duration::from_millis(50);

fn engine<S: TokenStore>(store: S, check_every: Duration) -> Engine {
    built(store, |builder| builder.check_ended_every(check_every))
}

fn built<S: TokenStore>(store: S, with: impl FnOnce(EngineBuilder) -> EngineBuilder) -> Engine {
    with(Engine::builder(store)).build().unwrap()
}

fn subject(name: &str) -> Subject {
    Subject::new(name).unwrap()
}

/// Each way in which a session ends on this node is told at once, with its reason and note.
async fn tells_each_reason<S: TokenStore>(store: S) {
    let engine = built(store, |builder| {
        builder.check_ended_every(NEVER).sessions_per_subject_max(3)
    });
    let mut ada = Visitor::log_in(&engine, "ada").await;
    let ended = ada.wait().await;
    ada.log_out().await;
    assert_eq!(soon(ended).await.because, EndReason::LoggedOut);

    let mut ada = Visitor::log_in(&engine, "ada").await;
    let mut phone = Visitor::log_in(&engine, "ada").await;
    let phones = Label::new("Ada's phone").unwrap();
    let (label, ended_on) = (phones.clone(), phones.clone());
    phone
        .visit(async move |session| session.set_label(label).unwrap())
        .await;
    let ended = ada.wait().await;
    let mut phones_end = phone.wait().await;
    phone
        .visit_sessions(async |sessions| sessions.end_others().await.unwrap())
        .await;
    let ended = soon(ended).await;
    assert_eq!(ended.because, EndReason::LoggedOutElsewhere);
    assert_eq!(ended.note, Some(phones));
    assert!(ended.at.is_some());
    assert!(goes_on(&mut phones_end, OFTEN).await);

    let id = phone.visit(async |session| session.id().unwrap()).await;
    let note = Label::new("Your account is locked").unwrap();
    let adas = subject("ada");
    let end = engine.end_session_with_note(&adas, &id, note.clone());
    assert!(end.await.unwrap());
    let ended = soon(phones_end).await;
    assert_eq!(ended.because, EndReason::EndedByAdministrator);
    assert_eq!(ended.note, Some(note));

    // Which device it was is told also where it logs itself out by that.
    let mut ada = Visitor::log_in(&engine, "ada").await;
    let mut phone = Visitor::log_in(&engine, "ada").await;
    let label = ended_on.clone();
    phone
        .visit(async move |session| session.set_label(label).unwrap())
        .await;
    let ended = ada.wait().await;
    phone
        .visit_sessions(async |sessions| sessions.end_all().await.unwrap())
        .await;
    let ended = soon(ended).await;
    assert_eq!(ended.because, EndReason::LoggedOutElsewhere);
    assert_eq!(ended.note, Some(ended_on));

    let mut ada = Visitor::log_in(&engine, "ada").await;
    let mut bob = Visitor::log_in(&engine, "bob").await;
    let (ended, mut bobs) = (ada.wait().await, bob.wait().await);
    let note = Label::new("Password reset").unwrap();
    let end = engine.end_sessions_of_with_note(&adas, note.clone());
    end.await.unwrap();
    let ended = soon(ended).await;
    assert_eq!(ended.because, EndReason::AllEnded);
    assert_eq!(ended.note, Some(note));
    assert!(goes_on(&mut bobs, OFTEN).await);

    engine.end_everybody().await.unwrap();
    assert_eq!(soon(bobs).await.because, EndReason::AllEnded);

    let mut first = Visitor::log_in(&engine, "ada").await;
    let ended = first.wait().await;
    // Of logins in one millisecond, any may be the first.
    tokio::time::sleep(Duration::from_millis(2)).await;
    for _ in 0..3 {
        Visitor::log_in(&engine, "ada").await;
    }
    assert_eq!(soon(ended).await.because, EndReason::SessionLimit);

    // Not Ada's: a fourth login of hers within one millisecond may be the one that ends.
    let mut shared = Visitor::log_in(&engine, "dan").await;
    let ended = shared.wait().await;
    shared
        .visit(async |session| session.set_subject(subject("bob")).unwrap())
        .await;
    assert_eq!(soon(ended).await.because, EndReason::Flushed);

    let mut begun_anew = Visitor::log_in(&engine, "eve").await;
    let ended = begun_anew.wait().await;
    begun_anew
        .visit(async |session| {
            session.flush().unwrap();
            session.insert("goodbye", true).unwrap();
        })
        .await;
    assert_eq!(soon(ended).await.because, EndReason::LoggedOut);
}

/// A session that moves to another key is the same, and its end is told under each of its keys.
async fn follows_rotations<S: TokenStore>(store: S) {
    let engine = engine(store, NEVER);
    let mut ada = Visitor::log_in(&engine, "ada").await;
    let before = ada.clone();
    let mut ended = ada.wait().await;
    for _ in 0..3 {
        ada.visit(async |session| session.cycle_key().unwrap())
            .await;
    }
    assert_ne!(ada.token, before.token);
    assert!(goes_on(&mut ended, OFTEN).await);
    ada.log_out().await;
    assert_eq!(soon(ended).await.because, EndReason::LoggedOut);

    // By a cookie from before, as the other tab of the browser still sends it.
    let mut ada = Visitor::log_in(&engine, "ada").await;
    let mut before = ada.clone();
    let ended = ada.wait().await;
    ada.visit(async |session| session.cycle_key().unwrap())
        .await;
    before.log_out().await;
    assert_eq!(soon(ended).await.because, EndReason::LoggedOut);

    // In the request that waits, too.
    let mut ada = Visitor::log_in(&engine, "ada").await;
    let (exchange, session) = ada.open().await;
    let ended = session.ended();
    session.cycle_key().unwrap();
    ada.close(exchange).await;
    ada.log_out().await;
    assert_eq!(soon(ended).await.because, EndReason::LoggedOut);
}

/// Two nodes whose store announces nothing: the one is told in its rhythm what the other does.
async fn is_told_in_its_rhythm<S: TokenStore>(store: S) {
    let store = cloakroom::AnyStore::new(store);
    let [here, there] = [engine(store.clone(), OFTEN), engine(store, NEVER)];
    let mut ada = Visitor::log_in(&here, "ada").await;
    let ended = ada.wait().await;
    ada.at(&there).log_out().await;
    assert_eq!(soon(ended).await.because, EndReason::LoggedOut);

    // It moved there before it ended there, to a key that this node never saw.
    let mut ada = Visitor::log_in(&here, "ada").await;
    let ended = ada.wait().await;
    let mut ada = ada.at(&there);
    ada.visit(async |session| session.cycle_key().unwrap())
        .await;
    ada.log_out().await;
    assert_eq!(soon(ended).await.because, EndReason::LoggedOut);

    // It moved there, goes on, and ends here.
    let mut ada = Visitor::log_in(&here, "ada").await;
    let mut ended = ada.wait().await;
    let mut ada = ada.at(&there);
    ada.visit(async |session| session.cycle_key().unwrap())
        .await;
    assert!(goes_on(&mut ended, 4 * OFTEN).await);
    // Beside one that waits under the new key from the beginning.
    let newer = ada.at(&here).wait().await;
    ada.at(&here).log_out().await;
    assert_eq!(soon(ended).await.because, EndReason::LoggedOut);
    assert_eq!(soon(newer).await.because, EndReason::LoggedOut);

    // Somebody else logs in with it there.
    let mut ada = Visitor::log_in(&here, "ada").await;
    let ended = ada.wait().await;
    ada.at(&there)
        .visit(async |session| session.set_subject(subject("bob")).unwrap())
        .await;
    assert_eq!(soon(ended).await.because, EndReason::Flushed);

    let mut ada = Visitor::log_in(&here, "ada").await;
    let ended = ada.wait().await;
    let note = Label::new("Password reset").unwrap();
    let subject = subject("ada");
    let end = there.end_sessions_of_with_note(&subject, note.clone());
    end.await.unwrap();
    let ended = soon(ended).await;
    assert_eq!(
        (ended.because, ended.note),
        (EndReason::AllEnded, Some(note))
    );
}

async fn keeps_all_promises<S: TokenStore>(open: impl Fn(&Path) -> S) {
    let folder = tempfile::tempdir().unwrap();
    let open = |name: &str| open(&folder.path().join(name));
    tells_each_reason(open("a")).await;
    follows_rotations(open("b")).await;
    is_told_in_its_rhythm(open("c")).await;
}

macro_rules! over {
    ($($name:ident: |$path:ident| $open:expr;)+) => {$(
        #[tokio::test]
        async fn $name() {
            keeps_all_promises(|$path| $open).await;
        }
    )+};
}

over! {
    over_memory: |_path| MemoryStore::builder().build();
    over_redb: |path| RedbStore::open(path).unwrap();
    behind_a_seal: |_path| Sealed::new(MemoryStore::builder().build());
    behind_an_erased_type: |_path| AnySessionStore::new(MapStore::default());
    behind_a_cache: |_path| Cached::with_staleness_max(MapStore::default(), OFTEN);
    behind_a_seal_and_a_cache: |_path| {
        Sealed::new(Cached::with_staleness_max(MapStore::default(), OFTEN))
    };
    while_it_moves: |_path| Migrating::new(MapStore::default(), MapStore::default()).unwrap();
}

/// The time goes on, and the store is asked.
async fn pass(clock: &ManualClock, by: Duration) {
    clock.advance(by);
    tokio::time::sleep(2 * OFTEN).await;
}

#[tokio::test(start_paused = true)]
async fn a_deadline_is_told_of_and_uses_move_it() {
    const MINUTE: Duration = Duration::from_secs(60);
    let clock = Arc::new(ManualClock::default());
    let expiry = Expiry::new(10 * MINUTE, Some(60 * MINUTE)).unwrap();
    let store = Arc::new(RecordingStore::new(MapStore::default()));
    let [here, there] = [(), ()].map(|()| {
        built(store.clone(), |builder| {
            builder
                .expiry(expiry)
                .clock(clock.clone())
                .check_ended_every(OFTEN)
        })
    });
    let mut idle = Visitor::log_in(&here, "ada").await;
    let idle = idle.wait().await;
    let mut busy = Visitor::log_in(&here, "bob").await;
    let mut busy_there = busy.at(&there);
    let mut busy_ends = busy.wait().await;
    pass(&clock, 6 * MINUTE).await;
    busy.visit(async |session| assert!(session.exists())).await;
    pass(&clock, 6 * MINUTE).await;
    assert_eq!(soon(idle).await.because, EndReason::Idle);
    // By uses that only the store knows of.
    for _ in 0..7 {
        busy_there
            .visit(async |session| assert!(session.exists()))
            .await;
        assert!(goes_on(&mut busy_ends, 2 * OFTEN).await);
        clock.advance(6 * MINUTE);
    }
    busy_there
        .visit(async |session| assert!(session.exists()))
        .await;
    assert!(goes_on(&mut busy_ends, 2 * OFTEN).await);
    pass(&clock, 6 * MINUTE).await;
    let ended = soon(busy_ends).await;
    assert_eq!(ended.because, EndReason::Absolute);

    // What the session chooses for itself on another node is its deadline.
    let mut short = Visitor::log_in(&here, "eve").await;
    let ended = short.wait().await;
    let minute = cloakroom::SessionExpiry::Idle(MINUTE);
    short
        .at(&there)
        .visit(async |session| session.set_expiry(minute).unwrap())
        .await;
    pass(&clock, 2 * MINUTE).await;
    assert_eq!(soon(ended).await.because, EndReason::Idle);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_down_ends_nobody() {
    let store = Arc::new(FaultyStore::new(MapStore::default()));
    let here = engine(store.clone(), OFTEN);
    let there = engine(store.clone(), NEVER);
    let mut ada = Visitor::log_in(&here, "ada").await;
    let mut ended = ada.wait().await;
    for fault in [Fault::Refuse, Fault::Hang] {
        store.fail_always(Some(fault));
        assert!(goes_on(&mut ended, 60 * OFTEN).await);
        store.fail_always(None);
    }
    ada.at(&there).log_out().await;
    assert_eq!(soon(ended).await.because, EndReason::LoggedOut);
}

#[tokio::test]
async fn the_store_is_asked_whether_a_session_lives_also_after_its_request() {
    let store = Arc::new(FaultyStore::new(MapStore::default()));
    let here = engine(store.clone(), NEVER);
    let there = engine(store.clone(), NEVER);
    let mut ada = Visitor::log_in(&here, "ada").await;
    let session = ada
        .visit(async |session| {
            assert!(session.is_alive().await.unwrap());
            session
        })
        .await;
    assert!(session.is_alive().await.unwrap());
    let before = store.operations();
    assert!(session.is_alive().await.unwrap());
    assert_eq!(store.operations(), before + 1, "one load");
    ada.visit(async |session| session.cycle_key().unwrap())
        .await;
    assert!(session.is_alive().await.unwrap(), "under its new key");
    // A future can be made of it as well.
    let ended = session.ended();
    store.fail_always(Some(Fault::Refuse));
    let error = session.is_alive().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    store.fail_always(None);
    ada.at(&there).log_out().await;
    assert!(!session.is_alive().await.unwrap());
    ada.at(&here).log_out().await;
    assert_eq!(soon(ended).await.because, EndReason::LoggedOut);
}

/// A task that the handler has begun asks for its session when the response has left.
#[tokio::test]
async fn a_session_that_outlives_its_request_can_still_be_waited_for() {
    let here = engine(MapStore::default(), NEVER);
    let mut ada = Visitor::log_in(&here, "ada").await;
    let session = ada
        .visit(async |session| {
            session.cycle_key().unwrap();
            session
        })
        .await;
    assert!(session.is_alive().await.unwrap());
    let mut ended = session.ended();
    assert!(goes_on(&mut ended, OFTEN).await);
    ada.log_out().await;
    assert_eq!(soon(ended).await.because, EndReason::LoggedOut);
    assert!(!session.is_alive().await.unwrap());
}

/// Where it went is remembered for a minute in the store, and for longer by who waits.
#[tokio::test]
async fn each_future_that_is_kept_remembers_where_the_session_is() {
    let (store, clock) = (
        Arc::new(MapStore::default()),
        Arc::new(ManualClock::default()),
    );
    let here = built(store.clone(), |builder| {
        builder.check_ended_every(NEVER).clock(clock.clone())
    });
    let mut ada = Visitor::log_in(&here, "ada").await;
    let session = ada.visit(async |session| session).await;
    let mut kept = session.ended();
    drop(session.ended());
    ada.visit(async |session| session.cycle_key().unwrap())
        .await;
    clock.advance(Duration::from_secs(3_600));
    let sweep = store.capabilities().sweep.unwrap();
    sweep.sweep(clock.now(), 10).await.unwrap();
    assert!(session.is_alive().await.unwrap());
    assert!(goes_on(&mut kept, OFTEN).await);
    assert!(goes_on(&mut session.ended(), OFTEN).await);
}

#[tokio::test]
async fn a_session_that_is_not_stored_has_ended_and_one_of_a_test_never_does() {
    let here = engine(MapStore::default(), NEVER);
    let exchange = here.exchange();
    let session = exchange.open(std::iter::empty()).await.unwrap();
    assert!(!session.is_alive().await.unwrap());
    assert_eq!(soon(session.ended()).await.because, EndReason::Unknown);
    session.insert("n", 1).unwrap();
    session.save().await.unwrap();
    assert!(session.is_alive().await.unwrap());
    let mut ended = session.ended();
    assert!(goes_on(&mut ended, OFTEN).await);

    // Given up by its server.
    let given_up = here.exchange();
    let mut ada = Visitor::log_in(&here, "ada").await;
    let token = here.token(ada.token.clone());
    let session = given_up.open_token(token).await.unwrap();
    drop(given_up);
    let error = session.is_alive().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert_eq!(soon(session.ended()).await.because, EndReason::Unknown);

    // Who comes with the cookie of one that has ended is told why.
    let before = ada.clone();
    ada.log_out().await;
    let (_exchange, session) = before.open().await;
    assert_eq!(soon(session.ended()).await.because, EndReason::LoggedOut);

    let mut ended = Session::detached().ended();
    assert!(goes_on(&mut ended, OFTEN).await);
    assert!(!Session::detached().is_alive().await.unwrap());
}

/// Between the load of a session and the wait for its end, nobody listened.
#[tokio::test]
async fn an_end_just_before_the_wait_is_not_missed() {
    let here = engine(MapStore::default(), OFTEN);
    let mut ada = Visitor::log_in(&here, "ada").await;
    let (_exchange, session) = ada.open().await;
    ada.log_out().await;
    assert_eq!(soon(session.ended()).await.because, EndReason::LoggedOut);
}

/// A worker of actix-web has a runtime of its own, which ends with it.
#[test]
fn a_worker_that_ends_leaves_the_waiting_to_another() {
    let runtime = || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().build().unwrap()
    };
    let store = cloakroom::AnyStore::new(MapStore::default());
    let here = engine(store.clone(), OFTEN);
    let there = engine(store, NEVER);
    let (first, second) = (runtime(), runtime());
    let mut ada = first.block_on(Visitor::log_in(&here, "ada"));
    let mut firsts = first.block_on(ada.wait());
    assert!(first.block_on(goes_on(&mut firsts, 2 * OFTEN)));
    let mut seconds = first.block_on(ada.wait());
    assert!(second.block_on(goes_on(&mut seconds, 2 * OFTEN)));
    drop(first);
    second.block_on(async {
        ada.at(&there).log_out().await;
        assert_eq!(soon(seconds).await.because, EndReason::LoggedOut);
    });
}

/// What a cookie store can know: ends on this node, the end of all sessions of a subject, and
/// the deadline that the latest cookie has.
#[tokio::test]
async fn a_cookie_store_tells_what_it_can_know() {
    let ring = KeyRing::generate(&OsEntropy).unwrap();
    let epochs = Arc::new(MapStore::default());
    let clock = Arc::new(ManualClock::default());
    let expiry = Expiry::new(Duration::from_secs(600), Some(Duration::from_secs(3_600)));
    let node = |check_every| {
        let epochs = Arc::new(EpochStore::in_non_evicting(epochs.clone()));
        let store = CookieStore::builder(COOKIE, &ring).clock(clock.clone());
        built(store.revocation(epochs).build().unwrap(), |builder| {
            builder
                .cookie(CookiePolicy::default())
                .expiry(expiry.clone().unwrap())
                .clock(clock.clone())
                .check_ended_every(check_every)
        })
    };
    let [here, there] = [node(OFTEN), node(NEVER)];
    let mut ada = Visitor::log_in(&here, "ada").await;
    let ended = ada.wait().await;
    ada.log_out().await;
    assert_eq!(soon(ended).await.because, EndReason::LoggedOut);

    // Written and rotated on this node, it is the same session.
    let mut ada = Visitor::log_in(&here, "ada").await;
    let mut ended = ada.wait().await;
    ada.visit(async |session| session.insert("n", 1).unwrap())
        .await;
    ada.visit(async |session| session.cycle_key().unwrap())
        .await;
    assert!(goes_on(&mut ended, 2 * OFTEN).await);
    there.end_sessions_of(&subject("ada")).await.unwrap();
    assert_eq!(soon(ended).await.because, EndReason::Epoch);

    let mut ada = Visitor::log_in(&here, "ada").await;
    let mut ended = ada.wait().await;
    ada.at(&there).log_out().await;
    assert!(goes_on(&mut ended, 2 * OFTEN).await, "nobody can know");
    clock.advance(Duration::from_secs(400));
    ada.visit(async |session| assert!(session.exists())).await;
    clock.advance(Duration::from_secs(400));
    assert!(goes_on(&mut ended, 2 * OFTEN).await, "used meanwhile");
    clock.advance(Duration::from_secs(400));
    assert_eq!(soon(ended).await.because, EndReason::Idle);
}

#[tokio::test]
async fn a_rhythm_faster_than_a_store_can_answer_is_refused() {
    let builder = Engine::builder(MapStore::default());
    let refused = builder.check_ended_every(Duration::from_millis(9)).build();
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Misconfigured);
}

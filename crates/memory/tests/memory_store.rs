//! The contract, and what this store adds: bounds, eviction, expiry.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use cloakroom_core::engine::AnyStore;
use cloakroom_core::store::{
    Data, EndReason, Ending, KeyDigest, Record, Revision, Revoke, Scan as _, SessionStore as _,
    Stored, Subjects as _, Sweep as _, TOMBSTONE_AGE_MAX,
};
use cloakroom_core::{
    Clock as _, ErrorKind, Label, SUBJECT_BYTES_MAX, Subject, SystemClock, Timestamp,
};
use cloakroom_memory::MemoryStore;
use cloakroom_testkit::{
    ManualClock, Profile, conformance, key, listed_as, races, races_of_subjects, sample,
};

#[test]
fn writers_that_race_from_threads_conform() {
    races(&MemoryStore::default(), 500);
}

#[tokio::test]
async fn conforms() {
    conformance(&MemoryStore::default(), &Profile::SERVER_SIDE).await;
}

#[tokio::test]
async fn conforms_erased() {
    let store = AnyStore::new(MemoryStore::default());
    conformance(&store, &Profile::SERVER_SIDE).await;
}

async fn fill(store: &MemoryStore, sessions: usize) -> Vec<KeyDigest> {
    let mut digests = Vec::new();
    for _ in 0..sessions {
        let digest = key().digest();
        store.create(&digest, &sample("a visitor")).await.unwrap();
        digests.push(digest);
    }
    digests
}

#[tokio::test]
async fn a_new_login_outlives_an_idle_old_session_in_a_full_store() {
    let store = MemoryStore::builder().capacity_bytes(500_000).build();
    let mut idle = fill(&store, 2_000).await;
    let _housekeeping = store.bytes();
    // The old sessions were used often, so eviction by frequency would keep them.
    for digest in &idle {
        for _ in 0..4 {
            store.load(digest).await.unwrap();
        }
    }
    let logins = fill(&store, 200).await;
    assert!(store.bytes() <= 500_000);
    for login in &logins {
        assert!(store.load(login).await.unwrap().is_some());
    }
    let before = idle.len();
    for digest in std::mem::take(&mut idle) {
        if store.load(&digest).await.unwrap().is_some() {
            idle.push(digest);
        }
    }
    assert!(idle.len() < before, "idle sessions were evicted");
}

/// Each of several shards has its own bytes and its own order of eviction.
#[tokio::test]
async fn in_a_larger_store_too_a_new_login_outlives_idle_sessions_and_visitors() {
    let store = MemoryStore::builder().capacity_bytes(20_000_000).build();
    let idle = fill(&store, 40_000).await;
    for digest in &idle {
        store.load(digest).await.unwrap();
    }
    let stand = async |digests: &[KeyDigest]| {
        let mut standing = 0;
        for digest in digests {
            standing += usize::from(store.load(digest).await.unwrap().is_some());
        }
        standing
    };
    let logins = fill(&store, 1_000).await;
    // As many visitors come as a third of the store holds, and none of them returns.
    fill(&store, sessions(&store) / 3).await;
    assert_eq!(stand(&logins).await, 1_000);
    assert!(stand(&idle).await < 40_000);
    assert!(store.bytes() <= 20_000_000);
    assert!(store.bytes() >= 19_000_000);
}

/// What is in use is spared, however many visitors come.
#[tokio::test]
async fn a_session_in_use_outlives_any_flood_of_visitors() {
    let store = MemoryStore::builder().capacity_bytes(1_000_000).build();
    let used = fill(&store, 100).await;
    for _ in 0..100 {
        fill(&store, 200).await;
        for digest in &used {
            assert!(store.load(digest).await.unwrap().is_some());
        }
    }
}

#[tokio::test]
async fn a_session_that_the_store_has_no_room_for_is_refused_and_ends_no_other() {
    let store = MemoryStore::builder().capacity_bytes(100_000).build();
    let others = fill(&store, 10).await;
    let mut record = sample("");
    record.data = Data::from_bytes(vec![7; 100_000]);
    let created = store.create(&key().digest(), &record).await;
    assert_eq!(created.unwrap_err().kind(), ErrorKind::TooLarge);
    record.revision = Revision::FIRST;
    let updated = store.update(&others[0], &record).await;
    let error = updated.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert!(error.to_string().contains("more capacity"), "{error}");
    for digest in &others {
        assert!(store.load(digest).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn its_bytes_bound_what_it_holds_whatever_the_size_of_a_session() {
    let store = MemoryStore::builder().capacity_bytes(1_000_000).build();
    for _ in 0..100 {
        let mut record = sample("");
        record.data = Data::from_bytes(vec![7; 60_000]);
        store.create(&key().digest(), &record).await.unwrap();
    }
    assert!(store.bytes() <= 1_000_000);
    assert!(store.bytes() >= 900_000);
}

#[tokio::test]
async fn an_expired_session_is_forgotten_by_its_own_clock_alone() {
    let clock = Arc::new(ManualClock::default());
    let store = MemoryStore::builder().clock(clock.clone()).build();
    let digest = key().digest();
    let mut record = sample("old");
    record.expires_at = clock.now().saturating_add(Duration::from_secs(3_600));
    store.create(&digest, &record).await.unwrap();
    assert!(matches!(
        store.load(&digest).await.unwrap(),
        Some(Stored::Record(_))
    ));
    record.revision = Revision::FIRST;
    record.expires_at = clock.now().saturating_add(Duration::from_millis(20));
    let revision = store.update(&digest, &record).await.unwrap();
    clock.advance(Duration::from_millis(20));
    let expired = store.load(&digest).await.unwrap();
    let Some(Stored::Ended(tombstone)) = expired else {
        panic!("{expired:?}");
    };
    assert_eq!(tombstone.because, EndReason::Idle);
    record.revision = revision;
    let updated = store.update(&digest, &record).await;
    assert_eq!(updated.unwrap_err().kind(), ErrorKind::Gone);
    record.expires_at = Timestamp::MAX;
    let created = store.create(&digest, &record).await;
    assert_eq!(created.unwrap_err().kind(), ErrorKind::Exists);
    // What nobody remembers is not in the way.
    clock.advance(TOMBSTONE_AGE_MAX);
    assert!(store.load(&digest).await.unwrap().is_none());
    store.create(&digest, &record).await.unwrap();
    assert!(store.load(&digest).await.unwrap().is_some());
}

#[tokio::test]
async fn a_delete_leaves_no_trace_of_what_has_expired() {
    let clock = Arc::new(ManualClock::default());
    let store = MemoryStore::builder().clock(clock.clone()).build();
    let (old, new) = (key().digest(), key().digest());
    let mut record = sample("old");
    record.expires_at = clock.now().saturating_add(Duration::from_secs(60));
    record.revision = store.create(&old, &record).await.unwrap();
    let until = clock.now().saturating_add(Duration::from_secs(30));
    store.rotate(&old, &new, &record, until).await.unwrap();
    clock.advance(Duration::from_secs(60));
    for digest in [old, new] {
        let expired = store.load(&digest).await.unwrap();
        assert!(matches!(expired, Some(Stored::Ended(_))), "{expired:?}");
        store.delete(&digest).await.unwrap();
        assert_eq!(store.load(&digest).await.unwrap(), None);
        // Nothing is in the way any more.
        record.expires_at = Timestamp::MAX;
        store.create(&digest, &record).await.unwrap();
    }
    assert_eq!(sessions(&store), 2);
    assert_eq!(listed(&store), 2);
}

/// Whoever logs in and out again and again fills the store with tombstones, and evicts no
/// session that is idle.
#[tokio::test]
async fn what_is_remembered_of_ended_sessions_is_evicted_before_any_session() {
    let store = MemoryStore::builder().capacity_bytes(1_000_000).build();
    let idle: Vec<_> = (0..200).map(|_| key().digest()).collect();
    for digest in &idle {
        store.create(digest, &sample("idle")).await.unwrap();
    }
    for _ in 0..20_000 {
        let digest = key().digest();
        store.create(&digest, &sample("short")).await.unwrap();
        let ending = Ending::new(EndReason::LoggedOut, Timestamp::from_millis(u64::MAX / 2));
        store.end(&digest, Some(&ending)).await.unwrap();
    }
    assert!(store.bytes() <= 1_000_000);
    assert!(sessions(&store) > 1_000, "it is full: {store:?}");
    for digest in &idle {
        let stored = store.load(digest).await.unwrap();
        assert!(matches!(stored, Some(Stored::Record(_))));
    }
}

/// The reason stays, and the note gives way: it may be longer than the session was.
#[tokio::test]
async fn a_long_note_ends_no_other_session_of_a_full_store() {
    const SESSIONS: usize = 50;
    let mut record = Record::new(Timestamp::EPOCH, Timestamp::MAX);
    record.subject = Some(subject(1));
    let probe = MemoryStore::default();
    probe.create(&key().digest(), &record).await.unwrap();
    let capacity_bytes = probe.bytes() * SESSIONS as u64;
    let store = MemoryStore::builder()
        .capacity_bytes(capacity_bytes)
        .build();
    let mut digests = Vec::new();
    for _ in 0..SESSIONS {
        let digest = key().digest();
        store.create(&digest, &record).await.unwrap();
        digests.push(digest);
    }
    assert_eq!(store.bytes(), capacity_bytes, "it is full");
    let note = Label::new("x".repeat(SUBJECT_BYTES_MAX)).unwrap();
    let ending = Ending::new(EndReason::EndedByAdministrator, SystemClock.now());
    let ending = ending.with_note(Some(note));
    let ended = digests.pop().unwrap();
    store.end(&ended, Some(&ending)).await.unwrap();
    for digest in &digests {
        let stored = store.load(digest).await.unwrap();
        assert!(matches!(stored, Some(Stored::Record(_))), "{stored:?}");
    }
    assert_eq!(listed(&store), digests.len());
    let Some(Stored::Ended(left)) = store.load(&ended).await.unwrap() else {
        panic!("nobody knows why it ended: {store:?}");
    };
    assert_eq!(left.because, EndReason::EndedByAdministrator);
    assert!(store.bytes() <= capacity_bytes);
}

/// No sweep is needed: whoever adds a session looks at others.
#[tokio::test]
async fn the_memory_of_expired_sessions_is_freed_by_the_writes_that_follow() {
    let clock = Arc::new(ManualClock::default());
    let store = MemoryStore::builder().clock(clock.clone()).build();
    for number in 0..10_000 {
        let mut record = sample("a visitor");
        record.subject = Some(subject(number));
        record.expires_at = clock.now().saturating_add(Duration::from_secs(100_000));
        store.create(&key().digest(), &record).await.unwrap();
        clock.advance(Duration::from_secs(100));
    }
    // A thousand stand, 864 have expired within a day, and at most an eighth of all is due.
    assert!((1_000..1_300).contains(&listed(&store)), "{store:?}");
    assert!((1_864..2_300).contains(&sessions(&store)), "{store:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crossing_rotations_do_not_deadlock() {
    let store = MemoryStore::default();
    let tasks: Vec<_> = (0..200)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let (old, new) = (key().digest(), key().digest());
                let record = sample("moving");
                let revision = store.create(&old, &record).await.unwrap();
                let record = record.at_revision(revision);
                store
                    .rotate(&old, &new, &record, record.expires_at)
                    .await
                    .unwrap();
                assert!(store.load(&new).await.unwrap().is_some());
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

#[test]
fn logins_that_race_a_revocation_are_ended_or_listed() {
    races_of_subjects(&MemoryStore::default(), 200);
}

/// The answer of a store that never waits.
fn ready<T>(answer: impl Future<Output = T>) -> T {
    match pin!(answer).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("it waits"),
    }
}

/// The rotation marks expire at once, so nothing leads from the old digest to the new.
#[test]
fn a_session_that_moves_without_a_mark_is_ended_all_the_same() {
    let store = MemoryStore::default();
    for _ in 0..500 {
        let (mut at, mut record) = (key().digest(), sample("moving"));
        let whose = record.subject.clone().unwrap();
        record.revision = ready(store.create(&at, &record)).unwrap();
        let is_revoked = AtomicBool::new(false);
        let began = Barrier::new(2);
        std::thread::scope(|scope| {
            let mover = scope.spawn(|| {
                began.wait();
                loop {
                    let was_revoked = is_revoked.load(Ordering::SeqCst);
                    let new = key().digest();
                    let moved = ready(store.rotate(&at, &new, &record, Timestamp::EPOCH));
                    match moved {
                        Ok(revision) => record.revision = revision,
                        Err(error) => {
                            assert_eq!(error.kind(), ErrorKind::Gone);
                            return;
                        }
                    }
                    assert!(!was_revoked, "a session stands that was revoked");
                    at = new;
                }
            });
            began.wait();
            // A revocation may answer that it was too slow; it is then called again.
            while let Err(error) = ready(store.revoke(&listed_as(&whose), Revoke::All)) {
                assert_eq!(error.kind(), ErrorKind::Unavailable);
            }
            is_revoked.store(true, Ordering::SeqCst);
            mover.join().unwrap();
        });
        assert!(
            ready(store.sessions_of(&listed_as(&whose), usize::MAX))
                .unwrap()
                .is_empty()
        );
    }
}

fn listed(store: &MemoryStore) -> usize {
    printed(store, "listed: ")
}

fn sessions(store: &MemoryStore) -> usize {
    printed(store, "sessions: ")
}

fn printed(store: &MemoryStore, field: &str) -> usize {
    let printed = format!("{store:?}");
    let (_, value) = printed.split_once(field).unwrap();
    let digits = value.find(|c: char| !c.is_ascii_digit()).unwrap();
    value[..digits].parse().unwrap()
}

fn subject(number: usize) -> Subject {
    Subject::new(number.to_string()).unwrap()
}

/// The index loses the entry of a session with the session, and lists all others.
#[tokio::test]
async fn the_index_is_bounded_with_the_store_and_lists_all_that_stands() {
    let store = MemoryStore::builder().capacity_bytes(500_000).build();
    let mut digests = Vec::new();
    for number in 0..20_000 {
        let (digest, mut record) = (key().digest(), sample("a login"));
        record.subject = Some(subject(number));
        store.create(&digest, &record).await.unwrap();
        digests.push(digest);
    }
    let _housekeeping = store.bytes();
    let mut standing = 0;
    for (number, digest) in digests.iter().enumerate() {
        let stands = store.load(digest).await.unwrap().is_some();
        let sessions = store
            .sessions_of(&listed_as(&subject(number)), usize::MAX)
            .await
            .unwrap();
        assert_eq!(sessions.len(), usize::from(stands));
        standing += usize::from(stands);
    }
    assert!(standing > 500, "{standing} stand");
    assert_eq!(sessions(&store), standing);
    assert_eq!(listed(&store), standing);
}

#[tokio::test]
async fn what_ends_or_changes_hands_leaves_no_entry() {
    let store = MemoryStore::default();
    for number in 0..100 {
        let (digest, mut record) = (key().digest(), sample("x"));
        record.subject = Some(subject(number));
        record.revision = store.create(&digest, &record).await.unwrap();
        record.subject = (number % 2 == 0).then(|| subject(number + 1));
        record.revision = store.update(&digest, &record).await.unwrap();
        let new = key().digest();
        let until = record.expires_at;
        store.rotate(&digest, &new, &record, until).await.unwrap();
        assert_eq!(listed(&store), usize::from(number % 2 == 0));
        match number % 3 {
            0 => store.delete(&digest).await.unwrap(),
            1 => {
                let whose = subject(number + 1);
                store.revoke(&listed_as(&whose), Revoke::All).await.unwrap();
            }
            _ => drop(store.sweep(Timestamp::MAX, 1_000).await.unwrap()),
        }
        assert_eq!(listed(&store), 0);
    }
}

/// How often a future lets others run before it is ready.
fn turns(future: impl Future) -> usize {
    let (mut future, mut turns) = (pin!(future), 0);
    while future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
        .is_pending()
    {
        turns += 1;
    }
    turns
}

#[tokio::test]
async fn what_looks_at_many_sessions_lets_others_run_in_between() {
    // A scan of a larger store reads but one of its shards for a page.
    let store = MemoryStore::builder().capacity_bytes(4_000_000).build();
    let whose = listed_as(&subject(7));
    for _ in 0..4_000 {
        let mut record = sample("a login");
        record.subject = Some(subject(7));
        store.create(&key().digest(), &record).await.unwrap();
    }
    let _housekeeping = store.bytes();
    assert!(turns(store.scan(None, 10)) >= 3);
    assert!(turns(store.sweep(Timestamp::EPOCH, 1_000)) >= 3);
    assert_eq!(turns(store.list_sessions(&whose, None)), 0, "one page");
    assert!(turns(store.revoke(&whose, Revoke::All)) >= 30);
    assert!(store.sessions_of(&whose, 1).await.unwrap().is_empty());
}

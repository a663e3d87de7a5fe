//! The contract of a store, and what concerns two stores alone, over doubles.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use cloakroom_core::store::{
    Capabilities, Data, KeyDigest, Record, Revision, Revoke, ScanCursor, SessionStore, Stored,
};
use cloakroom_core::{ErrorKind, Timestamp};
use cloakroom_migrating::Migrating;
use cloakroom_testkit::{
    Call, Intercept, InterceptedStore, MapStore, Operation, Profile, Trial, Work, conformance,
    linearizable, races, races_of_subjects, sample,
};
use futures_executor::block_on;

type Maps = Migrating<Arc<MapStore>, Arc<MapStore>>;

fn maps() -> Maps {
    Migrating::new(Arc::default(), Arc::default()).expect("a map takes imports")
}

fn digest(number: u8) -> KeyDigest {
    let mut bytes = [7; 32];
    bytes[0] = number;
    KeyDigest::from_bytes(bytes)
}

fn record(revision: u64) -> Record {
    sample("moved").at_revision(Revision::from_u64(revision))
}

fn rotated(to: u8) -> Stored {
    Stored::Rotated {
        to: digest(to),
        until: Timestamp::MAX,
    }
}

fn fast() -> NonZeroU32 {
    NonZeroU32::MAX
}

#[tokio::test]
async fn it_keeps_the_contract() {
    conformance(&maps(), &Profile::SERVER_SIDE).await;
}

#[test]
fn it_keeps_the_contract_among_threads() {
    races(&maps(), 100);
    races_of_subjects(&maps(), 30);
    linearizable(&maps(), 100);
}

/// A prepared node keeps the contract too. A node without the new store finds all that it
/// does, but for what it ends.
#[tokio::test]
async fn a_prepared_node_keeps_the_contract_and_moves_nothing_that_goes_on() {
    let prepared = || Migrating::prepared(Arc::default(), Arc::default()).expect("it imports");
    conformance(&prepared(), &Profile::SERVER_SIDE).await;
    let store: Maps = prepared();
    let subject = record(1).subject_digest().unwrap();
    for number in 1..=3 {
        store.create(&digest(number), &record(1)).await.unwrap();
    }
    store.load(&digest(1)).await.unwrap();
    store.update(&digest(1), &record(1)).await.unwrap();
    let until = record(1).expires_at;
    let (old, new) = (digest(1), digest(9));
    store.rotate(&old, &new, &record(2), until).await.unwrap();
    let subjects = store.capabilities().required_subjects().unwrap();
    assert_eq!(subjects.sessions_of(&subject, 9).await.unwrap().len(), 3);
    assert!(store.to().snapshot().is_empty());
    let mut ended = subjects
        .revoke(&subject, Revoke::AllBut(old))
        .await
        .unwrap();
    ended.sort();
    assert_eq!(ended, [digest(2), digest(3)]);
    let left = store.from().load(&new).await.unwrap();
    assert!(
        matches!(left, Some(Stored::Record(_))),
        "it is spared, and stays"
    );
}

/// What the former store was told before the nodes began, they answer for. They and two
/// copies then run at once.
#[test]
fn some_order_explains_what_several_nodes_answer_while_two_copies_run() {
    for seed in 0..300 {
        let store = maps();
        let trial = &Trial::new(seed);
        block_on(trial.client(&**store.from(), 12));
        let node = || Migrating::new(store.from().clone(), store.to().clone()).unwrap();
        thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| block_on(trial.client(&node(), 7)));
            }
            for _ in 0..2 {
                scope.spawn(|| block_on(node().copy(fast())).unwrap());
            }
        });
        trial.check();
    }
}

#[test]
fn a_store_that_takes_no_imports_is_refused() {
    let to = InterceptedStore::with(MapStore::default(), Offering(None));
    let refused = Migrating::new(MapStore::default(), to).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Misconfigured);
    let from = InterceptedStore::with(MapStore::default(), Offering(None));
    let store = Migrating::new(from, MapStore::default()).unwrap();
    let refused = block_on(store.copy(fast())).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Misconfigured);
}

/// Lets every operation pass, and offers these imports beside what the store inside offers,
/// or nothing at all.
struct Offering(Option<Arc<MapStore>>);

impl Intercept for Offering {
    fn intercept<'a>(&'a self, _: Operation, work: Work<'a>) -> Work<'a> {
        work
    }

    fn capabilities<'a>(&'a self, offered: Capabilities<'a>) -> Capabilities<'a> {
        match &self.0 {
            Some(imports) => offered.with_import(&**imports),
            None => Capabilities::NONE,
        }
    }
}

/// It would otherwise forget what it has just frozen.
#[test]
fn a_store_that_is_to_move_to_itself_loses_nothing() {
    let same = Arc::new(MapStore::default());
    let stored = Stored::Record(record(4));
    same.plant(digest(1), stored.clone());
    let store = Migrating::new(same.clone(), same.clone()).unwrap();
    let refused = block_on(store.copy(fast())).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Misconfigured);
    let store = Migrating::new(same, Arc::new(MapStore::default())).unwrap();
    let found = block_on(store.load(&digest(1))).unwrap();
    assert_eq!(found, Some(stored));
}

/// A session keeps its revision, so that whoever has loaded it from the former store can
/// write to it in the new one.
#[test]
fn a_session_moves_as_it_is() {
    for revision in [1, 2, 40] {
        let store = maps();
        store
            .from()
            .plant(digest(1), Stored::Record(record(revision)));
        let updated = block_on(store.update(&digest(1), &record(revision))).unwrap();
        assert_eq!(updated.as_u64(), revision + 1);

        store
            .from()
            .plant(digest(2), Stored::Record(record(revision)));
        let found = block_on(store.load(&digest(2))).unwrap();
        let moved = found.and_then(Stored::into_record).unwrap();
        assert_eq!(moved.revision.as_u64(), revision);
        assert_eq!(
            (moved.subject, moved.flushes),
            (record(1).subject, record(1).flushes)
        );
    }
}

#[test]
fn a_logout_ends_what_rotation_marks_of_the_former_store_lead_to() {
    let store = maps();
    store.from().plant(digest(1), rotated(2));
    store.from().plant(digest(2), rotated(3));
    store.from().plant(digest(3), Stored::Record(record(5)));
    block_on(store.delete(&digest(1))).unwrap();
    assert_eq!(block_on(store.load(&digest(3))).unwrap(), None);
    assert_eq!(block_on(store.load(&digest(1))).unwrap(), Some(rotated(2)));
    let copied = block_on(store.copy(fast())).unwrap();
    assert_eq!((copied.moved, copied.rotation_marks), (0, 2));
    assert_eq!(block_on(store.load(&digest(3))).unwrap(), None);
}

/// A copy that somebody made by other means does not bring a session back.
#[test]
fn of_a_session_in_both_stores_the_new_one_counts() {
    let mut newer = record(9);
    newer.data = Data::from_bytes(*b"newer");
    for ended in [false, true] {
        let store = maps();
        store.from().plant(digest(1), Stored::Record(record(5)));
        store.to().plant(digest(1), Stored::Record(newer.clone()));
        if ended {
            block_on(store.delete(&digest(1))).unwrap();
        }
        let expected = (!ended).then(|| Stored::Record(newer.clone()));
        for _ in 0..2 {
            assert_eq!(block_on(store.load(&digest(1))).unwrap(), expected);
            block_on(store.copy(fast())).unwrap();
            assert!(store.from().snapshot().is_empty());
        }
        // A copy that has read the former one before, and writes it only now.
        block_on(store.delete(&digest(1))).unwrap();
        store.from().plant(digest(1), Stored::Record(record(5)));
        block_on(store.copy(fast())).unwrap();
        assert_eq!(block_on(store.load(&digest(1))).unwrap(), None);
    }
}

#[test]
fn lists_and_revocations_find_what_is_still_in_the_former_store() {
    let subject = record(1).subject_digest().unwrap();
    let store = maps();
    for number in 1..=5 {
        store
            .from()
            .plant(digest(number), Stored::Record(record(2)));
    }
    let subjects = store.capabilities().required_subjects().unwrap();
    let listed = block_on(subjects.sessions_of(&subject, 10)).unwrap();
    assert_eq!(listed.len(), 5);
    for number in 6..=9 {
        store
            .from()
            .plant(digest(number), Stored::Record(record(2)));
    }
    let ended = block_on(subjects.revoke(&subject, Revoke::One(digest(6)))).unwrap();
    assert_eq!(ended, [digest(6)]);
    let ended = block_on(subjects.revoke(&subject, Revoke::AllBut(digest(7)))).unwrap();
    assert_eq!(ended.len(), 7);
    block_on(store.copy(fast())).unwrap();
    let listed = block_on(subjects.sessions_of(&subject, 10)).unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].digest, digest(7));
}

/// Whoever scans sees sessions, wherever they are, and not what moving them leaves.
#[test]
fn a_scan_shows_each_session_once_and_nothing_of_the_moves() {
    let store = maps();
    for number in 1..=3 {
        store
            .from()
            .plant(digest(number), Stored::Record(record(2)));
    }
    block_on(store.load(&digest(1))).unwrap();
    // A node was killed when it had frozen this one.
    let mut frozen = record(2);
    frozen.flushes |= 1 << 31;
    let at = KeyDigest::from_bytes(digest(2).as_bytes().map(|byte| !byte));
    block_on(
        store
            .from()
            .rotate(&digest(2), &at, &frozen, Timestamp::EPOCH),
    )
    .unwrap();
    let scan = store.capabilities().scan.unwrap();
    let (mut found, mut next) = (Vec::new(), None::<ScanCursor>);
    loop {
        let page = block_on(scan.scan(next.as_ref(), 1)).unwrap();
        for item in page.items {
            let record = item.stored.unwrap().into_record().unwrap();
            assert_eq!((record.revision.as_u64(), record.flushes), (2, 3));
            found.push(item.digest);
        }
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    assert_eq!(found, [digest(3), digest(2), digest(1)]);
    for text in ["", "former", "new", "old "] {
        let page = block_on(scan.scan(Some(&ScanCursor::new(text)), 1));
        assert_eq!(page.unwrap_err().kind(), ErrorKind::Mismatch, "{text:?}");
    }
}

/// A new store that keeps something else than it was given is found out before the former
/// one forgets the session.
#[test]
fn what_the_new_store_does_not_keep_stays_in_the_former_one() {
    let to = Arc::new(MapStore::default());
    let damaging = to.clone();
    let damaged = InterceptedStore::from_fn(to.clone(), move |operation, work| {
        let damaging = damaging.clone();
        Box::pin(async move {
            let answer = work.await;
            if operation.call == Call::Rotate {
                let mut record = record(5);
                record.data = Data::from_bytes(*b"damaged");
                damaging.plant(digest(1), Stored::Record(record));
            }
            answer
        })
    });
    let damaged = InterceptedStore::with(damaged, Offering(Some(to)));
    let store = Migrating::new(Arc::new(MapStore::default()), damaged).unwrap();
    store.from().plant(digest(1), Stored::Record(record(5)));
    let refused = block_on(store.copy(fast())).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    let kept = store.from().snapshot();
    let is_record = |stored: &&Stored| matches!(stored, Stored::Record(_));
    assert_eq!(kept.values().filter(is_record).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_copy_keeps_to_its_rate_and_goes_on_where_it_was_dropped() {
    let store = maps();
    for number in 0..200 {
        store
            .from()
            .plant(digest(number), Stored::Record(record(2)));
    }
    let rate = NonZeroU32::new(100).unwrap();
    let begun = tokio::time::Instant::now();
    let half = tokio::time::timeout(Duration::from_secs(1), store.copy(rate));
    assert!(half.await.is_err(), "it was dropped");
    let left = store.from().snapshot();
    let records = left
        .values()
        .filter(|left| matches!(left, Stored::Record(_)));
    assert!((98..=102).contains(&records.count()));
    let copied = store.copy(rate).await.unwrap();
    assert!((98..=102).contains(&copied.moved), "{copied:?}");
    let took = begun.elapsed();
    assert!(took > Duration::from_millis(1_950), "{took:?}");
    assert!(took < Duration::from_millis(2_200), "{took:?}");
    assert!(store.from().snapshot().is_empty());
    for number in 0..200 {
        assert!(store.load(&digest(number)).await.unwrap().is_some());
    }
}

/// A node that moves from one to the other.
fn node(from: &Arc<MapStore>, to: &Arc<MapStore>) -> Maps {
    Migrating::new(from.clone(), to.clone()).expect("a map takes imports")
}

/// Where a record stands that is no leftover of a move.
fn stands_in(store: &MapStore, number: u8) -> bool {
    matches!(
        store.snapshot().get(&digest(number)),
        Some(Stored::Record(_))
    )
}

#[tokio::test]
async fn sessions_go_to_and_fro_as_often_as_anybody_likes() {
    let [one, other] = [(); 2].map(|()| Arc::new(MapStore::default()));
    for number in 1..=3 {
        one.create(&digest(number), &record(1)).await.unwrap();
    }
    for round in 1..=4 {
        for (from, to) in [(&one, &other), (&other, &one)] {
            let store = node(from, to);
            // One is met by a request and ended, or written to; the others are copied.
            let loaded = store.load(&digest(1)).await.unwrap();
            let Some(Stored::Record(loaded)) = loaded else {
                panic!("lost in round {round}: {loaded:?}");
            };
            store.update(&digest(1), &loaded).await.unwrap();
            let copied = store.copy(fast()).await.unwrap();
            assert_eq!((copied.moved, copied.unreadable), (2, 0), "round {round}");
            for number in 1..=3 {
                assert!(stands_in(to, number), "{number} in round {round}");
                assert!(!stands_in(from, number), "{number} in round {round}");
            }
        }
    }
    let store = node(&one, &other);
    store.delete(&digest(2)).await.unwrap();
    store.copy(fast()).await.unwrap();
    let store = node(&other, &one);
    store.copy(fast()).await.unwrap();
    assert!(
        store.load(&digest(2)).await.unwrap().is_none(),
        "it stays ended"
    );
    assert!(stands_in(&one, 1) && stands_in(&one, 3));
}

/// Whoever goes back from the middle of a move, killed at any of its steps, loses nothing.
#[tokio::test]
async fn a_move_that_is_broken_off_at_any_step_can_be_turned_round() {
    for broken_at in 0..24_usize {
        let [one, other] = [(); 2].map(|()| Arc::new(MapStore::default()));
        one.create(&digest(1), &record(1)).await.unwrap();
        one.create(&digest(2), &record(1)).await.unwrap();
        let steps = Arc::new(AtomicUsize::new(0));
        let until = |store: &Arc<MapStore>| {
            let steps = steps.clone();
            InterceptedStore::from_fn(store.clone(), move |_, work: Work<'_>| {
                match steps.fetch_add(1, Ordering::Relaxed) < broken_at {
                    true => work,
                    false => Box::pin(async { Err(ErrorKind::Unavailable.into()) }),
                }
            })
        };
        let broken = Migrating::new(until(&one), until(&other)).unwrap();
        // It fails but for the last times.
        let _ = broken.copy(fast()).await;

        let back = node(&other, &one);
        for number in [1, 2] {
            let loaded = back.load(&digest(number)).await.unwrap();
            let is_found = matches!(loaded, Some(Stored::Record(_)));
            assert!(is_found, "{number} after {broken_at} steps: {loaded:?}");
        }
        back.delete(&digest(1)).await.unwrap();
        back.copy(fast()).await.unwrap();
        for store in [&back, &node(&one, &other), &node(&other, &one)] {
            assert!(store.load(&digest(1)).await.unwrap().is_none());
            store.copy(fast()).await.unwrap();
            let loaded = store.load(&digest(2)).await.unwrap();
            assert!(matches!(loaded, Some(Stored::Record(_))), "{loaded:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_in_the_background_comes_to_its_end_after_errors() {
    let from = Arc::new(MapStore::default());
    let to = Arc::new(MapStore::default());
    for number in 1..=200 {
        from.create(&digest(number), &record(1)).await.unwrap();
    }
    let failures = Arc::new(AtomicUsize::new(3));
    let failing = {
        let failures = failures.clone();
        InterceptedStore::from_fn(to.clone(), move |operation: Operation, work: Work<'_>| {
            let fails = operation.call == Call::Rotate
                && failures
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                        left.checked_sub(1)
                    })
                    .is_ok();
            Box::pin(async move {
                match fails {
                    true => Err(ErrorKind::Unavailable.into()),
                    false => work.await,
                }
            })
        })
    };
    let store = Arc::new(Migrating::new(from.clone(), failing).unwrap());
    store
        .copy_in_background(NonZeroU32::new(100).unwrap())
        .unwrap();
    tokio::time::sleep(Duration::from_secs(40)).await;
    assert_eq!(failures.load(Ordering::Relaxed), 0);
    for number in 1..=200 {
        assert!(stands_in(&to, number), "{number}");
    }
    assert!(from.snapshot().is_empty());
}

/// It goes on for as long as somebody uses the store.
#[tokio::test(start_paused = true)]
async fn a_copy_in_the_background_ends_with_its_store() {
    let from = Arc::new(MapStore::default());
    for number in 1..=200 {
        from.create(&digest(number), &record(1)).await.unwrap();
    }
    let store = Arc::new(node(&from, &Arc::default()));
    store
        .copy_in_background(NonZeroU32::new(100).unwrap())
        .unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    drop(store);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(Arc::strong_count(&from), 1, "nobody holds the store");
    let left = (1..=200).filter(|number| stands_in(&from, *number)).count();
    assert!((100..200).contains(&left), "{left}");
}

#[test]
fn a_copy_in_the_background_outside_a_runtime_is_refused() {
    let refused = Arc::new(maps()).copy_in_background(fast()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Misconfigured);
}

//! The contract through the cache, and what the cache adds: hits, staleness,
//! coalesced loads, failed writes.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use cloakroom_cached::{CacheStats, Cached};
use cloakroom_core::engine::AnyStore;
use cloakroom_core::store::{
    Data, Ending, KeyDigest, ROTATION_HOPS_MAX, Record, Revision, Revoke, SessionStore, Stored,
    Touch,
};
use cloakroom_core::{Error, ErrorKind, Timestamp};
use cloakroom_testkit::Call::{self, Create, Delete, Load, Rotate, Update};
use cloakroom_testkit::{
    Fault, FaultyStore, InterceptedStore, ManualClock, MapStore, Profile, RecordingStore,
    conformance, key, listed_as, races, sample, touch_until,
};
use futures_util::FutureExt as _;
use tokio::sync::Semaphore;

const STALE: Duration = Duration::from_secs(5);

fn cached<S: cloakroom_core::store::SessionStore>(store: S) -> Cached<S> {
    Cached::with_staleness_max(store, STALE)
}

#[tokio::test]
async fn conforms() {
    conformance(&cached(MapStore::default()), &Profile::SERVER_SIDE).await;
}

#[tokio::test]
async fn conforms_erased_and_in_a_row() {
    let row = cached(cached(MapStore::default()));
    conformance(&row, &Profile::SERVER_SIDE).await;
    conformance(&AnyStore::new(row), &Profile::SERVER_SIDE).await;
}

#[test]
fn writers_that_race_from_threads_conform() {
    races(&cached(MapStore::default()), 300);
}

type Recording = Arc<RecordingStore<MapStore>>;

async fn stored() -> (Cached<Recording>, Recording, KeyDigest) {
    let inner = Recording::default();
    let store = cached(inner.clone());
    let digest = key().digest();
    inner.create(&digest, &sample("here")).await.unwrap();
    inner.take();
    (store, inner, digest)
}

#[tokio::test]
async fn a_second_load_costs_the_store_nothing() {
    let (store, inner, digest) = stored().await;
    let first = store.load(&digest).await.unwrap();
    assert_eq!(store.load(&digest).await.unwrap(), first);
    assert_eq!(inner.take(), [Load]);
    let CacheStats {
        hits,
        misses,
        stale,
        coalesced,
        ..
    } = store.stats();
    assert_eq!((hits, misses, stale, coalesced), (1, 1, 0, 0));
    // Whoever was given a store of any kind reads them too.
    let told = store.capabilities().near_cache.map(|cache| cache.stats());
    assert_eq!(told, Some(store.stats()));
    assert!(store.load(&key().digest()).await.unwrap().is_none());
}

#[tokio::test]
async fn each_write_goes_to_the_store_first_and_leaves_what_it_wrote() {
    let (store, inner, digest) = stored().await;
    let record = sample("written").at_revision(Revision::FIRST);
    let revision = store.update(&digest, &record).await.unwrap();
    let Some(Stored::Record(found)) = store.load(&digest).await.unwrap() else {
        panic!("it stands");
    };
    assert_eq!(found, record.at_revision(revision));
    assert_eq!(inner.take(), [Update]);

    let new = key().digest();
    let revision = store
        .rotate(&digest, &new, &found, record.expires_at)
        .await
        .unwrap();
    assert!(store.load(&new).await.unwrap().is_some());
    assert_eq!(inner.take(), [Rotate]);
    assert!(matches!(
        store.load(&digest).await.unwrap(),
        Some(Stored::Rotated { .. })
    ));
    assert_eq!(inner.take(), [Load]);

    store.touch(&new, revision, (&record).into()).await.unwrap();
    store.load(&new).await.unwrap();
    assert_eq!(inner.take(), [Call::Touch, Load]);

    // By the old digest: the cache follows the rotation mark as the store does.
    store.delete(&digest).await.unwrap();
    assert!(store.load(&new).await.unwrap().is_none());
    assert_eq!(inner.take(), [Delete, Load, Load, Load]);

    let fresh = key().digest();
    store.create(&fresh, &record).await.unwrap();
    store.load(&fresh).await.unwrap();
    assert_eq!(inner.take(), [Create]);
}

#[tokio::test]
async fn what_another_process_did_is_seen_within_the_bound() {
    let clock = Arc::new(ManualClock::default());
    let inner = Arc::new(MapStore::default());
    let store = Cached::builder(inner.clone(), STALE)
        .clock(clock.clone())
        .build();
    let digest = key().digest();
    inner.create(&digest, &sample("here")).await.unwrap();
    store.load(&digest).await.unwrap();
    inner.delete(&digest).await.unwrap();
    clock.advance(STALE - Duration::from_millis(1));
    assert!(
        store.load(&digest).await.unwrap().is_some(),
        "a hit, still within"
    );
    clock.advance(Duration::from_millis(1));
    assert!(store.load(&digest).await.unwrap().is_none());
    assert_eq!(store.stats().stale, 1);
}

#[tokio::test]
async fn a_conflict_or_gone_seen_through_the_cache_drops_its_entry() {
    let (store, inner, digest) = stored().await;
    let record = sample("stale").at_revision(Revision::FIRST);
    store.load(&digest).await.unwrap();
    let next = inner.update(&digest, &record).await.unwrap();
    let error = store.update(&digest, &record).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let found = store
        .load(&digest)
        .await
        .unwrap()
        .and_then(Stored::into_record);
    assert_eq!(found.unwrap().revision, next);

    inner.delete(&digest).await.unwrap();
    let error = store.update(&digest, &record).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Gone);
    assert!(store.load(&digest).await.unwrap().is_none());
}

/// A cache that is written at the same time as the database serves what was never
/// saved.
#[tokio::test]
async fn where_the_store_fails_the_cache_does_not_serve_the_unsaved_value() {
    for fault in [Fault::Refuse, Fault::LoseAnswer] {
        let inner = Arc::new(FaultyStore::new(MapStore::default()));
        let store = cached(inner.clone());
        let digest = key().digest();
        store.create(&digest, &sample("saved")).await.unwrap();
        let unsaved = sample("unsaved").at_revision(Revision::FIRST);
        inner.reset();
        inner.fail_at(0, fault);
        let error = store.update(&digest, &unsaved).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        let there = inner.inner().load(&digest).await.unwrap();
        assert_eq!(store.load(&digest).await.unwrap(), there, "{fault:?}");
    }
}

#[tokio::test]
async fn a_full_cache_keeps_to_its_bytes_and_the_store_has_the_rest() {
    let store = Cached::builder(MapStore::default(), STALE)
        .capacity_bytes(200_000)
        .build();
    let mut digests = Vec::new();
    for byte in 0..100 {
        let mut record = sample("");
        record.data = Data::from_bytes(vec![byte; 10_000]);
        let digest = key().digest();
        store.create(&digest, &record).await.unwrap();
        digests.push(digest);
    }
    for digest in &digests {
        assert!(store.load(digest).await.unwrap().is_some());
    }
    assert!(store.stats().misses >= 80, "{:?}", store.stats());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loads_at_the_same_time_share_one_load_of_the_store() {
    let (store, inner, digest) = stored().await;
    let store = Arc::new(store);
    let loads: Vec<_> = (0..64).map(|_| store.load(&digest)).collect();
    for loaded in futures_util::future::join_all(loads).await {
        assert!(loaded.unwrap().is_some());
    }
    assert_eq!(inner.take(), [Load]);
    let stats = store.stats();
    assert_eq!(stats.misses, 1);
    assert_eq!(stats.hits + stats.coalesced, 63);
}

/// A session that was rotated, with an entry under its new digest.
async fn moved() -> (Cached<Arc<FaultyStore<MapStore>>>, [KeyDigest; 2]) {
    let store = cached(Arc::new(FaultyStore::new(MapStore::default())));
    let [old, new] = [key().digest(), key().digest()];
    let mut record = sample("here");
    record.revision = store.create(&old, &record).await.unwrap();
    let until = record.expires_at;
    store.rotate(&old, &new, &record, until).await.unwrap();
    assert!(store.load(&new).await.unwrap().is_some());
    (store, [old, new])
}

#[tokio::test]
async fn a_logout_whose_answer_is_lost_leaves_nothing_of_where_the_session_moved() {
    let (store, [old, new]) = moved().await;
    let next = store.inner().operations();
    store.inner().fail_at(next, Fault::LoseAnswer);
    store.delete(&old).await.unwrap_err();
    assert_eq!(store.load(&new).await.unwrap(), None);
}

#[tokio::test]
async fn a_logout_that_is_dropped_midway_leaves_nothing_of_where_the_session_moved() {
    let (store, [old, new]) = moved().await;
    // The delete is answered; the load of where it led is not yet.
    let marks = Arc::new(Semaphore::new(0));
    let slow = Slow(store.inner().clone(), marks.clone());
    let slow = Cached::with_staleness_max(slow, STALE);
    assert!(slow.load(&new).await.unwrap().is_some());
    let dropped = tokio::time::timeout(Duration::from_millis(20), slow.delete(&old)).await;
    assert!(dropped.is_err());
    marks.add_permits(1);
    tokio::task::yield_now().await;
    assert_eq!(slow.load(&new).await.unwrap(), None);
}

#[tokio::test]
async fn what_ends_or_moves_a_session_is_carried_out_though_its_caller_stops_waiting() {
    for call in [Delete, Rotate, Call::Revoke] {
        let may_go_on = Arc::new(Semaphore::new(0));
        let gate = may_go_on.clone();
        let store = InterceptedStore::from_fn(MapStore::default(), move |operation, work| {
            let gate = gate.clone();
            Box::pin(async move {
                if operation.call == call {
                    gate.acquire().await.unwrap().forget();
                }
                work.await
            })
        });
        let store = cached(store);
        let [digest, new, other] = [key().digest(), key().digest(), key().digest()];
        let mut record = sample("here");
        record.revision = store.create(&digest, &record).await.unwrap();
        let mut of_nobody = sample("other");
        of_nobody.subject = None;
        store.create(&other, &of_nobody).await.unwrap();

        let write = async {
            match call {
                Delete => store.delete(&digest).await.unwrap(),
                Rotate => {
                    let until = record.expires_at;
                    store.rotate(&digest, &new, &record, until).await.unwrap();
                }
                _ => {
                    let subject = listed_as(record.subject.as_ref().unwrap());
                    let subjects = store.capabilities().subjects.unwrap();
                    subjects.revoke(&subject, Revoke::All).await.unwrap();
                }
            }
        };
        assert!(
            write.now_or_never().is_none(),
            "{call:?} waits, and is dropped"
        );
        let stands = async || {
            let found = store.load(&digest).await.unwrap();
            found.and_then(Stored::into_record).is_some()
        };
        assert!(stands().await, "{call:?} is not carried out yet");
        may_go_on.add_permits(1);
        tokio::task::yield_now().await;
        assert!(!stands().await, "{call:?} is carried out");
        let hits = store.stats().hits;
        store.load(&other).await.unwrap().unwrap();
        assert_eq!(
            store.stats().hits,
            hits + 1,
            "{call:?} cost another its entry"
        );
    }
}

/// Another process may end the session between a write and its answer.
#[tokio::test]
async fn a_write_that_is_answered_late_does_not_replace_what_a_load_has_seen() {
    let shared = Arc::new(FaultyStore::new(MapStore::default()));
    let store = cached(Slow(shared.clone(), Arc::new(Semaphore::new(0))));
    let (digest, mut record) = (key().digest(), sample("here"));
    record.revision = shared.create(&digest, &record).await.unwrap();
    let mut update = pin!(store.update(&digest, &record));
    let waker = &mut Context::from_waker(Waker::noop());
    assert!(update.as_mut().poll(waker).is_pending());
    shared.delete(&digest).await.unwrap();
    assert_eq!(store.load(&digest).await.unwrap(), None);
    update.await.unwrap();
    assert_eq!(store.load(&digest).await.unwrap(), None);
}

/// Whether an entry, a load in flight or a write in flight is from before.
#[tokio::test]
async fn what_is_forgotten_is_asked_of_the_store_again() {
    let (shared, gate) = (Arc::new(MapStore::default()), Arc::new(Semaphore::new(0)));
    let slow = Arc::new(AtomicBool::new(false));
    let (may_go_on, is_slow) = (gate.clone(), slow.clone());
    let store = InterceptedStore::from_fn(shared.clone(), move |_, work| {
        let (may_go_on, is_slow) = (may_go_on.clone(), is_slow.load(Ordering::Relaxed));
        Box::pin(async move {
            let answer = work.await;
            if is_slow {
                may_go_on.acquire().await.unwrap().forget();
            }
            answer
        })
    });
    let store = cached(cached(store));
    let (digest, mut record) = (key().digest(), sample("here"));
    record.revision = shared.create(&digest, &record).await.unwrap();
    let revision = async || {
        let found = store.load(&digest).await.unwrap().unwrap();
        found.into_record().unwrap().revision
    };
    let forget = || store.capabilities().near_cache.unwrap().forget(&digest);
    let elsewhere = async |record: &Record| shared.update(&digest, record).await.unwrap();

    assert_eq!(revision().await, record.revision);
    record.revision = elsewhere(&record).await;
    assert_ne!(revision().await, record.revision, "an entry");
    forget();
    assert_eq!(revision().await, record.revision);

    forget();
    slow.store(true, Ordering::Relaxed);
    let mut load = pin!(store.load(&digest));
    let waker = &mut Context::from_waker(Waker::noop());
    assert!(load.as_mut().poll(waker).is_pending());
    slow.store(false, Ordering::Relaxed);
    record.revision = elsewhere(&record).await;
    forget();
    assert_eq!(revision().await, record.revision, "beside a load in flight");
    gate.add_permits(1);
    load.await.unwrap();
    assert_eq!(revision().await, record.revision);

    slow.store(true, Ordering::Relaxed);
    let written = record.clone();
    let mut write = pin!(store.update(&digest, &written));
    assert!(write.as_mut().poll(waker).is_pending());
    slow.store(false, Ordering::Relaxed);
    let mut next = shared.load(&digest).await.unwrap().unwrap();
    let Stored::Record(next) = &mut next else {
        panic!("it stands")
    };
    record.revision = elsewhere(next).await;
    forget();
    gate.add_permits(1);
    write.await.unwrap();
    assert_eq!(revision().await, record.revision, "after a write in flight");
}

/// Answers a load of a rotation mark where it is permitted to, and an update late.
struct Slow(Arc<FaultyStore<MapStore>>, Arc<Semaphore>);

impl SessionStore for Slow {
    async fn load(&self, digest: &KeyDigest) -> Result<Option<Stored>, Error> {
        let loaded = self.0.load(digest).await?;
        if matches!(loaded, Some(Stored::Rotated { .. })) {
            self.1.acquire().await.unwrap().forget();
        }
        Ok(loaded)
    }

    async fn create(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        self.0.create(digest, record).await
    }

    async fn update(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        let revision = self.0.update(digest, record).await?;
        tokio::task::yield_now().await;
        Ok(revision)
    }

    async fn touch(
        &self,
        digest: &KeyDigest,
        revision: Revision,
        touch: Touch,
    ) -> Result<(), Error> {
        self.0.touch(digest, revision, touch).await
    }

    async fn rotate(
        &self,
        old: &KeyDigest,
        new: &KeyDigest,
        record: &Record,
        mark_until: Timestamp,
    ) -> Result<Revision, Error> {
        self.0.rotate(old, new, record, mark_until).await
    }

    async fn end(&self, digest: &KeyDigest, ending: Option<&Ending>) -> Result<(), Error> {
        self.0.end(digest, ending).await
    }
}

/// A client can bring this about, so it must not empty the cache for all others.
#[tokio::test]
async fn where_the_store_cannot_follow_a_session_the_cache_says_so_and_keeps_all_others() {
    let store = cached(MapStore::default());
    let (first, mut record) = (key().digest(), sample("here"));
    record.revision = store.create(&first, &record).await.unwrap();
    let other = key().digest();
    store.create(&other, &sample("another")).await.unwrap();
    let mut last = first;
    for _ in 0..=ROTATION_HOPS_MAX {
        let (old, until) = (last, record.expires_at);
        last = key().digest();
        let rotated = store.rotate(&old, &last, &record, until);
        record.revision = rotated.await.unwrap();
    }
    let error = store.delete(&first).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let subject = listed_as(record.subject.as_ref().unwrap());
    let subjects = store.capabilities().subjects.unwrap();
    let revoked = subjects.revoke(&subject, Revoke::One(first)).await;
    assert_eq!(revoked.unwrap_err().kind(), ErrorKind::Unavailable);
    let misses = store.stats().misses;
    assert!(store.load(&last).await.unwrap().is_some());
    assert!(store.load(&other).await.unwrap().is_some());
    assert_eq!(store.stats().misses, misses);
    // Where the marks can be followed it is ended, and no entry outlives it.
    let (old, until) = (key().digest(), record.expires_at);
    let moved = record.at_revision(Revision::NONE);
    record.revision = store.create(&old, &moved).await.unwrap();
    last = key().digest();
    store.rotate(&old, &last, &record, until).await.unwrap();
    store.delete(&old).await.unwrap();
    assert!(store.load(&last).await.unwrap().is_none());
}

#[tokio::test]
async fn what_is_past_its_deadline_here_may_have_been_touched_elsewhere() {
    let record = sample("here");
    let clock = Arc::new(ManualClock::at(record.created_at));
    let shared = Arc::new(MapStore::default());
    let hour = Duration::from_secs(3_600);
    let store = Cached::builder(shared.clone(), 2 * hour)
        .clock(clock.clone())
        .build();
    let digest = key().digest();
    let revision = store.create(&digest, &record).await.unwrap();
    assert!(store.load(&digest).await.unwrap().is_some());
    let later = record.expires_at.saturating_add(hour);
    let touch = touch_until(later);
    shared.touch(&digest, revision, touch).await.unwrap();
    clock.advance(hour);
    let found = store.load(&digest).await.unwrap().unwrap();
    assert_eq!(found.expires_at(), later);
}

#[tokio::test]
async fn any_bound_on_staleness_will_do() {
    for bound in [Duration::ZERO, Duration::MAX] {
        let store = Cached::with_staleness_max(MapStore::default(), bound);
        let digest = key().digest();
        store.create(&digest, &sample("here")).await.unwrap();
        assert!(store.load(&digest).await.unwrap().is_some());
        assert_eq!(store.stats().hits, u64::from(bound > Duration::ZERO));
    }
}

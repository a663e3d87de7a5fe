//! Sweeps over what is not as a store of this build would have left it.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod common;

use std::task::{Context, Waker};

use cloakroom_core::store::{
    KeyDigest, Revision, Revoke, Scan as _, SessionStore as _, Stored, Subjects as _, Sweep as _,
    Swept,
};
use cloakroom_core::{ErrorKind, Timestamp};
use cloakroom_redb::RedbStore;
use cloakroom_testkit::{key, listed_as, sample, touch_until};
use tempfile::TempDir;

use common::{DAY_SECS, file, later, with_tables};

fn open(folder: &TempDir) -> RedbStore {
    RedbStore::open(file(folder)).unwrap()
}

fn lengths(folder: &TempDir) -> [u64; 3] {
    with_tables(folder, |raw| raw.lengths())
}

async fn filled(folder: &TempDir, sessions: usize) -> Vec<KeyDigest> {
    let store = open(folder);
    let mut digests = Vec::new();
    for _ in 0..sessions {
        let digest = key().digest();
        store.create(&digest, &sample("x")).await.unwrap();
        digests.push(digest);
    }
    digests
}

/// The table `deadlines` is under no CRC. The session that it no longer leads to opens
/// nothing, and nothing that was ended meanwhile opens again.
#[tokio::test]
async fn a_session_whose_deadline_is_damaged_opens_nothing_and_is_swept() {
    let folder = tempfile::tempdir().unwrap();
    let digests = filled(&folder, 3).await;
    let store = open(&folder);
    for digest in &digests {
        let until = touch_until(later(20_000));
        store.touch(digest, Revision::FIRST, until).await.unwrap();
    }
    drop(store);
    with_tables(&folder, |raw| {
        for (digest, bit) in digests.iter().zip([0, 20, 63]) {
            let indexed_at = raw.indexed_at(digest) ^ (1 << bit);
            raw.deadlines.insert(digest.as_bytes(), indexed_at).unwrap();
        }
    });
    let store = open(&folder);
    let record = sample("x").at_revision(Revision::FIRST);
    for digest in &digests {
        assert!(store.load(digest).await.unwrap().is_none());
        let error = store.update(digest, &record).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Gone);
    }
    store.delete(&digests[0]).await.unwrap();
    store.sweep(later(7_200), 10).await.unwrap();
    for digest in &digests {
        assert!(store.load(digest).await.unwrap().is_none());
    }
    drop(store);
    assert_eq!(lengths(&folder), [0, 0, 0]);
}

/// The subject beside the frame is under no CRC either; the one in the frame is.
#[tokio::test]
async fn a_session_whose_subject_is_damaged_is_ended_with_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let digests = filled(&folder, 5).await;
    with_tables(&folder, |raw| {
        for (digest, (at, mask)) in digests.iter().zip([(2, 1), (3, 0x80), (0, 0x80), (1, 1)]) {
            raw.change_value(digest, |value| value[at] ^= mask);
        }
    });
    let store = open(&folder);
    let whose = sample("x").subject.unwrap();
    let listed = store
        .sessions_of(&listed_as(&whose), usize::MAX)
        .await
        .unwrap();
    assert_eq!(listed.len(), 5);
    assert_eq!(store.scan(None, 10).await.unwrap().items.len(), 5);
    let mut ended = store.revoke(&listed_as(&whose), Revoke::All).await.unwrap();
    ended.sort();
    let mut expected = digests.clone();
    expected.sort();
    assert_eq!(ended, expected);
    for digest in &digests {
        assert!(store.load(digest).await.unwrap().is_none());
    }
    store.sweep(later(7_200), 10).await.unwrap();
    drop(store);
    assert_eq!(lengths(&folder), [0, 0, 0]);
}

/// Damage hides a session, and another one is created at its digest.
#[tokio::test]
async fn a_session_in_front_of_a_hidden_one_survives_the_sweep_that_removes_that() {
    for subject in [None, sample("x").subject] {
        let folder = tempfile::tempdir().unwrap();
        let digests = filled(&folder, 1).await;
        let digest = &digests[0];
        with_tables(&folder, |raw| {
            let indexed_at = raw.indexed_at(digest) ^ 1;
            raw.deadlines.insert(digest.as_bytes(), indexed_at).unwrap();
        });
        let store = open(&folder);
        let mut record = sample("y");
        record.expires_at = later(20_000);
        record.subject = subject.clone();
        store.create(digest, &record).await.unwrap();
        let swept = store.sweep(later(7_200), 10).await.unwrap();
        assert_eq!(swept, Swept::new(1, false));
        let stored = store.load(digest).await.unwrap().unwrap();
        assert_eq!(stored.into_record().unwrap().data, record.data);
        let whose = listed_as(&sample("x").subject.unwrap());
        let listed = store.sessions_of(&whose, usize::MAX).await.unwrap().len();
        assert_eq!(listed, usize::from(subject.is_some()));
        drop(store);
        assert_eq!(lengths(&folder), [1, 1, listed as u64]);
    }
}

async fn fill(store: &RedbStore, sessions: usize, expires_at: Timestamp) -> Vec<KeyDigest> {
    let creates = (0..sessions).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            let (digest, mut record) = (key().digest(), sample("x"));
            record.expires_at = expires_at;
            store.create(&digest, &record).await.unwrap();
            digest
        })
    });
    let mut digests = Vec::new();
    for create in Vec::from_iter(creates) {
        digests.push(create.await.unwrap());
    }
    digests
}

/// Each process sweeps what another one has left, and leaves tombstones in no index by
/// subject, of which nothing is left a day later.
#[tokio::test]
async fn a_sweep_leaves_tombstones_for_a_day_and_all_of_the_rest() {
    const LIVE: usize = 2_000;
    const DUE: usize = 300;
    let folder = tempfile::tempdir().unwrap();
    let live = fill(&open(&folder), LIVE, later(2 * DAY_SECS)).await;
    let mut ended = Vec::new();
    for _ in 0..3 {
        let due = fill(&open(&folder), DUE, later(60)).await;
        let store = open(&folder);
        let swept = store.sweep(later(3_600), DUE).await.unwrap();
        assert_eq!((swept.removed, swept.more), (DUE, false));
        for digest in &due {
            let stored = store.load(digest).await.unwrap();
            assert!(matches!(stored, Some(Stored::Ended(_))), "{stored:?}");
        }
        let whose = sample("x").subject.unwrap();
        assert_eq!(
            store
                .sessions_of(&listed_as(&whose), usize::MAX)
                .await
                .unwrap()
                .len(),
            LIVE
        );
        drop(store);
        let all = (LIVE + DUE) as u64;
        assert_eq!(lengths(&folder), [all, all, LIVE as u64]);
        let store = open(&folder);
        let swept = store.sweep(later(DAY_SECS + 60), DUE).await.unwrap();
        assert_eq!((swept.removed, swept.more), (DUE, false));
        for digest in &due {
            assert!(store.load(digest).await.unwrap().is_none());
        }
        drop(store);
        assert_eq!(lengths(&folder), [LIVE as u64; 3]);
        ended.extend(due);
    }
    // The digest of a tombstone that was swept is free again.
    let again = ended[0];
    let store = open(&folder);
    store.create(&again, &sample("again")).await.unwrap();
    let swept = store.sweep(later(3_000), 10).await.unwrap();
    assert_eq!((swept.removed, swept.more), (0, false));
    for digest in live.iter().chain([&again]) {
        assert!(store.load(digest).await.unwrap().is_some());
    }
    drop(store);
    assert_eq!(lengths(&folder), [LIVE as u64 + 1; 3]);
}

/// The newer build that wrote them will remove them.
#[tokio::test]
async fn records_of_a_newer_version_are_left_in_steps_that_get_past_them() {
    let folder = tempfile::tempdir().unwrap();
    let digests = filled(&folder, 40).await;
    with_tables(&folder, |raw| {
        for digest in &digests {
            // Version 2, and its CRC-32.
            raw.change(digest, |frame| *frame = vec![0x02, 0xa1, 0x8e, 0x0c, 0x3c]);
        }
    });
    let store = open(&folder);
    let mut behind = sample("x");
    behind.expires_at = later(5_000);
    // A day later: what has expired leaves no tombstone.
    let now = later(5_000 + DAY_SECS);
    let swept = |removed, more| Swept::new(removed, more);
    for is_there in [true, false, true] {
        if is_there {
            store.create(&key().digest(), &behind).await.unwrap();
        }
        // Four looks a step, so that none of them takes long.
        let steps = if is_there { 10 } else { 9 };
        for _ in 0..steps {
            let step = store.sweep(now, 1).await.unwrap();
            assert_eq!(step, swept(0, true));
        }
        let last = store.sweep(now, 1).await.unwrap();
        assert_eq!(last, swept(usize::from(is_there), false));
    }
    // A step that was the last for a while keeps nothing from being found.
    store.sweep(now, 1).await.unwrap();
    behind.expires_at = later(10);
    store.create(&key().digest(), &behind).await.unwrap();
    let step = store.sweep(later(60), 1).await.unwrap();
    assert_eq!(step, swept(1, false));
    store.sweep(later(60), 1).await.unwrap();
    drop(store);
    // The last one's tombstone stands.
    assert_eq!(lengths(&folder), [41, 41, 40]);
}

#[tokio::test]
async fn a_sweep_of_many_lets_others_write_between_its_pieces() {
    const SESSIONS: usize = 600;
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let creates = (0..SESSIONS).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { store.create(&key().digest(), &sample("x")).await })
    });
    for create in Vec::from_iter(creates) {
        create.await.unwrap().unwrap();
    }
    let mut sweep = store.sweep(later(7_200), SESSIONS);
    let begun = sweep.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(begun.is_pending());
    let mut late = sample("y");
    late.expires_at = Timestamp::MAX;
    store.create(&key().digest(), &late).await.unwrap();
    let standing = store.scan(None, 1_000).await.unwrap().items.into_iter();
    let is_record = |stored: &_| matches!(stored, Ok(Stored::Record(_)));
    let standing = standing.filter(|item| is_record(&item.stored)).count();
    assert!(standing > 1 && standing <= SESSIONS, "{standing}");
    let swept = sweep.await.unwrap();
    assert_eq!((swept.removed, swept.more), (SESSIONS, false));
    let ended = store.scan(None, 1_000).await.unwrap().items.into_iter();
    let ended = ended.filter(|item| matches!(item.stored, Ok(Stored::Ended(_))));
    assert_eq!(ended.count(), SESSIONS);
    let swept = store.sweep(later(DAY_SECS + 7_200), SESSIONS).await;
    assert_eq!(swept.unwrap(), Swept::new(SESSIONS, false));
    assert_eq!(store.scan(None, 1_000).await.unwrap().items.len(), 1);
}

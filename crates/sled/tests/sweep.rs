//! Sweeps over damaged records, and over those of a newer version.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod common;

use cloakroom_core::store::{
    EndReason, Ending, KeyDigest, Revision, SessionStore as _, Sweep as _, Swept,
};
use cloakroom_sled::SledStore;
use cloakroom_testkit::{key, sample, touch_until};
use common::{DAY_SECS, folder, later, with_trees};
use tempfile::TempDir;

fn open(folder: &TempDir) -> SledStore {
    SledStore::open(folder.path()).unwrap()
}

fn lengths(folder: &TempDir) -> [usize; 3] {
    with_trees(folder, |trees| trees.map(|tree| tree.len()))
}

/// Changes the row under a digest.
fn change(folder: &TempDir, digest: &KeyDigest, change: impl FnOnce(&mut Vec<u8>)) {
    with_trees(folder, |[records, ..]| {
        let mut stored = records.get(digest.as_bytes()).unwrap().unwrap().to_vec();
        change(&mut stored);
        records.insert(digest.as_bytes(), stored).unwrap();
    });
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

/// The 8 bytes before the frame, which say where the row's entry stands in `expiry`, are
/// under no CRC. A write to a record in which they are damaged leaves no entry behind, and
/// a sweep finds the record by its entry.
#[tokio::test]
async fn a_record_that_does_not_know_its_entry_is_swept_when_it_is_due() {
    let folder = folder();
    let digests = filled(&folder, 6).await;
    for (digest, at) in digests.iter().zip([1, 2, 4, 6, 7, 5]) {
        change(&folder, digest, |stored| stored[at] ^= 1);
    }
    {
        let store = open(&folder);
        let mut record = sample("x").at_revision(Revision::FIRST);
        let touch = touch_until(later(20_000));
        store
            .touch(&digests[0], record.revision, touch)
            .await
            .unwrap();
        store.delete(&digests[1]).await.unwrap();
        record.subject = None;
        store.update(&digests[2], &record).await.unwrap();
        let until = later(60);
        store
            .rotate(&digests[3], &key().digest(), &record, until)
            .await
            .unwrap();
        let ending = Ending::new(EndReason::LoggedOut, later(0));
        store.end(&digests[5], Some(&ending)).await.unwrap();
    }
    // The entries of the first session and of the last but one.
    assert_eq!(lengths(&folder)[2], 2);
    {
        let store = open(&folder);
        while store.sweep(later(7_200), 10).await.unwrap().more {}
        assert!(store.load(&digests[0]).await.unwrap().is_some());
    }
    // The first, a tombstone of each that has ended but was not deleted, and one of where the
    // fourth has moved.
    assert_eq!(lengths(&folder), [6, 6, 1]);
    for (now, removed, left) in [(30_000, 1, 6), (30_000 + DAY_SECS, 6, 0)] {
        let swept = open(&folder).sweep(later(now), 10).await.unwrap();
        assert_eq!(swept.removed, removed);
        assert_eq!(lengths(&folder), [left, left, 0]);
    }
}

/// The newer build that wrote them will remove them.
#[tokio::test]
async fn records_of_a_newer_version_are_left_in_steps_that_get_past_them() {
    let folder = folder();
    for digest in filled(&folder, 40).await {
        change(&folder, &digest, |stored| {
            stored.truncate(8);
            // Version 2, and its CRC-32.
            stored.extend([0x02, 0xa1, 0x8e, 0x0c, 0x3c]);
        });
    }
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
    // The cursor of this step hides no record that is due before it.
    store.sweep(now, 1).await.unwrap();
    behind.expires_at = later(10);
    store.create(&key().digest(), &behind).await.unwrap();
    let step = store.sweep(later(60), 1).await.unwrap();
    assert_eq!(step, swept(1, false));
    drop(store);
    // The last one's tombstone stands.
    assert_eq!(lengths(&folder), [41, 41, 40]);
}

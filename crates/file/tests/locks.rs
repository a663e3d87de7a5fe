//! Locks that another process keeps, since it was stopped or is slow.

#![cfg(unix)]
#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod common;

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use cloakroom_core::store::{
    KeyDigest, Record, Revision, Revoke, SessionStore as _, Stored, Subjects as _,
};
use cloakroom_core::{Error, ErrorKind, Subject, Timestamp};
use cloakroom_file::FileStore;
use cloakroom_testkit::{key, listed_as, sample, touch_until};
use common::{files_below, folder, session_path};
use tokio::time::timeout;

/// Far below the 10 s for which a lock is waited for, and long for a busy machine.
const SOON: Duration = Duration::from_secs(6);

/// A digest whose session has this lock of the 64.
fn digest_of(lock: u8) -> KeyDigest {
    let mut digests = std::iter::repeat_with(|| key().digest());
    digests
        .find(|digest| digest.as_bytes()[31] % 64 == lock)
        .unwrap()
}

async fn create(store: &FileStore, lock: u8) -> KeyDigest {
    let digest = digest_of(lock);
    store.create(&digest, &sample("old")).await.unwrap();
    digest
}

/// As another process would: a lock belongs to the opened file.
fn keep(folder: &Path, lock: u8) -> File {
    let path = folder.join(format!("v1/locks/{lock:02x}"));
    let file = File::options().write(true).open(path).unwrap();
    fs4::FileExt::try_lock(&file).unwrap();
    file
}

fn release(kept: &File) {
    fs4::FileExt::unlock(kept).unwrap();
}

/// An update of a session of revision 1, which has arrived when this returns.
async fn update(
    store: &FileStore,
    digest: KeyDigest,
) -> tokio::task::JoinHandle<Result<Revision, Error>> {
    let store = store.clone();
    let update = tokio::spawn(async move {
        let record = sample("new").at_revision(Revision::FIRST);
        store.update(&digest, &record).await
    });
    tokio::task::yield_now().await;
    update
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_that_another_process_keeps_stops_its_own_sessions_alone() {
    let folder = folder();
    let store = FileStore::open(folder.path()).unwrap();
    let stuck = create(&store, 7).await;
    let others = [create(&store, 6).await, create(&store, 8).await];
    let kept = keep(folder.path(), 7);
    let mut waiting = Vec::new();
    // More than there are threads that write.
    for _ in 0..40 {
        waiting.push(update(&store, stuck).await);
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    for other in others {
        let updated = timeout(SOON, update(&store, other).await).await;
        updated
            .expect("another session is written meanwhile")
            .unwrap()
            .unwrap();
    }
    // One deadline for all: not 10, 20 and 30 s.
    let answered = timeout(Duration::from_secs(10) + SOON, async {
        for waiting in waiting {
            let error = waiting.await.unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable);
            assert!(error.to_string().contains("v1/locks/07"), "{error}");
        }
    });
    answered.await.expect("all are answered");
    release(&kept);
    store
        .update(&stuck, &sample("new").at_revision(Revision::FIRST))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_one_lock_holds_no_other() {
    let folder = folder();
    let store = FileStore::open(folder.path()).unwrap();
    let (rotated, free) = (create(&store, 5).await, create(&store, 5).await);
    let kept = keep(folder.path(), 63);
    let subject = listed_as(&Subject::new("somebody").unwrap());
    // Where it finds no more sessions, it looks again with every lock.
    let revocation = tokio::spawn({
        let store = store.clone();
        async move { store.revoke(&subject, Revoke::All).await }
    });
    let rotation = tokio::spawn({
        let store = store.clone();
        let record = sample("moved").at_revision(Revision::FIRST);
        let until = Timestamp::from_millis(record.expires_at.as_millis());
        async move { store.rotate(&rotated, &digest_of(63), &record, until).await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let updated = timeout(SOON, update(&store, free).await).await;
    updated.expect("its lock is free").unwrap().unwrap();
    assert!(!revocation.is_finished() && !rotation.is_finished());
    release(&kept);
    assert_eq!(revocation.await.unwrap().unwrap(), []);
    rotation.await.unwrap().unwrap();
}

/// Waits for the new file of a write that waits for a lock.
async fn is_staged(folder: &Path) {
    while files_below(folder, ".new-").is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // It is written to its end, and compared for the first time.
    tokio::time::sleep(Duration::from_millis(100)).await;
}

/// What another process does under the lock that it keeps.
fn replace(folder: &Path, digest: &KeyDigest, record: &Record) {
    let staged = folder.join("staged");
    let frame = Stored::Record(record.clone()).encode().unwrap();
    fs::write(&staged, frame).unwrap();
    fs::rename(staged, session_path(folder, digest)).unwrap();
}

#[tokio::test]
async fn a_write_is_compared_with_what_another_process_wrote_under_the_lock() {
    let folder = folder();
    let store = FileStore::open(folder.path()).unwrap();
    let digest = create(&store, 9).await;
    let kept = keep(folder.path(), 9);
    let update = update(&store, digest).await;
    is_staged(folder.path()).await;
    let theirs = sample("theirs").at_revision(Revision::from_u64(2));
    replace(folder.path(), &digest, &theirs);
    release(&kept);
    let error = update.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let stored = store.load(&digest).await.unwrap().unwrap();
    assert_eq!(stored.into_record(), Some(theirs));
}

#[tokio::test]
async fn a_touch_takes_back_nothing_that_another_process_wrote_under_the_lock() {
    let folder = folder();
    let store = FileStore::open(folder.path()).unwrap();
    let digest = create(&store, 9).await;
    let later = Timestamp::from_millis(sample("").expires_at.as_millis() + 1_000);
    let kept = keep(folder.path(), 9);
    let touch = tokio::spawn({
        let store = store.clone();
        let touch = touch_until(later);
        async move { store.touch(&digest, Revision::FIRST, touch).await }
    });
    is_staged(folder.path()).await;
    let theirs = sample("theirs").at_revision(Revision::from_u64(2));
    replace(folder.path(), &digest, &theirs);
    release(&kept);
    touch.await.unwrap().unwrap();
    let stored = store.load(&digest).await.unwrap().unwrap();
    assert_eq!(stored.into_record(), Some(theirs));
}

//! A cleaner of temporary files at work in the store's folder: it removes folders that are
//! empty, and files that nobody has changed for long, the locks among them.

#![cfg(unix)]
#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod common;

use std::fs::{self, File};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cloakroom_core::store::{
    Data, KeyDigest, Record, Revision, Revoke, Scan as _, SessionStore as _, Stored, Subjects as _,
    Sweep as _,
};
use cloakroom_core::{Clock as _, Error, ErrorKind, SystemClock, Timestamp};
use cloakroom_file::{Durability, FileStore};
use cloakroom_testkit::{key, listed_as, sample, touch_until};
use common::{files_below, folder, session_path};

/// Removes the files of this folder's kind, and all folders below that are empty then.
fn clean(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            clean(&entry.path());
            // One that is not empty stays.
            let _ = fs::remove_dir(entry.path());
        } else if path.ends_with("locks") {
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[tokio::test]
async fn what_a_cleaner_removed_is_made_again_by_whoever_needs_it() {
    let folder = folder();
    let store = FileStore::open(folder.path()).unwrap();
    let record = sample("");
    let subject = listed_as(record.subject.as_ref().unwrap());
    // So the root of the store stands.
    let kept = key().digest();
    store.create(&kept, &record).await.unwrap();
    for _ in 0..50 {
        let [digest, moved] = [key().digest(), key().digest()];
        clean(folder.path());
        assert_eq!(store.load(&digest).await.unwrap(), None);
        assert_eq!(store.sessions_of(&subject, 9).await.unwrap().len(), 1);
        clean(folder.path());
        let revision = store.create(&digest, &record).await.unwrap();
        clean(folder.path());
        let record = record.at_revision(revision);
        let revision = store.update(&digest, &record).await.unwrap();
        let record = record.at_revision(revision);
        clean(folder.path());
        let until = record.expires_at;
        let revision = store.rotate(&digest, &moved, &record, until).await.unwrap();
        clean(folder.path());
        let touch = touch_until(Timestamp::MAX);
        store.touch(&moved, revision, touch).await.unwrap();
        assert_eq!(store.sessions_of(&subject, 9).await.unwrap().len(), 2);
        let ended = store.revoke(&subject, Revoke::AllBut(kept)).await;
        assert_eq!(ended.unwrap(), [moved]);
        clean(folder.path());
        let gone = store.update(&moved, &record).await.unwrap_err();
        assert_eq!(gone.kind(), ErrorKind::Gone);
        store.delete(&moved).await.unwrap();
        store.delete(&digest).await.unwrap();
        clean(folder.path());
    }
    while store.sweep(record.created_at, 9).await.unwrap().more {}
    assert!(!store.scan(None, 9).await.unwrap().items.is_empty());
}

/// The folder of a session is gone as soon as the session is: a logout is answered all the
/// same.
#[test]
fn a_logout_whose_folder_a_cleaner_removes_at_once_is_a_logout() {
    let folder = folder();
    let store = FileStore::open_with(folder.path(), Durability::Synced).unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::SeqCst) {
                clean(folder.path());
            }
        });
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().unwrap();
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            runtime.block_on(async {
                store.create(&key().digest(), &sample("")).await.unwrap();
                for _ in 0..100 {
                    let digest = key().digest();
                    store.create(&digest, &sample("")).await.unwrap();
                    store.delete(&digest).await.unwrap();
                    assert_eq!(store.load(&digest).await.unwrap(), None);
                }
            });
        }));
        is_over.store(true, Ordering::SeqCst);
        done.unwrap();
    });
}

const FOLDER: &str = "CLOAKROOM_FILE_TEST_CLEANED";
const SHARED: KeyDigest = KeyDigest::from_bytes([7; KeyDigest::BYTES]);
const ROUNDS: u64 = 4;
const TASKS: u64 = 4;
const UPDATES: u64 = 25;

fn count(record: &Record) -> u64 {
    u64::from_le_bytes(record.data.as_bytes().try_into().unwrap())
}

/// Run as one of two processes by the test below; on its own it does nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_processes_that_count() {
    let Some(path) = std::env::var_os(FOLDER) else {
        return;
    };
    let add = async |store: &FileStore| {
        loop {
            let stored = store.load(&SHARED).await.unwrap().unwrap();
            let mut record = stored.into_record().unwrap();
            record.data = Data::from_bytes((count(&record) + 1).to_le_bytes());
            match store.update(&SHARED, &record).await {
                Ok(_) => return,
                Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict, "{error}"),
            }
        }
    };
    for _ in 0..ROUNDS {
        // As a process does that has just been started.
        let store = FileStore::open(&path).unwrap();
        let tasks: Vec<_> = (0..TASKS)
            .map(|_| {
                let store = store.clone();
                tokio::spawn(async move {
                    for _ in 0..UPDATES {
                        add(&store).await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    }
    println!("counted");
}

/// The cleaner removes a lock while somebody has it, so that two processes have two files of
/// one name.
#[tokio::test]
async fn no_acknowledged_count_is_lost_to_a_cleaner_that_removes_the_locks() {
    let folder = folder();
    let store = FileStore::open(folder.path()).unwrap();
    let mut record = Record::new(SystemClock.now(), Timestamp::MAX);
    record.data = Data::from_bytes(0_u64.to_le_bytes());
    store.create(&SHARED, &record).await.unwrap();
    let mut children: Vec<_> = (0..2)
        .map(|_| {
            std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "one_of_two_processes_that_count", "--nocapture"])
                .env(FOLDER, folder.path())
                .stdout(std::process::Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    while children
        .iter_mut()
        .any(|child| child.try_wait().unwrap().is_none())
    {
        clean(folder.path());
        std::thread::sleep(Duration::from_millis(1));
    }
    for child in children {
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}");
        assert!(text.contains("counted"), "it was the process: {text}");
    }
    let stored = store.load(&SHARED).await.unwrap().unwrap();
    let record = stored.into_record().unwrap();
    let updates = 2 * ROUNDS * TASKS * UPDATES;
    assert_eq!(count(&record), updates);
    assert_eq!(record.revision, Revision::from_u64(updates + 1));
}

/// An update of a new session, which has come to the lock.
async fn update(
    store: &FileStore,
    folder: &Path,
    digest: KeyDigest,
) -> tokio::task::JoinHandle<Result<Revision, Error>> {
    let update = tokio::spawn({
        let (store, record) = (store.clone(), sample("new").at_revision(Revision::FIRST));
        async move { store.update(&digest, &record).await }
    });
    while files_below(folder, ".new-").is_empty() && !update.is_finished() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    update
}

/// What another process does under the lock that it keeps, and then the end of the update
/// that has waited for it.
async fn is_compared_with_what_is_written_now(
    folder: &Path,
    digest: &KeyDigest,
    kept: &File,
    update: tokio::task::JoinHandle<Result<Revision, Error>>,
) {
    assert!(!update.is_finished(), "another process has the lock");
    let theirs = sample("theirs").at_revision(Revision::from_u64(2));
    let staged = folder.join("staged");
    fs::write(&staged, Stored::Record(theirs).encode().unwrap()).unwrap();
    fs::rename(staged, session_path(folder, digest)).unwrap();
    fs4::FileExt::unlock(kept).unwrap();
    let error = update.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
}

#[tokio::test]
async fn a_write_waits_for_the_lock_that_others_made_after_a_cleaner() {
    let folder = folder();
    let store = FileStore::open(folder.path()).unwrap();
    let digest = key().digest();
    store.create(&digest, &sample("old")).await.unwrap();
    clean(folder.path());
    let other = FileStore::open(folder.path()).unwrap();
    let lock = format!("v1/locks/{:02x}", digest.as_bytes()[31] % 64);
    let kept = File::options().write(true).open(folder.path().join(lock));
    let kept = kept.unwrap();
    fs4::FileExt::try_lock(&kept).unwrap();
    let update = update(&store, folder.path(), digest).await;
    is_compared_with_what_is_written_now(folder.path(), &digest, &kept, update).await;
    drop(other);
}

/// A cleaner that removes a lock while somebody has it lets others have another one.
#[tokio::test]
async fn a_write_waits_for_whoever_is_at_the_file_under_a_lock_that_is_gone() {
    let folder = folder();
    let store = FileStore::open(folder.path()).unwrap();
    let digest = key().digest();
    store.create(&digest, &sample("old")).await.unwrap();
    let file = session_path(folder.path(), &digest);
    let kept = File::options().write(true).open(file).unwrap();
    fs4::FileExt::try_lock(&kept).unwrap();
    let update = update(&store, folder.path(), digest).await;
    is_compared_with_what_is_written_now(folder.path(), &digest, &kept, update).await;
}

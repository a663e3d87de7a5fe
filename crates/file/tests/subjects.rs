//! The index by subject: what a crash leaves in it, and writers that race.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use cloakroom_core::store::{
    KeyDigest, Record, Revision, Revoke, Scan as _, SessionStore as _, Stored, SubjectDigest,
    Subjects as _, Sweep as _,
};
use cloakroom_core::{ErrorKind, Subject, Timestamp};
use cloakroom_file::{Durability, FileStore};
use cloakroom_testkit::{key, listed_as, races_of_subjects, sample};
use common::{entry_path, files_below, folder, session_path};

fn subject(text: &str) -> Subject {
    Subject::new(text).unwrap()
}

fn record_of(subject: &Subject) -> Record {
    let mut record = sample("x");
    record.subject = Some(subject.clone());
    record
}

async fn begin(store: &FileStore, subject: &Subject) -> KeyDigest {
    let digest = key().digest();
    store.create(&digest, &record_of(subject)).await.unwrap();
    digest
}

async fn list(store: &FileStore, subject: &Subject) -> Vec<KeyDigest> {
    let listed = store
        .sessions_of(&listed_as(subject), usize::MAX)
        .await
        .unwrap();
    let mut digests: Vec<_> = listed.iter().map(|listed| listed.digest).collect();
    digests.sort();
    digests
}

fn sorted<const N: usize>(mut digests: [KeyDigest; N]) -> [KeyDigest; N] {
    digests.sort();
    digests
}

/// After so many hours; nothing of these tests is due before the second.
async fn sweep_after(store: &FileStore, hours: u64) {
    let began = sample("").created_at;
    let now = began.saturating_add(Duration::from_secs(hours * 3_600));
    while store.sweep(now, 100).await.unwrap().more {}
}

fn entries(folder: &Path) -> usize {
    files_below(&folder.join("v1/subjects"), "").len()
}

fn age(path: &Path) {
    let file = fs::File::options().write(true).open(path).unwrap();
    let changed = SystemTime::now() - Duration::from_secs(2 * 3_600);
    file.set_modified(changed).unwrap();
}

#[test]
fn logins_that_race_a_revocation_are_ended_or_listed() {
    let folder = folder();
    let store = FileStore::open_with(folder.path(), Durability::Lazy).unwrap();
    races_of_subjects(&store, 30);
    let live = files_below(&folder.path().join("v1/subjects"), "").len();
    let mut listed = 0;
    for file in files_below(&folder.path().join("v1"), "") {
        let stored = fs::read(file).ok().and_then(|f| Stored::decode(&f).ok());
        let record = stored.and_then(Stored::into_record);
        listed += usize::from(record.is_some_and(|record| record.subject.is_some()));
    }
    assert_eq!(live, listed, "what was begun and ended leaves no entry");
}

#[tokio::test]
async fn an_entry_without_its_record_is_passed_over_and_swept_after_an_hour() {
    let folder = folder();
    let store = FileStore::open(folder.path()).unwrap();
    let whose = subject("a");
    let live = begin(&store, &whose).await;
    // What a login leaves that crashed before its record was written, or a logout that
    // crashed after its record was removed: one old entry, and one young.
    let orphans = [key().digest(), key().digest()].map(|digest| {
        let path = entry_path(folder.path(), &whose, &digest);
        fs::write(&path, "").unwrap();
        path
    });
    age(&orphans[0]);
    age(&entry_path(folder.path(), &whose, &live));
    assert_eq!(list(&store, &whose).await, [live]);
    sweep_after(&store, 0).await;
    assert!(!orphans[0].exists() && orphans[1].exists());
    assert_eq!(list(&store, &whose).await, [live]);
    assert_eq!(
        store.revoke(&listed_as(&whose), Revoke::All).await.unwrap(),
        [live]
    );
    assert_eq!(entries(folder.path()), 1);
}

#[tokio::test]
async fn a_crash_within_a_rotation_lists_both_and_after_it_the_new_alone() {
    let folder = folder();
    let store = FileStore::open(folder.path()).unwrap();
    let whose = subject("a");
    // A crash between the two halves: both keys open the session.
    let (old, new) = (begin(&store, &whose).await, begin(&store, &whose).await);
    assert_eq!(list(&store, &whose).await, sorted([old, new]));
    // A crash after both, before the old entry was removed.
    let mark = Stored::Rotated {
        to: new,
        until: Timestamp::MAX,
    };
    fs::write(session_path(folder.path(), &old), mark.encode().unwrap()).unwrap();
    assert_eq!(list(&store, &whose).await, [new]);
    age(&entry_path(folder.path(), &whose, &old));
    sweep_after(&store, 0).await;
    assert!(!entry_path(folder.path(), &whose, &old).exists());
    assert_eq!(list(&store, &whose).await, [new]);
    let spared = store
        .revoke(&listed_as(&whose), Revoke::AllBut(old))
        .await
        .unwrap();
    assert_eq!(spared, []);
    let ended = store
        .revoke(&listed_as(&whose), Revoke::One(old))
        .await
        .unwrap();
    assert_eq!(ended, [new]);
    assert!(session_path(folder.path(), &old).exists(), "marks stay");
}

#[tokio::test]
async fn a_crash_while_a_session_changes_hands_gives_it_to_no_two() {
    let folder = folder();
    let store = FileStore::open(folder.path()).unwrap();
    let (one, other) = (subject("one"), subject("other"));
    let digest = begin(&store, &one).await;
    // A crash after the new owner's entry, before the record: the old owner has it.
    fs::write(entry_path(folder.path(), &other, &digest), "").unwrap();
    assert_eq!(list(&store, &one).await, [digest]);
    assert_eq!(list(&store, &other).await, []);
    assert_eq!(
        store.revoke(&listed_as(&other), Revoke::All).await.unwrap(),
        []
    );
    // A crash after the record, before the old owner's entry was removed.
    let mut record = record_of(&other);
    record.revision = Revision::FIRST;
    store.update(&digest, &record).await.unwrap();
    let left = entry_path(folder.path(), &one, &digest);
    fs::write(&left, "").unwrap();
    assert_eq!(list(&store, &one).await, []);
    assert_eq!(list(&store, &other).await, [digest]);
    for which in [Revoke::All, Revoke::One(digest)] {
        assert_eq!(store.revoke(&listed_as(&one), which).await.unwrap(), []);
    }
    age(&left);
    age(&entry_path(folder.path(), &other, &digest));
    sweep_after(&store, 0).await;
    assert_eq!(entries(folder.path()), 1);
    assert_eq!(list(&store, &other).await, [digest]);
}

#[tokio::test]
async fn a_session_that_cannot_be_read_is_ended_by_who_it_is_listed_under() {
    let folder = folder();
    let store = FileStore::open(folder.path()).unwrap();
    let (one, other) = (subject("one"), subject("other"));
    let [damaged, single, swept] = [
        begin(&store, &one).await,
        begin(&store, &one).await,
        begin(&store, &one).await,
    ];
    for digest in [&damaged, &single] {
        fs::write(session_path(folder.path(), digest), [1, 2, 3]).unwrap();
        let which = Revoke::One(*digest);
        assert_eq!(store.revoke(&listed_as(&other), which).await.unwrap(), []);
    }
    let ended = store
        .revoke(&listed_as(&one), Revoke::One(single))
        .await
        .unwrap();
    assert_eq!(ended, [single]);
    // As long as the record stands, a sweep leaves the entry.
    age(&entry_path(folder.path(), &one, &damaged));
    sweep_after(&store, 0).await;
    assert_eq!(list(&store, &one).await, [swept]);
    let which = Revoke::AllBut(swept);
    assert_eq!(
        store.revoke(&listed_as(&one), which).await.unwrap(),
        [damaged]
    );
    sweep_after(&store, 2).await;
    assert_eq!(entries(folder.path()), 0);
}

/// To this sweep every entry is old, so it removes those of logins under way; each login
/// makes its entry again before its record takes its name.
#[test]
fn a_sweep_between_an_entry_and_its_record_hides_no_session() {
    let folder = folder();
    let store = FileStore::open_with(folder.path(), Durability::Lazy).unwrap();
    let whose = subject("a");
    let mut record = record_of(&whose);
    record.expires_at = Timestamp::MAX;
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
    };
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let order = std::sync::atomic::Ordering::SeqCst;
    let mut begun = std::thread::scope(|scope| {
        let sweeper = scope.spawn(|| {
            runtime().block_on(async {
                while !is_over.load(order) {
                    sweep_after(&store, 2).await;
                }
            });
        });
        let logins = [(); 2].map(|()| {
            scope.spawn(|| {
                runtime().block_on(async {
                    let mut begun = Vec::new();
                    for _ in 0..1_500 {
                        let digest = key().digest();
                        // Fails where the sweep has removed the new file.
                        if store.create(&digest, &record).await.is_ok() {
                            begun.push(digest);
                        }
                    }
                    begun
                })
            })
        });
        let begun = logins.map(|login| login.join());
        is_over.store(true, order);
        sweeper.join().unwrap();
        begun.map(Result::unwrap).concat()
    });
    assert!(begun.len() > 100, "{} begun", begun.len());
    begun.sort();
    assert_eq!(runtime().block_on(list(&store, &whose)), begun);
}

/// Nothing is synced, so that the session moves faster than the folder can be read.
#[test]
fn a_session_that_never_rests_is_listed_each_time_and_ended() {
    const RESTING: usize = 20;
    let folder = folder();
    let store = FileStore::open_with(folder.path(), Durability::Lazy).unwrap();
    let whose = subject("a");
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
    };
    let mut at = runtime().block_on(begin(&store, &whose));
    let mover = {
        let (store, mut record) = (store.clone(), record_of(&whose));
        record.revision = Revision::FIRST;
        std::thread::spawn(move || {
            runtime().block_on(async {
                loop {
                    let new = key().digest();
                    let moved = store.rotate(&at, &new, &record, record.expires_at).await;
                    match moved {
                        Ok(revision) => record.revision = revision,
                        Err(error) => return error.kind(),
                    }
                    at = new;
                }
            })
        })
    };
    runtime().block_on(async {
        let mut resting = BTreeSet::new();
        for _ in 0..RESTING {
            resting.insert(begin(&store, &whose).await);
        }
        for _ in 0..200 {
            let mut listed = list(&store, &whose).await;
            let all = listed.len();
            listed.retain(|digest| !resting.contains(digest));
            assert_eq!(all - listed.len(), RESTING);
            // It may be listed where it was, too.
            assert!(!listed.is_empty(), "the session that moves is missed");
        }
        let ended = store.revoke(&listed_as(&whose), Revoke::All).await.unwrap();
        assert_eq!(ended.len(), RESTING + 1);
        assert_eq!(list(&store, &whose).await, []);
    });
    assert_eq!(mover.join().unwrap(), ErrorKind::Gone);
}

/// The system reads a long folder in steps of some 200 names. The other names are of another
/// subject, whose digest begins with the same byte.
#[test]
fn a_session_that_moves_while_a_long_folder_is_read_is_listed() {
    const NAMES: usize = 5_000;
    let folder = folder();
    let store = FileStore::open_with(folder.path(), Durability::Lazy).unwrap();
    let whose = subject("a");
    let mut other = *listed_as(&whose).as_bytes();
    other[31] ^= 1;
    let other = SubjectDigest::from_bytes(other).to_hex();
    let beside = entry_path(folder.path(), &whose, &key().digest());
    for _ in 0..NAMES {
        let name = format!("{other}.{}", key().digest().to_hex());
        fs::write(beside.with_file_name(name), "").unwrap();
    }
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
    };
    let mut at = runtime().block_on(begin(&store, &whose));
    let mut record = record_of(&whose);
    record.revision = Revision::FIRST;
    for turn in 0..200 {
        let new = key().digest();
        record.revision = std::thread::scope(|scope| {
            let mover = scope.spawn(|| {
                std::thread::sleep(Duration::from_micros(100 * (turn % 40)));
                runtime().block_on(store.rotate(&at, &new, &record, record.expires_at))
            });
            let listed = runtime().block_on(list(&store, &whose));
            assert!(!listed.is_empty(), "the session that moves is missed");
            mover.join().unwrap().unwrap()
        });
        at = new;
    }
    assert_eq!(runtime().block_on(list(&store, &whose)), [at]);
}

const FOLDER: &str = "CLOAKROOM_FILE_SUBJECTS_FOLDER";

/// Run as one of two processes by the test below; on its own it does nothing.
#[tokio::test]
async fn one_of_two_processes_with_one_user() {
    let Some(path) = std::env::var_os(FOLDER) else {
        return;
    };
    let store = FileStore::open_with(path, Durability::Lazy).unwrap();
    let whose = subject("a");
    let mut ended = 0;
    for step in 0..64 {
        let old = begin(&store, &whose).await;
        let record = record_of(&whose).at_revision(Revision::FIRST);
        let new = key().digest();
        // The other process may have ended it.
        let _ = store.rotate(&old, &new, &record, record.expires_at).await;
        if step % 8 == 7 {
            let which = Revoke::AllBut(old);
            ended += store.revoke(&listed_as(&whose), which).await.unwrap().len();
        }
    }
    println!("{ended} ended");
}

#[tokio::test]
async fn what_two_processes_begin_and_end_is_listed_as_it_stands() {
    let folder = folder();
    let store = FileStore::open(folder.path()).unwrap();
    let children: Vec<_> = (0..2)
        .map(|_| {
            let mut child = std::process::Command::new(std::env::current_exe().unwrap());
            child.args(["--exact", "one_of_two_processes_with_one_user"]);
            child.arg("--nocapture").env(FOLDER, folder.path());
            child.stdout(std::process::Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}");
        assert!(text.contains(" ended"), "it was the process: {text}");
    }
    let whose = subject("a");
    // Each process may have ended the other's last session.
    begin(&store, &whose).await;
    let mut standing = Vec::new();
    let mut cursor = None;
    loop {
        let page = store.scan(cursor.as_ref(), 50).await.unwrap();
        for item in page.items {
            if let Stored::Record(record) = item.stored.unwrap() {
                assert_eq!(record.subject.as_ref(), Some(&whose));
                standing.push(item.digest);
            }
        }
        match page.next {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    assert!(!standing.is_empty());
    assert_eq!(list(&store, &whose).await, standing);
    assert_eq!(entries(folder.path()), standing.len());
    let mut ended = store.revoke(&listed_as(&whose), Revoke::All).await.unwrap();
    ended.sort();
    assert_eq!(ended, standing);
    assert_eq!(entries(folder.path()), 0);
}

/// A list of many sessions would keep every writer waiting.
#[tokio::test]
async fn a_list_waits_for_no_writer_and_none_for_it() {
    let folder = folder();
    let store = FileStore::open(folder.path()).unwrap();
    let whose = subject("a");
    let digest = begin(&store, &whose).await;
    let locks = std::fs::read_dir(folder.path().join("v1/locks")).unwrap();
    let held: Vec<_> = locks
        .map(|lock| {
            let file = std::fs::File::open(lock.unwrap().path()).unwrap();
            fs4::FileExt::lock(&file).unwrap();
            file
        })
        .collect();
    assert_eq!(held.len(), 64);
    // One that waited for a lock would fail after LOCK_WAIT_SECS_MAX.
    assert_eq!(list(&store, &whose).await, [digest]);
}

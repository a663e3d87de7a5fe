//! The contract, and what only this store promises: names, modes, many processes.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod common;

use std::fs;
use std::future::Future as _;
use std::task::{Context, Waker};

use cloakroom_core::engine::AnyStore;
use cloakroom_core::store::{
    Data, KeyDigest, Record, Revoke, Scan as _, SessionStore as _, Stored, Subjects as _,
};
use cloakroom_core::{Clock as _, ErrorKind, SystemClock, Timestamp};
use cloakroom_file::{Durability, FileStore};
use cloakroom_testkit::{
    Profile, conformance, key, listed_as, sample, survives_reopening, touch_until,
};
use common::{files_below, folder, session_path};

#[tokio::test]
async fn conforms() {
    let folder = folder();
    let store = FileStore::open(folder.path()).unwrap();
    conformance(&store, &Profile::SHARED).await;
    assert!(files_below(folder.path(), ".new-").is_empty());
}

#[tokio::test]
async fn conforms_erased() {
    let folder = folder();
    let store = AnyStore::new(FileStore::open(folder.path()).unwrap());
    conformance(&store, &Profile::SHARED).await;
}

#[tokio::test]
async fn conforms_without_syncs() {
    let folder = folder();
    let store = FileStore::open_with(folder.path(), Durability::Lazy).unwrap();
    conformance(&store, &Profile::SHARED).await;
}

#[tokio::test]
async fn what_was_acknowledged_survives_reopening() {
    for durability in [Durability::Synced, Durability::Lazy] {
        let folder = folder();
        let open = async || FileStore::open_with(folder.path(), durability).unwrap();
        survives_reopening(&Profile::SHARED, open).await;
    }
}

/// Other libraries name a session's file by what the client sent. Here each file has the
/// path that its digest says, and no other.
#[tokio::test]
async fn a_name_is_a_digest_and_no_key_reaches_the_disk() {
    let folder = folder();
    let store = FileStore::open(folder.path()).unwrap();
    for (key, record) in (0..300).map(|_| (key(), sample("x"))) {
        store.create(&key.digest(), &record).await.unwrap();
        let bytes = fs::read(session_path(folder.path(), &key.digest())).unwrap();
        for secret in [&key.expose_bytes()[..], key.to_token().expose().as_bytes()] {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret));
            let name = String::from_utf8_lossy(secret);
            assert!(files_below(folder.path(), &name).is_empty());
        }
    }
    for edge in [[0; 32], [0xff; 32], *b"../../../../../../../etc/passwd\0"] {
        let digest = KeyDigest::from_bytes(edge);
        store.create(&digest, &sample("x")).await.unwrap();
        assert!(session_path(folder.path(), &digest).is_file());
    }
    // Each has an entry, whose name does not tell the subject.
    assert_eq!(
        files_below(&folder.path().join("v1"), "").len(),
        2 * 303 + 64
    );
    let folders = fs::read_dir(folder.path().join("v1")).unwrap().count();
    assert_eq!(folders, 256 + 2);
    assert!(files_below(folder.path(), "user-42").is_empty());
}

#[test]
fn a_folder_that_cannot_be_used_is_named() {
    let folder = folder();
    let file = folder.path().join("a file");
    fs::write(&file, "in the way").unwrap();
    for path in [file.clone(), file.join("below")] {
        let error = FileStore::open(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("a file"), "{error}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn folders_and_files_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = folder();
    let path = folder.path().join("made").join("sessions");
    let store = FileStore::open(&path).unwrap();
    let digest = key().digest();
    store.create(&digest, &sample("x")).await.unwrap();
    let mode = |path: &std::path::Path| {
        let mode = fs::metadata(path).unwrap().permissions().mode();
        mode & 0o777
    };
    assert_eq!(mode(&path), 0o700);
    let file = session_path(&path, &digest);
    assert_eq!(mode(file.parent().unwrap()), 0o700);
    assert_eq!(mode(&file), 0o600);
    for file in files_below(&path, "") {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[cfg(unix)]
#[test]
fn a_folder_open_to_others_is_refused_with_the_command_that_closes_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = folder();
    let path = folder.path().join("the app's sessions");
    fs::create_dir(&path).unwrap();
    for mode in [0o755, 0o751, 0o701, 0o722] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let error = FileStore::open(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
        let text = error.to_string();
        assert!(text.contains(&format!("(mode {mode:o})")), "{text}");
        let (_, command) = text.split_once("run: ").unwrap();
        let mut shell = std::process::Command::new("sh");
        assert!(shell.args(["-c", command]).status().unwrap().success());
        FileStore::open(&path).unwrap();
    }
    // A container platform gives the group of a volume its rights, and the setgid bit.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o2770)).unwrap();
    FileStore::open(&path).unwrap();
}

/// A disk that is no longer mounted holds no file either. An outage is no logout, and a
/// logout that ended nothing must not be answered with success.
#[tokio::test]
async fn where_the_folder_is_gone_nobody_is_logged_out_and_no_logout_succeeds() {
    let folder = folder();
    let (path, away) = (folder.path().join("sessions"), folder.path().join("away"));
    let store = FileStore::open(&path).unwrap();
    let (digest, record) = (key().digest(), sample("a login"));
    let revision = store.create(&digest, &record).await.unwrap();
    let record = record.at_revision(revision);
    let subject = listed_as(record.subject.as_ref().unwrap());
    fs::rename(&path, &away).unwrap();
    // What a mount leaves behind is an empty folder.
    for leaves_a_folder in [false, true] {
        if leaves_a_folder {
            fs::create_dir(&path).unwrap();
        }
        let until = record.expires_at;
        let failures = [
            store.load(&digest).await.map(drop),
            store.load(&key().digest()).await.map(drop),
            store.create(&key().digest(), &record).await.map(drop),
            store.update(&digest, &record).await.map(drop),
            store.touch(&digest, revision, touch_until(until)).await,
            store
                .rotate(&digest, &key().digest(), &record, until)
                .await
                .map(drop),
            store.delete(&digest).await,
            store.sessions_of(&subject, usize::MAX).await.map(drop),
            store.revoke(&subject, Revoke::All).await.map(drop),
            store.revoke(&subject, Revoke::One(digest)).await.map(drop),
            store.scan(None, 10).await.map(drop),
        ];
        for (number, failure) in failures.into_iter().enumerate() {
            let error = failure.expect_err(&number.to_string());
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{number}: {error}");
        }
    }
    fs::remove_dir(&path).unwrap();
    fs::rename(&away, &path).unwrap();
    let found = store.load(&digest).await.unwrap();
    assert_eq!(found.and_then(Stored::into_record), Some(record));
    store.delete(&digest).await.unwrap();
    assert_eq!(store.load(&digest).await.unwrap(), None);
}

/// A drop of the store waits until every write that was begun is made.
#[tokio::test]
async fn a_write_that_was_begun_is_made_though_nobody_waits() {
    let folder = folder();
    let digests: Vec<_> = (0..20).map(|_| key().digest()).collect();
    let store = FileStore::open(folder.path()).unwrap();
    for digest in &digests {
        let record = sample("begun");
        let mut begun = Box::pin(store.create(digest, &record));
        let mut context = Context::from_waker(Waker::noop());
        let _ = begun.as_mut().poll(&mut context);
    }
    drop(store);
    for digest in &digests {
        let frame = fs::read(session_path(folder.path(), digest)).unwrap();
        assert!(matches!(Stored::decode(&frame), Ok(Stored::Record(_))));
    }
}

const FOLDER: &str = "CLOAKROOM_FILE_TEST_FOLDER";
const SHARED: KeyDigest = KeyDigest::from_bytes([7; KeyDigest::BYTES]);
const UPDATES: u64 = 32;

fn count(record: &Record) -> u64 {
    u64::from_le_bytes(record.data.as_bytes().try_into().unwrap())
}

/// Run as one of two processes by the test below; on its own it does nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_processes() {
    let Some(path) = std::env::var_os(FOLDER) else {
        return;
    };
    let store = FileStore::open(path).unwrap();
    let tasks: Vec<_> = (0..UPDATES)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut conflicts = 0;
                loop {
                    let stored = store.load(&SHARED).await.unwrap().unwrap();
                    let mut record = stored.into_record().unwrap();
                    record.data = Data::from_bytes((count(&record) + 1).to_le_bytes());
                    match store.update(&SHARED, &record).await {
                        Ok(_) => return conflicts,
                        Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict),
                    }
                    conflicts += 1;
                }
            })
        })
        .collect();
    let mut conflicts = 0;
    for task in tasks {
        conflicts += task.await.unwrap();
    }
    println!("{conflicts} conflicts");
}

#[tokio::test]
async fn two_processes_of_32_concurrent_updates_count_to_64() {
    let folder = folder();
    let store = FileStore::open(folder.path()).unwrap();
    let mut record = Record::new(SystemClock.now(), Timestamp::MAX);
    record.data = Data::from_bytes(0_u64.to_le_bytes());
    store.create(&SHARED, &record).await.unwrap();
    let children: Vec<_> = (0..2)
        .map(|_| {
            std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "one_of_two_processes", "--nocapture"])
                .env(FOLDER, folder.path())
                .stdout(std::process::Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}");
        assert!(text.contains("conflicts"), "it was the process: {text}");
    }
    let stored = store.load(&SHARED).await.unwrap().unwrap();
    let record = stored.into_record().unwrap();
    assert_eq!(count(&record), 2 * UPDATES);
    assert_eq!(record.revision.as_u64(), 2 * UPDATES + 1);
    assert!(files_below(folder.path(), ".new-").is_empty());
}

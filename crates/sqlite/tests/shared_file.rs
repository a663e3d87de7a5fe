//! The file: who may use it, what is at its path, and the other processes that have it open.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod common;

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cloakroom_core::ErrorKind;
use cloakroom_core::store::{Close as _, SessionStore as _, Sweep as _};
use cloakroom_sqlite::SqliteStore;
use cloakroom_testkit::{key, sample};

use common::{aside, file, folder, later, open};

/// SQLite would take each for something else than a file of that name.
#[cfg(unix)]
#[tokio::test]
async fn a_path_is_taken_as_it_stands() {
    let builder = tempfile::Builder::new().prefix("file:").tempdir_in(".");
    let folder = builder.unwrap();
    let name = PathBuf::from(folder.path().file_name().unwrap());
    for path in [name.join("a%20b?mode=memory"), name.join(":memory:")] {
        let _store = SqliteStore::open(&path).unwrap();
        let bytes = std::fs::metadata(&path).unwrap().len();
        assert!(bytes > 0, "it is what was made");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn what_is_made_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = folder();
    let path = folder.path().join("made").join("sessions.db");
    let _store = SqliteStore::open(&path).unwrap();
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path.parent().unwrap()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{entry:?}");
        names.push(entry.file_name());
    }
    assert!(names.len() >= 3, "the log is looked at too: {names:?}");
    let mode = std::fs::metadata(path.parent().unwrap()).unwrap();
    assert_eq!(mode.permissions().mode() & 0o777, 0o700);
}

#[cfg(unix)]
#[test]
fn a_file_that_others_may_use_is_refused_and_one_for_its_group_is_opened() {
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt as _;
    let folder = folder();
    let path = file(&folder);
    drop(open(&folder));
    for mode in [0o666, 0o644, 0o602] {
        set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let error = SqliteStore::open(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
        assert!(error.to_string().contains("chmod go-rwx"), "{error}");
    }
    set_permissions(&path, Permissions::from_mode(0o660)).unwrap();
    SqliteStore::open(&path).unwrap();
}

const SHARED: &str = "CLOAKROOM_SQLITE_TEST_FILE";

/// One of the processes of the test below; without the file, nothing.
#[tokio::test]
async fn a_process_that_writes() {
    let Some(path) = std::env::var_os(SHARED) else {
        return;
    };
    // SQLite lets others go first, however long somebody has waited.
    let builder = SqliteStore::builder().timeout(Duration::from_secs(60));
    let store = builder.open(PathBuf::from(path)).unwrap();
    for _ in 0..50 {
        let (old, new) = (key().digest(), key().digest());
        let mut record = sample("x");
        record.revision = store.create(&old, &record).await.unwrap();
        record.revision = store.update(&old, &record).await.unwrap();
        store.rotate(&old, &new, &record, later(60)).await.unwrap();
    }
    println!("all written");
}

/// They make the file and the table at once, too.
#[test]
fn several_processes_write_to_one_file() {
    let folder = folder();
    let processes: Vec<_> = (0..4)
        .map(|_| {
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "a_process_that_writes", "--nocapture"])
                .env(SHARED, file(&folder))
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for process in processes {
        let output = process.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("all written"), "{text}");
    }
    let count = "SELECT count(*) FROM cloakroom_sessions";
    let count: i64 = aside(&folder)
        .query_row(count, [], |row| row.get(0))
        .unwrap();
    assert_eq!(count, 400, "a session and a mark each");
}

const LOCKED: &str = "CLOAKROOM_SQLITE_TEST_LOCKED";

/// The other process of the test below; without the file, nothing.
#[test]
fn a_process_that_locks() {
    let Some(path) = std::env::var_os(LOCKED) else {
        return;
    };
    let conn = rusqlite::Connection::open(path).unwrap();
    conn.busy_timeout(Duration::ZERO).unwrap();
    let locked = conn.execute_batch("BEGIN IMMEDIATE");
    println!(
        "the lock is {}",
        if locked.is_ok() { "free" } else { "held" }
    );
}

/// Whoever closes a file drops all the locks that its process has on it, and whoever looks
/// for what a kill has left opens and closes the files beside the database.
#[cfg(target_os = "linux")]
#[test]
fn a_second_store_drops_no_lock_of_its_process() {
    let folder = folder();
    let _store = open(&folder);
    let conn = aside(&folder);
    conn.execute_batch("BEGIN IMMEDIATE").unwrap();
    let _second = open(&folder);
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_process_that_locks", "--nocapture"])
        .env(LOCKED, file(&folder))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("the lock is held"), "{text}");
}

#[test]
fn eight_that_open_a_new_file_at_once_all_succeed() {
    let folder = folder();
    let stores: Vec<_> = std::thread::scope(|threads| {
        let open = || {
            let builder = SqliteStore::builder().timeout(Duration::from_secs(60));
            builder.open(file(&folder)).unwrap()
        };
        let opening: Vec<_> = (0..8).map(|_| threads.spawn(open)).collect();
        let opened = opening.into_iter().map(|thread| thread.join().unwrap());
        opened.collect()
    });
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for store in &stores {
        let created = runtime.block_on(store.create(&key().digest(), &sample("x")));
        created.unwrap();
    }
}

#[tokio::test]
async fn a_lock_that_another_keeps_is_unavailable_after_the_timeout() {
    let folder = folder();
    let builder = SqliteStore::builder().timeout(Duration::from_secs(2));
    let store = builder.open(file(&folder)).unwrap();
    let conn = aside(&folder);
    conn.execute_batch("BEGIN IMMEDIATE").unwrap();
    let begun = Instant::now();
    // Those who wait behind others do not begin anew when those have given up.
    let waiting = (0..8_u64).map(async |number| {
        tokio::time::sleep(Duration::from_millis(200 * number)).await;
        store.create(&key().digest(), &sample("x")).await
    });
    let written = futures_util::future::join_all(waiting).await;
    let waited = begun.elapsed();
    for written in written {
        let error = written.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("locked"), "{error}");
    }
    assert!(waited > Duration::from_millis(1_500), "{waited:?}");
    assert!(waited < Duration::from_secs(4), "{waited:?}");
    assert!(
        store.load(&key().digest()).await.unwrap().is_none(),
        "readers go on"
    );
    conn.execute_batch("ROLLBACK").unwrap();
    store.create(&key().digest(), &sample("x")).await.unwrap();
}

/// A file that was deleted takes writes from whoever has it open, and nobody finds them.
#[tokio::test]
async fn no_write_to_a_deleted_file_is_acknowledged_and_the_file_may_come_back() {
    let folder = folder();
    let store = open(&folder);
    let (digest, record) = (key().digest(), sample(""));
    store.create(&digest, &record).await.unwrap();
    let away = folder.path().join("away");
    std::fs::rename(file(&folder), &away).unwrap();
    for error in [
        store.create(&key().digest(), &record).await.unwrap_err(),
        store.sweep(record.created_at, 10).await.unwrap_err(),
        // No connection was opened before the file went.
        store.load(&digest).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("deleted, moved"), "{error}");
    }
    assert!(!file(&folder).exists(), "none is made in its place");
    std::fs::rename(&away, file(&folder)).unwrap();
    store.create(&key().digest(), &record).await.unwrap();
    assert!(store.load(&digest).await.unwrap().is_some());
}

#[tokio::test]
async fn no_read_finds_another_file_at_the_path() {
    let (folder, other) = (folder(), folder());
    let (store, digest) = (open(&folder), key().digest());
    store.create(&digest, &sample("")).await.unwrap();
    drop(open(&other));
    std::fs::rename(file(&other), file(&folder)).unwrap();
    let error = store.load(&digest).await.unwrap_err();
    assert_eq!(
        error.kind(),
        ErrorKind::Unavailable,
        "an outage is no logout"
    );
}

/// Every page of the file in turn, and the file as a whole: an error, and never a panic.
#[tokio::test]
async fn a_damaged_database_is_an_error_and_never_a_panic() {
    let folder = folder();
    let digests: Vec<_> = (0..40).map(|_| key().digest()).collect();
    let store = open(&folder);
    for digest in &digests {
        store.create(digest, &sample("x")).await.unwrap();
    }
    store.close().await.unwrap();
    let whole = std::fs::read(file(&folder)).unwrap();
    let mut damages = vec![vec![0xff; 4_096], whole[..whole.len() / 2].to_vec()];
    for page in 0..whole.len() / 4_096 {
        let mut damaged = whole.clone();
        damaged[page * 4_096..][..4_096].fill(0xa5);
        damages.push(damaged);
    }
    let mut failed = 0;
    for damage in damages {
        std::fs::write(file(&folder), damage).unwrap();
        match SqliteStore::open(file(&folder)) {
            Ok(store) => {
                for digest in &digests {
                    failed += usize::from(store.load(digest).await.is_err());
                    let _ = store.delete(digest).await;
                }
                let _ = store.create(&key().digest(), &sample("x")).await;
                let _ = store.sweep(later(9_000), 100).await;
            }
            Err(error) => {
                assert!(error.to_string().contains("sessions.db"), "{error}");
                failed += 1;
            }
        }
    }
    assert!(failed >= 4, "{failed} failed");
}

//! Over SQLite.

#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod common;

use std::path::PathBuf;
use std::time::Duration;

use cloakroom_core::ErrorKind;
use cloakroom_core::engine::AnyStore;
use cloakroom_core::store::SessionStore as _;
use cloakroom_sql::SqlStore;
use cloakroom_testkit::{key, sample};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use sqlx::{AssertSqlSafe, Row as _};
use tempfile::TempDir;

use common::{drops, kind, moves, table};

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn file(folder: &TempDir) -> PathBuf {
    folder.path().join("sessions.db")
}

async fn open(folder: &TempDir) -> SqlStore {
    let url = format!("sqlite:{}", file(folder).display());
    let store = SqlStore::connect(&url).await.unwrap();
    store.migrate().await.unwrap();
    store
}

async fn aside(folder: &TempDir) -> SqlitePool {
    let options = SqliteConnectOptions::new().filename(file(folder));
    SqlitePool::connect_with(options).await.unwrap()
}

#[tokio::test]
async fn conforms() {
    common::conforms(&open(&folder()).await).await;
}

#[tokio::test]
async fn a_table_may_have_any_name_that_is_one() {
    let folder = folder();
    common::serves_in_a_table_of_any_name(async |name| {
        let builder = SqlStore::builder().table(name);
        builder.open_sqlite(file(&folder)).await.unwrap()
    })
    .await;
}

#[tokio::test]
async fn a_page_of_a_scan_is_bounded_in_bytes() {
    let folder = folder();
    common::scans_large_records_in_small_pages(&open(&folder).await).await;
}

#[tokio::test]
async fn a_timeout_may_be_as_long_as_there_is() {
    let folder = folder();
    common::serves_who_waits_for_ever(async |builder| {
        builder.open_sqlite(file(&folder)).await.unwrap()
    })
    .await;
}

#[tokio::test]
async fn what_was_acknowledged_survives_reopening() {
    let folder = folder();
    common::keeps_what_it_acknowledged(async || open(&folder).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn races_have_one_winner() {
    let folder = folder();
    common::settles_races(open(&folder).await, 20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_moves_meanwhile_is_ended_or_spared() {
    let folder = folder();
    let store = open(&folder).await;
    moves::revokes_what_moves(&store).await;
    moves::spares_what_moves(&store).await;
    moves::ends_what_moves(&store).await;
}

#[tokio::test]
async fn marks_in_a_circle_are_told() {
    let folder = folder();
    let store = open(&folder).await;
    moves::tells_marks_in_a_circle(&store).await;
}

#[tokio::test]
async fn eight_that_migrate_at_once_all_succeed() {
    let folder = folder();
    common::migrates_in_a_race(async || {
        let url = format!("sqlite://{}", file(&folder).display());
        SqlStore::connect(&url).await.unwrap()
    })
    .await;
}

#[tokio::test]
async fn rows_that_cannot_be_read_are_told_apart_and_ended() {
    let folder = folder();
    let store = open(&folder).await;
    let pool = aside(&folder).await;
    common::tells_unreadable_rows_apart(&store, "cloakroom_sessions", "x'ff'", async |sql| {
        let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&pool).await;
        assert_eq!(done.unwrap().rows_affected(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_row_longer_than_any_record_is_corrupt_and_can_be_ended() {
    let folder = folder();
    let store = open(&folder).await;
    let pool = aside(&folder).await;
    let long = "zeroblob(17 * 1024 * 1024)";
    common::tells_a_row_longer_than_any_record(&store, "cloakroom_sessions", long, async |sql| {
        let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&pool).await;
        assert_eq!(done.unwrap().rows_affected(), 1);
    })
    .await;
}

#[tokio::test]
async fn the_published_sql_makes_what_the_store_uses() {
    let folder = folder();
    let pool = SqlitePool::connect_with(
        SqliteConnectOptions::new()
            .filename(file(&folder))
            .create_if_missing(true),
    );
    let pool = pool.await.unwrap();
    let published = include_str!("../migrations/sqlite/0001_sessions.sql");
    sqlx::raw_sql(published).execute(&pool).await.unwrap();
    let made = sqlx::query("SELECT sql FROM sqlite_master ORDER BY name").fetch_all(&pool);
    let made: Vec<Option<String>> = made.await.unwrap().iter().map(|row| row.get(0)).collect();
    let store = SqlStore::builder().from_sqlite_pool(pool).unwrap();
    store.create(&key().digest(), &sample("x")).await.unwrap();
    store.migrate().await.unwrap();

    let other = self::folder();
    let _store = open(&other).await;
    let rows = sqlx::query("SELECT sql FROM sqlite_master ORDER BY name")
        .fetch_all(&aside(&other).await)
        .await
        .unwrap();
    let migrated: Vec<Option<String>> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(made, migrated);
}

#[tokio::test]
async fn a_table_of_a_newer_schema_is_left_alone() {
    let folder = folder();
    let store = open(&folder).await;
    let newer = "INSERT INTO cloakroom_sessions_schema VALUES (2)";
    sqlx::raw_sql(newer)
        .execute(&aside(&folder).await)
        .await
        .unwrap();
    assert_eq!(kind(store.migrate().await), ErrorKind::Unsupported);
}

#[tokio::test]
async fn without_its_table_the_store_says_what_to_call() {
    let folder = folder();
    let url = format!("sqlite:{}", file(&folder).display());
    let store = SqlStore::connect(&url).await.unwrap();
    let error = store.load(&key().digest()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert!(error.to_string().contains("migrate()"), "{error}");
}

#[tokio::test]
async fn what_is_no_file_is_refused() {
    for url in [
        "sqlite:",
        "sqlite://",
        "sqlite::memory:",
        "sqlite:x?mode=memory",
    ] {
        assert_eq!(kind(SqlStore::connect(url).await), ErrorKind::Misconfigured);
    }
    let folder = folder();
    let in_the_way = folder.path().join("a file");
    std::fs::write(&in_the_way, "in the way, and no database at all").unwrap();
    let url = format!("sqlite:{}", in_the_way.join("sessions.db").display());
    let error = SqlStore::connect(&url).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("a file"), "{error}");
    let url = format!("sqlite:{}", in_the_way.display());
    let error = SqlStore::connect(&url).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error}");
    let store = SqlStore::builder().schema("app").open_sqlite(file(&folder));
    assert_eq!(kind(store.await), ErrorKind::Misconfigured);
    let store = SqlStore::builder()
        .notifying(true)
        .open_sqlite(file(&folder));
    assert_eq!(kind(store.await), ErrorKind::Misconfigured);
}

/// SQLite would take both for something else than a file of that name.
#[cfg(unix)]
#[tokio::test]
async fn a_path_is_taken_as_it_stands() {
    let builder = tempfile::Builder::new().prefix("file:").tempdir_in(".");
    let folder = builder.unwrap();
    let name = PathBuf::from(folder.path().file_name().unwrap());
    let path = name.join("a%20b?mode=memory");
    let store = SqlStore::builder().open_sqlite(&path).await.unwrap();
    store.migrate().await.unwrap();
    let bytes = std::fs::metadata(&path).unwrap().len();
    assert!(bytes > 0, "it is what was made");
}

#[cfg(unix)]
#[tokio::test]
async fn what_is_made_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = folder();
    let path = folder.path().join("made").join("sessions.db");
    let store = SqlStore::builder().open_sqlite(&path).await.unwrap();
    store.migrate().await.unwrap();
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path.parent().unwrap()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{entry:?}");
        names.push(entry.file_name());
    }
    assert!(names.len() >= 2, "the log is looked at too: {names:?}");
    let mode = std::fs::metadata(path.parent().unwrap()).unwrap();
    assert_eq!(mode.permissions().mode() & 0o777, 0o700);
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_that_others_may_use_is_refused_and_one_for_its_group_is_opened() {
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt as _;
    let folder = folder();
    let path = folder.path().join("sessions.db");
    drop(SqlStore::builder().open_sqlite(&path).await.unwrap());
    for mode in [0o666, 0o644, 0o602] {
        set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let error = SqlStore::builder().open_sqlite(&path).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
        assert!(error.to_string().contains("chmod go-rwx"), "{error}");
    }
    set_permissions(&path, Permissions::from_mode(0o660)).unwrap();
    SqlStore::builder().open_sqlite(&path).await.unwrap();
}

#[tokio::test]
async fn two_tables_in_one_file_know_nothing_of_each_other() {
    let folder = folder();
    let [one, other] = [table(), "order".to_owned()].map(|table| {
        let path = file(&folder);
        async move { SqlStore::builder().table(table).open_sqlite(path).await }
    });
    let (one, other) = (one.await.unwrap(), other.await.unwrap());
    one.migrate().await.unwrap();
    other.migrate().await.unwrap();
    let digest = key().digest();
    one.create(&digest, &sample("x")).await.unwrap();
    assert!(other.load(&digest).await.unwrap().is_none());
}

#[tokio::test]
async fn a_dropped_future_mixes_no_answers_up() {
    let folder = folder();
    let builder = SqlStore::builder().pool_size(1);
    let store = builder.open_sqlite(file(&folder)).await.unwrap();
    store.migrate().await.unwrap();
    drops::answers_what_was_asked_after_a_drop(&store).await;
}

const SHARED: &str = "CLOAKROOM_SQL_TEST_FILE";

/// One of the processes of the test below; without the file, nothing.
#[tokio::test]
async fn a_process_that_writes() {
    let Some(path) = std::env::var_os(SHARED) else {
        return;
    };
    // SQLite lets others go first, however long somebody has waited.
    let patience = Duration::from_secs(60);
    let builder = SqlStore::builder()
        .acquire_timeout(patience)
        .statement_timeout(patience);
    let store = builder.open_sqlite(PathBuf::from(path)).await.unwrap();
    store.migrate().await.unwrap();
    for _ in 0..50 {
        let (old, new) = (key().digest(), key().digest());
        let mut record = sample("x");
        record.revision = store.create(&old, &record).await.unwrap();
        record.revision = store.update(&old, &record).await.unwrap();
        store
            .rotate(&old, &new, &record, common::later(60))
            .await
            .unwrap();
    }
    println!("all written");
}

#[tokio::test]
async fn several_processes_write_to_one_file() {
    let folder = folder();
    let processes: Vec<_> = (0..4)
        .map(|_| {
            std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "a_process_that_writes", "--nocapture"])
                .env(SHARED, file(&folder))
                .stdout(std::process::Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for process in processes {
        let output = process.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("all written"), "{text}");
    }
    let count = sqlx::query("SELECT count(*) FROM cloakroom_sessions")
        .fetch_one(&aside(&folder).await)
        .await
        .unwrap();
    assert_eq!(count.get::<i64, _>(0), 400, "a session and a mark each");
}

#[tokio::test]
async fn a_lock_that_another_keeps_is_unavailable_after_the_timeout() {
    let folder = folder();
    let _made = open(&folder).await;
    let timeout = Duration::from_secs(10);
    let store = SqlStore::builder()
        .statement_timeout(timeout)
        .open_sqlite(file(&folder));
    let store = store.await.unwrap();
    let pool = aside(&folder).await;
    let held = pool.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let error = store
        .create(&key().digest(), &sample("x"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("locked"), "{error}");
    assert!(
        store.load(&key().digest()).await.unwrap().is_none(),
        "readers go on"
    );
    held.rollback().await.unwrap();
    store.create(&key().digest(), &sample("x")).await.unwrap();
}

/// A file that was deleted takes writes from whoever has it open, and nobody finds them.
#[tokio::test]
async fn no_write_to_a_deleted_file_is_acknowledged_and_the_file_may_come_back() {
    let folder = folder();
    let store = open(&folder).await;
    let (digest, record) = (key().digest(), sample(""));
    store.create(&digest, &record).await.unwrap();
    let away = folder.path().join("away");
    std::fs::rename(file(&folder), &away).unwrap();
    let error = store.create(&key().digest(), &record).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("deleted, moved"), "{error}");
    std::fs::rename(&away, file(&folder)).unwrap();
    store.create(&key().digest(), &record).await.unwrap();
    assert!(store.load(&digest).await.unwrap().is_some());
}

/// Whoever hands in a pool goes on with it.
#[tokio::test]
async fn a_pool_that_was_handed_in_is_not_closed() {
    let folder = folder();
    drop(open(&folder).await);
    let options = SqliteConnectOptions::new().filename(file(&folder));
    let pool = SqlitePool::connect_with(options).await.unwrap();
    let store = SqlStore::builder().from_sqlite_pool(pool).unwrap();
    AnyStore::new(store.clone()).close().await.unwrap();
    store.create(&key().digest(), &sample("")).await.unwrap();
}

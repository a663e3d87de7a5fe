//! The contract, and what is this store's own: its table, its statements, its rows.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod common;

use std::fmt::Debug;
use std::time::Duration;

use cloakroom_core::engine::AnyStore;
use cloakroom_core::store::{
    Data, EndReason, Ending, Import as _, KeyDigest, Revision, Revoke, SCAN_PAGE_BYTES_MAX,
    Scan as _, SessionStore as _, Stored, Subjects as _, Sweep as _, Swept,
};
use cloakroom_core::{Error, ErrorKind, Subject};
use cloakroom_sqlite::{SqliteStore, TIMEOUT_MAX};
use cloakroom_testkit::{
    Profile, conformance, key, listed_as, races, races_of_subjects, sample, survives_reopening,
    sweeps_at_every_edge, touch_until,
};
use rusqlite::Connection;

use common::{aside, file, folder, later, open, set, unsynced};

fn kind<T: Debug>(result: Result<T, Error>) -> ErrorKind {
    result.unwrap_err().kind()
}

#[tokio::test]
async fn conforms() {
    let folder = folder();
    conformance(&open(&folder), &Profile::SHARED).await;
}

#[tokio::test]
async fn conforms_erased() {
    let folder = folder();
    conformance(&AnyStore::new(open(&folder)), &Profile::SHARED).await;
}

#[tokio::test]
async fn what_was_acknowledged_survives_reopening() {
    let folder = folder();
    survives_reopening(&Profile::SHARED, async || open(&folder)).await;
}

/// Short writes on callers' threads then, beside those of the thread.
#[tokio::test]
async fn conforms_where_a_commit_does_not_sync() {
    let folder = folder();
    conformance(&unsynced(&folder), &Profile::SHARED).await;
}

#[tokio::test]
async fn a_sweep_leaves_what_the_contract_says_at_every_edge() {
    let folder = folder();
    sweeps_at_every_edge(&unsynced(&folder)).await;
}

fn ending() -> Ending {
    Ending::new(EndReason::LoggedOut, later(0))
}

#[test]
fn races_have_one_winner() {
    let folder = folder();
    for store in [open(&folder), unsynced(&folder)] {
        races(&store, 20);
    }
}

#[test]
fn logins_that_race_a_revocation_are_ended_or_listed() {
    let folder = folder();
    for store in [open(&folder), unsynced(&folder)] {
        races_of_subjects(&store, 30);
    }
}

/// It is done at the first poll then, since a hop to another thread costs more than it.
#[test]
fn a_short_write_waits_for_no_thread_where_a_commit_does_not_sync() {
    let folders = [folder(), folder()];
    let at_once = |store: &SqliteStore| {
        let (digest, record) = (key().digest(), sample("x"));
        let created = store.create(&digest, &record);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        std::pin::pin!(created).poll(&mut context).is_ready()
    };
    let (synced, unsynced) = (open(&folders[0]), unsynced(&folders[1]));
    assert!((0..20).all(|_| !at_once(&synced)));
    // On a machine that is busy, one that took long sends the next ones away for a while.
    assert!((0..20).any(|_| at_once(&unsynced)));
}

/// No commit empties it then, and the thread does.
#[tokio::test]
async fn the_log_stays_short_where_a_commit_does_not_sync() {
    let folder = folder();
    let store = unsynced(&folder);
    let (digest, record) = (key().digest(), sample("x"));
    let mut revision = store.create(&digest, &record).await.unwrap();
    for _ in 0..3_000 {
        let changed = record.at_revision(revision);
        revision = store.update(&digest, &changed).await.unwrap();
    }
    let mut log = file(&folder).into_os_string();
    log.push("-wal");
    let bytes = std::fs::metadata(log).unwrap().len();
    assert!((1..8 * 1024 * 1024).contains(&bytes), "{bytes}");
}

/// Two stores over one file race as two processes do: by the lock of SQLite alone.
#[test]
fn two_stores_over_one_file_have_one_winner() {
    let folder = folder();
    let patient = || {
        let builder = SqliteStore::builder().timeout(Duration::from_secs(60));
        builder.open(file(&folder)).unwrap()
    };
    let (one, other) = (patient(), patient());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for _ in 0..50 {
        let digest = key().digest();
        let record = runtime.block_on(async {
            let record = sample("x");
            let revision = one.create(&digest, &record).await.unwrap();
            record.at_revision(revision)
        });
        let written = [one.clone(), other.clone()].map(|store| {
            let record = record.clone();
            runtime.spawn(async move { store.update(&digest, &record).await })
        });
        let written = written.map(|task| runtime.block_on(task).unwrap());
        let won = written.iter().filter(|written| written.is_ok());
        assert_eq!(won.count(), 1, "{written:?}");
    }
}

/// Names that a statement might use for something else: its columns, and words of SQL.
#[tokio::test]
async fn a_table_may_have_any_name_that_is_one() {
    let folder = folder();
    for name in [
        "t", "digest", "moved_to", "subject", "data", "format", "select", "order", "rowid", "max",
        "excluded",
    ] {
        let store = SqliteStore::builder().table(name).open(file(&folder));
        let store = store.unwrap();
        let (old, new) = (key().digest(), key().digest());
        let mut record = sample("x");
        record.revision = store.create(&old, &record).await.unwrap();
        record.revision = store.update(&old, &record).await.unwrap();
        store.rotate(&old, &new, &record, later(60)).await.unwrap();
        store.delete(&old).await.unwrap();
        assert!(store.load(&new).await.unwrap().is_none(), "{name}");
        store.create(&new, &record).await.unwrap();
        let whose = listed_as(&record.subject.clone().unwrap());
        let which = Revoke::AllBut(key().digest());
        let ended = store.revoke(&whose, which).await.unwrap();
        assert_eq!(ended, [new], "{name}");
        for digest in [key().digest(), key().digest()] {
            store.create(&digest, &record).await.unwrap();
            store.end(&new, Some(&ending())).await.unwrap();
            let ending = ending();
            let ended = store.end_sessions(&whose, Revoke::All, Some(&ending));
            assert_eq!(ended.await.unwrap(), [digest], "{name}");
        }
        for (now, swept) in [(later(9_000), 1), (later(100_000), 3)] {
            let swept = Swept::new(swept, false);
            assert_eq!(store.sweep(now, 10).await.unwrap(), swept, "{name}");
        }
    }
    let store = SqliteStore::builder().table("a\"b").open(file(&folder));
    assert_eq!(kind(store), ErrorKind::Misconfigured);
}

#[tokio::test]
async fn two_tables_in_one_file_know_nothing_of_each_other() {
    let folder = folder();
    let [one, other] = ["one", "other"].map(|table| {
        let builder = SqliteStore::builder().table(table);
        builder.open(file(&folder)).unwrap()
    });
    let digest = key().digest();
    one.create(&digest, &sample("x")).await.unwrap();
    assert!(other.load(&digest).await.unwrap().is_none());
}

/// Records of a MiB each, and how many of them a page holds.
#[tokio::test]
async fn a_page_of_a_scan_is_bounded_in_bytes() {
    let folder = folder();
    let store = open(&folder);
    let mut all = Vec::new();
    let mut record = sample("large");
    record.data = Data::from_bytes(vec![7; 1024 * 1024]);
    for _ in 0..10 {
        let digest = key().digest();
        store.create(&digest, &record).await.unwrap();
        all.push(digest);
    }
    all.sort_unstable_by_key(|digest| *digest.as_bytes());
    let (mut found, mut pages, mut from) = (Vec::new(), Vec::new(), None);
    loop {
        let page = store.scan(from.as_ref(), 1_000).await.unwrap();
        pages.push(page.items.len());
        for item in page.items {
            let stored = item.stored.unwrap().into_record().unwrap();
            assert_eq!(stored.data.as_bytes().len(), 1024 * 1024);
            found.push(item.digest);
        }
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    assert_eq!(SCAN_PAGE_BYTES_MAX, 4 * 1024 * 1024);
    assert_eq!(pages, [4, 4, 2]);
    assert_eq!(found, all);
}

/// The longest timeouts that there are, which nobody can add to a time of day.
#[tokio::test]
async fn a_timeout_may_be_as_long_as_there_is() {
    let folder = folder();
    for timeout in [Duration::MAX, Duration::MAX / 4, TIMEOUT_MAX] {
        let store = SqliteStore::builder().timeout(timeout).open(file(&folder));
        let store = store.unwrap();
        store.create(&key().digest(), &sample("x")).await.unwrap();
    }
}

/// Marks that lead round in a circle, as a damaged store may hold them.
#[tokio::test]
async fn marks_in_a_circle_are_told() {
    let folder = folder();
    let store = open(&folder);
    let [one, other] = [(); 2].map(|()| key().digest());
    for (at, to) in [(one, other), (other, one)] {
        let until = later(60);
        let mark = Stored::Rotated { to, until };
        assert!(store.import(&at, &mark).await.unwrap());
    }
    assert_eq!(kind(store.delete(&one).await), ErrorKind::Unavailable);
}

#[tokio::test]
async fn rows_that_cannot_be_read_are_told_apart_and_ended() {
    let folder = folder();
    let store = open(&folder);
    let conn = aside(&folder);
    let [newer, older, text, number, whole] = [(); 5].map(|()| key().digest());
    for digest in [newer, older, text, number, whole] {
        store.create(&digest, &sample("x")).await.unwrap();
    }
    set(&conn, &newer, "format = 2");
    set(&conn, &older, "format = 0");
    set(&conn, &text, "label = x'ff'");
    set(&conn, &number, "created_at = 'yesterday'");
    for (digest, expected) in [
        (&newer, ErrorKind::Unsupported),
        (&older, ErrorKind::Corrupt),
    ] {
        let record = sample("y").at_revision(Revision::FIRST);
        let touch = touch_until(later(9_000));
        assert_eq!(kind(store.load(digest).await), expected);
        assert_eq!(kind(store.update(digest, &record).await), expected);
        let touched = store.touch(digest, Revision::FIRST, touch).await;
        assert_eq!(kind(touched), expected);
        let new = key().digest();
        let rotated = store.rotate(digest, &new, &record, later(60)).await;
        assert_eq!(kind(rotated), expected);
        assert!(store.load(&new).await.unwrap().is_none());
        assert_eq!(kind(store.create(digest, &record).await), ErrorKind::Exists);
    }
    for damaged in [&text, &number] {
        assert_eq!(kind(store.load(damaged).await), ErrorKind::Corrupt);
    }
    assert!(store.load(&whole).await.unwrap().is_some());

    let whose = listed_as(&Subject::new("user-42").unwrap());
    let listed = store.sessions_of(&whose, usize::MAX).await.unwrap();
    assert_eq!(listed.len(), 1, "what cannot be read is not listed");
    let page = store.scan(None, 100).await.unwrap();
    let unreadable = page.items.iter().filter(|item| item.stored.is_err());
    assert_eq!((page.items.len(), unreadable.count()), (5, 4));

    store.delete(&newer).await.unwrap();
    assert!(store.load(&newer).await.unwrap().is_none());
    let ending = ending();
    store.end(&older, Some(&ending)).await.unwrap();
    let stored = store.load(&older).await.unwrap();
    assert!(matches!(stored, Some(Stored::Ended(_))), "{stored:?}");
    let ended = store.end_sessions(&whose, Revoke::All, Some(&ending));
    let ended = ended.await.unwrap();
    assert_eq!(ended.len(), 3, "what cannot be read is ended as well");
    // A tombstone that cannot be read is one all the same.
    set(&conn, &older, "data = x'ff'");
    assert_eq!(kind(store.load(&older).await), ErrorKind::Corrupt);
    let record = sample("y").at_revision(Revision::FIRST);
    assert_eq!(kind(store.update(&older, &record).await), ErrorKind::Gone);
    store.delete(&older).await.unwrap();
    assert!(store.load(&older).await.unwrap().is_none());
}

#[tokio::test]
async fn a_row_longer_than_any_record_is_corrupt_and_can_be_ended() {
    let folder = folder();
    let store = open(&folder);
    let digest = key().digest();
    store.create(&digest, &sample("x")).await.unwrap();
    set(
        &aside(&folder),
        &digest,
        "data = zeroblob(17 * 1024 * 1024)",
    );
    let error = store.load(&digest).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(
        error.to_string().contains("longer than a record"),
        "{error}"
    );
    let page = store.scan(None, 10).await.unwrap();
    let scanned: Vec<_> = page
        .items
        .into_iter()
        .map(|item| kind(item.stored))
        .collect();
    assert_eq!(scanned, [ErrorKind::Corrupt]);
    store.delete(&digest).await.unwrap();
    assert!(store.load(&digest).await.unwrap().is_none());
}

fn made(conn: &Connection) -> Vec<Option<String>> {
    let sql = "SELECT sql FROM sqlite_master ORDER BY name";
    let mut statement = conn.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

#[tokio::test]
async fn the_published_sql_makes_what_the_store_uses() {
    let folder = folder();
    let conn = aside(&folder);
    let published = include_str!("../migrations/0001_sessions.sql");
    // It may be run again.
    for _ in 0..2 {
        conn.execute_batch(published).unwrap();
    }
    restrict(&folder);
    let store = SqliteStore::builder().migrate(false).open(file(&folder));
    let (store, digest) = (store.unwrap(), key().digest());
    store.create(&digest, &sample("x")).await.unwrap();
    drop(open(&folder));

    let other = common::folder();
    let _store = open(&other);
    assert_eq!(made(&conn), made(&aside(&other)));
}

/// SQLite's own command makes a file that others may read.
fn restrict(folder: &tempfile::TempDir) {
    #[cfg(unix)]
    {
        use std::fs::{Permissions, set_permissions};
        use std::os::unix::fs::PermissionsExt as _;
        set_permissions(file(folder), Permissions::from_mode(0o600)).unwrap();
    }
    #[cfg(not(unix))]
    let _ = folder;
}

#[test]
fn a_table_of_a_newer_schema_is_left_alone() {
    let folder = folder();
    drop(open(&folder));
    let newer = "INSERT INTO cloakroom_sessions_schema VALUES (2)";
    aside(&folder).execute_batch(newer).unwrap();
    let error = SqliteStore::open(file(&folder)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("newer build"), "{error}");
}

/// As a build before the first release has made it.
#[test]
fn a_table_without_a_column_is_told_by_its_name() {
    let folder = folder();
    drop(open(&folder));
    let rename = "ALTER TABLE cloakroom_sessions RENAME COLUMN ended TO other";
    aside(&folder).execute_batch(rename).unwrap();
    let error = SqliteStore::open(file(&folder)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    for part in ["ended", "cloakroom_sessions_schema", "drop it"] {
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
}

#[tokio::test]
async fn without_its_table_the_store_says_what_to_do() {
    let folder = folder();
    let store = SqliteStore::builder().migrate(false).open(file(&folder));
    let error = store.unwrap().load(&key().digest()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert!(error.to_string().contains("migrate"), "{error}");
}

/// Refusals of each kind between writes that are made: all in one transaction, since the
/// first poll of each puts it into the queue.
#[tokio::test]
async fn a_refused_write_does_not_disturb_the_others_of_its_batch() {
    let folder = folder();
    let store = open(&folder);
    let [one, two, three] = [key().digest(), key().digest(), key().digest()];
    for digest in [&one, &two] {
        store.create(digest, &sample("x")).await.unwrap();
    }
    let record = sample("y").at_revision(Revision::FIRST);
    let (made, taken, stale, conflict, gone, moved, again, deleted) = tokio::join!(
        store.create(&three, &record),
        store.create(&one, &record),
        store.rotate(&one, &two, &record, later(60)),
        async {
            let stale = record.at_revision(Revision::from_u64(9));
            store.update(&two, &stale).await
        },
        async {
            store
                .touch(&key().digest(), Revision::FIRST, touch_until(later(1)))
                .await
        },
        store.update(&one, &record),
        store.update(&one, &record),
        store.delete(&two),
    );
    made.unwrap();
    assert_eq!(taken.unwrap_err().kind(), ErrorKind::Exists);
    assert_eq!(stale.unwrap_err().kind(), ErrorKind::Exists);
    assert_eq!(conflict.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(gone.unwrap_err().kind(), ErrorKind::Gone);
    assert_eq!(moved.unwrap(), Revision::FIRST.next());
    assert_eq!(again.unwrap_err().kind(), ErrorKind::Conflict);
    deleted.unwrap();
    drop(store);
    let store = open(&folder);
    let found = store.load(&one).await.unwrap().unwrap();
    assert_eq!(found.into_record().unwrap().data, record.data);
    assert!(store.load(&two).await.unwrap().is_none());
    assert!(store.load(&three).await.unwrap().is_some());
}

/// What SQLite itself refuses fails the transaction of all who share it.
#[tokio::test]
async fn a_write_that_fails_its_batch_fails_alone() {
    let folder = folder();
    let store = open(&folder);
    let refuse = "CREATE TRIGGER refuse BEFORE INSERT ON cloakroom_sessions \
                  WHEN new.data = x'0bad' BEGIN SELECT raise(ROLLBACK, 'a bad day'); END";
    aside(&folder).execute_batch(refuse).unwrap();
    let mut bad = sample("");
    bad.data = Data::from_bytes(vec![0x0b, 0xad]);
    let digests: [KeyDigest; 9] = std::array::from_fn(|_| key().digest());
    let writes = digests.iter().enumerate().map(async |(number, digest)| {
        let record = if number == 4 { &bad } else { &sample("x") };
        store.create(digest, record).await
    });
    let written = futures_util::future::join_all(writes).await;
    for (number, written) in written.into_iter().enumerate() {
        match number {
            4 => assert!(written.unwrap_err().to_string().contains("a bad day")),
            _ => assert_eq!(written.unwrap(), Revision::FIRST),
        }
        let found = store.load(&digests[number]).await.unwrap();
        assert_eq!(found.is_some(), number != 4, "{number}");
    }
}

/// Drops a future after so many polls.
async fn abandon(future: impl Future, polls: u64) {
    let mut future = std::pin::pin!(future);
    for _ in 0..polls {
        let is_done = std::future::poll_fn(|context| {
            std::task::Poll::Ready(future.as_mut().poll(context).is_ready())
        });
        if is_done.await {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// Futures dropped at every moment: whoever comes next gets the answer to what it asked.
#[tokio::test]
async fn a_dropped_future_mixes_no_answers_up() {
    let folder = folder();
    let store = open(&folder);
    let mut records = Vec::new();
    for number in 0..4 {
        let digest = key().digest();
        let mut record = sample(&format!("session {number}"));
        record.revision = store.create(&digest, &record).await.unwrap();
        records.push((digest, record));
    }
    for round in 0..60_u64 {
        let polls = round % 12;
        let (digest, record) = &records[usize::try_from(round % 3).unwrap()];
        let new = key().digest();
        abandon(store.load(digest), polls).await;
        let stale = record.at_revision(Revision::from_u64(99));
        abandon(store.rotate(digest, &new, &stale, later(60)), polls).await;
        abandon(store.update(digest, &stale), polls).await;
        abandon(store.create(&new, record), polls).await;
        for (digest, record) in &records {
            let found = store.load(digest).await.unwrap().unwrap();
            assert_eq!(found.into_record().as_ref(), Some(record));
        }
        assert!(store.load(&key().digest()).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn no_key_reaches_the_disk() {
    let folder = folder();
    let key = key();
    let store = open(&folder);
    store.create(&key.digest(), &sample("x")).await.unwrap();
    drop(store);
    let whole = std::fs::read(file(&folder)).unwrap();
    let contains = |needle: &[u8]| whole.windows(needle.len()).any(|window| window == needle);
    assert!(
        contains(key.digest().as_bytes()),
        "the search finds what is there"
    );
    assert!(!contains(key.expose_bytes()));
    assert!(!contains(key.to_token().expose().as_bytes()));
}

//! Over MariaDB, which speaks as MySQL does.

#![cfg(feature = "mysql")]
#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod common;

use std::time::Duration;

use cloakroom_core::ErrorKind;
use cloakroom_core::store::{Revoke, SessionStore as _, SubjectDigest};
use cloakroom_servers::Mariadb;
use cloakroom_sql::SqlStore;
use cloakroom_testkit::{key, sample};

use common::cases::Server;
use common::proxy::Proxy;
use common::{DAY_MILLIS, ending, kind, table};

impl Server for Mariadb {
    const NOTIFIES: bool = false;
    const ROTATION_TRIPS: u64 = 2;
    const NOT_UTF8: &'static str = "x'ff'";
    const RETYPED: &'static str = "MODIFY last_seen_at VARCHAR(30)";
    const WRONG_URLS: &'static [&'static str] = &[
        "mysql://cloakroom:hunter2@127.0.0.1:$PORT/cloakroom",
        "mariadb://nobody:hunter2@127.0.0.1:$PORT/cloakroom",
        "mysql://cloakroom@127.0.0.1:$PORT/nowhere",
        "mysql://cloakroom:hunter2@127.0.0.1:hunter2/cloakroom",
    ];
    const READ_PARAMETERS: &'static str = "ssl-mode=preferred&charset=utf8mb4";

    fn published() -> Vec<&'static str> {
        let published = include_str!("../migrations/mysql/0001_sessions.sql");
        let statements = published.split_inclusive(";\n");
        statements
            .map(|statement| statement.trim_end().trim_end_matches(';'))
            .collect()
    }

    fn shared() -> Option<&'static Self> {
        cloakroom_servers::mariadb()
    }

    fn start() -> Option<Self> {
        Self::start()
    }

    fn url(&self) -> String {
        self.url()
    }

    fn query(&self, sql: &str) -> Vec<Vec<String>> {
        self.query(sql).unwrap()
    }

    async fn cut_all(&self) -> usize {
        let list = "SELECT id FROM information_schema.processlist \
                    WHERE user = 'cloakroom' AND id <> connection_id()";
        let others = self.query(list).unwrap();
        for row in &others {
            // The connection that asked for the list has ended by itself.
            let _ = self.query(&format!("KILL {}", row[0]));
        }
        common::eventually("they are gone", || self.query(list).unwrap().is_empty()).await;
        others.len()
    }
}

common::cases::cases!(Mariadb);

#[tokio::test]
async fn conforms_over_a_pool_of_ones_own() {
    let Some(server) = cloakroom_servers::mariadb() else {
        return;
    };
    let pool = sqlx::MySqlPool::connect(&server.url()).await.unwrap();
    let store = SqlStore::builder().table("order").from_mysql_pool(pool);
    let store = store.unwrap();
    store.migrate().await.unwrap();
    common::conforms(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn races_have_one_winner_also_where_others_are_seen_at_once() {
    let Some(server) = cloakroom_servers::mariadb() else {
        return;
    };
    let pool = sqlx::mysql::MySqlPoolOptions::new().after_connect(|conn, _| {
        Box::pin(async move {
            let set = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";
            sqlx::query(set).execute(conn).await.map(|_| ())
        })
    });
    let pool = pool.connect(&server.url()).await.unwrap();
    let store = SqlStore::builder().table(table()).from_mysql_pool(pool);
    let store = store.unwrap();
    store.migrate().await.unwrap();
    common::settles_races(store, 10).await;
}

#[tokio::test]
async fn who_cannot_get_the_lock_makes_no_table() {
    let Some(server) = cloakroom_servers::mariadb() else {
        return;
    };
    let table = table();
    let pool = sqlx::mysql::MySqlPoolOptions::new().after_connect(|conn, _| {
        Box::pin(async move {
            let set = "SET max_statement_time = 0.5";
            sqlx::query(set).execute(conn).await.map(|_| ())
        })
    });
    let pool = pool.connect(&server.url()).await.unwrap();
    let mut held = pool.acquire().await.unwrap();
    let lock = format!("SELECT get_lock('cloakroom {table}', 0)");
    let lock = sqlx::query(sqlx::AssertSqlSafe(lock));
    lock.execute(&mut *held).await.unwrap();
    let store = SqlStore::builder().table(&*table).from_mysql_pool(pool);
    let store = store.unwrap();
    assert_eq!(kind(store.migrate().await), ErrorKind::Unavailable);
    let made = format!("SHOW TABLES LIKE '{table}'");
    assert!(server.query(&made).unwrap().is_empty());
    held.close().await.unwrap();
    // Over connections that have the time.
    server.open_with(SqlStore::builder().table(&*table)).await;
}

#[tokio::test]
async fn a_record_that_the_server_takes_no_packet_of_is_an_error_and_harms_no_other() {
    let Some(server) = Mariadb::start_with(&["--max-allowed-packet=1M"]) else {
        return;
    };
    let store = server.open_with(SqlStore::builder()).await;
    let mut record = sample("x");
    record.data = cloakroom_core::store::Data::from_bytes(vec![7; 2 * 1024 * 1024]);
    let error = store.create(&key().digest(), &record).await.unwrap_err();
    let kinds = [ErrorKind::TooLarge, ErrorKind::Unavailable];
    assert!(kinds.contains(&error.kind()), "{error}");
    store.create(&key().digest(), &sample("x")).await.unwrap();
}

#[tokio::test]
async fn what_was_answered_is_committed_also_where_the_server_does_not_by_itself() {
    let Some(server) = Mariadb::start_with(&["--autocommit=0"]) else {
        return;
    };
    let builder = SqlStore::builder().pool_size(1);
    let one = server.open_with(builder.clone()).await;
    let other = server.open_with(builder).await;
    let (digest, mut record) = (key().digest(), sample("x"));
    assert!(other.load(&digest).await.unwrap().is_none());
    record.revision = one.create(&digest, &record).await.unwrap();
    assert!(other.load(&digest).await.unwrap().is_some());
    one.delete(&digest).await.unwrap();
    assert!(other.load(&digest).await.unwrap().is_none());
}

/// As other stores have it, an index that is compared with something else than it holds
/// is not used.
#[tokio::test]
async fn each_index_is_used() {
    let Some(server) = Mariadb::start() else {
        return;
    };
    let table = table();
    let store = server.open_with(SqlStore::builder().table(&*table)).await;
    server
        .query(&format!(
            "INSERT INTO {table} SELECT unhex(sha2(seq, 256)), 1, NULL, NULL, 1, 0, 0, seq * 1000, \
             NULL, NULL, NULL, concat('user ', seq % 5000), \
             unhex(sha2(seq % 5000, 256)), NULL, 0, NULL, '' FROM seq_1_to_20000"
        ))
        .unwrap();
    server.query(&format!("ANALYZE TABLE {table}")).unwrap();
    for (sql, index) in [
        (
            format!("DELETE FROM {table} WHERE expires_at <= 5000 ORDER BY expires_at LIMIT 10"),
            "expires_at",
        ),
        (
            format!(
                "UPDATE {table} SET expires_at = expires_at + 1 WHERE expires_at <= 5000 \
                 AND ended IS NULL ORDER BY expires_at LIMIT 10"
            ),
            "expires_at",
        ),
        (
            format!(
                "SELECT expires_at FROM {table} WHERE expires_at <= 5000 ORDER BY expires_at \
                 LIMIT 1 OFFSET 9"
            ),
            "expires_at",
        ),
        (
            format!("SELECT digest FROM {table} WHERE subject_digest = unhex(sha2('7', 256))"),
            "subject",
        ),
    ] {
        let plan = server.query(&format!("EXPLAIN {sql}")).unwrap();
        assert_eq!(plan.len(), 1);
        // id, select_type, table, type, possible_keys, key, …
        assert_eq!(plan[0][5], format!("{table}_{index}"), "{plan:?}");
        assert!(["range", "ref"].contains(&&*plan[0][3]), "{plan:?}");
    }
    // And what the store itself sends, as the server counts it: a table that is read
    // whole adds 20,000.
    let read = || {
        let sql = "SHOW GLOBAL STATUS LIKE 'Handler_read_rnd_next'";
        server.query(sql).unwrap()[0][1].parse::<u64>().unwrap()
    };
    let before = read();
    // SHA-256 of "7", as the rows above have it.
    let subject = "7902699be42c8a8e46fbbb4501726517e86b22c56a189f7625a6da49081b2451";
    let subject = SubjectDigest::from_hex(subject).unwrap();
    let subjects = store.capabilities().subjects.unwrap();
    let sweep = store.capabilities().sweep.unwrap();
    let digest = key().digest();
    assert_eq!(
        subjects
            .sessions_of(&subject, usize::MAX)
            .await
            .unwrap()
            .len(),
        4
    );
    let ending = ending();
    let ended = subjects.end_sessions(&subject, Revoke::AllBut(digest), Some(&ending));
    assert_eq!(ended.await.unwrap().len(), 4);
    subjects.revoke(&subject, Revoke::All).await.unwrap();
    // These leave tombstones, and those nothing.
    for now in [5_000, 5_000 + DAY_MILLIS] {
        let now = cloakroom_core::Timestamp::from_millis(now);
        assert_eq!(sweep.sweep(now, 2).await.unwrap().removed, 2);
    }
    for ending in [None, Some(&ending)] {
        store.end(&digest, ending).await.unwrap();
    }
    let since = read() - before;
    assert!(since < 15_000, "{since}");
}

#[tokio::test]
async fn each_write_that_succeeds_is_one_round_trip_and_a_rotation_two() {
    let Some(server) = Mariadb::start() else {
        return;
    };
    let proxy = Proxy::start(server.port());
    let url = proxy.url(&server.url(), server.port());
    let store = SqlStore::builder().pool_size(1).connect(&url);
    let store = store.await.unwrap();
    store.migrate().await.unwrap();
    let mut counts = Vec::new();
    // The first time each statement is prepared.
    for _ in 0..2 {
        let (digest, new) = (key().digest(), key().digest());
        let mut record = sample("x");
        counts = vec![("", proxy.trips())];
        record.revision = store.create(&digest, &record).await.unwrap();
        counts.push(("create", proxy.trips()));
        store.load(&digest).await.unwrap().unwrap();
        counts.push(("load", proxy.trips()));
        record.revision = store.update(&digest, &record).await.unwrap();
        counts.push(("update", proxy.trips()));
        let touch = cloakroom_testkit::touch_until(common::later(9_000));
        store.touch(&digest, record.revision, touch).await.unwrap();
        counts.push(("touch", proxy.trips()));
        let until = common::later(60);
        store.rotate(&digest, &new, &record, until).await.unwrap();
        counts.push(("rotate", proxy.trips()));
        store.delete(&new).await.unwrap();
        counts.push(("delete", proxy.trips()));
        let ending = ending();
        store.create(&new, &record).await.unwrap();
        counts.push(("create", proxy.trips()));
        store.end(&new, Some(&ending)).await.unwrap();
        counts.push(("end", proxy.trips()));
        let sweep = store.capabilities().sweep.unwrap();
        sweep.sweep(common::later(120), 10).await.unwrap();
        counts.push(("sweep", proxy.trips()));
    }
    let counts = counts
        .windows(2)
        .map(|pair| (pair[1].0, pair[1].1 - pair[0].1));
    let expected = [
        ("create", 1),
        ("load", 1),
        ("update", 1),
        ("touch", 1),
        ("rotate", 2),
        ("delete", 1),
        ("create", 1),
        ("end", 1),
        ("sweep", 3),
    ];
    assert_eq!(Vec::from_iter(counts), expected);
}

/// A rotation that fails half way, or meets nothing, leaves nothing: neither its rows
/// nor its values, nor a transaction that the next statement would be part of.
#[tokio::test]
async fn a_rotation_that_fails_leaves_its_connection_as_it_was() {
    let Some(server) = Mariadb::start() else {
        return;
    };
    let pool = sqlx::pool::PoolOptions::<sqlx::MySql>::new().max_connections(1);
    let pool = pool.connect(&server.url()).await.unwrap();
    let store = SqlStore::builder().from_mysql_pool(pool.clone());
    let store = store.unwrap();
    store.migrate().await.unwrap();
    let [old, taken, free] = [key().digest(), key().digest(), key().digest()];
    let mut record = sample("x");
    record.revision = store.create(&old, &record).await.unwrap();
    store.create(&taken, &record).await.unwrap();
    let until = common::later(60);
    let error = store
        .rotate(&old, &taken, &record, until)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exists);
    let stale = record.at_revision(record.revision.next());
    let error = store.rotate(&old, &free, &stale, until).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let sql = "SELECT CAST(@@in_transaction AS SIGNED), \
               CAST(@cloakroom_1 IS NULL AND @cloakroom_14 IS NULL AS SIGNED)";
    let left: (i64, i64) = sqlx::query_as(sql).fetch_one(&pool).await.unwrap();
    assert_eq!(left, (0, 1));
    assert!(store.load(&free).await.unwrap().is_none());
    store.rotate(&old, &free, &record, until).await.unwrap();
    let moved = store.load(&free).await.unwrap().unwrap().into_record();
    assert_eq!(moved.unwrap().data, record.data);
}

/// The server runs a script to its end, whoever has hung up meanwhile.
#[tokio::test]
async fn a_rotation_that_is_cut_anywhere_leaves_one_key_that_opens() {
    const ROTATIONS: u32 = 400;
    let Some(server) = Mariadb::start() else {
        return;
    };
    let store = server.open().await;
    let until = common::later(60);
    let (mut cut, mut before) = (0, None);
    for number in 0..ROTATIONS {
        let (old, new) = (key().digest(), key().digest());
        let mut record = sample("x");
        record.revision = store.create(&old, &record).await.unwrap();
        let rotation = store.rotate(&old, &new, &record, until);
        let patience = Duration::from_micros(u64::from(number % 40) * 50);
        cut += u32::from(tokio::time::timeout(patience, rotation).await.is_err());
        // At once, and again when the server has surely come to its end.
        for (old, new) in [(old, new)].into_iter().chain(before.replace((old, new))) {
            let found = store.load(&old).await.unwrap().unwrap();
            if found.into_record().is_none() {
                let moved = store.load(&new).await.unwrap();
                assert!(moved.is_some(), "{number}: neither opens");
            }
        }
    }
    assert!(cut > ROTATIONS / 20, "{cut} were cut");
}

#[tokio::test]
async fn a_unix_socket_is_named_by_url() {
    let Some(server) = cloakroom_servers::mariadb() else {
        return;
    };
    let socket = server.folder().join("socket").display().to_string();
    let url = format!("mysql://root@localhost/cloakroom?socket={socket}");
    let store = SqlStore::builder().table(table()).connect(&url);
    let store = store.await.unwrap();
    store.migrate().await.unwrap();
    store.create(&key().digest(), &sample("x")).await.unwrap();
    let nowhere = SqlStore::connect("mysql://root@localhost/cloakroom?socket=/nowhere").await;
    let error = nowhere.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("/nowhere"), "{error}");
}

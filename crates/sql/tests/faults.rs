//! Databases, and networks before them, that do what they should not.

#![cfg(all(feature = "mysql", feature = "postgres"))]
#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod common;

use std::time::{Duration, Instant};

use cloakroom_core::store::{SessionStore as _, Stored};
use cloakroom_core::{Error, ErrorKind};

use cloakroom_servers::{Mariadb, Postgres};
use cloakroom_sql::{SqlStore, SqlStoreBuilder};
use cloakroom_testkit::{key, sample};
use sqlx::mysql::MySqlPoolOptions;
use tokio::time::timeout;

use common::proxy::Proxy;
use common::{kind, later, table};

async fn open_with(url: &str, builder: SqlStoreBuilder) -> SqlStore {
    let store = builder.connect(url).await.unwrap();
    store.migrate().await.unwrap();
    store
}

/// A trigger, as a policy of row-level security would, keeps each write away without
/// a word.
#[tokio::test]
async fn a_write_that_meets_nothing_again_and_again_is_a_conflict() {
    let Some(server) = cloakroom_servers::postgres() else {
        return;
    };
    let table = table();
    let store = open_with(&server.url(), SqlStore::builder().table(&*table)).await;
    let digest = key().digest();
    let mut record = sample("x");
    record.revision = store.create(&digest, &record).await.unwrap();
    server
        .query(&format!(
            "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; \
             CREATE TRIGGER nothing BEFORE UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION nothing()"
        ))
        .unwrap();
    let bound = Duration::from_secs(5);
    let updated = timeout(bound, store.update(&digest, &record)).await;
    assert_eq!(kind(updated.unwrap()), ErrorKind::Conflict);
    let new = key().digest();
    let rotated = timeout(bound, store.rotate(&digest, &new, &record, later(60))).await;
    assert_eq!(kind(rotated.unwrap()), ErrorKind::Conflict);
    assert!(store.load(&new).await.unwrap().is_none());
}

/// A snapshot that stands still shows what a replica would that lags behind.
#[tokio::test]
async fn a_write_whose_look_lags_behind_is_a_conflict() {
    let Some(server) = cloakroom_servers::mariadb() else {
        return;
    };
    let table = table();
    let ahead = open_with(&server.url(), SqlStore::builder().table(&*table)).await;
    let digest = key().digest();
    let mut record = sample("x");
    record.revision = ahead.create(&digest, &record).await.unwrap();
    // Whether a server refuses to write to what its snapshot lacks; not each has the
    // choice.
    let choice = "SHOW VARIABLES LIKE 'innodb_snapshot_isolation'";
    let choices: &[&str] = match server.query(choice).unwrap().len() {
        0 => &[""],
        _ => &[
            ", innodb_snapshot_isolation = OFF",
            ", innodb_snapshot_isolation = ON",
        ],
    };
    for choice in choices {
        let behind = MySqlPoolOptions::new()
            .max_connections(1)
            .after_connect(move |conn, _| {
                Box::pin(async move {
                    let frozen = sqlx::AssertSqlSafe(format!("SET autocommit = 0{choice}"));
                    sqlx::query(frozen).execute(conn).await.map(|_| ())
                })
            });
        let behind = behind.connect(&server.url()).await.unwrap();
        let behind = SqlStore::builder().table(&*table).from_mysql_pool(behind);
        let behind = behind.unwrap();
        behind.load(&digest).await.unwrap().unwrap();
        let revision = ahead.update(&digest, &record).await.unwrap();
        let bound = Duration::from_secs(5);
        let updated = timeout(bound, behind.update(&digest, &record)).await;
        assert_eq!(kind(updated.unwrap()), ErrorKind::Conflict, "{choice}");
        record.revision = revision;
    }
}

/// On one thread, what goes back to the pool has not been asked yet whether it lives
/// when the answer is here.
async fn finds_its_only_place_again(url: &str, port: u16) {
    let proxy = Proxy::start(port);
    let bound = Duration::from_secs(2);
    let builder = SqlStore::builder()
        .table(table())
        .pool_size(1)
        .acquire_timeout(bound)
        .statement_timeout(bound);
    let store = open_with(&proxy.url(url, port), builder).await;
    let digest = key().digest();
    for _ in 0..2 {
        store.load(&digest).await.unwrap();
        proxy.go_dark();
        let begun = Instant::now();
        while store.load(&digest).await.is_err() {
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "the place is lost"
            );
        }
    }
}

#[tokio::test]
async fn a_network_to_postgres_that_dies_behind_an_answer_costs_no_place_in_the_pool() {
    if let Some(server) = cloakroom_servers::postgres() {
        finds_its_only_place_again(&server.url(), server.port()).await;
    }
}

#[tokio::test]
async fn a_network_to_mariadb_that_dies_behind_an_answer_costs_no_place_in_the_pool() {
    if let Some(server) = cloakroom_servers::mariadb() {
        finds_its_only_place_again(&server.url(), server.port()).await;
    }
}

/// Nobody knows whether such a write has happened. It has, so a second one would find its
/// own work: a conflict, a digest that is taken, a session that is gone.
async fn sends_no_write_twice(url: &str, port: u16) {
    let proxy = Proxy::start(port);
    let builder = SqlStore::builder().table(table()).pool_size(1);
    let store = open_with(&proxy.url(url, port), builder).await;
    let [first, second, third] = [(); 3].map(|()| key().digest());
    let mut record = sample("x");
    // Each write is made twice: a statement that its connection has not seen yet is asked
    // for first, and that is the answer that would be lost.
    let lose = async || {
        // No ping behind the answer before.
        tokio::time::sleep(Duration::from_millis(300)).await;
        proxy.lose_answer();
    };
    let unknown = |result: Result<(), Error>| {
        assert!(!proxy.is_to_lose(), "an answer was lost");
        let error = result.expect_err("nobody knows");
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    };
    let revision = async || {
        let stored = store.load(&first).await.unwrap().unwrap();
        stored.into_record().unwrap().revision
    };
    record.revision = store.create(&first, &record).await.unwrap();
    lose().await;
    unknown(store.create(&second, &record).await.map(drop));
    assert!(store.load(&second).await.unwrap().is_some());

    record.revision = store.update(&first, &record).await.unwrap();
    lose().await;
    unknown(store.update(&first, &record).await.map(drop));
    record.revision = record.revision.next();
    assert_eq!(revision().await, record.revision, "once");

    store.delete(&third).await.unwrap();
    lose().await;
    unknown(store.delete(&second).await);
    assert!(store.load(&second).await.unwrap().is_none());
}

#[tokio::test]
async fn a_write_whose_answer_postgres_sends_in_vain_is_not_sent_again() {
    if let Some(server) = cloakroom_servers::postgres() {
        sends_no_write_twice(&server.url(), server.port()).await;
    }
}

#[tokio::test]
async fn a_write_whose_answer_mariadb_sends_in_vain_is_not_sent_again() {
    if let Some(server) = cloakroom_servers::mariadb() {
        sends_no_write_twice(&server.url(), server.port()).await;
    }
}

/// The sweep has found it due before the touch is committed, and judges it again.
#[tokio::test]
async fn a_sweep_of_postgres_spares_what_a_touch_under_way_keeps() {
    let Some(server) = cloakroom_servers::postgres() else {
        return;
    };
    let table = table();
    let store = open_with(&server.url(), SqlStore::builder().table(&*table)).await;
    let (touched, due) = (key().digest(), key().digest());
    for digest in [&touched, &due] {
        store.create(digest, &sample("x")).await.unwrap();
    }
    let pool = sqlx::PgPool::connect(&server.url()).await.unwrap();
    let mut touch = pool.begin().await.unwrap();
    let far = later(100_000).as_millis();
    let sql = format!(
        "UPDATE {table} SET expires_at = {far} WHERE digest = decode('{}', 'hex')",
        touched.to_hex()
    );
    let sql = sqlx::AssertSqlSafe(sql);
    sqlx::query(sql).execute(&mut *touch).await.unwrap();
    let sweep = store.capabilities().sweep.unwrap();
    let commit = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        touch.commit().await.unwrap();
    };
    let (swept, ()) = tokio::join!(sweep.sweep(later(50_000), 10), commit);
    assert_eq!(swept.unwrap().removed, 1);
    let stored = store.load(&touched).await.unwrap();
    assert!(matches!(stored, Some(Stored::Record(_))), "{stored:?}");
    let stored = store.load(&due).await.unwrap();
    assert!(matches!(stored, Some(Stored::Ended(_))), "{stored:?}");
}

/// What the server is told does not cut short who makes the tables, and holds again
/// after it.
fn brief(table: &str) -> SqlStoreBuilder {
    let builder = SqlStore::builder().table(table).pool_size(1);
    builder.statement_timeout(BRIEF)
}

const BRIEF: Duration = Duration::from_secs(2);

/// Who has stopped waiting may have done so a moment before the server gave up.
async fn nobody_waits(count: impl Fn() -> Vec<Vec<String>>) {
    common::eventually("nobody waits", || count()[0][0] == "0").await;
}

#[tokio::test]
async fn postgres_goes_on_with_nothing_that_was_given_up() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let pool = sqlx::PgPool::connect(&server.url()).await.unwrap();
    let mut held = pool.begin().await.unwrap();
    let lock = "SELECT pg_advisory_xact_lock(hashtext('cloakroom given_up'))";
    sqlx::query(lock).execute(&mut *held).await.unwrap();
    let store = brief("given_up").connect(&server.url()).await.unwrap();
    let release = async {
        tokio::time::sleep(BRIEF * 2).await;
        held.rollback().await.unwrap();
    };
    let (migrated, ()) = tokio::join!(store.migrate(), release);
    migrated.unwrap();

    let (old, new) = (key().digest(), key().digest());
    let mut record = sample("x");
    record.revision = store.create(&old, &record).await.unwrap();
    let mut held = pool.begin().await.unwrap();
    let lock = "LOCK TABLE given_up IN SHARE MODE";
    sqlx::query(lock).execute(&mut *held).await.unwrap();
    let rotated = store.rotate(&old, &new, &record, later(60)).await;
    assert_eq!(kind(rotated), ErrorKind::Unavailable);
    for _ in 0..3 {
        let created = store.create(&key().digest(), &record).await;
        assert_eq!(kind(created), ErrorKind::Unavailable);
    }
    let waiting = "SELECT count(*) FROM pg_stat_activity \
                   WHERE wait_event_type = 'Lock' AND backend_type = 'client backend'";
    nobody_waits(|| server.query(waiting).unwrap()).await;
    held.rollback().await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let all = "SELECT count(*) FROM given_up";
    assert_eq!(server.query(all).unwrap()[0][0], "1");
    let found = store.load(&old).await.unwrap().unwrap();
    assert_eq!(found.into_record().unwrap().revision, record.revision);
}

#[tokio::test]
async fn mariadb_goes_on_with_nothing_that_was_given_up() {
    let Some(server) = Mariadb::start() else {
        return;
    };
    let pool = sqlx::MySqlPool::connect(&server.url()).await.unwrap();
    let mut held = pool.acquire().await.unwrap();
    let lock = "SELECT get_lock('cloakroom given_up', 0)";
    sqlx::query(lock).execute(&mut *held).await.unwrap();
    let store = brief("given_up").connect(&server.url()).await.unwrap();
    let release = async {
        tokio::time::sleep(BRIEF * 2).await;
        held.close().await.unwrap();
    };
    let (migrated, ()) = tokio::join!(store.migrate(), release);
    migrated.unwrap();

    let (old, new) = (key().digest(), key().digest());
    let mut record = sample("x");
    record.revision = store.create(&old, &record).await.unwrap();
    let mut held = pool.begin().await.unwrap();
    let lock = "SELECT 1 FROM given_up FOR UPDATE";
    sqlx::query(lock).execute(&mut *held).await.unwrap();
    let rotated = store.rotate(&old, &new, &record, later(60)).await;
    assert_eq!(kind(rotated), ErrorKind::Unavailable);
    for _ in 0..3 {
        let updated = store.update(&old, &record).await;
        assert_eq!(kind(updated), ErrorKind::Unavailable);
    }
    let waiting = "SELECT count(*) FROM information_schema.processlist WHERE info LIKE 'UPDATE%'";
    nobody_waits(|| server.query(waiting).unwrap()).await;
    held.rollback().await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(store.load(&new).await.unwrap().is_none());
    let found = store.load(&old).await.unwrap().unwrap();
    assert_eq!(found.into_record().unwrap().revision, record.revision);
}

#[tokio::test]
async fn a_lock_that_another_keeps_is_waited_for_as_long_as_a_pool_of_ones_own_says() {
    let Some(server) = cloakroom_servers::mariadb() else {
        return;
    };
    let table = table();
    let pool = MySqlPoolOptions::new().after_connect(|conn, _| {
        Box::pin(async move {
            let set = "SET innodb_lock_wait_timeout = 1";
            sqlx::query(set).execute(conn).await.map(|_| ())
        })
    });
    let pool = pool.connect(&server.url()).await.unwrap();
    let store = SqlStore::builder()
        .table(&*table)
        .from_mysql_pool(pool.clone());
    let store = store.unwrap();
    store.migrate().await.unwrap();
    let digest = key().digest();
    let mut record = sample("x");
    record.revision = store.create(&digest, &record).await.unwrap();
    let mut held = pool.begin().await.unwrap();
    let lock = sqlx::AssertSqlSafe(format!("SELECT 1 FROM {table} FOR UPDATE"));
    sqlx::query(lock).execute(&mut *held).await.unwrap();
    let error = store.update(&digest, &record).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("locked"), "{error}");
    held.rollback().await.unwrap();
    store.update(&digest, &record).await.unwrap();
}

/// A pool would try again for as long as a connection may take, and say that none was free.
#[tokio::test]
async fn a_server_that_refuses_connections_is_told_at_once() {
    let port = cloakroom_servers::free_port();
    for scheme in ["postgres", "mysql"] {
        let begun = Instant::now();
        let url = format!("{scheme}://u:hunter2@127.0.0.1:{port}/x");
        let builder = SqlStore::builder().acquire_timeout(Duration::from_secs(60));
        let error = builder.connect(&url).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        for part in ["refused", &port.to_string(), "check that the server runs"] {
            assert!(error.to_string().contains(part), "{part}: {error}");
        }
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "{:?}",
            begun.elapsed()
        );
    }
}

/// And later, when the pool waits for a server that was there.
#[tokio::test]
async fn a_server_that_is_gone_is_told_from_a_pool_that_is_in_use() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let bound = Duration::from_secs(2);
    let builder = SqlStore::builder().pool_size(1).acquire_timeout(bound);
    let store = open_with(&server.url(), builder).await;
    let (digest, mut record) = (key().digest(), sample("x"));
    record.revision = store.create(&digest, &record).await.unwrap();
    let pool = sqlx::PgPool::connect(&server.url()).await.unwrap();
    let mut held = pool.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM cloakroom_sessions FOR UPDATE")
        .execute(&mut *held)
        .await
        .unwrap();
    let waiting = async {
        tokio::time::sleep(bound / 4).await;
        store.load(&digest).await.unwrap_err()
    };
    let (updated, in_use) = tokio::join!(store.update(&digest, &record), waiting);
    assert_eq!(kind(updated), ErrorKind::Unavailable);
    assert!(in_use.to_string().contains("were in use"), "{in_use}");
    held.rollback().await.unwrap();
    server.kill();
    let _ = store.load(&digest).await;
    let gone = store.load(&digest).await.unwrap_err();
    assert!(gone.to_string().contains("cannot be reached"), "{gone}");
}

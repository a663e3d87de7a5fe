//! Where former records lie: what is there, what is not, and a server that is down.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

use std::time::{Duration, Instant};

use cloakroom_adopt::{DjangoFiles, MysqlTable, PostgresTable, Records, RedisKeys, SqliteTable};
use cloakroom_core::ErrorKind;
use cloakroom_servers::{Mariadb, Postgres, Redis};
use sqlx::mysql::MySqlPoolOptions;
use sqlx::postgres::PgPoolOptions;

async fn found(records: &impl Records, key: &str) -> Option<(Vec<u8>, Option<Duration>)> {
    let found = records.get(key).await.unwrap()?;
    Some((found.bytes, found.lives_for))
}

#[tokio::test]
async fn keys_of_redis_are_found_again_after_the_server_was_down() {
    let Some(redis) = Redis::start() else { return };
    let keys = RedisKeys::new(&redis.url()).unwrap();
    redis.command(&["SET", "for ever", "1"]).unwrap();
    redis.command(&["SET", "short", "2", "EX", "100"]).unwrap();
    assert_eq!(found(&keys, "for ever").await, Some((b"1".to_vec(), None)));
    let (bytes, lives_for) = found(&keys, "short").await.unwrap();
    assert_eq!(bytes, b"2");
    let lives_for = lives_for.unwrap().as_secs();
    assert!((90..=100).contains(&lives_for), "{lives_for}");
    assert_eq!(found(&keys, "nothing").await, None);
    for _ in 0..2 {
        keys.delete("short").await.unwrap();
    }
    assert_eq!(found(&keys, "short").await, None);

    redis.kill();
    let error = keys.get("for ever").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(!format!("{error} {error:?}").contains("for ever"));
    redis.restart();
    assert_eq!(found(&keys, "for ever").await, Some((b"1".to_vec(), None)));

    // One that hangs holds nobody up for long, however many wait.
    redis.pause();
    let begun = Instant::now();
    let (first, second) = tokio::join!(keys.get("for ever"), keys.delete("short"));
    assert_eq!(first.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(second.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(begun.elapsed() < Duration::from_secs(8), "{begun:?}");
    redis.resume();
    assert!(found(&keys, "for ever").await.is_some());
}

/// Who listens there speaks no TLS; what counts is that no step towards it panics.
#[tokio::test]
async fn a_redis_over_tls_is_asked_like_any_other() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("rediss://{}", listener.local_addr().unwrap());
    // A build of this crate alone has no TLS.
    let Ok(keys) = RedisKeys::new(&url) else {
        return;
    };
    let accept = async {
        for _ in 0..2 {
            drop(listener.accept().await.unwrap());
        }
    };
    let (found, ()) = tokio::join!(keys.get("a"), accept);
    assert_eq!(found.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_file_that_is_no_former_database_is_refused_and_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("no.db");
    for name in ["tower_sessions", "a\"; drop table b", ""] {
        let error = SqliteTable::open_table(&path, name).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured, "{name}");
    }
    assert!(!path.exists());
    std::fs::write(&path, "no database at all").unwrap();
    let error = SqliteTable::open(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert!(RedisKeys::new("no url").is_err());
}

/// A row of Django 5.2's table, as its own statements make it.
const DJANGO_KEY: &str = "abcdefghijklmnopqrstuvwxyz012300";
const DJANGO_DATA: &str = "eyJuIjoxfQ:1r31eq:-_kt8Xa5hXhx2Ma02C__WhK0hYlFYNoYINGHqa94efg";

async fn a_row_of_django_is_found(records: &impl Records) {
    let found = records.get(DJANGO_KEY).await.unwrap().unwrap();
    assert_eq!(found.bytes, DJANGO_DATA.as_bytes());
    let millis = found.expires_at.unwrap().as_millis();
    // Binary fractions may round down.
    assert!(
        (1_701_209_600_122..=1_701_209_600_123).contains(&millis),
        "{millis}"
    );
    assert!(records.get("another").await.unwrap().is_none());
    for _ in 0..2 {
        records.delete(DJANGO_KEY).await.unwrap();
        assert!(records.get(DJANGO_KEY).await.unwrap().is_none());
    }
}

fn django_row(date: &str) -> String {
    format!("insert into django_session values ('{DJANGO_KEY}', '{DJANGO_DATA}', {date})")
}

#[tokio::test]
async fn a_row_of_django_is_found_in_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db.sqlite3");
    let connection = rusqlite::Connection::open(&path).unwrap();
    let error = SqliteTable::django(&path).unwrap_err();
    assert!(error.to_string().contains("django_session"), "{error}");
    let table = "create table django_session (session_key varchar(40) not null primary key, \
                 session_data text not null, expire_date datetime not null)";
    connection.execute(table, []).unwrap();
    let row = django_row("'2023-11-28 22:13:20.123456'");
    connection.execute(&row, []).unwrap();
    a_row_of_django_is_found(&SqliteTable::django(&path).unwrap()).await;
}

#[tokio::test]
async fn a_row_of_django_is_found_in_postgres() {
    let Some(postgres) = Postgres::start() else {
        return;
    };
    let table = "create table django_session (session_key varchar(40) not null primary key, \
                 session_data text not null, expire_date timestamp with time zone not null)";
    postgres.query(table).unwrap();
    postgres
        .query(&django_row("'2023-11-28 22:13:20.123456+00'"))
        .unwrap();
    let pool = PgPoolOptions::new().max_connections(1);
    let pool = pool.connect(&postgres.url()).await.unwrap();
    // Whatever the time zone of a connection is.
    sqlx::query("set time zone 'America/Chicago'")
        .execute(&pool)
        .await
        .unwrap();
    a_row_of_django_is_found(&PostgresTable::django(pool)).await;
}

#[tokio::test]
async fn a_row_of_django_is_found_in_mysql() {
    let Some(mariadb) = Mariadb::start() else {
        return;
    };
    let table = "create table django_session (session_key varchar(40) not null primary key, \
                 session_data longtext not null, expire_date datetime(6) not null)";
    let pool = MySqlPoolOptions::new().max_connections(1);
    let pool = pool.connect(&mariadb.url()).await.unwrap();
    let row = django_row("'2023-11-28 22:13:20.123456'");
    for statement in [table, &row] {
        sqlx::query(sqlx::AssertSqlSafe(statement))
            .execute(&pool)
            .await
            .unwrap();
    }
    sqlx::query("set time_zone = '-06:00'")
        .execute(&pool)
        .await
        .unwrap();
    a_row_of_django_is_found(&MysqlTable::django(pool)).await;
}

#[tokio::test]
async fn files_of_django_are_found_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let sessions = folder.path().join("sessions");
    let error = DjangoFiles::open(&sessions, "sessionid").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    std::fs::create_dir(&sessions).unwrap();
    let files = DjangoFiles::open(&sessions, "sessionid").unwrap();
    assert_eq!(found(&files, DJANGO_KEY).await, None);
    let path = sessions.join(format!("sessionid{DJANGO_KEY}"));
    std::fs::write(&path, DJANGO_DATA).unwrap();
    let is_found = Some((DJANGO_DATA.as_bytes().to_vec(), None));
    assert_eq!(found(&files, DJANGO_KEY).await, is_found);
    for _ in 0..2 {
        files.delete(DJANGO_KEY).await.unwrap();
        assert!(!path.exists());
    }
    // A file beside the folder, and a folder in the place of a file.
    let beside = folder.path().join("beside");
    std::fs::write(&beside, "beside").unwrap();
    std::fs::create_dir(sessions.join("sessionid")).unwrap();
    assert_eq!(found(&files, "/../../beside").await, None);
    files.delete("/../../beside").await.unwrap();
    assert!(beside.exists());
    let error = files.get("").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(!format!("{error} {error:?}").contains(sessions.to_str().unwrap()));
}

//! The examples of moving: from other libraries, and to another store.

use std::collections::HashMap;
use std::io::{BufRead as _, Read as _};
use std::path::Path;

use axum_login::tower_sessions::session::{Id, Record};
use cloakroom_servers::Redis;
use rusqlite::Connection;
use tempfile::tempdir;
use time::{Duration, OffsetDateTime};

use crate::site::{Browser, Site};

/// A visitor of the former site who has a cookie of it, and 41 visits as user 7.
fn moves(mut visitor: Browser) {
    visitor.get("/").shows("user 7, visit 42");
    let names: Vec<_> = visitor.cookies.keys().cloned().collect();
    assert_eq!(names, ["__Host-session"], "one cookie instead of the other");
    visitor.get("/").shows("user 7, visit 43");
    visitor.post("/logout", "").leads_to("/");
    visitor.get("/").shows("nobody, visit 1");
}

#[test]
fn moving() {
    let folder = tempdir().unwrap();
    let former = Connection::open(folder.path().join("former.db")).unwrap();
    // As tower-sessions-sqlx-store makes it and fills it.
    let table = "create table tower_sessions (id text primary key not null, \
                 data blob not null, expiry_date integer not null)";
    former.execute(table, []).unwrap();
    let record = Record {
        id: Id::default(),
        data: HashMap::from([
            ("user_id".to_owned(), 7.into()),
            ("visits".to_owned(), 41.into()),
        ]),
        expiry_date: OffsetDateTime::now_utc() + Duration::hours(1),
    };
    let id = record.id.to_string();
    let row = (
        &id,
        rmp_serde::to_vec(&record).unwrap(),
        record.expiry_date.unix_timestamp(),
    );
    let insert = "insert into tower_sessions values (?1, ?2, ?3)";
    former.execute(insert, row).unwrap();

    let site = Site::start(env!("CARGO_BIN_EXE_moving"), folder.path());
    let mut visitor = site.browser();
    visitor.cookies.insert("id".to_owned(), id);
    moves(visitor);
    let count = "select count(*) from tower_sessions";
    let left: i64 = former.query_row(count, [], |row| row.get(0)).unwrap();
    assert_eq!(left, 0);
}

/// A site whose sessions are in Redis, under a cookie and a key that the library has written.
fn moves_from_redis(library: &str, cookie: &str, golden: &str, record: &str) {
    let Some(redis) = Redis::start() else { return };
    let lines: Vec<_> = golden.lines().collect();
    let [_, value, key, ..] = lines[..] else {
        panic!("a cookie and a key")
    };
    let set = ["SET", key, record, "EX", "3600"];
    assert_eq!(redis.command(&set).unwrap(), "OK");
    let folder = tempdir().unwrap();
    let bytes: Vec<u8> = (0..64).collect();
    std::fs::write(folder.path().join("former.key"), bytes).unwrap();
    let program = env!("CARGO_BIN_EXE_moving");
    let site = Site::start_with(program, folder.path(), |command| {
        command.arg(library).env("REDIS_URL", redis.url());
        command.env("SESSION_SECRET", "former secret");
    });
    let mut visitor = site.browser();
    visitor.cookies.insert(cookie.to_owned(), value.to_owned());
    moves(visitor);
    assert_eq!(redis.command(&["EXISTS", key]).unwrap(), "0");
}

#[test]
fn moving_from_actix_session() {
    let golden = include_str!("../../../crates/adopt/tests/golden/actix-private");
    // It keeps each value as JSON inside JSON.
    let record = r#"{"user_id":"7","visits":"41"}"#;
    moves_from_redis("actix-session", "id", golden, record);
}

#[test]
fn moving_from_express_session() {
    let golden = include_str!("../../../crates/adopt/tests/golden/express");
    let record = r#"{"cookie":{"originalMaxAge":3600000,"expires":"2100-01-01T00:00:00.000Z",
        "httpOnly":true,"path":"/"},"user_id":7,"visits":41}"#;
    moves_from_redis("express-session", "connect.sid", golden, record);
}

/// Starts the site over a store, in a folder that holds its redb.
fn over(store: &str, folder: &Path) -> Site {
    let program = env!("CARGO_BIN_EXE_to_postgres");
    Site::start_with(program, folder, |command| {
        command.env("STORE", store);
    })
}

fn wait_until_moved(site: &mut Site) {
    let lines = site.output.by_ref().lines();
    let moved = lines
        .map(Result::unwrap)
        .find(|line| line.contains("all sessions have moved"));
    assert!(moved.unwrap().contains("unreadable=0"));
}

#[test]
fn to_postgres() {
    let Some(postgres) = cloakroom_servers::postgres() else {
        return;
    };
    let folder = tempdir().unwrap();
    let (redb, postgres) = ("redb:./sessions.redb", postgres.url());
    let there = format!("{postgres}?migrating_from={redb}");
    let back = format!("{redb}?migrating_from={postgres}");

    let site = over(redb, folder.path());
    let mut visitors: Vec<_> = (0..20).map(|_| site.browser()).collect();
    let mut visit = 0;
    let mut all_visit = |site: &Site, visitors: &mut [Browser]| {
        visit += 1;
        for visitor in visitors {
            visitor.go_to(site);
            visitor.get("/").shows(&format!("visit {visit}\n"));
        }
    };
    all_visit(&site, &mut visitors);
    drop(site);
    // Killed at once: whoever was met has moved, and perhaps some more.
    all_visit(&over(&there, folder.path()), &mut visitors[..]);
    let mut site = over(&there, folder.path());
    wait_until_moved(&mut site);
    drop(site);
    all_visit(&over(&postgres, folder.path()), &mut visitors);
    let mut site = over(&back, folder.path());
    all_visit(&site, &mut visitors);
    wait_until_moved(&mut site);
    drop(site);
    all_visit(&over(redb, folder.path()), &mut visitors);
}

//! The example of moving from another library.

use std::collections::HashMap;

use axum_login::tower_sessions::session::{Id, Record};
use rusqlite::Connection;
use tempfile::tempdir;
use time::{Duration, OffsetDateTime};

use crate::site::Site;

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
    visitor.get("/").shows("user 7, visit 42");
    let names: Vec<_> = visitor.cookies.keys().cloned().collect();
    assert_eq!(names, ["__Host-session"], "one cookie instead of the other");
    let count = "select count(*) from tower_sessions";
    let left: i64 = former.query_row(count, [], |row| row.get(0)).unwrap();
    assert_eq!(left, 0);
    visitor.get("/").shows("user 7, visit 43");
    visitor.post("/logout", "").leads_to("/");
    visitor.get("/").shows("nobody, visit 1");
}

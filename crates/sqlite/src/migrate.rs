//! The tables, made or upgraded.

use std::path::Path;

use cloakroom_core::{Error, ErrorKind};
use rusqlite::Connection;

use crate::NAME;
use crate::builder::TABLE_DEFAULT;
use crate::database::failed;
use crate::statements::Statements;

/// The published SQL, one file for each version of the schema, from the first.
const MIGRATIONS: [&str; 1] = [include_str!("../migrations/0001_sessions.sql")];

/// Makes the table and its indexes, or brings them up to what this build needs. Where
/// several processes begin at once, one does the work, and the others wait for it; where
/// there is nothing to do, it only reads.
pub(crate) fn migrate(conn: &Connection, path: &Path, table: &str) -> Result<(), Error> {
    let failed = |source| failed(path, table, source).error;
    let found = version(conn, table).map_err(failed)?;
    if found > MIGRATIONS.len() {
        let message = format!(
            "the table {table} in {} is of schema {found}, and this build knows schemas up to {}: \
             run a newer build",
            path.display(),
            MIGRATIONS.len()
        );
        return Err(Error::new(ErrorKind::Unsupported, message).in_store(NAME));
    }
    if found < MIGRATIONS.len() {
        return make(conn, table).map_err(failed);
    }
    check_columns(conn, path, table)
}

/// The table may be older than the first release, or somebody's own.
fn check_columns(conn: &Connection, path: &Path, table: &str) -> Result<(), Error> {
    let read = conn.prepare(&Statements::new(table).load);
    match read.map(drop) {
        Err(rusqlite::Error::SqlInputError { msg, .. }) => {
            let message = format!(
                "the table {table} in {} is not as this build makes it: {msg}; a build before the \
                 first release has made it: drop it and the table {table}_schema, which ends all \
                 sessions, and open the store again",
                path.display()
            );
            Err(Error::new(ErrorKind::Misconfigured, message).in_store(NAME))
        }
        read => read.map_err(|source| failed(path, table, source).error),
    }
}

fn make(conn: &Connection, table: &str) -> Result<(), rusqlite::Error> {
    conn.execute_batch("BEGIN IMMEDIATE")?;
    let made = version(conn, table).and_then(|found| {
        for published in MIGRATIONS.iter().skip(found) {
            conn.execute_batch(&published.replace(TABLE_DEFAULT, table))?;
        }
        conn.execute_batch("COMMIT")
    });
    if !conn.is_autocommit() {
        // It fails where SQLite has rolled back already.
        let _ = conn.execute_batch("ROLLBACK");
    }
    made
}

fn version(conn: &Connection, table: &str) -> Result<usize, rusqlite::Error> {
    let number = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, Option<i64>>(0));
    let has_versions = number(&format!(
        "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = '{table}_schema'"
    ))?;
    if has_versions != Some(1) {
        return Ok(0);
    }
    let newest = number(&format!("SELECT max(version) FROM \"{table}_schema\""))?;
    Ok(usize::try_from(newest.unwrap_or(0)).unwrap_or(0))
}

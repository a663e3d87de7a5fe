use std::future::Future;
use std::time::Duration;

use sqlx::Sqlite;
use sqlx::error::DatabaseError;
use sqlx::sqlite::SqliteConnectOptions;

use super::{Driver, TimeLimit};
use crate::dialect::{Dialect, MigrationLock, Rotation};
use crate::error::Cause;
use crate::statement::{Arg, Statement};
use crate::table::TableName;

impl Driver for Sqlite {
    const DIALECT: Dialect = Dialect {
        store: "sqlite",
        // A lock that is taken later cannot be waited for.
        begin: "BEGIN IMMEDIATE",
        quote: '"',
        greatest: "max",
        no_bytes: "x''",
        bigint: "",
        numbered_placeholders: true,
        rotation: Rotation::Transaction,
        delete_returning: true,
        schemas_and_notify: false,
        typed_columns: false,
        single_writer: true,
        survives_dropped_statement: true,
        sweep: |t| {
            format!(
                "DELETE FROM {t} WHERE digest IN (SELECT digest FROM {t} WHERE expires_at <= $1 \
                 ORDER BY expires_at LIMIT $2)"
            )
        },
        own_time: None,
    };

    const MIGRATIONS: &'static [&'static str] =
        &[include_str!("../../migrations/sqlite/0001_sessions.sql")];

    through_sqlx!();

    fn address(options: &SqliteConnectOptions) -> String {
        format!("the file {}", options.get_filename().display())
    }

    fn migration_lock(table: &TableName) -> MigrationLock {
        let name = &table.name;
        MigrationLock {
            has_versions: format!(
                "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = '{name}_schema'"
            ),
            // The transaction itself is the lock.
            take: None,
            release: None,
        }
    }

    // A connection is opened with a busy timeout, and a dropped statement is interrupted.
    fn time_limit(_: Duration) -> Option<TimeLimit> {
        None
    }

    fn cause_of_refusal(error: &dyn DatabaseError) -> Cause {
        let code = error.code().and_then(|code| code.parse::<u32>().ok());
        match code.unwrap_or(0) {
            1555 | 2067 => Cause::Exists,
            // SQLITE_ERROR: a statement that does not fit the tables.
            1 => Cause::NoTable,
            // SQLITE_TOOBIG.
            18 => Cause::TooLarge,
            code => match code & 0xff {
                // SQLITE_BUSY, SQLITE_LOCKED.
                5 | 6 => Cause::Locked,
                // SQLITE_READONLY, SQLITE_CANTOPEN, SQLITE_AUTH, SQLITE_NOTADB.
                8 | 14 | 23 | 26 => Cause::Misconfigured,
                _ => Cause::Other,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use sqlx::sqlite::SqlitePool;
    use sqlx::{AssertSqlSafe, Row as _};

    use super::*;
    use crate::statements::{RotateStatements, Statements};

    /// An index over one type is not used for a comparison with another: the whole
    /// table would be read.
    #[tokio::test]
    async fn no_statement_reads_the_whole_table() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}?mode=rwc", folder.path().join("db").display());
        let pool = SqlitePool::connect(&url).await.unwrap();
        sqlx::raw_sql(Sqlite::MIGRATIONS[0])
            .execute(&pool)
            .await
            .unwrap();
        let fill = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n \
                    WHERE n < 20000) INSERT INTO cloakroom_sessions SELECT randomblob(32), 1, \
                    NULL, 1, 0, 0, n * 1000, NULL, NULL, NULL, \
                    CAST('user ' || (n % 5000) AS BLOB), \
                    CAST(substr('user ' || (n % 5000) || hex(zeroblob(32)), 1, 32) AS BLOB), \
                    NULL, 0, x'00' FROM n; ANALYZE";
        sqlx::raw_sql(fill).execute(&pool).await.unwrap();
        let statements = Statements::new(&Sqlite::DIALECT, &TableName::default(), None);
        let RotateStatements::Transaction { mark, create } = &statements.rotate else {
            panic!("SQLite rotates in a transaction");
        };
        let (due, mine, key) = ("expires_at (", "subject (", "sqlite_autoindex");
        for (statement, index) in [
            (&statements.sweep, due),
            (&statements.sessions, mine),
            (&statements.others, mine),
            (&statements.revoke, mine),
            (&statements.load, key),
            (&statements.update, key),
            (&statements.touch, key),
            (&statements.revision, key),
            (mark, key),
            (create, ""),
            (&statements.end, key),
            (&statements.resolve, key),
            (&statements.scan_sizes, key),
            (&statements.scan, key),
        ] {
            let sql = format!("EXPLAIN QUERY PLAN {}", statement.sql.as_str());
            let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&pool).await;
            let plan: Vec<String> = rows.unwrap().iter().map(|row| row.get("detail")).collect();
            let plan = plan.join("\n");
            assert!(plan.contains(index), "{}:\n{plan}", statement.sql.as_str());
            assert!(
                !plan.contains("SCAN cloakroom"),
                "{}:\n{plan}",
                statement.sql.as_str()
            );
        }
    }
}

use std::future::Future;
use std::time::Duration;

use sqlx::Sqlite;
use sqlx::error::DatabaseError;

use super::{Arg, Dialect, Text};
use crate::failure::Cause;
use crate::migrate::Lock;
use crate::pool::Bounds;
use crate::table::Table;
use crate::texts::{Rotation, Words};

binds!(Sqlite);

impl Dialect for Sqlite {
    const STORE: &'static str = "sqlite";
    // Takes the lock at once: one that is taken later cannot be waited for.
    const BEGIN: &'static str = "BEGIN IMMEDIATE";
    const MIGRATIONS: &'static [&'static str] =
        &[include_str!("../../migrations/sqlite/0001_sessions.sql")];
    const WORDS: Words = Words {
        quote: '"',
        later: "max",
        empty: "x''",
        widened: "",
        numbered: true,
        rotation: Rotation::Transaction,
        returns: true,
        has_schemas: false,
        typed: false,
        one_writer: true,
        drains: true,
        sweep: |t| {
            format!(
                "DELETE FROM {t} WHERE digest IN (SELECT digest FROM {t} WHERE expires_at <= $1 \
                 ORDER BY expires_at LIMIT $2)"
            )
        },
    };

    speaks!();

    fn lock(table: &Table) -> Lock {
        let name = &table.name;
        Lock {
            has_schema: format!(
                "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = '{name}_schema'"
            ),
            // The transaction itself is the lock.
            take: None,
            give: None,
        }
    }

    // The busy timeout is set as it is opened, and a drop ends what is underway.
    fn bounds(_: Duration) -> Option<Bounds> {
        None
    }

    fn cause(error: &dyn DatabaseError) -> Cause {
        let code = error.code().and_then(|code| code.parse::<u32>().ok());
        match code.unwrap_or(0) {
            1555 | 2067 => Cause::Taken,
            // SQLITE_ERROR: a statement that does not fit the tables.
            1 => Cause::NoTable,
            // SQLITE_TOOBIG.
            18 => Cause::TooLarge,
            code => match code & 0xff {
                // SQLITE_BUSY, SQLITE_LOCKED.
                5 | 6 => Cause::Busy,
                // SQLITE_READONLY, SQLITE_CANTOPEN, SQLITE_AUTH, SQLITE_NOTADB.
                8 | 14 | 23 | 26 => Cause::Setup,
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
    use crate::texts::Texts;

    /// As other stores have it, an index that is compared with something else than it
    /// holds is not used: the whole table is read.
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
                    NULL, x'00' FROM n; ANALYZE";
        sqlx::raw_sql(fill).execute(&pool).await.unwrap();
        let texts = Texts::new(&Sqlite::WORDS, &Table::default(), None);
        let (due, mine, key) = ("expires_at (", "subject (", "sqlite_autoindex");
        for (text, index) in [
            (&texts.sweep, due),
            (&texts.sessions, mine),
            (&texts.others, mine),
            (&texts.revoke, mine),
            (&texts.load, key),
            (&texts.update, key),
            (&texts.touch, key),
            (&texts.look, key),
            (&texts.mark, key),
            (&texts.end, key),
            (&texts.resolve, key),
            (&texts.ahead, key),
            (&texts.scan, key),
        ] {
            let sql = format!("EXPLAIN QUERY PLAN {}", text.sql.as_str());
            let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&pool).await;
            let plan: Vec<String> = rows.unwrap().iter().map(|row| row.get("detail")).collect();
            let plan = plan.join("\n");
            assert!(plan.contains(index), "{}:\n{plan}", text.sql.as_str());
            assert!(
                !plan.contains("SCAN cloakroom"),
                "{}:\n{plan}",
                text.sql.as_str()
            );
        }
    }
}

use std::future::Future;
use std::time::Duration;

use sqlx::error::DatabaseError;
use sqlx::mysql::MySqlDatabaseError;
use sqlx::{AssertSqlSafe, MySql, SqlSafeStr as _, SqlStr};

use super::{Arg, Dialect, Text};
use crate::failure::Cause;
use crate::migrate::Lock;
use crate::pool::Bounds;
use crate::table::Table;
use crate::texts::{Rotation, Words};

binds!(MySql);

impl Dialect for MySql {
    const STORE: &'static str = "mysql";
    const BEGIN: &'static str = "START TRANSACTION";
    const MIGRATIONS: &'static [&'static str] =
        &[include_str!("../../migrations/mysql/0001_sessions.sql")];
    const WORDS: Words = Words {
        quote: '`',
        later: "greatest",
        empty: "''",
        widened: "",
        numbered: false,
        rotation: Rotation::Script,
        returns: false,
        has_schemas: false,
        typed: true,
        one_writer: false,
        drains: false,
        sweep: |t| format!("DELETE FROM {t} WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2"),
    };

    speaks!();

    fn lock(table: &Table) -> Lock {
        let name = &table.name;
        Lock {
            has_schema: format!(
                "SELECT count(*) FROM information_schema.tables \
                 WHERE table_schema = DATABASE() AND table_name = '{name}_schema'"
            ),
            // Making a table ends the transaction, so this lock is the session's. A
            // connection that is lost gives it back. NULL where it was killed; a little
            // before nobody waits for it any more.
            take: Some(format!("SELECT get_lock('cloakroom {name}', 55)")),
            give: Some(format!("SELECT release_lock('cloakroom {name}')")),
        }
    }

    // Row and table locks are waited for in whole seconds. MariaDB, which alone reads
    // the comment, bounds the whole statement. Where the server begins sessions
    // without autocommit, nothing that was answered would be committed.
    fn bounds(within: Duration) -> Option<Bounds> {
        let secs = within.as_secs().max(1);
        let whole = within.as_secs_f64().max(0.001);
        let set = format!(
            "SET autocommit = 1, innodb_lock_wait_timeout = {secs}, lock_wait_timeout = {secs} \
             /*M!100101 , max_statement_time = {whole:.3} */"
        );
        Some(Bounds {
            set: AssertSqlSafe(set).into_sql_str(),
            lift: SqlStr::from_static(
                "SET lock_wait_timeout = 60 /*M!100101 , max_statement_time = 0 */",
            ),
        })
    }

    fn cause(error: &dyn DatabaseError) -> Cause {
        let number = error
            .try_downcast_ref::<MySqlDatabaseError>()
            .map_or(0, MySqlDatabaseError::number);
        match number {
            1062 => Cause::Taken,
            // A deadlock, or the row has changed since this transaction began to read:
            // both roll the whole transaction back. A lock that was waited for too long
            // does not, and is not among these.
            1213 | 1020 => Cause::Undone,
            1205 => Cause::Busy,
            // What `max_statement_time` ends, or `max_execution_time`, or somebody by
            // hand.
            1969 | 3024 | 1317 => Cause::GivenUp,
            // Shut down, killed, idle for too long; turned into a read-only replica.
            1053 | 1927 | 4031 | 1290 | 1836 => Cause::Broken,
            1153 => Cause::TooLarge,
            1146 | 1054 => Cause::NoTable,
            // Refused, or no such database.
            1044 | 1045 | 1049 | 1142 | 1143 | 1698 => Cause::Setup,
            _ => Cause::Other,
        }
    }
}

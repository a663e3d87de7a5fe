use std::future::Future;
use std::time::Duration;

use sqlx::error::DatabaseError;
use sqlx::mysql::{MySqlConnectOptions, MySqlDatabaseError};
use sqlx::{AssertSqlSafe, MySql, SqlSafeStr as _, SqlStr};

use super::{Driver, TimeLimit, server_address};
use crate::dialect::{Dialect, MigrationLock, Rotation};
use crate::endings::{is_remembered, remember};
use crate::error::Cause;
use crate::statement::{Arg, Statement};
use crate::table::TableName;

impl Driver for MySql {
    const DIALECT: Dialect = Dialect {
        store: "mysql",
        begin: "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; START TRANSACTION",
        quote: '`',
        bigint: "",
        numbered_placeholders: false,
        rotation: Rotation::Script,
        delete_returning: false,
        schemas_and_notify: false,
        survives_dropped_statement: false,
        // Not an UPDATE of a join with the rows that are due: MySQL makes that a temporary
        // table on the disk.
        sweep: |t| {
            format!(
                "UPDATE {t} SET {} WHERE expires_at <= $1 AND {} ORDER BY expires_at LIMIT $2",
                remember(""),
                is_remembered()
            )
        },
        sweep_rest: Some(|t| {
            format!(
                "DELETE FROM {t} WHERE expires_at <= $1 AND NOT ({}) ORDER BY expires_at LIMIT $2",
                is_remembered()
            )
        }),
        // Whatever time zone the connection has.
        own_time: "SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) DIV 1000",
    };

    const MIGRATIONS: &'static [&'static str] =
        &[include_str!("../../migrations/mysql/0001_sessions.sql")];

    through_sqlx!();

    fn address(options: &MySqlConnectOptions) -> String {
        let at = match options.get_socket() {
            Some(socket) => socket.display().to_string(),
            None => format!("{}:{}", options.get_host(), options.get_port()),
        };
        server_address(&at, options.get_database())
    }

    fn migration_lock(table: &TableName) -> MigrationLock {
        let name = &table.name;
        MigrationLock {
            has_versions: format!(
                "SELECT count(*) FROM information_schema.tables \
                 WHERE table_schema = DATABASE() AND table_name = '{name}_schema'"
            ),
            // CREATE TABLE ends a transaction, so this lock belongs to the connection,
            // which releases it when it breaks. It answers NULL where the wait was
            // killed, and gives up a little before the migration itself times out.
            take: format!("SELECT get_lock('cloakroom {name}', 55)"),
            release: Some(format!("SELECT release_lock('cloakroom {name}')")),
        }
    }

    // The waits for row and table locks are whole seconds. MariaDB, which alone reads
    // the comment, bounds the statement as a whole. Without autocommit, which a server
    // may have as its default, nothing that was answered would be committed; and where its
    // default is SERIALIZABLE, what only reads would keep locks. READ COMMITTED is no choice:
    // a server that logs statements refuses to write under it.
    fn time_limit(limit: Duration) -> Option<TimeLimit> {
        let secs = limit.as_secs().max(1);
        let whole = limit.as_secs_f64().max(0.001);
        let set = format!(
            "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ; SET autocommit = 1, innodb_lock_wait_timeout = {secs}, lock_wait_timeout = {secs} \
             /*M!100101 , max_statement_time = {whole:.3} */"
        );
        Some(TimeLimit {
            set: Some(AssertSqlSafe(set).into_sql_str()),
            lift: SqlStr::from_static(
                "SET lock_wait_timeout = 60 /*M!100101 , max_statement_time = 0 */",
            ),
        })
    }

    fn cause_of_refusal(error: &dyn DatabaseError) -> Cause {
        let number = error
            .try_downcast_ref::<MySqlDatabaseError>()
            .map_or(0, MySqlDatabaseError::number);
        match number {
            1062 => Cause::Exists,
            // A deadlock, or a row that has changed since the transaction began to read:
            // both roll the whole transaction back. A lock wait that times out does not.
            1213 | 1020 => Cause::RolledBack,
            1205 => Cause::Locked,
            // Ended by `max_statement_time`, `max_execution_time` or KILL QUERY.
            1969 | 3024 | 1317 => Cause::TimeLimit,
            // Shut down, killed, idle for too long, or now a read-only replica.
            1053 | 1927 | 4031 | 1290 | 1836 => Cause::Broken,
            1153 => Cause::TooLarge,
            1146 | 1054 => Cause::NoTable,
            // No right to it, or no such database.
            1044 | 1045 | 1049 | 1142 | 1143 | 1698 => Cause::Misconfigured,
            _ => Cause::Other,
        }
    }
}

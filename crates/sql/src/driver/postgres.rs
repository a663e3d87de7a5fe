use std::future::Future;
use std::time::Duration;

use sqlx::error::DatabaseError;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Postgres, SqlStr};

use super::{Driver, TimeLimit, server_address};
use crate::dialect::{Dialect, MigrationLock, Rotation};
use crate::endings::{is_remembered, remember};
use crate::error::Cause;
use crate::statement::{Arg, Statement};
use crate::statements::{DUE, REMEMBERED, WRITTEN};
use crate::table::TableName;

impl Driver for Postgres {
    const DIALECT: Dialect = Dialect {
        store: "postgres",
        begin: "BEGIN ISOLATION LEVEL READ COMMITTED",
        quote: '"',
        bigint: "::int8",
        numbered_placeholders: true,
        rotation: Rotation::Statement,
        delete_returning: true,
        schemas_and_notify: true,
        survives_dropped_statement: true,
        // A row that another client is writing to is skipped, not waited for.
        sweep: |t| {
            let is_remembered = is_remembered();
            let due = format!("digest IN (SELECT digest FROM {DUE}) AND expires_at <= $1");
            format!(
                "WITH {DUE} AS (SELECT digest FROM {t} WHERE expires_at <= $1 \
                 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED), \
                 {REMEMBERED} AS (UPDATE {t} SET {} WHERE {due} AND {is_remembered} RETURNING 1), \
                 {WRITTEN} AS (DELETE FROM {t} WHERE {due} AND NOT ({is_remembered}) RETURNING 1) \
                 SELECT 1 FROM {REMEMBERED} UNION ALL SELECT 1 FROM {WRITTEN}",
                remember("::bytea")
            )
        },
        sweep_rest: None,
        own_time: "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint)",
    };

    const MIGRATIONS: &'static [&'static str] =
        &[include_str!("../../migrations/postgres/0001_sessions.sql")];

    through_sqlx!();

    fn address(options: &PgConnectOptions) -> String {
        let at = match options.get_socket() {
            Some(socket) => socket.display().to_string(),
            None => format!("{}:{}", options.get_host(), options.get_port()),
        };
        server_address(&at, options.get_database())
    }

    fn migration_lock(table: &TableName) -> MigrationLock {
        let name = table.with_suffix('"', "_schema");
        MigrationLock {
            has_versions: format!("SELECT 1::int8 WHERE to_regclass('{name}') IS NOT NULL"),
            // Where two processes make a table at once, CREATE … IF NOT EXISTS fails for
            // one of them. The lock is kept to the end of the transaction.
            take: format!(
                "SELECT count(pg_advisory_xact_lock(hashtext('cloakroom {}')))",
                table.path()
            ),
            release: None,
        }
    }

    // Set when a connection is opened, or before each statement.
    fn time_limit(_: Duration) -> Option<TimeLimit> {
        Some(TimeLimit {
            set: None,
            lift: SqlStr::from_static("SET LOCAL statement_timeout = 0"),
        })
    }

    fn cause_of_refusal(error: &dyn DatabaseError) -> Cause {
        let code = error.code().unwrap_or_default();
        match &*code {
            "23505" => Cause::Exists,
            "40001" | "40P01" => Cause::RolledBack,
            // Shut down, crashed, not up yet, or now a read-only replica.
            "57P01" | "57P02" | "57P03" | "57P05" | "25006" => Cause::Broken,
            // Ended by `lock_timeout`.
            "55P03" => Cause::Locked,
            // Ended by `statement_timeout` or pg_cancel_backend.
            "57014" => Cause::TimeLimit,
            "42P01" | "42703" => Cause::NoTable,
            "3D000" | "3F000" => Cause::Misconfigured,
            // A named statement that another connection prepared, or prepared before.
            "26000" | "42P05" => Cause::Pooler,
            "08P01" if error.message().starts_with("unsupported startup parameter") => {
                Cause::Pooler
            }
            code if code.starts_with("08") => Cause::Broken,
            code if code.starts_with("28") || code.starts_with("42") => Cause::Misconfigured,
            _ => Cause::Other,
        }
    }
}

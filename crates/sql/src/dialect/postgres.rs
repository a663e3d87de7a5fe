use std::future::Future;
use std::time::Duration;

use sqlx::error::DatabaseError;
use sqlx::{AssertSqlSafe, Postgres, SqlSafeStr as _, SqlStr};

use super::{Arg, Dialect, Text};
use crate::failure::Cause;
use crate::migrate::Lock;
use crate::pool::Bounds;
use crate::table::Table;
use crate::texts::{Rotation, Words};

binds!(Postgres);

impl Dialect for Postgres {
    const STORE: &'static str = "postgres";
    const BEGIN: &'static str = "BEGIN";
    const MIGRATIONS: &'static [&'static str] =
        &[include_str!("../../migrations/postgres/0001_sessions.sql")];
    const WORDS: Words = Words {
        quote: '"',
        later: "greatest",
        empty: "''",
        widened: "::int8",
        numbered: true,
        rotation: Rotation::Statement,
        returns: true,
        has_schemas: true,
        typed: true,
        one_writer: false,
        drains: true,
        // What somebody else is writing to is passed over rather than waited for.
        sweep: |t| {
            format!(
                "DELETE FROM {t} WHERE digest IN (SELECT digest FROM {t} WHERE expires_at <= $1 \
                 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED) AND expires_at <= $1"
            )
        },
    };

    speaks!();

    fn lock(table: &Table) -> Lock {
        let name = table.with_suffix('"', "_schema");
        Lock {
            has_schema: format!("SELECT 1::int8 WHERE to_regclass('{name}') IS NOT NULL"),
            // Kept to the end of the transaction, which makes the tables too: where
            // two make one at once, CREATE … IF NOT EXISTS fails for one of them.
            take: Some(format!(
                "SELECT count(pg_advisory_xact_lock(hashtext('cloakroom {}')))",
                table.path()
            )),
            give: None,
        }
    }

    // Not among the options of the start, which poolers refuse.
    fn bounds(within: Duration) -> Option<Bounds> {
        // Zero would be no bound.
        let millis = within.as_millis().max(1);
        Some(Bounds {
            set: AssertSqlSafe(format!("SET statement_timeout = {millis}")).into_sql_str(),
            lift: SqlStr::from_static("SET LOCAL statement_timeout = 0"),
        })
    }

    fn cause(error: &dyn DatabaseError) -> Cause {
        let code = error.code().unwrap_or_default();
        match &*code {
            "23505" => Cause::Taken,
            "40001" | "40P01" => Cause::Undone,
            // Shut down, crashed, not up yet; turned into a read-only replica.
            "57P01" | "57P02" | "57P03" | "57P05" | "25006" => Cause::Broken,
            // What `lock_timeout` ends.
            "55P03" => Cause::Busy,
            // What `statement_timeout` ends, or somebody by hand.
            "57014" => Cause::GivenUp,
            "42P01" | "42703" => Cause::NoTable,
            "3D000" | "3F000" => Cause::Setup,
            code if code.starts_with("08") => Cause::Broken,
            code if code.starts_with("28") || code.starts_with("42") => Cause::Setup,
            _ => Cause::Other,
        }
    }
}

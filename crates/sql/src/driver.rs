//! How each database is used through sqlx.

use std::future::Future;
use std::time::Duration;

use sqlx::error::DatabaseError;
use sqlx::query::Query;
use sqlx::{Connection, Database, Encode, SqlStr, Type};

use crate::dialect::{Dialect, MigrationLock};
use crate::error::{Cause, StatementError, Target};
use crate::statement::{Arg, Statement};
use crate::table::TableName;

/// A kind of database, as sqlx and this crate know it.
pub(crate) trait Driver: Database {
    const DIALECT: Dialect;

    /// The published SQL, one file for each version of the schema, from the first.
    const MIGRATIONS: &'static [&'static str];

    /// Where the database is, for errors; without user and password.
    fn address(options: &<Self::Connection as Connection>::Options) -> String;

    /// What keeps other processes away while the tables are made.
    fn migration_lock(table: &TableName) -> MigrationLock;

    /// What tells the database how long a statement may take.
    fn time_limit(limit: Duration) -> Option<TimeLimit>;

    /// Why the database refused a statement.
    fn cause_of_refusal(error: &dyn DatabaseError) -> Cause;

    /// Why a statement failed.
    fn cause(error: &sqlx::Error) -> Cause {
        match error {
            sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => {
                Cause::Broken
            }
            sqlx::Error::Database(error) => Self::cause_of_refusal(&**error),
            sqlx::Error::Tls(_) | sqlx::Error::Configuration(_) => Cause::Misconfigured,
            sqlx::Error::PoolTimedOut => Cause::NoConnection,
            sqlx::Error::PoolClosed => Cause::Closed,
            _ => Cause::Other,
        }
    }

    /// The error of a statement that failed.
    fn failed(target: &Target, source: sqlx::Error) -> StatementError {
        target.failed(Self::cause(&source), source)
    }

    /// The rows that a statement answers.
    fn rows<'c>(
        conn: &'c mut Self::Connection,
        statement: &Statement,
        args: &[Arg<'_>],
    ) -> impl Future<Output = Result<Vec<Self::Row>, sqlx::Error>> + Send + 'c;

    /// How many rows a statement writes.
    fn execute<'c>(
        conn: &'c mut Self::Connection,
        statement: &Statement,
        args: &[Arg<'_>],
    ) -> impl Future<Output = Result<u64, sqlx::Error>> + Send + 'c;

    /// The rows that statements without arguments answer together, in one round trip. The
    /// connection keeps nothing of them.
    fn script_rows(
        conn: &mut Self::Connection,
        sql: SqlStr,
    ) -> impl Future<Output = Result<Vec<Self::Row>, sqlx::Error>> + Send + '_;

    /// How many rows statements without arguments write together.
    fn execute_script(
        conn: &mut Self::Connection,
        sql: SqlStr,
    ) -> impl Future<Output = Result<u64, sqlx::Error>> + Send + '_;

    fn int(row: &Self::Row, at: usize) -> Result<Option<i64>, sqlx::Error>;
    fn bytes(row: &Self::Row, at: usize) -> Result<Option<Vec<u8>>, sqlx::Error>;
}

/// The time limit that a connection of a pool of this crate has in the database. A
/// statement that nobody waits for any more would otherwise go on there, and might do
/// what its caller was told had failed.
#[derive(Clone)]
pub(crate) struct TimeLimit {
    /// Sets it, before anything else is sent, where the startup of a connection does not.
    pub(crate) set: Option<SqlStr>,
    /// Lifts it, within a transaction that makes tables.
    pub(crate) lift: SqlStr,
}

fn query<DB: Database>(statement: &Statement, args: &[Arg<'_>]) -> Query<'static, DB, DB::Arguments>
where
    for<'q> Option<i64>: Encode<'q, DB> + Type<DB>,
    for<'q> Option<&'q [u8]>: Encode<'q, DB> + Type<DB>,
{
    let query = sqlx::query(statement.sql.clone());
    statement
        .order
        .iter()
        .fold(query, |query, &at| match args[at] {
            Arg::Int(value) => query.bind(value),
            Arg::Bytes(value) => query.bind(value),
        })
}

/// The address of a database on a server, for errors.
#[cfg(any(feature = "mysql", feature = "postgres"))]
fn server_address(at: &str, database: Option<&str>) -> String {
    match database {
        Some(name) => format!("the database {name} at {at}"),
        None => format!("the database at {at}"),
    }
}

/// The methods that read the same for every database. A generic function would need
/// bounds longer than these, wherever it is used.
macro_rules! through_sqlx {
    () => {
        fn rows<'c>(
            conn: &'c mut Self::Connection,
            statement: &Statement,
            args: &[Arg<'_>],
        ) -> impl Future<Output = Result<Vec<Self::Row>, sqlx::Error>> + Send + 'c {
            let query = super::query::<Self>(statement, args);
            async move { query.fetch_all(conn).await }
        }

        fn execute<'c>(
            conn: &'c mut Self::Connection,
            statement: &Statement,
            args: &[Arg<'_>],
        ) -> impl Future<Output = Result<u64, sqlx::Error>> + Send + 'c {
            let query = super::query::<Self>(statement, args);
            async move { Ok(query.execute(conn).await?.rows_affected()) }
        }

        fn script_rows(
            conn: &mut Self::Connection,
            sql: sqlx::SqlStr,
        ) -> impl Future<Output = Result<Vec<Self::Row>, sqlx::Error>> + Send + '_ {
            async move { sqlx::raw_sql(sql).fetch_all(conn).await }
        }

        fn execute_script(
            conn: &mut Self::Connection,
            sql: sqlx::SqlStr,
        ) -> impl Future<Output = Result<u64, sqlx::Error>> + Send + '_ {
            async move { Ok(sqlx::raw_sql(sql).execute(conn).await?.rows_affected()) }
        }

        fn int(row: &Self::Row, at: usize) -> Result<Option<i64>, sqlx::Error> {
            sqlx::Row::try_get(row, at)
        }

        fn bytes(row: &Self::Row, at: usize) -> Result<Option<Vec<u8>>, sqlx::Error> {
            sqlx::Row::try_get(row, at)
        }
    };
}

#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;

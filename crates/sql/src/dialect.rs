//! What is different from one database to the next, as far as sqlx goes.

use std::future::Future;
use std::time::Duration;

use sqlx::error::DatabaseError;
use sqlx::{Database, SqlStr};

use crate::failure::Cause;
use crate::migrate::Lock;
use crate::pool::Bounds;
use crate::table::Table;
use crate::texts::Words;

/// A value to bind.
#[derive(Clone)]
pub(crate) enum Arg<'a> {
    Int(i64),
    MaybeInt(Option<i64>),
    Bytes(&'a [u8]),
    MaybeBytes(Option<&'a [u8]>),
    MaybeDigest(Option<[u8; 32]>),
    MaybeText(Option<String>),
}

/// A statement, built once.
pub(crate) struct Text {
    pub(crate) sql: SqlStr,
    /// Which argument stands at each placeholder, from 0.
    pub(crate) order: Vec<usize>,
}

/// One kind of database.
pub(crate) trait Dialect: Database {
    /// As it stands in errors.
    const STORE: &'static str;
    /// Begins a transaction that writes.
    const BEGIN: &'static str;
    /// The published SQL, one file a version of the schema, from the first.
    const MIGRATIONS: &'static [&'static str];
    /// What it writes differently.
    const WORDS: Words;

    /// All rows of a statement.
    fn rows<'c>(
        conn: &'c mut Self::Connection,
        text: &Text,
        args: &[Arg<'_>],
    ) -> impl Future<Output = Result<Vec<Self::Row>, sqlx::Error>> + Send + 'c;

    /// How its tables are made by one at a time.
    fn lock(table: &Table) -> Lock;

    /// How the database is told to take no longer than this over a statement.
    fn bounds(within: Duration) -> Option<Bounds>;

    /// How many rows a statement has written.
    fn written<'c>(
        conn: &'c mut Self::Connection,
        text: &Text,
        args: &[Arg<'_>],
    ) -> impl Future<Output = Result<u64, sqlx::Error>> + Send + 'c;

    /// Runs statements that take no values, and says how many rows they have written
    /// together.
    fn script(
        conn: &mut Self::Connection,
        sql: SqlStr,
    ) -> impl Future<Output = Result<u64, sqlx::Error>> + Send + '_;

    fn int(row: &Self::Row, at: usize) -> Result<Option<i64>, sqlx::Error>;
    fn bytes(row: &Self::Row, at: usize) -> Result<Option<Vec<u8>>, sqlx::Error>;

    /// What an error of the database means.
    fn cause(error: &dyn DatabaseError) -> Cause;
}

/// The part of a dialect that reads the same for each, but that sqlx wants bounds
/// for which are longer than it.
macro_rules! speaks {
    () => {
        fn rows<'c>(
            conn: &'c mut Self::Connection,
            text: &Text,
            args: &[Arg<'_>],
        ) -> impl Future<Output = Result<Vec<Self::Row>, sqlx::Error>> + Send + 'c {
            let query = bound(text, args);
            async move { query.fetch_all(conn).await }
        }

        fn written<'c>(
            conn: &'c mut Self::Connection,
            text: &Text,
            args: &[Arg<'_>],
        ) -> impl Future<Output = Result<u64, sqlx::Error>> + Send + 'c {
            let query = bound(text, args);
            async move { Ok(query.execute(conn).await?.rows_affected()) }
        }

        fn script(
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

/// The query of [`speaks!`], with its values bound.
macro_rules! binds {
    ($db:ty) => {
        fn bound(
            text: &Text,
            args: &[Arg<'_>],
        ) -> sqlx::query::Query<'static, $db, <$db as sqlx::Database>::Arguments> {
            let mut query = sqlx::query(text.sql.clone());
            for &at in &text.order {
                query = match args[at].clone() {
                    Arg::Int(value) => query.bind(value),
                    Arg::MaybeInt(value) => query.bind(value),
                    Arg::Bytes(value) => query.bind(value),
                    Arg::MaybeBytes(value) => query.bind(value),
                    Arg::MaybeDigest(value) => query.bind(value.map(|digest| digest.to_vec())),
                    Arg::MaybeText(value) => query.bind(value.map(String::into_bytes)),
                };
            }
            query
        }
    };
}

#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

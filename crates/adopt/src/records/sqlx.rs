//! A table in PostgreSQL or MySQL.

use cloakroom_core::store::BoxFuture;
use cloakroom_core::{Error, ErrorKind};
use sqlx::AssertSqlSafe;

use super::{FoundRecord, Records, check_name, row};

fn unavailable(source: sqlx::Error) -> Error {
    let why = "the database of the former sessions does not answer";
    Error::new(ErrorKind::Unavailable, why).with_source(source)
}

/// A table behind a pool of connections, which the application makes: with TLS, and as many
/// connections as it likes.
macro_rules! table {
    ($(#[$doc:meta])* $name:ident, $pool:ty, $quote:literal, $key:literal, $null:literal, $django:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name {
            pool: $pool,
            get: String,
            delete: String,
        }

        impl $name {
            /// The table `session` in the schema `tower_sessions`.
            #[must_use]
            pub fn new(pool: $pool) -> Self {
                Self::with(pool, "tower_sessions", "session")
            }

            /// A table of another name, as `with_schema_name` and `with_table_name` have set
            /// it.
            ///
            /// # Errors
            /// [`ErrorKind::Misconfigured`] for a name that cannot be one.
            pub fn with_table(pool: $pool, schema: &str, table: &str) -> Result<Self, Error> {
                check_name(schema)?;
                check_name(table)?;
                Ok(Self::with(pool, schema, table))
            }

            /// Django's table `django_session`, where the connections of the pool find it.
            #[must_use]
            pub fn django(pool: $pool) -> Self {
                Self {
                    pool,
                    get: concat!("select ", $django, " from django_session where session_key = ", $key)
                        .to_owned(),
                    delete: concat!("delete from django_session where session_key = ", $key)
                        .to_owned(),
                }
            }

            fn with(pool: $pool, schema: &str, table: &str) -> Self {
                let table = format!(concat!($quote, "{}", $quote, ".", $quote, "{}", $quote), schema, table);
                Self {
                    pool,
                    get: format!(concat!("select data, ", $null, " from {} where id = ", $key), table),
                    delete: format!(concat!("delete from {} where id = ", $key), table),
                }
            }
        }

        impl Records for $name {
            fn get<'a>(
                &'a self,
                key: &'a str,
            ) -> BoxFuture<'a, Result<Option<FoundRecord>, Error>> {
                Box::pin(async move {
                    let query = sqlx::query_as(AssertSqlSafe(self.get.clone())).bind(key);
                    let found = query.fetch_optional(&self.pool).await.map_err(unavailable)?;
                    Ok(found.map(row))
                })
            }

            fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<(), Error>> {
                Box::pin(async move {
                    let query = sqlx::query(AssertSqlSafe(self.delete.clone())).bind(key);
                    query.execute(&self.pool).await.map_err(unavailable)?;
                    Ok(())
                })
            }
        }
    };
}

#[cfg(feature = "postgres")]
table!(
    /// The table of tower-sessions' `PostgresStore`, or Django's.
    PostgresTable,
    sqlx::PgPool,
    "\"",
    "$1",
    "cast(null as bigint)",
    "convert_to(session_data, 'UTF8'), cast(extract(epoch from expire_date) * 1000 as bigint)"
);

#[cfg(feature = "mysql")]
table!(
    /// The table of tower-sessions' `MySqlStore`, or Django's.
    MysqlTable,
    sqlx::MySqlPool,
    "`",
    "?",
    "cast(null as signed)",
    "cast(session_data as binary), \
     timestampdiff(microsecond, '1970-01-01', expire_date) div 1000"
);

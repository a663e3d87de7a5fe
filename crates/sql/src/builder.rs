//! How a store is put together.

use std::sync::Arc;
use std::time::Duration;

use cloakroom_core::store::Invalidations;
use cloakroom_core::{Error, ErrorKind};
use sqlx::Pool;
use sqlx::pool::PoolOptions;

use crate::SqlStore;
use crate::backend::Backend;
use crate::dialect::Dialect;
use crate::failure::Failure;
use crate::pool::{Bounds, Health, Link, Waits};
use crate::store::Store;
use crate::table::Table;
use crate::texts::Texts;

/// Connections of a pool by default.
pub const POOL_SIZE_DEFAULT: u32 = 10;

/// How long a free connection, or a new one, is waited for by default.
pub const ACQUIRE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);

/// How long the answer to a statement is waited for by default.
pub const STATEMENT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);

/// What a timeout is at most: a longer one is this.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// A connection that was unused for so long is asked by default whether it lives.
pub const TRUSTED_IDLE_DEFAULT: Duration = Duration::from_secs(1);

/// What a store is told beside its address.
#[derive(Clone, Debug)]
pub struct SqlStoreBuilder {
    table: Table,
    pool_size: u32,
    waits: Waits,
    trusted_idle: Duration,
    notifying: bool,
}

impl Default for SqlStoreBuilder {
    fn default() -> Self {
        Self {
            table: Table::default(),
            pool_size: POOL_SIZE_DEFAULT,
            waits: Waits {
                acquire: ACQUIRE_TIMEOUT_DEFAULT,
                statement: STATEMENT_TIMEOUT_DEFAULT,
            },
            trusted_idle: TRUSTED_IDLE_DEFAULT,
            notifying: false,
        }
    }
}

impl SqlStoreBuilder {
    /// Another table than [`TABLE_DEFAULT`](crate::TABLE_DEFAULT).
    ///
    /// Its name is made of a-z, 0-9 and _, begins with no digit and has at most 31
    /// bytes ([`NAME_BYTES_MAX`](crate::NAME_BYTES_MAX)); what opens the store says
    /// so where it is not.
    #[must_use]
    pub fn table(mut self, name: impl Into<String>) -> Self {
        self.table.name = name.into();
        self
    }

    /// The schema that the table is in; PostgreSQL alone has them, and otherwise
    /// goes by its `search_path`. A name as of a [`table`](Self::table).
    #[must_use]
    pub fn schema(mut self, name: impl Into<String>) -> Self {
        self.table.schema = Some(name.into());
        self
    }

    /// Connections of the pool that the store makes, at least 1. Default 10.
    #[must_use]
    pub fn pool_size(mut self, connections: u32) -> Self {
        self.pool_size = connections.max(1);
        self
    }

    /// How long a free connection, or a new one, is waited for. Default 5 s. A pool
    /// that is handed in has its own. At most [`TIMEOUT_MAX`].
    #[must_use]
    pub fn acquire_timeout(mut self, timeout: Duration) -> Self {
        self.waits.acquire = timeout.min(TIMEOUT_MAX);
        self
    }

    /// How long the answer to a statement is waited for. Default 5 s. The database
    /// gives it up itself after four fifths of that; in SQLite that bounds the wait
    /// for the lock. A pool that is handed in has its own. At most [`TIMEOUT_MAX`].
    #[must_use]
    pub fn statement_timeout(mut self, timeout: Duration) -> Self {
        self.waits.statement = timeout.min(TIMEOUT_MAX);
        self
    }

    /// A connection that was unused for so long is asked whether it lives before it
    /// is used again. Default 1 s; zero asks each time. A pool that is handed in
    /// does as it was told.
    #[must_use]
    pub fn trusted_idle(mut self, idle: Duration) -> Self {
        self.trusted_idle = idle;
        self
    }

    /// PostgreSQL: whether each write tells near caches on other nodes, by NOTIFY in
    /// the same statement. Default no: commits that notify wait for each other.
    #[must_use]
    pub fn notifying(mut self, notifying: bool) -> Self {
        self.notifying = notifying;
        self
    }

    /// Opens the database that a URL names: `postgres:`, `postgresql:`, `mysql:`,
    /// `mariadb:` as sqlx reads them, `sqlite:` with a path, which is taken as it
    /// stands. A parameter that sqlx does not read is refused.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] for a URL, a name or an address that cannot
    /// work, and for a database that this build was not made for;
    /// [`ErrorKind::Unavailable`] where the database does not answer. Neither quotes
    /// the URL: it may hold a password.
    pub async fn connect(self, url: &str) -> Result<SqlStore, Error> {
        let scheme = url.split_once(':').map(|(scheme, _)| scheme);
        match scheme {
            Some("postgres" | "postgresql") => self.connect_postgres(url).await,
            Some("mysql" | "mariadb") => self.connect_mysql(url).await,
            Some("sqlite") => self.connect_sqlite(url).await,
            _ => Err(misconfigured(
                "the URL of an SQL store begins with postgres:, mysql:, mariadb: or sqlite:",
            )),
        }
    }

    fn checked<DB: Dialect>(&self) -> Result<(), Error> {
        self.table.check()?;
        if self.table.schema.is_some() && !DB::WORDS.has_schemas {
            return Err(misconfigured("only PostgreSQL has schemas"));
        }
        if self.notifying && !DB::WORDS.has_schemas {
            return Err(misconfigured("only PostgreSQL can notify"));
        }
        Ok(())
    }

    /// A pool that asks a connection whether it lives where that is in doubt, and
    /// not before each use.
    async fn pool<DB: Dialect>(
        &self,
        options: <DB::Connection as sqlx::Connection>::Options,
        health: &Health,
    ) -> Result<Pool<DB>, Failure> {
        let (health, trusted, patience) = (health.clone(), self.trusted_idle, self.waits.acquire);
        let pool = PoolOptions::<DB>::new()
            .max_connections(self.pool_size)
            .acquire_timeout(self.waits.acquire)
            .test_before_acquire(false)
            .before_acquire(move |conn, meta| {
                let is_doubtful = health.doubts(&meta, trusted);
                Box::pin(async move {
                    if is_doubtful {
                        let answer =
                            tokio::time::timeout(patience / 2, sqlx::Connection::ping(conn));
                        answer.await.map_err(|_| sqlx::Error::PoolTimedOut)??;
                    }
                    Ok(true)
                })
            });
        let pool = match DB::bounds(self.waits.within()) {
            None => pool,
            Some(bounds) => pool.after_connect(move |conn, _| {
                let set = DB::script(conn, bounds.set.clone());
                Box::pin(async move { set.await.map(drop) })
            }),
        };
        let pool = pool.connect_with(options).await;
        pool.map_err(|source| Failure::new::<DB>(source, self.waits.acquire))
    }

    fn store<DB: Dialect>(
        self,
        pool: Pool<DB>,
        bounds: Option<Bounds>,
        health: Health,
        channel: Option<Arc<dyn Invalidations>>,
    ) -> SqlStore
    where
        Store<DB>: Backend,
    {
        let name = self.table.path();
        let told = channel.is_some().then_some(&*name);
        let texts = Texts::new(&DB::WORDS, &self.table, told);
        let link = Link {
            pool,
            waits: self.waits,
            bounds,
            health,
            writers: DB::WORDS.one_writer.then(|| tokio::sync::Semaphore::new(1)),
        };
        SqlStore {
            channel,
            backend: Arc::new(Store {
                link,
                texts,
                table: self.table,
            }),
        }
    }
}

fn misconfigured(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Misconfigured, message)
}

/// Refuses a URL with a parameter that sqlx does not read: it would write such a one,
/// value and all, into the log, or pass over a word that was misspelt. Neither names
/// nor values are quoted: what stands there may be a part of a password.
#[cfg(any(feature = "postgres", feature = "mysql"))]
fn check_parameters(url: &str, names: &[&str]) -> Result<(), Error> {
    let url = url.split_once('#').map_or(url, |(url, _)| url);
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let is_known = |pair: &str| {
        let name = pair.split_once('=').map_or(pair, |(name, _)| name);
        // `options[search_path]` and its like in PostgreSQL; who makes URLs by program
        // has the brackets escaped.
        let name = name.replace("%5B", "[").replace("%5D", "]");
        let name = name.as_str();
        let family = name.split_once('[').filter(|_| name.ends_with(']'));
        pair.is_empty()
            || names.contains(&name)
            || family.is_some_and(|(name, _)| names.contains(&format!("{name}[]").as_str()))
    };
    if query.split('&').all(is_known) {
        return Ok(());
    }
    Err(misconfigured(format!(
        "the URL of the database has a parameter that is none of {}",
        names.join(", ")
    )))
}

/// What sqlx says of a URL may quote it, and it may hold a password.
#[cfg(any(feature = "postgres", feature = "mysql"))]
fn unread(_: sqlx::Error) -> Error {
    misconfigured("the URL of the database cannot be read")
}

mod absent;
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

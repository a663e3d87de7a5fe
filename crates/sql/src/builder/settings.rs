//! What a store is made from.

use std::borrow::Cow;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use cloakroom_core::store::Invalidations;
use cloakroom_core::{Error, ErrorKind};
use sqlx::pool::PoolOptions;
use sqlx::{Connection, Pool};

use crate::driver::{Driver, TimeLimit};
use crate::error::{StatementError, Target};
use crate::home::Home;
use crate::idle::IdleConnections;
use crate::literals::Preface;
use crate::pool::{ConnectionPool, Health, Timeouts};
use crate::statements::Statements;
use crate::store::TableStore;
use crate::table::TableName;

/// Connections of a pool by default.
pub const POOL_SIZE_DEFAULT: u32 = 10;

/// How long a free connection, or a new one, is waited for by default.
pub const ACQUIRE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);

/// How long the answer to a statement is waited for by default.
pub const STATEMENT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);

/// The longest timeout; a longer one is this.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a connection may be idle, by default, before it is pinged at its next use.
pub const TRUSTED_IDLE_DEFAULT: Duration = Duration::from_secs(1);

/// Settings of a store, beside the URL of its database.
#[derive(Clone, Debug)]
pub struct SqlStoreBuilder {
    table: TableName,
    pool_size: u32,
    pub(super) timeouts: Timeouts,
    trusted_idle: Duration,
    pub(super) notifying: bool,
    pub(super) behind_pooler: bool,
}

impl Default for SqlStoreBuilder {
    fn default() -> Self {
        Self {
            table: TableName::default(),
            pool_size: POOL_SIZE_DEFAULT,
            timeouts: Timeouts {
                acquire: ACQUIRE_TIMEOUT_DEFAULT,
                statement: STATEMENT_TIMEOUT_DEFAULT,
            },
            trusted_idle: TRUSTED_IDLE_DEFAULT,
            notifying: false,
            behind_pooler: false,
        }
    }
}

impl SqlStoreBuilder {
    /// Sets the name of the table. Default [`TABLE_DEFAULT`](crate::TABLE_DEFAULT).
    ///
    /// A name is made of a-z, 0-9 and _, does not begin with a digit and has at most 31
    /// bytes ([`NAME_BYTES_MAX`](crate::NAME_BYTES_MAX)). Opening the store fails with
    /// any other.
    #[must_use]
    pub fn table(mut self, name: impl Into<String>) -> Self {
        self.table.name = name.into();
        self
    }

    /// Sets the schema of the table, in PostgreSQL alone, which otherwise goes by its
    /// `search_path`. The name is as that of a [`table`](Self::table).
    #[must_use]
    pub fn schema(mut self, name: impl Into<String>) -> Self {
        self.table.schema = Some(name.into());
        self
    }

    /// Sets how many connections the store's pool has, at least 1. Default 10.
    #[must_use]
    pub fn pool_size(mut self, connections: u32) -> Self {
        self.pool_size = connections.max(1);
        self
    }

    /// Sets how long a free connection, or a new one, is waited for, at most
    /// [`TIMEOUT_MAX`]. Default 5 s. A pool that is handed in has its own timeout.
    #[must_use]
    pub fn acquire_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.acquire = timeout.min(TIMEOUT_MAX);
        self
    }

    /// Sets how long the answer to a statement is waited for, at most [`TIMEOUT_MAX`].
    /// Default 5 s.
    ///
    /// The database itself gives the statement up after four fifths of that. A pool that is handed in sets its own limit.
    #[must_use]
    pub fn statement_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.statement = timeout.min(TIMEOUT_MAX);
        self
    }

    /// Sets how long a connection may be idle before it is pinged at its next use.
    /// Default 1 s; zero pings before each use. One that is used all the time is pinged as
    /// often, and once a minute at least, behind an answer. A pool that is handed in has its
    /// own settings, and there a connection is pinged whenever it is returned.
    #[must_use]
    pub fn trusted_idle(mut self, idle: Duration) -> Self {
        self.trusted_idle = idle;
        self
    }

    /// Sets whether each update of a session notifies other nodes, in PostgreSQL alone, by
    /// NOTIFY in the same statement: near caches there need it. Ends and moves are always
    /// notified, for whoever waits for the end of a session. Default no: commits that notify
    /// wait for each other.
    #[must_use]
    pub fn notifying(mut self, notifying: bool) -> Self {
        self.notifying = notifying;
        self
    }

    /// Sets whether a pooler, such as pgbouncer, lends connections to the server by the
    /// transaction, in PostgreSQL alone. Default no.
    ///
    /// Then each statement is one message, its values written into its text, and leaves
    /// nothing on the connection. It costs the server a parse and a plan each time, and a
    /// server that logs statements logs the data of sessions with them. Nothing can be
    /// listened to: [`notifying`](Self::notifying) tells other nodes, and hears none.
    #[must_use]
    pub fn behind_pooler(mut self, behind: bool) -> Self {
        self.behind_pooler = behind;
        self
    }

    /// Fails where a name cannot be used, or the database lacks what is asked for.
    pub(super) fn check<DB: Driver>(&self) -> Result<(), Error> {
        self.table.check()?;
        if self.table.schema.is_some() && !DB::DIALECT.schemas_and_notify {
            return Err(misconfigured(
                "only PostgreSQL has schemas: leave the schema out",
            ));
        }
        if self.behind_pooler && !DB::DIALECT.schemas_and_notify {
            return Err(misconfigured(
                "only PostgreSQL has such a pooler: leave it out",
            ));
        }
        if self.notifying && !DB::DIALECT.schemas_and_notify {
            return Err(misconfigured(
                "only PostgreSQL can notify near caches: leave notifying out",
            ));
        }
        Ok(())
    }

    /// The table's name behind its schema; the name of its channel too.
    pub(super) fn table_path(&self) -> Cow<'_, str> {
        self.table.path()
    }

    pub(super) fn target<DB: Driver>(
        &self,
        options: &<DB::Connection as Connection>::Options,
    ) -> Target {
        Target {
            store: DB::DIALECT.store,
            address: DB::address(options),
            table: self.table.path().into_owned(),
        }
    }

    /// A pool that pings a connection only where it may be dead.
    pub(super) async fn open_pool<DB: Driver>(
        &self,
        options: <DB::Connection as Connection>::Options,
    ) -> Result<ConnectionPool<DB>, StatementError> {
        let health = Health::default();
        let (doubted, trusted_idle) = (health.clone(), self.trusted_idle);
        let acquire = self.timeouts.acquire;
        let pool = PoolOptions::<DB>::new()
            .max_connections(self.pool_size)
            .acquire_timeout(acquire)
            .test_before_acquire(false)
            .before_acquire(move |conn, meta| {
                let is_doubtful = doubted.doubts(meta.idle_for, trusted_idle);
                Box::pin(async move {
                    if is_doubtful {
                        let pong = tokio::time::timeout(acquire / 2, conn.ping()).await;
                        pong.map_err(|_| sqlx::Error::PoolTimedOut)??;
                    }
                    Ok(true)
                })
            });
        let time_limit = DB::time_limit(self.timeouts.time_limit());
        let pool = match time_limit.as_ref().and_then(|limit| limit.set.clone()) {
            None => pool,
            Some(set) => pool.after_connect(move |conn, _| {
                let set = DB::execute_script(conn, set.clone());
                Box::pin(async move { set.await.map(drop) })
            }),
        };
        let target = self.target::<DB>(&options);
        let pool = pool.connect_with(options).await;
        let pool = pool.map_err(|source| DB::failed(&target, source))?;
        Ok(ConnectionPool {
            idle: Some(IdleConnections::new(self.pool_size, trusted_idle)),
            ..self.over(pool, time_limit, health)
        })
    }

    /// A pool that was handed in, as it is.
    pub(super) fn adopt_pool<DB: Driver>(&self, pool: Pool<DB>) -> ConnectionPool<DB> {
        self.over(pool, None, Health::default())
    }

    fn over<DB: Driver>(
        &self,
        pool: Pool<DB>,
        time_limit: Option<TimeLimit>,
        health: Health,
    ) -> ConnectionPool<DB> {
        ConnectionPool {
            target: self.target::<DB>(&pool.connect_options()),
            pool,
            timeouts: self.timeouts,
            time_limit,
            health,
            idle: None,
            preface: (self.behind_pooler).then(|| Preface::new(self.timeouts.time_limit())),
            leases: AtomicU32::new(0),
            home: Home::here(),
        }
    }

    pub(super) fn store<DB: Driver>(
        self,
        pool: ConnectionPool<DB>,
        invalidations: Option<Box<dyn Invalidations>>,
    ) -> TableStore<DB> {
        let path = self.table.path();
        // Behind a pooler it hears nothing, and tells others all the same.
        let ends = DB::DIALECT.schemas_and_notify.then_some(&*path);
        let updates = ends.filter(|_| self.notifying);
        TableStore {
            statements: Statements::new(&DB::DIALECT, &self.table, ends, updates),
            pool,
            table: self.table,
            invalidations,
        }
    }
}

pub(super) fn misconfigured(message: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Misconfigured, message)
}

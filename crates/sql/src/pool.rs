//! Statements on pooled connections, which may break.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cloakroom_core::Error;

use sqlx::Pool;
use sqlx::pool::{PoolConnection, PoolConnectionMetadata};
use tokio::time::timeout;

use crate::driver::{Driver, TimeLimit};
use crate::error::{Cause, StatementError, Target};
use crate::home::Home;
use crate::literals::Preface;
use crate::row::Row;
use crate::statement::{Arg, Statement};
use crate::statements::RotateStatements;

/// How often a statement is sent that the database rolls back each time.
pub(crate) const ROLLED_BACK_TRIES: u32 = 5;

/// When a connection of a pool was last found broken.
///
/// A write must not be sent twice where nobody knows whether it has happened. So a
/// connection that may have died in the pool is pinged before it is used.
#[derive(Clone, Debug, Default)]
pub(crate) struct Health(Arc<Mutex<Option<Instant>>>);

impl Health {
    fn broke(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether a connection may be dead: idle for longer than is trusted, or in the pool
    /// when another one broke.
    pub(crate) fn doubts(&self, meta: &PoolConnectionMetadata, trusted_idle: Duration) -> bool {
        let broke = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        meta.idle_for >= trusted_idle || broke.is_some_and(|at| at.elapsed() <= meta.idle_for)
    }
}

/// How long a connection, and the answer to a statement, are waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    pub(crate) acquire: Duration,
    pub(crate) statement: Duration,
}

impl Timeouts {
    /// How long the database may take over a statement. It gives up, and undoes it,
    /// before the caller stops waiting.
    pub(crate) fn time_limit(&self) -> Duration {
        self.statement / 5 * 4
    }
}

/// A pool, and how its connections are used.
pub(crate) struct ConnectionPool<DB: Driver> {
    pub(crate) pool: Pool<DB>,
    pub(crate) target: Target,
    pub(crate) timeouts: Timeouts,
    /// `None` in a pool that was handed in.
    pub(crate) time_limit: Option<TimeLimit>,
    pub(crate) health: Health,
    /// Whether the store opened the pool, and closes it.
    pub(crate) is_own: bool,
    /// What stands before each statement that carries its values in its text, for a pooler.
    pub(crate) preface: Option<Preface>,
    /// Connections that are in use.
    pub(crate) leases: AtomicU32,
    pub(crate) home: Home,
}

/// A connection that goes back to the pool only if it can be used again.
struct Lease<'p, DB: Driver> {
    leases: &'p AtomicU32,
    conn: Option<PoolConnection<DB>>,
    return_timeout: Duration,
    health: Health,
    is_usable: bool,
}

impl<DB: Driver> Drop for Lease<'_, DB> {
    /// sqlx pings a connection before it takes it back, and waits for that without end.
    /// Here the wait is bounded, so that the place in the pool is not lost where the
    /// network dies after the answer, or the server does not finish a dropped statement.
    fn drop(&mut self) {
        self.leases.fetch_sub(1, Ordering::Relaxed);
        let Some(mut conn) = self.conn.take() else {
            return;
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) if self.is_usable => {
                let (return_timeout, health) = (self.return_timeout, self.health.clone());
                let returned = conn.return_to_pool();
                runtime.spawn(async move {
                    if timeout(return_timeout, returned).await.is_err() {
                        health.broke();
                    }
                });
            }
            _ => conn.close_on_drop(),
        }
    }
}

/// Does the work on one connection, and again where the database rolls it back. A macro,
/// since the future of an async closure that goes through two functions is not `Send`.
macro_rules! retry {
    ($pool:expr, $work:expr) => {{
        let mut tries = 1;
        loop {
            match $pool.once($pool.timeouts.statement, $work).await {
                Err(failed) if failed.cause == Cause::RolledBack && tries < ROLLED_BACK_TRIES => {
                    tries += 1;
                }
                other => break other,
            }
        }
    }};
}

impl<DB: Driver> ConnectionPool<DB> {
    /// The rows of a statement that writes nothing. A connection that broke is replaced
    /// once, since reading twice does no harm.
    pub(crate) async fn read(
        &self,
        statement: &Statement,
        args: &[Arg<'_>],
    ) -> Result<Vec<Row<DB>>, StatementError> {
        match self.rows(statement, args).await {
            Err(failed) if failed.cause == Cause::Broken => self.rows(statement, args).await,
            other => other,
        }
    }

    /// How many rows a statement writes. It is sent again only where the database has
    /// rolled it back.
    pub(crate) async fn write(
        &self,
        statement: &Statement,
        args: &[Arg<'_>],
    ) -> Result<u64, StatementError> {
        retry!(self, async |conn| self.execute(conn, statement, args).await)
    }

    /// The rows that a writing statement answers; sent as in [`write`](Self::write).
    pub(crate) async fn write_returning(
        &self,
        statement: &Statement,
        args: &[Arg<'_>],
    ) -> Result<Vec<Row<DB>>, StatementError> {
        self.rows(statement, args).await
    }

    /// Whether a rotation met its record; sent as in [`write`](Self::write). Where it
    /// did not, nothing is written.
    pub(crate) async fn rotate(
        &self,
        statements: &RotateStatements,
        args: &[Arg<'_>],
    ) -> Result<bool, StatementError> {
        retry!(self, async |conn| match statements {
            RotateStatements::One(statement) => {
                Ok(self.execute(conn, statement, args).await? > 0)
            }
            RotateStatements::Script(script) => {
                DB::execute(conn, &script.set_variables, args).await?;
                let written = DB::execute_script(conn, script.transaction.clone()).await;
                if let Err(sqlx::Error::Database(_)) = written {
                    DB::execute_script(conn, script.rollback.clone()).await?;
                }
                Ok(written? > 0)
            }
        })
    }

    /// Closes the connections once they are free: each statement has its time limit.
    pub(crate) async fn close(&self) -> Result<(), Error> {
        let within = self
            .timeouts
            .acquire
            .saturating_add(self.timeouts.statement);
        timeout(within, self.pool.close()).await.map_err(|_| {
            self.target.unavailable(format!(
                "some connections to {} were still in use {within:?} after the store was closed",
                self.target.address
            ))
        })
    }

    /// Runs work on one connection, which it may have for the timeout.
    pub(crate) async fn once<T>(
        &self,
        within: Duration,
        work: impl AsyncFnOnce(&mut DB::Connection) -> Result<T, sqlx::Error>,
    ) -> Result<T, StatementError> {
        // The pool may open another one, also after a wait.
        let conn = match self.home.open(self.pool.acquire()).await {
            Err(sqlx::Error::PoolTimedOut) => return Err(self.no_connection()),
            conn => conn.map_err(|source| self.failed(source))?,
        };
        self.leases.fetch_add(1, Ordering::Relaxed);
        let mut lease = Lease {
            leases: &self.leases,
            conn: Some(conn),
            return_timeout: self.timeouts.statement,
            health: self.health.clone(),
            // For as long as a statement is under way, and may be dropped.
            is_usable: DB::DIALECT.survives_dropped_statement,
        };
        let conn = lease.conn.as_mut().expect("taken in drop alone");
        let Ok(result) = timeout(within, work(conn)).await else {
            lease.is_usable = false;
            self.health.broke();
            return Err(self.target.no_answer(within));
        };
        let result = result.map_err(|source| self.failed(source));
        let broken = |failed: &StatementError| failed.cause == Cause::Broken;
        lease.is_usable = !result.as_ref().is_err_and(broken);
        result
    }

    async fn rows(
        &self,
        statement: &Statement,
        args: &[Arg<'_>],
    ) -> Result<Vec<Row<DB>>, StatementError> {
        let rows = retry!(self, async |conn| match &self.preface {
            None => DB::rows(conn, statement, args).await,
            Some(preface) => {
                let sql = preface.fill(statement.sql.as_str(), args);
                DB::script_rows(conn, sql).await
            }
        })?;
        Ok(rows.into_iter().map(Row).collect())
    }

    async fn execute(
        &self,
        conn: &mut DB::Connection,
        statement: &Statement,
        args: &[Arg<'_>],
    ) -> Result<u64, sqlx::Error> {
        match &self.preface {
            None => DB::execute(conn, statement, args).await,
            Some(preface) => {
                let sql = preface.fill(statement.sql.as_str(), args);
                DB::execute_script(conn, sql).await
            }
        }
    }

    /// Why there was no connection in time: where the server refuses them, the pool tries
    /// again until then.
    fn no_connection(&self) -> StatementError {
        let options = self.pool.options();
        let (size, within) = (options.get_max_connections(), options.get_acquire_timeout());
        let address = &self.target.address;
        let is_full = self.leases.load(Ordering::Relaxed) >= size;
        let error = match is_full {
            true => self.target.unavailable(format!(
                "all {size} connections to {address} were in use for {within:?}: look for what \
                 keeps them, or allow the pool more"
            )),
            false => self.target.unreachable(format_args!(
                "it refused connections, or did not answer, for {within:?}"
            )),
        };
        StatementError {
            cause: Cause::NoConnection,
            error,
        }
    }

    fn failed(&self, source: sqlx::Error) -> StatementError {
        let failed = DB::failed(&self.target, source);
        if failed.cause == Cause::Broken {
            self.health.broke();
        }
        failed
    }
}

//! Statements on pooled connections, which may break.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cloakroom_core::Error;

use sqlx::Pool;
use sqlx::pool::PoolConnection;
use tokio::runtime::Handle;
use tokio::sync::SemaphorePermit;
use tokio::time::timeout;

use crate::driver::{Driver, TimeLimit};
use crate::error::{Cause, StatementError, Target};
use crate::home::Home;
use crate::idle::{IdleConnection, IdleConnections};
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
    pub(crate) fn doubts(&self, idle_for: Duration, trusted_idle: Duration) -> bool {
        let broke = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        idle_for >= trusted_idle || broke.is_some_and(|at| at.elapsed() <= idle_for)
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
    /// What lies before a pool that the store opened, and closes. `None` in a pool that was
    /// handed in, since others wait for its connections.
    pub(crate) idle: Option<IdleConnections<DB>>,
    /// What stands before each statement that carries its values in its text, for a pooler.
    pub(crate) preface: Option<Preface>,
    /// Connections that are in use.
    pub(crate) leases: AtomicU32,
    pub(crate) home: Home,
}

/// What a call leaves its connection as.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    /// Every answer was read to its end, and nothing was refused: ready for the next call.
    Clean,
    /// There may be answers to read, or a transaction to end: a ping shows that it is ready.
    Unsure,
    /// Of no more use.
    Unusable,
}

/// A connection that a call uses, and gives back however it ends.
struct Lease<'p, DB: Driver> {
    pool: &'p ConnectionPool<DB>,
    conn: Option<PoolConnection<DB>>,
    acquired_at: Instant,
    left: Left,
    /// Ends behind the drop of the lease, when the connection is there for the next one.
    _turn: Option<SemaphorePermit<'p>>,
}

impl<DB: Driver> Drop for Lease<'_, DB> {
    fn drop(&mut self) {
        self.pool.leases.fetch_sub(1, Ordering::Relaxed);
        let Some(conn) = self.conn.take() else {
            return;
        };
        let returned = match &self.pool.idle {
            Some(idle) if self.left == Left::Clean => idle.keep(IdleConnection {
                conn,
                acquired_at: self.acquired_at,
                idle_since: Instant::now(),
            }),
            _ => Some(conn),
        };
        if let Some(conn) = returned {
            let is_usable = self.left != Left::Unusable;
            let within = self.pool.timeouts.statement;
            self.pool.give_back(conn, is_usable.then_some(within));
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

    /// A connection that nobody else uses: one that is ready, or the pool's.
    async fn acquire(&self) -> Result<Lease<'_, DB>, sqlx::Error> {
        // The pool may open another one, also after a wait.
        let open = || self.home.open(self.pool.acquire());
        let Some(idle) = &self.idle else {
            return Ok(self.lease(open().await?, Instant::now(), None));
        };
        let acquired = timeout(self.timeouts.acquire, async {
            let turn = idle.turn().await?;
            while let Some(ready) = idle.take() {
                let idle_for = ready.idle_since.elapsed();
                if !self.health.doubts(idle_for, idle.trusted) {
                    return Ok(self.lease(ready.conn, ready.acquired_at, Some(turn)));
                }
                self.give_back(ready.conn, Some(self.timeouts.acquire / 2));
            }
            Ok(self.lease(open().await?, Instant::now(), Some(turn)))
        });
        acquired.await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
    }

    fn lease<'p>(
        &'p self,
        conn: PoolConnection<DB>,
        acquired_at: Instant,
        turn: Option<SemaphorePermit<'p>>,
    ) -> Lease<'p, DB> {
        self.leases.fetch_add(1, Ordering::Relaxed);
        // Until a statement has ended, which may be dropped.
        let left = match DB::DIALECT.survives_dropped_statement {
            true => Left::Unsure,
            false => Left::Unusable,
        };
        Lease {
            pool: self,
            conn: Some(conn),
            acquired_at,
            left,
            _turn: turn,
        }
    }

    /// Gives a connection back to sqlx's pool, behind the answer; closes it where it may have
    /// no time for a ping.
    ///
    /// sqlx pings it before it takes it back, and waits for that without end. Here the wait is
    /// bounded, so that the place in the pool is not lost where the network dies after the
    /// answer, or the server does not finish a dropped statement.
    fn give_back(&self, mut conn: PoolConnection<DB>, ping_within: Option<Duration>) {
        match (Handle::try_current(), ping_within) {
            (Ok(runtime), Some(within)) => {
                let health = self.health.clone();
                let returned = conn.return_to_pool();
                runtime.spawn(async move {
                    if timeout(within, returned).await.is_err() {
                        health.broke();
                    }
                });
            }
            (Ok(_), None) => conn.close_on_drop(),
            // sqlx has nowhere to close it in good form.
            (Err(_), _) => drop(conn.detach()),
        }
    }

    /// Closes the connections once they are free: each statement has its time limit.
    pub(crate) async fn close(&self) -> Result<(), Error> {
        let within = self
            .timeouts
            .acquire
            .saturating_add(self.timeouts.statement);
        // From here on, what comes back to the pool is closed.
        let closed = self.pool.close();
        for conn in self.idle.iter().flat_map(IdleConnections::close) {
            self.give_back(conn, Some(within));
        }
        timeout(within, closed).await.map_err(|_| {
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
        let mut lease = match self.acquire().await {
            Err(sqlx::Error::PoolTimedOut) => return Err(self.no_connection()),
            lease => lease.map_err(|source| self.failed(source))?,
        };
        let conn = lease.conn.as_mut().expect("taken in drop alone");
        let Ok(result) = timeout(within, work(conn)).await else {
            lease.left = Left::Unusable;
            self.health.broke();
            return Err(self.target.no_answer(within));
        };
        let result = result.map_err(|source| self.failed(source));
        lease.left = match &result {
            Ok(_) => Left::Clean,
            Err(failed) if failed.cause == Cause::Broken => Left::Unusable,
            Err(_) => Left::Unsure,
        };
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

//! One statement after another, on connections that may break.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::pool::{PoolConnection, PoolConnectionMetadata};
use sqlx::{Connection as _, Pool, SqlStr};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::dialect::{Arg, Dialect, Text};
use crate::failure::{self, Cause, Failure};
use crate::texts::Script;

/// How often a statement that the database has rolled back is made again.
const UNDONE_TRIES: u32 = 5;

/// When a connection of this store was last found broken. Who does not know whether
/// a write has happened may not send it twice; so a connection that may have died
/// in the pool is asked before it is used.
#[derive(Clone, Debug, Default)]
pub(crate) struct Health(Arc<Mutex<Option<Instant>>>);

impl Health {
    fn broke(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether a connection that was idle for so long may be dead.
    pub(crate) fn doubts(&self, meta: &PoolConnectionMetadata, trusted: Duration) -> bool {
        let broke = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        meta.idle_for >= trusted || broke.is_some_and(|at| at.elapsed() <= meta.idle_for)
    }
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waits {
    pub(crate) acquire: Duration,
    pub(crate) statement: Duration,
}

impl Waits {
    /// How long the database itself may take over a statement: it gives up, and
    /// undoes it, before who asked has stopped waiting.
    pub(crate) fn within(&self) -> Duration {
        self.statement / 5 * 4
    }
}

/// What a connection of a pool of this crate is told of how long statements may take.
/// A statement that nobody waits for any more would go on in the database otherwise,
/// and might do what its caller was told had failed.
#[derive(Clone)]
pub(crate) struct Bounds {
    /// Sent over each connection, before anything else.
    pub(crate) set: SqlStr,
    /// Lifts them, within a transaction that makes tables.
    pub(crate) lift: SqlStr,
}

/// A pool, and how its connections are used.
pub(crate) struct Link<DB: Dialect> {
    pub(crate) pool: Pool<DB>,
    pub(crate) waits: Waits,
    /// None in a pool that was handed in.
    pub(crate) bounds: Option<Bounds>,
    pub(crate) health: Health,
    /// Who may write, where the database lets one at a time: in this process they
    /// queue rather than poll for the lock.
    pub(crate) writers: Option<Semaphore>,
}

/// In what state a connection is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// In the middle of a statement.
    Underway,
    /// Whatever was asked has been answered.
    Settled,
    /// Of no more use.
    Broken,
}

/// A connection that goes back to the pool only when it is known to be whole.
struct Lease<DB: Dialect> {
    conn: Option<PoolConnection<DB>>,
    patience: Duration,
    health: Health,
    state: State,
}

impl<DB: Dialect> Lease<DB> {
    fn conn(&mut self) -> &mut PoolConnection<DB> {
        self.conn.as_mut().expect("taken at the drop alone")
    }

    fn settle<T>(&mut self, result: &Result<T, sqlx::Error>) {
        let broken = |error| failure::cause::<DB>(error) == Cause::Broken;
        self.state = match result.as_ref().err().is_some_and(broken) {
            true => State::Broken,
            false => State::Settled,
        };
    }
}

impl<DB: Dialect> Drop for Lease<DB> {
    /// sqlx asks a connection whether it lives before it is in the pool again, and
    /// waits for that as long as it takes. Here the time is bounded: where the network
    /// dies behind an answer, or a statement was dropped half way and the server does
    /// not come to its end, the place in the pool is not lost.
    fn drop(&mut self) {
        let Some(mut conn) = self.conn.take() else {
            return;
        };
        let is_whole = match self.state {
            State::Underway => DB::WORDS.drains,
            State::Settled => true,
            State::Broken => false,
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) if is_whole => {
                let (patience, health) = (self.patience, self.health.clone());
                let returned = conn.return_to_pool();
                runtime.spawn(async move {
                    if timeout(patience, returned).await.is_err() {
                        health.broke();
                    }
                });
            }
            _ => conn.close_on_drop(),
        }
    }
}

impl<DB: Dialect> Link<DB> {
    pub(crate) fn failed(&self, source: sqlx::Error) -> Failure {
        let failure = Failure::new::<DB>(source, self.waits.acquire);
        if failure.cause == Cause::Broken {
            self.health.broke();
        }
        failure
    }

    async fn lease(&self) -> Result<Lease<DB>, Failure> {
        let conn = self.pool.acquire().await;
        Ok(Lease {
            conn: Some(conn.map_err(|source| self.failed(source))?),
            patience: self.waits.statement,
            health: self.health.clone(),
            state: State::Underway,
        })
    }

    async fn turn(&self) -> Result<Option<SemaphorePermit<'_>>, Failure> {
        let Some(writers) = &self.writers else {
            return Ok(None);
        };
        let turn = timeout(self.waits.statement, writers.acquire()).await;
        turn.map(|turn| Some(turn.expect("it is never closed")))
            .map_err(|_| Failure::no_answer::<DB>(self.waits.statement))
    }

    /// Runs one piece of work on a connection, in bounded time.
    pub(crate) async fn once<T>(
        &self,
        work: impl AsyncFnOnce(&mut DB::Connection) -> Result<T, sqlx::Error>,
    ) -> Result<T, Failure> {
        self.once_within(self.waits.statement, work).await
    }

    /// The same, in another time.
    pub(crate) async fn once_within<T>(
        &self,
        patience: Duration,
        work: impl AsyncFnOnce(&mut DB::Connection) -> Result<T, sqlx::Error>,
    ) -> Result<T, Failure> {
        let mut lease = self.lease().await?;
        let result = timeout(patience, work(lease.conn())).await;
        let Ok(result) = result else {
            lease.state = State::Broken;
            self.health.broke();
            return Err(Failure::no_answer::<DB>(patience));
        };
        lease.settle(&result);
        result.map_err(|source| self.failed(source))
    }

    /// What a statement that writes nothing answers. Reading twice harms nobody: a
    /// connection that broke is replaced, once.
    pub(crate) async fn read(
        &self,
        text: &Text,
        args: &[Arg<'_>],
    ) -> Result<Vec<DB::Row>, Failure> {
        let first = self.rows(text, args).await;
        match first {
            Err(failure) if failure.cause == Cause::Broken => self.rows(text, args).await,
            other => other,
        }
    }

    async fn rows(&self, text: &Text, args: &[Arg<'_>]) -> Result<Vec<DB::Row>, Failure> {
        let mut tries = 1;
        loop {
            match self
                .once(async |conn| DB::rows(conn, text, args).await)
                .await
            {
                Err(failure) if failure.cause == Cause::Undone && tries < UNDONE_TRIES => {
                    tries += 1
                }
                other => return other,
            }
        }
    }

    /// What a statement that writes answers: sent once, and again only where the
    /// database has rolled it back.
    pub(crate) async fn returning(
        &self,
        text: &Text,
        args: &[Arg<'_>],
    ) -> Result<Vec<DB::Row>, Failure> {
        let _turn = self.turn().await?;
        self.rows(text, args).await
    }

    /// How many rows a statement writes; as [`returning`](Self::returning).
    pub(crate) async fn write(&self, text: &Text, args: &[Arg<'_>]) -> Result<u64, Failure> {
        let _turn = self.turn().await?;
        let mut tries = 1;
        loop {
            match self
                .once(async |conn| DB::written(conn, text, args).await)
                .await
            {
                Err(failure) if failure.cause == Cause::Undone && tries < UNDONE_TRIES => {
                    tries += 1
                }
                other => return other,
            }
        }
    }

    /// How many rows a script writes, in two trips; as [`returning`](Self::returning).
    pub(crate) async fn scripted(&self, script: &Script, args: &[Arg<'_>]) -> Result<u64, Failure> {
        let _turn = self.turn().await?;
        let mut tries = 1;
        loop {
            let done = self.once(async |conn| {
                DB::written(conn, &script.values, args).await?;
                let done = DB::script(conn, script.transaction.clone()).await;
                if let Err(sqlx::Error::Database(_)) = done {
                    DB::script(conn, script.rollback.clone()).await?;
                }
                done
            });
            match done.await {
                Err(failure) if failure.cause == Cause::Undone && tries < UNDONE_TRIES => {
                    tries += 1
                }
                other => return other,
            }
        }
    }

    /// Two writes in one transaction; nothing of the second where the first meets no
    /// row, which is the answer `false`.
    pub(crate) async fn both(
        &self,
        first: (&Text, &[Arg<'_>]),
        second: (&Text, &[Arg<'_>]),
    ) -> Result<bool, Failure> {
        let _turn = self.turn().await?;
        let mut tries = 1;
        loop {
            let done = self.once(async |conn| {
                let mut tx = conn.begin_with(SqlStr::from_static(DB::BEGIN)).await?;
                let has_met = DB::written(&mut tx, first.0, first.1).await? > 0;
                if has_met {
                    DB::written(&mut tx, second.0, second.1).await?;
                    tx.commit().await?;
                } else {
                    tx.rollback().await?;
                }
                Ok(has_met)
            });
            match done.await {
                Err(failure) if failure.cause == Cause::Undone && tries < UNDONE_TRIES => {
                    tries += 1
                }
                other => return other,
            }
        }
    }
}

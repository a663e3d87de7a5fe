//! Connections between two calls.
//!
//! sqlx pings a connection each time that it is returned: behind the answer, but before the
//! next call that needs it. So a connection whose call ended well stays here, ready for the
//! next. It goes back to sqlx's pool, which pings it, judges its age and closes it where it
//! is idle for long, once in [`trusted`](IdleConnections::trusted).

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::Database;
use sqlx::pool::PoolConnection;
use tokio::sync::{Semaphore, SemaphorePermit};

/// How long a connection may be kept from sqlx's pool, however long it is trusted.
const TRUSTED_MAX: Duration = Duration::from_secs(60);

/// Connections of a store's own pool that no call uses. To sqlx they are in use.
pub(crate) struct IdleConnections<DB: Database> {
    /// As many as the pool may have connections. With one of these, a call finds a connection
    /// here, or sqlx's pool has one for it: nobody waits there for one that lies here.
    turns: Semaphore,
    /// In the order in which they came; the last one is the next to be used, so that those
    /// which a busy time has left over grow old.
    connections: Mutex<VecDeque<IdleConnection<DB>>>,
    /// How long a connection is used without a ping.
    pub(crate) trusted: Duration,
}

pub(crate) struct IdleConnection<DB: Database> {
    pub(crate) conn: PoolConnection<DB>,
    /// When sqlx's pool gave it out.
    pub(crate) acquired_at: Instant,
    /// When its last call ended.
    pub(crate) idle_since: Instant,
}

impl<DB: Database> IdleConnections<DB> {
    pub(crate) fn new(pool_size: u32, trusted: Duration) -> Self {
        Self {
            turns: Semaphore::new(usize::try_from(pool_size).unwrap_or(Semaphore::MAX_PERMITS)),
            connections: Mutex::default(),
            trusted: trusted.min(TRUSTED_MAX),
        }
    }

    /// Waits until fewer calls are under way than there may be connections.
    pub(crate) async fn turn(&self) -> Result<SemaphorePermit<'_>, sqlx::Error> {
        let turn = self.turns.acquire().await;
        turn.map_err(|_closed| sqlx::Error::PoolClosed)
    }

    /// The connection that was used last.
    pub(crate) fn take(&self) -> Option<IdleConnection<DB>> {
        self.lock().pop_back()
    }

    /// Keeps a connection that its call has used to its end. Answers the one that sqlx's pool
    /// is to have back, if any: this one, or another that has been idle for long.
    pub(crate) fn keep(&self, idle: IdleConnection<DB>) -> Option<PoolConnection<DB>> {
        let mut connections = self.lock();
        if self.turns.is_closed() || idle.acquired_at.elapsed() >= self.trusted {
            return Some(idle.conn);
        }
        connections.push_back(idle);
        let oldest = connections.front()?;
        let is_old = oldest.idle_since.elapsed() >= self.trusted;
        is_old.then(|| connections.pop_front())?.map(|old| old.conn)
    }

    /// Gives turns to nobody any more, and the connections back. None comes after these.
    pub(crate) fn close(&self) -> impl Iterator<Item = PoolConnection<DB>> + use<DB> {
        let mut connections = self.lock();
        self.turns.close();
        std::mem::take(&mut *connections)
            .into_iter()
            .map(|idle| idle.conn)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<IdleConnection<DB>>> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl<DB: Database> Drop for IdleConnections<DB> {
    /// sqlx would spawn a task to take a connection back, and panics outside of a runtime. As
    /// those in its own pool, these just end.
    fn drop(&mut self) {
        for conn in self.close() {
            drop(conn.detach());
        }
    }
}

impl<DB: Database> fmt::Debug for IdleConnections<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdleConnections").finish_non_exhaustive()
    }
}

//! Invalidations over LISTEN and NOTIFY.

use std::time::Duration;

use cloakroom_core::Error;
use cloakroom_core::store::{BoxFuture, Invalidation, Invalidations, KeyDigest, Listener};
use sqlx::Postgres;
use sqlx::pool::PoolOptions;
use sqlx::postgres::{PgConnectOptions, PgListener};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::driver::Driver as _;
use crate::error::{Target, with_source};
use crate::row;

/// How long the channel may be silent before the server is asked whether it is there.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// How long the server may take to answer that.
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// How many invalidations are kept here for a listener that falls behind. The server
/// keeps those that come after them.
const BACKLOG_MAX: usize = 1_024;

/// The channel of one table. Not `Debug`: the options would print their password.
pub(crate) struct Channel {
    pub(crate) name: String,
    pub(crate) options: PgConnectOptions,
    pub(crate) target: Target,
    pub(crate) connect_timeout: Duration,
}

impl Invalidations for Channel {
    fn listen(&self) -> BoxFuture<'_, Result<Box<dyn Listener>, Error>> {
        Box::pin(async move {
            // A pool of one connection, which lives until it breaks.
            let pool = PoolOptions::<Postgres>::new()
                .max_connections(1)
                .max_lifetime(None)
                .idle_timeout(None)
                .acquire_timeout(self.connect_timeout)
                .connect_with(self.options.clone());
            let connected = timeout(self.connect_timeout, async {
                let mut connection = PgListener::connect_with(&pool.await?).await?;
                // A new connection would say nothing of what was missed before it.
                connection.eager_reconnect(false);
                connection.ignore_pool_close_event(true);
                connection.listen(&self.name).await?;
                Ok(connection)
            });
            let connected = connected
                .await
                .map_err(|_| self.target.no_answer(self.connect_timeout))?;
            let failed = |source| Postgres::failed(&self.target, source);
            let connection = connected.map_err(failed)?;
            let (sender, received) = mpsc::channel(BACKLOG_MAX);
            let task = tokio::spawn(receive_all(connection, self.target.clone(), sender));
            let target = self.target.clone();
            let listener: Box<dyn Listener> = Box::new(ChannelListener {
                received,
                target,
                task,
            });
            Ok(listener)
        })
    }
}

/// What the task behind it has received. The task goes on while nobody waits, so that a
/// dropped wait loses nothing, and a dead channel is noticed all the same.
struct ChannelListener {
    received: mpsc::Receiver<Result<Invalidation, Error>>,
    target: Target,
    task: JoinHandle<()>,
}

impl Drop for ChannelListener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Listener for ChannelListener {
    fn next(&mut self) -> BoxFuture<'_, Result<Invalidation, Error>> {
        Box::pin(async move {
            let received = self.received.recv().await;
            received.unwrap_or_else(|| Err(broken(&self.target)))
        })
    }
}

/// Ends with the first error: at the next call sqlx would connect again, and say nothing
/// of what it has missed.
async fn receive_all(
    mut connection: PgListener,
    target: Target,
    sender: mpsc::Sender<Result<Invalidation, Error>>,
) {
    loop {
        let received = receive(&mut connection, &target).await;
        let is_last = received.is_err();
        if sender.send(received).await.is_err() || is_last {
            return;
        }
    }
}

async fn receive(connection: &mut PgListener, target: &Target) -> Result<Invalidation, Error> {
    let broke = |source| with_source(broken(target), source);
    loop {
        if let Ok(received) = timeout(SILENCE_MAX, connection.try_recv()).await {
            let notification = received.map_err(broke)?.ok_or_else(|| broken(target))?;
            return parse(notification.payload()).ok_or_else(|| {
                target.unavailable(format!(
                    "a notification on the channel {} is not of this store: does another \
                     application use its name?",
                    notification.channel()
                ))
            });
        }
        // Where the network between them is dead, neither end notices; only an answer
        // shows that it is not.
        let ping = sqlx::query("SELECT 1").execute(&mut *connection);
        timeout(PING_TIMEOUT, ping)
            .await
            .map_err(|_| target.no_answer(PING_TIMEOUT))?
            .map_err(broke)?;
    }
}

fn broken(target: &Target) -> Error {
    target.unavailable(format!(
        "the connection to {} that listens for invalidations broke",
        target.address
    ))
}

/// `digest revision`, as the statements write it.
fn parse(payload: &str) -> Option<Invalidation> {
    let (digest, revision) = payload.split_once(' ')?;
    Some(Invalidation {
        digest: KeyDigest::from_hex(digest)?,
        revision: row::revision(revision.parse().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use cloakroom_core::store::Revision;

    use super::*;

    #[test]
    fn only_what_the_statements_write_is_understood() {
        let digest = KeyDigest::from_bytes([7; 32]);
        let hex = digest.to_hex();
        let heard = |revision| Some(Invalidation { digest, revision });
        let seven = Revision::from_u64(7);
        assert_eq!(parse(&format!("{hex} 7")), heard(seven));
        assert_eq!(parse(&format!("{hex} -1")), heard(Revision::LAST));
        for payload in [
            "",
            "7",
            &hex,
            &format!("{hex} "),
            &format!("{hex} x"),
            "x 7",
        ] {
            assert_eq!(parse(payload), None, "{payload}");
        }
    }
}

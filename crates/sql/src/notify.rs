//! Invalidations over LISTEN and NOTIFY.
//!
//! A connection that stands proves nothing: a pooler may keep it, and have forgotten its
//! LISTEN. So a channel counts as heard only while its own notifications come back, which
//! are sent the way of the writes, over another connection.

use std::time::Duration;

use cloakroom_core::Error;
use cloakroom_core::engine::{Entropy as _, OsEntropy};
use cloakroom_core::store::{
    Announced, BoxFuture, Invalidation, Invalidations, KeyDigest, Listener,
};
use sqlx::pool::PoolOptions;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgListener};
use sqlx::{AssertSqlSafe, Connection as _, Postgres, SqlSafeStr as _, SqlStr};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::driver::Driver as _;
use crate::error::{Target, with_source};
use crate::row;

/// How often a listener notifies itself.
const PROOF_EVERY: Duration = Duration::from_secs(5);

/// A listener that has heard nothing of its own for this long fails.
const PROOF_AGE_MAX: Duration = Duration::from_secs(15);

/// How the digest begins that a notification of a listener's own names, in place of a
/// session's: no hash comes out so. The Redis store's begin so too.
const PROOF: &[u8; 16] = b"cloakroom proof\0";

/// How many invalidations are kept here for a listener that falls behind. The server
/// keeps those that come after them.
const BACKLOG_MAX: usize = 1_024;

/// The channel of one table. Not `Debug`: the options would print their password.
pub(crate) struct Channel {
    pub(crate) name: String,
    pub(crate) options: PgConnectOptions,
    pub(crate) target: Target,
    pub(crate) connect_timeout: Duration,
    pub(crate) announced: Announced,
}

impl Invalidations for Channel {
    fn announced(&self) -> Announced {
        self.announced
    }

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
            let mut own = [0; 32];
            OsEntropy.fill(&mut own)?;
            own[..PROOF.len()].copy_from_slice(PROOF);
            let own = KeyDigest::from_bytes(own);
            let mut tasks = JoinSet::new();
            tasks.spawn(prove(self.options.clone(), self.name.clone(), own));
            let mut subscription = Subscription {
                connection,
                target: self.target.clone(),
                channel: self.name.clone(),
                own,
                proven: Instant::now(),
            };
            let proven = timeout(self.connect_timeout, subscription.hear_itself());
            let proven = proven.await;
            proven.map_err(|_| subscription.unheard(self.connect_timeout))??;
            let (sender, received) = mpsc::channel(BACKLOG_MAX);
            tasks.spawn(subscription.receive_all(sender));
            let target = self.target.clone();
            let listener: Box<dyn Listener> = Box::new(ChannelListener {
                received,
                target,
                _tasks: tasks,
            });
            Ok(listener)
        })
    }
}

/// Notifies the listener itself again and again. What fails here shows in what it hears.
async fn prove(options: PgConnectOptions, channel: String, own: KeyDigest) {
    let sql = format!("SELECT pg_notify('{channel}', '{} 0')", own.to_hex());
    let sql = AssertSqlSafe(sql).into_sql_str();
    let mut connection = None;
    loop {
        let notified = timeout(PROOF_EVERY, notify(&options, &mut connection, sql.clone()));
        if !matches!(notified.await, Ok(Ok(()))) {
            connection = None;
        }
        sleep(PROOF_EVERY).await;
    }
}

async fn notify(
    options: &PgConnectOptions,
    connection: &mut Option<PgConnection>,
    sql: SqlStr,
) -> Result<(), sqlx::Error> {
    let connection = match connection {
        Some(connection) => connection,
        None => connection.insert(PgConnection::connect_with(options).await?),
    };
    Postgres::execute_script(connection, sql).await.map(drop)
}

/// What the task behind it has received. The task goes on while nobody waits, so that a
/// dropped wait loses nothing, and a dead channel is noticed all the same.
struct ChannelListener {
    received: mpsc::Receiver<Result<Invalidation, Error>>,
    target: Target,
    /// They end with the listener.
    _tasks: JoinSet<()>,
}

impl Listener for ChannelListener {
    fn next(&mut self) -> BoxFuture<'_, Result<Invalidation, Error>> {
        Box::pin(async move {
            let received = self.received.recv().await;
            received.unwrap_or_else(|| Err(broken(&self.target)))
        })
    }
}

/// The connection that listens.
struct Subscription {
    connection: PgListener,
    target: Target,
    channel: String,
    own: KeyDigest,
    /// When it last heard itself.
    proven: Instant,
}

impl Subscription {
    /// Passes over what is heard before: it was written before anybody listens.
    async fn hear_itself(&mut self) -> Result<(), Error> {
        while self.hear().await?.is_some() {}
        self.proven = Instant::now();
        Ok(())
    }

    /// Ends with the first error: at the next call sqlx would connect again, and say
    /// nothing of what it has missed.
    async fn receive_all(mut self, sender: mpsc::Sender<Result<Invalidation, Error>>) {
        loop {
            let received = match timeout_at(self.proven + PROOF_AGE_MAX, self.hear()).await {
                Ok(Ok(Some(invalidation))) => Ok(invalidation),
                Ok(Ok(None)) => {
                    self.proven = Instant::now();
                    continue;
                }
                Ok(Err(error)) => Err(error),
                Err(_) => Err(self.unheard(PROOF_AGE_MAX)),
            };
            let is_last = received.is_err();
            if sender.send(received).await.is_err() || is_last {
                return;
            }
        }
    }

    /// The next invalidation, or `None` where it hears itself.
    async fn hear(&mut self) -> Result<Option<Invalidation>, Error> {
        loop {
            let received = self.connection.try_recv().await;
            let received = received.map_err(|source| with_source(broken(&self.target), source));
            let notification = received?.ok_or_else(|| broken(&self.target))?;
            let heard = parse(notification.payload()).ok_or_else(|| {
                self.target.unavailable(format!(
                    "a notification on the channel {} is not of this store: does another \
                     application use its name?",
                    notification.channel()
                ))
            })?;
            if heard.digest == self.own {
                return Ok(None);
            }
            // Others prove themselves on the same channel.
            if !heard.digest.as_bytes().starts_with(PROOF) {
                return Ok(Some(heard));
            }
        }
    }

    fn unheard(&self, within: Duration) -> Error {
        self.target.unavailable(format!(
            "nothing is heard on the channel {} of {}: its own notifications have not come back \
             within {within:?}. A pooler that lends connections by the transaction forgets \
             LISTEN: name the server itself",
            self.channel, self.target.address
        ))
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

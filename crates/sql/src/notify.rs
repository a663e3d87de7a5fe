//! Invalidations over LISTEN and NOTIFY.

use std::time::Duration;

use cloakroom_core::Error;
use cloakroom_core::store::{BoxFuture, Invalidation, Invalidations, KeyDigest, Listener};
use sqlx::Postgres;
use sqlx::pool::PoolOptions;
use sqlx::postgres::{PgConnectOptions, PgListener, PgNotification};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::failure::{Failure, unavailable, with_source};
use crate::row;

/// After so long without a word the server is asked for one.
const QUIET: Duration = Duration::from_secs(10);

/// How long it may take to answer that.
const ANSWER: Duration = Duration::from_secs(5);

/// How many are kept for a listener that does not wait; behind them the server
/// keeps them.
const BACKLOG: usize = 1_024;

/// The channel of one table. Not `Debug`: the options would print their password.
pub(crate) struct Channel {
    pub(crate) name: String,
    pub(crate) options: PgConnectOptions,
    pub(crate) acquire: Duration,
}

impl Invalidations for Channel {
    fn listen(&self) -> BoxFuture<'_, Result<Box<dyn Listener>, Error>> {
        Box::pin(async move {
            // A connection of its own, which lives until it breaks.
            let pool = PoolOptions::<Postgres>::new()
                .max_connections(1)
                .max_lifetime(None)
                .idle_timeout(None)
                .acquire_timeout(self.acquire)
                .connect_with(self.options.clone());
            let opened = timeout(self.acquire, async {
                let mut inner = PgListener::connect_with(&pool.await?).await?;
                // What it missed meanwhile would be lost without a word.
                inner.eager_reconnect(false);
                inner.ignore_pool_close_event(true);
                inner.listen(&self.name).await?;
                Ok(inner)
            });
            let opened = opened
                .await
                .map_err(|_| Failure::no_answer::<Postgres>(self.acquire))?;
            let inner = opened.map_err(|source| Failure::new::<Postgres>(source, self.acquire))?;
            let (told, heard) = mpsc::channel(BACKLOG);
            let task = tokio::spawn(hear_all(inner, told));
            let ear: Box<dyn Listener> = Box::new(Ear { heard, task });
            Ok(ear)
        })
    }
}

/// What the task below has heard. It goes on where nobody waits, so that a dropped
/// wait neither loses anything nor puts off that a dead channel is noticed.
struct Ear {
    heard: mpsc::Receiver<Result<Invalidation, Error>>,
    task: JoinHandle<()>,
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Listener for Ear {
    fn next(&mut self) -> BoxFuture<'_, Result<Invalidation, Error>> {
        Box::pin(async move {
            let heard = self.heard.recv().await;
            heard.unwrap_or_else(|| Err(unavailable::<Postgres>("the channel broke before")))
        })
    }
}

/// Ends with the first failure: sqlx would connect again at the next call, and say
/// nothing of what it missed.
async fn hear_all(mut inner: PgListener, told: mpsc::Sender<Result<Invalidation, Error>>) {
    loop {
        let heard = hear(&mut inner).await;
        let is_last = heard.is_err();
        if told.send(heard).await.is_err() || is_last {
            return;
        }
    }
}

async fn hear(inner: &mut PgListener) -> Result<Invalidation, Error> {
    let broke = |source| with_source(unavailable::<Postgres>("the channel broke"), source);
    loop {
        if let Ok(heard) = timeout(QUIET, inner.try_recv()).await {
            let notification = heard.map_err(broke)?;
            let notification =
                notification.ok_or_else(|| unavailable::<Postgres>("the channel broke"))?;
            return read(&notification);
        }
        // Both ends may be well with nothing between them; only an answer tells.
        let asked = timeout(ANSWER, sqlx::query("SELECT 1").execute(&mut *inner)).await;
        asked
            .map_err(|_| Failure::no_answer::<Postgres>(ANSWER))?
            .map_err(broke)?;
    }
}

/// `digest revision`, as the statements write it.
fn read(notification: &PgNotification) -> Result<Invalidation, Error> {
    parse(notification.payload())
        .ok_or_else(|| unavailable::<Postgres>("somebody else speaks on the channel"))
}

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

//! The subscription to what other nodes write.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cloakroom_core::store::{BoxFuture, Invalidation, Invalidations, Listener, SessionStore};
use cloakroom_core::{Error, ErrorKind};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::near_cache::NearCache;

/// The pause before the first attempt to open a broken subscription again. It doubles
/// with each attempt, up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// The longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// The background task that keeps a cache subscribed; dropping this ends it.
#[derive(Debug, Default)]
pub(crate) struct WatchTask(Mutex<Option<JoinHandle<()>>>);

impl WatchTask {
    /// Subscribes a cache to its store's invalidations, in place of a task that may be
    /// running.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] where the store announces none.
    pub(crate) fn start<S: SessionStore>(
        &self,
        store: Arc<S>,
        cache: Arc<NearCache>,
    ) -> Result<(), Error> {
        invalidations_of(&*store)?;
        let mut task = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let previous = task.take().inspect(JoinHandle::abort);
        cache.connecting();
        *task = Some(tokio::spawn(async move {
            // As it ends, the previous task marks the cache as disconnected. That must
            // not come after the new subscription is open.
            if let Some(previous) = previous {
                let _ = previous.await;
            }
            watch(&*store, &cache).await;
        }));
        Ok(())
    }
}

impl Drop for WatchTask {
    fn drop(&mut self) {
        let task = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = task {
            task.abort();
        }
    }
}

async fn watch<S: SessionStore>(store: &S, cache: &Arc<NearCache>) {
    let mut pause = PAUSE_MIN;
    loop {
        let error = match subscribe(store, cache).await {
            Ok(mut subscription) => {
                tracing::info!(
                    event = "cache_subscribed",
                    "the near cache is subscribed to what other nodes write"
                );
                pause = PAUSE_MIN;
                loop {
                    if let Err(error) = subscription.next().await {
                        break error;
                    }
                }
            }
            Err(error) => error,
        };
        tracing::warn!(event = "cache_disconnected", %error, retry_in = ?pause, "the near cache is not subscribed to what other nodes write");
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

fn invalidations_of<S: SessionStore>(store: &S) -> Result<&dyn Invalidations, Error> {
    store.capabilities().invalidations.ok_or_else(|| {
        Error::new(
            ErrorKind::Misconfigured,
            "the store behind this near cache announces no invalidations to watch: use Redis or \
             PostgreSQL, or leave watch_invalidations() out and rely on the bound on staleness",
        )
    })
}

pub(crate) async fn subscribe<S: SessionStore>(
    store: &S,
    cache: &Arc<NearCache>,
) -> Result<Subscription, Error> {
    let listener = invalidations_of(store)?.listen().await?;
    cache.connected();
    Ok(Subscription {
        cache: cache.clone(),
        listener,
    })
}

/// Applies each invalidation to this cache before it is passed on: of two caches in a
/// row, the outer one then finds no older state in the inner one.
pub(crate) struct Subscription {
    cache: Arc<NearCache>,
    listener: Box<dyn Listener>,
}

impl Listener for Subscription {
    fn next(&mut self) -> BoxFuture<'_, Result<Invalidation, Error>> {
        Box::pin(async {
            let next = self.listener.next().await;
            match &next {
                Ok(invalidation) => self.cache.announced(invalidation),
                Err(_) => self.cache.disconnected(),
            }
            next
        })
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.cache.disconnected();
    }
}

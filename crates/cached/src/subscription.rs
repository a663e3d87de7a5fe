//! The subscription to what other nodes write.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cloakroom_core::store::{
    Announced, BoxFuture, Invalidation, Invalidations, Listener, SessionStore, Subscriber,
    stay_subscribed,
};
use cloakroom_core::{Error, ErrorKind};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::near_cache::NearCache;

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
        if !tells_all(invalidations_of(&*store)?) {
            return Err(Error::new(
                ErrorKind::Misconfigured,
                "the store behind this near cache announces the ends of sessions alone: let it, \
                 and the store of every other node, announce each write (`notifying(true)`, in a \
                 URL `notify=true`), or leave watch_invalidations() out",
            ));
        }
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
    let listen = async || {
        let subscription = subscribe(store, cache).await?;
        Ok(Box::new(subscription) as Box<dyn Listener>)
    };
    match stay_subscribed(listen, sleep, &Told).await {}
}

/// The log, which is told of the subscription; the cache hears what it says.
struct Told;

impl Subscriber for Told {
    fn subscribed(&self) {
        tracing::info!(
            event = "cache_subscribed",
            "the near cache is subscribed to what other nodes write"
        );
    }

    fn announced(&self, _: &Invalidation) {}

    fn disconnected(&self, error: &Error, retry_in: Duration) {
        tracing::warn!(
            event = "cache_disconnected",
            %error,
            ?retry_in,
            "the near cache is not subscribed to what other nodes write"
        );
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

/// Whether a subscription tells a cache of each write of another node.
fn tells_all(invalidations: &dyn Invalidations) -> bool {
    invalidations.announced() == Announced::Writes
}

pub(crate) async fn subscribe<S: SessionStore>(
    store: &S,
    cache: &Arc<NearCache>,
) -> Result<Subscription, Error> {
    let invalidations = invalidations_of(store)?;
    let listener = invalidations.listen().await?;
    let is_open = tells_all(invalidations);
    if is_open {
        cache.connected();
    }
    Ok(Subscription {
        cache: cache.clone(),
        listener,
        is_open,
    })
}

/// Applies each invalidation to this cache before it is passed on: of two caches in a
/// row, the outer one then finds no older state in the inner one.
pub(crate) struct Subscription {
    cache: Arc<NearCache>,
    listener: Box<dyn Listener>,
    /// Whether the cache counts on it.
    is_open: bool,
}

impl Subscription {
    fn close(&mut self) {
        if std::mem::replace(&mut self.is_open, false) {
            self.cache.disconnected();
        }
    }
}

impl Listener for Subscription {
    fn next(&mut self) -> BoxFuture<'_, Result<Invalidation, Error>> {
        Box::pin(async {
            let next = self.listener.next().await;
            match &next {
                Ok(invalidation) => self.cache.announced(invalidation),
                Err(_) => self.close(),
            }
            next
        })
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.close();
    }
}

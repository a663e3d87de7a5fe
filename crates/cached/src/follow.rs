//! Hearing of what other nodes write.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cloakroom_core::store::{BoxFuture, Invalidation, Invalidations, Listener, SessionStore};
use cloakroom_core::{Error, ErrorKind};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::Cached;
use crate::board::Board;

/// The pause before the first attempt to open a broken channel again; it doubles
/// up to the longest.
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// The task that listens, ended with its cache.
#[derive(Debug, Default)]
pub(crate) struct Follower(Mutex<Option<JoinHandle<()>>>);

impl Follower {
    fn running(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the task that runs; it is over when it has been awaited.
    fn take(&self) -> Option<JoinHandle<()>> {
        let old = self.running().take();
        old.inspect(JoinHandle::abort)
    }

    fn put(&self, task: JoinHandle<()>) {
        if let Some(other) = self.running().replace(task) {
            other.abort();
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.take();
    }
}

impl<S: SessionStore> Cached<S> {
    /// Listens from now on, in the background and until the cache is dropped, to
    /// what other nodes announce, and drops what they have changed. Of several
    /// caches in a row the outermost does so for all.
    ///
    /// A channel that breaks is an event, shows in [`stats`](Self::stats), and is
    /// opened again, with pauses from 0.1 s to 5 s; what was here before is then
    /// forgotten. Until then [`WhileDeaf`](crate::WhileDeaf) says what counts.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] where the store announces nothing.
    ///
    /// # Panics
    /// Outside a tokio runtime with its time enabled.
    pub fn follow(&self) -> Result<(), Error> {
        if self.inner.capabilities().invalidations.is_none() {
            return Err(Error::new(
                ErrorKind::Misconfigured,
                "the store behind this cache announces no invalidations to follow",
            ));
        }
        let (inner, board) = (self.inner.clone(), self.board.clone());
        // One at a time: what the old one says when it ends is not of the new one.
        let old = self.follower.take();
        self.board.awaits_channel();
        let task = tokio::spawn(async move {
            if let Some(old) = old {
                let _ = old.await;
            }
            let mut pause = PAUSE_MIN;
            loop {
                let broken = match listen(&*inner, &board).await {
                    Ok(mut heard) => {
                        tracing::info!("the cache hears of other nodes' writes");
                        pause = PAUSE_MIN;
                        loop {
                            if let Err(error) = heard.next().await {
                                break error;
                            }
                        }
                    }
                    Err(error) => error,
                };
                tracing::warn!(error = %broken, "the cache does not hear of other nodes' writes");
                sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        });
        self.follower.put(task);
        Ok(())
    }
}

async fn listen<S: SessionStore>(store: &S, board: &Arc<Board>) -> Result<Heard, Error> {
    let Some(invalidations) = store.capabilities().invalidations else {
        return Err(ErrorKind::Unavailable.into());
    };
    let channel = invalidations.listen().await?;
    board.hears();
    Ok(Heard {
        board: board.clone(),
        channel,
    })
}

/// A channel whose announcements reach this cache before whoever listens: a cache
/// in front of it then reads no older state from here.
struct Heard {
    board: Arc<Board>,
    channel: Box<dyn Listener>,
}

impl Listener for Heard {
    fn next(&mut self) -> BoxFuture<'_, Result<Invalidation, Error>> {
        Box::pin(async {
            let heard = self.channel.next().await;
            match &heard {
                Ok(invalidation) => self.board.heard(invalidation),
                Err(_) => self.board.lost(),
            }
            heard
        })
    }
}

impl Drop for Heard {
    fn drop(&mut self) {
        self.board.lost();
    }
}

impl<S: SessionStore> Invalidations for Cached<S> {
    fn listen(&self) -> BoxFuture<'_, Result<Box<dyn Listener>, Error>> {
        Box::pin(async {
            let heard = listen(&*self.inner, &self.board).await?;
            Ok(Box::new(heard) as Box<dyn Listener>)
        })
    }
}

//! Learning of a session's end while something goes on with it.

use std::future::{pending, ready};
use std::sync::{Arc, Weak};

use super::Session;
use super::commit::Watch;
use crate::session::Ended;
use crate::store::{BoxFuture, EndReason};
use crate::{Error, ErrorKind};

/// For what goes on when the response has begun: a WebSocket, server-sent events, a long poll.
impl Session {
    /// Waits for the session to end, and says why: a logout, here or elsewhere, its deadline,
    /// an administrator. Call it in the handler, and wait for it beside what else goes on; it
    /// outlives the request.
    ///
    /// ```
    /// use cloakroom_core::session::Session;
    ///
    /// fn farewell(session: &Session) -> impl Future<Output = String> + Send + 'static {
    ///     let ended = session.ended();
    ///     async move { format!("You were logged out: {}.", ended.await.because) }
    /// }
    /// ```
    ///
    /// A socket waits for it by `tokio::select!` beside its whole conversation, not beside the
    /// next message alone: whoever reads nothing holds up a `send` for good.
    ///
    /// - **How soon:** at once where this engine ends the session. An end on another node is
    ///   heard within milliseconds over Redis, and over PostgreSQL without a pooler. With other
    ///   stores, and while that channel is broken, the store is asked in a rhythm that the
    ///   engine's builder chooses (`check_ended_every`), in which the deadline is noticed too;
    ///   there, what a near cache may be behind comes on top. A store that does not answer ends
    ///   nothing.
    /// - **A rotation is no end:** it follows the session to its new key. A login over somebody
    ///   else is one ([`EndReason::Flushed`]).
    /// - **Waiting is no use of the session:** a visitor who only listens is idle. Requests
    ///   move the deadline, and this follows it.
    /// - **What it costs:** an entry in a map, which dropping the future frees, one load of the
    ///   session when it begins, and one more at its deadline. Where the store is asked in a
    ///   rhythm, a load each time. One task and one subscription serve all who wait.
    /// - **It needs a session that is stored:** [`save`](Self::save) a new one first. Where
    ///   none is, it ends at once, with what [`ended_because`](Self::ended_because) knows, or
    ///   [`EndReason::Unknown`]. A [detached](Self::detached) session never ends.
    /// - **In a cookie store** the server can know the deadline that was in the latest cookie
    ///   that this node has sent, a logout on this node, and with revocation, within the
    ///   rhythm, that all sessions of the subject were ended. A logout on another node cannot
    ///   be known, and a use there moves no deadline here.
    ///
    /// It needs a tokio runtime to ask the store; without one it learns of this engine's ends
    /// alone.
    #[must_use = "it tells of the end to whoever waits for it"]
    pub fn ended(&self) -> BoxFuture<'static, Ended> {
        let stored = {
            let mut state = self.lock();
            state.accessed = true;
            state.stored.clone()
        };
        if self.shared.context.commit.is_none() {
            return Box::pin(pending());
        }
        match (self.watch(), stored) {
            (Some(watch), Some(record)) => watch.ended(&record),
            _ => {
                let before = self.shared.context.ended.clone();
                Box::pin(ready(before.unwrap_or(Ended::new(EndReason::Unknown))))
            }
        }
    }

    /// Asks the store, once, whether the session lives: before something that a socket must
    /// not do for a visitor who is logged out. It is no use of the session, and can be called
    /// when the request is over.
    ///
    /// It follows a rotation while the rotation mark stands, a minute by default, and for as
    /// long as a future of [`ended`](Self::ended) is kept.
    /// Behind a near cache it may be as old as that allows.
    ///
    /// `false` for a session that is not stored.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] where the store does not answer,
    /// [`ErrorKind::Unsupported`] for a record of a newer version, and
    /// [`ErrorKind::Closed`] where the request was given up before it was answered.
    pub async fn is_alive(&self) -> Result<bool, Error> {
        let (is_stored, is_closed) = {
            let mut state = self.lock();
            state.accessed = true;
            (state.stored.is_some(), state.watch.is_some())
        };
        let Some(commit) = &self.shared.context.commit else {
            return Ok(is_stored);
        };
        if !is_stored {
            return Ok(false);
        }
        let is_over = !is_closed && commit.upgrade().is_none();
        match self.watch() {
            Some(watch) => watch.is_alive().await,
            None if is_over => Err(Error::new(
                ErrorKind::Closed,
                "the request this session belonged to was given up",
            )),
            None => Ok(false),
        }
    }

    /// What knows of the session's end, and goes on knowing when the request is over.
    fn watch(&self) -> Option<Arc<dyn Watch>> {
        let kept = self.lock().watch.clone();
        if kept.is_some() {
            return kept;
        }
        let commit = self.shared.context.commit.as_ref();
        let watch = commit.and_then(Weak::upgrade)?.watch()?;
        self.keep_watch(watch.clone());
        Some(watch)
    }

    /// Notes what knows of the session's end when the request is over. For engines.
    pub fn keep_watch(&self, watch: Arc<dyn Watch>) {
        self.lock().watch.get_or_insert(watch);
    }

    /// Whether somebody holds the session beside the engine, as a WebSocket does that goes on.
    /// For engines.
    #[must_use]
    pub fn is_held(&self) -> bool {
        Arc::strong_count(&self.shared) > 1
    }
}

//! What a session knows of the engine that opened it.

use std::fmt;
use std::sync::{Arc, Weak};

use crate::session::{Ended, Limits};
use crate::store::{BoxFuture, KeyDigest, Record};
use crate::{Error, Expiry, Site, Timestamp};

/// What [`Session::save`](crate::session::Session::save) calls: the engine that opened the session.
pub trait Commit: Send + Sync {
    /// Writes the session's changes now.
    fn commit(self: Arc<Self>) -> BoxFuture<'static, Result<(), Error>>;

    /// The digest that the session stands under, as far as this request knows.
    fn id(&self) -> Option<KeyDigest>;

    /// What knows of the session's end; `None` where no session is stored.
    fn watch(&self) -> Option<Arc<dyn Watch>>;
}

/// Knows of the end of one session, also when the request that opened it is over.
pub trait Watch: Send + Sync {
    /// Waits for its end, from this call on. `record` is what was stored of it last.
    fn ended(&self, record: &Record) -> BoxFuture<'static, Ended>;

    /// Asks the store once whether it lives.
    fn is_alive(&self) -> BoxFuture<'static, Result<bool, Error>>;
}

/// What a session knows of the engine that opens it.
#[derive(Clone)]
#[non_exhaustive]
pub struct Context {
    /// When the request began: "now" for everything a handler asks.
    pub now: Timestamp,
    /// What the session may hold.
    pub limits: Limits,
    /// How long sessions live.
    pub expiry: Expiry,
    /// Which site a session that begins here belongs to.
    pub site: Site,
    /// How the session has ended that the client came with; `None` where it came with
    /// none, or with the one that is open.
    pub ended: Option<Ended>,
    /// Whether the request has proven the device that the session is bound to: a login then
    /// leaves the session bound to it.
    pub is_device_proven: bool,
    /// Who writes the changes. A session without one is its own store: what is
    /// saved stays in it.
    pub commit: Option<Weak<dyn Commit>>,
}

impl Context {
    /// Of a session that is its own store, as a test or a tool opens one.
    #[must_use]
    pub fn new(now: Timestamp, limits: Limits, expiry: Expiry) -> Self {
        Self {
            now,
            limits,
            expiry,
            site: Site::default(),
            ended: None,
            is_device_proven: false,
            commit: None,
        }
    }

    /// The same, of a session of this site.
    #[must_use]
    pub fn of_site(mut self, site: &Site) -> Self {
        self.site = site.clone();
        self
    }

    /// The same, of a session that begins where another has ended.
    #[must_use]
    pub fn after(mut self, ended: Option<Ended>) -> Self {
        self.ended = ended;
        self
    }

    /// The same, of a request that has proven its device, or has not.
    #[must_use]
    pub fn device_proven(mut self, is_proven: bool) -> Self {
        self.is_device_proven = is_proven;
        self
    }

    /// The same, of a session whose changes this engine writes.
    #[must_use]
    pub fn committed_by(mut self, commit: Weak<dyn Commit>) -> Self {
        self.commit = Some(commit);
        self
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("now", &self.now)
            .field("limits", &self.limits)
            .field("expiry", &self.expiry)
            .finish_non_exhaustive()
    }
}

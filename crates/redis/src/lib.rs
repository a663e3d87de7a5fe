//! Cloakroom sessions in Redis or Valkey.
//!
//! ```
//! use cloakroom_core::{Clock, Expiry, KeyDigest, SessionStore, SystemClock};
//! use cloakroom_redis::RedisStore;
//!
//! # async fn example() -> Result<(), cloakroom_core::Error> {
//! let store = RedisStore::connect("redis://127.0.0.1:6379").await?;
//! let digest = KeyDigest::from_bytes([0; 32]);
//! store.create(&digest, &Expiry::default().begin(SystemClock.now())).await?;
//! # Ok(())
//! # }
//! ```

#![cfg_attr(docsrs, feature(doc_cfg))]

mod answer;
mod builder;
mod cluster;
mod greeting;
mod link;
mod listener;
mod many;
mod one;
mod scan;
mod script;
mod subjects;
mod trouble;
mod value;
mod wire;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cloakroom_core::{
    Capabilities, Error, ErrorKind, KeyDigest, Record, Revision, SessionStore, Slot, Timestamp,
    Touch,
};

pub use crate::builder::{PREFIX_BYTES_MAX, RedisBuilder};
pub use crate::listener::{BACKLOG_MAX, HEARTBEAT};
use crate::wire::Caller;

const NAME: &str = "redis";

/// What keys begin with, unless told otherwise.
pub const PREFIX_DEFAULT: &str = "cloakroom:";

/// How long a call waits for its answer, unless told otherwise.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(2);

/// A store in Redis or Valkey. Cheap to clone: clones share the connection.
#[derive(Clone)]
pub struct RedisStore {
    caller: Arc<Caller>,
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("at", &self.caller.at())
            .field("prefix", &self.caller.prefix)
            .finish_non_exhaustive()
    }
}

impl RedisStore {
    /// Opens a single server: `redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]`.
    ///
    /// # Errors
    /// As [`RedisBuilder::connect`].
    pub async fn connect(url: &str) -> Result<Self, Error> {
        Self::builder(url).connect().await
    }

    /// A single server, with a prefix or a time-out of one's own.
    #[must_use]
    pub fn builder(url: impl Into<String>) -> RedisBuilder {
        RedisBuilder::new(vec![url.into()], false)
    }

    /// A cluster, by the URL of one of its servers or of several, in case one is
    /// down: user, password and TLS of the first hold for all.
    #[must_use]
    pub fn cluster(urls: impl IntoIterator<Item = impl Into<String>>) -> RedisBuilder {
        RedisBuilder::new(urls.into_iter().map(Into::into).collect(), true)
    }

    fn new(caller: Caller) -> Self {
        Self {
            caller: Arc::new(caller),
        }
    }

    async fn put(&self, digest: &KeyDigest, slot: &Slot) -> Result<bool, Error> {
        match self.caller.is_one() {
            true => one::put(&self.caller, digest, slot).await,
            false => many::put(&self.caller, digest, slot).await,
        }
    }
}

impl SessionStore for RedisStore {
    async fn load(&self, digest: &KeyDigest) -> Result<Option<Slot>, Error> {
        many::load(&self.caller, digest).await
    }

    async fn create(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        let slot = Slot::Record(record.at_revision(Revision::FIRST));
        match self.put(digest, &slot).await? {
            true => Ok(Revision::FIRST),
            false => Err(ErrorKind::Exists.into()),
        }
    }

    async fn update(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        match self.caller.is_one() {
            true => one::update(&self.caller, digest, record).await,
            false => many::update(&self.caller, digest, record).await,
        }
    }

    async fn touch(
        &self,
        digest: &KeyDigest,
        revision: Revision,
        touch: Touch,
    ) -> Result<(), Error> {
        match self.caller.is_one() {
            true => one::touch(&self.caller, digest, revision, touch).await,
            false => many::touch(&self.caller, digest, revision, touch).await,
        }
    }

    async fn rotate(
        &self,
        old: &KeyDigest,
        new: &KeyDigest,
        record: &Record,
        mark_until: Timestamp,
    ) -> Result<Revision, Error> {
        match self.caller.is_one() {
            true => one::rotate(&self.caller, old, new, record, mark_until).await,
            false => many::rotate(&self.caller, old, new, record, mark_until).await,
        }
    }

    async fn delete(&self, digest: &KeyDigest) -> Result<(), Error> {
        match self.caller.is_one() {
            true => one::delete(&self.caller, digest).await,
            false => many::delete(&self.caller, digest).await,
        }
    }

    fn capabilities(&self) -> Capabilities<'_> {
        Capabilities::NONE
            .with_subjects(self)
            .with_scan(self)
            .with_import(self)
            .with_invalidations(self)
    }
}

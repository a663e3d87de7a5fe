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
mod greeting;
mod link;
mod one;
mod script;
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
use crate::value::Found;
use crate::wire::{Caller, strange};

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
        RedisBuilder::new(vec![url.into()])
    }

    fn new(caller: Caller) -> Self {
        Self {
            caller: Arc::new(caller),
        }
    }

    async fn put(&self, digest: &KeyDigest, slot: &Slot) -> Result<bool, Error> {
        one::put(&self.caller, digest, slot).await
    }
}

impl SessionStore for RedisStore {
    async fn load(&self, digest: &KeyDigest) -> Result<Option<Slot>, Error> {
        let key = self.caller.session(digest);
        let value = self.caller.read(&key, redis::cmd("GET").arg(&key)).await?;
        let value: Option<Vec<u8>> = redis::from_redis_value(value).map_err(|_| strange())?;
        let Some(value) = value else { return Ok(None) };
        match value::decode(&value).map_err(|error| error.in_store(NAME))? {
            Found::Slot(slot) => Ok(Some(slot)),
            Found::Moving { .. } => Ok(None),
        }
    }

    async fn create(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        let slot = Slot::Record(record.at_revision(Revision::FIRST));
        match self.put(digest, &slot).await? {
            true => Ok(Revision::FIRST),
            false => Err(ErrorKind::Exists.into()),
        }
    }

    async fn update(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        one::update(&self.caller, digest, record).await
    }

    async fn touch(
        &self,
        digest: &KeyDigest,
        revision: Revision,
        touch: Touch,
    ) -> Result<(), Error> {
        one::touch(&self.caller, digest, revision, touch).await
    }

    async fn rotate(
        &self,
        old: &KeyDigest,
        new: &KeyDigest,
        record: &Record,
        mark_until: Timestamp,
    ) -> Result<Revision, Error> {
        one::rotate(&self.caller, old, new, record, mark_until).await
    }

    async fn delete(&self, digest: &KeyDigest) -> Result<(), Error> {
        one::delete(&self.caller, digest).await
    }

    fn capabilities(&self) -> Capabilities<'_> {
        Capabilities::NONE
    }
}

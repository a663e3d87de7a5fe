//! Cloakroom sessions in Redis or Valkey: a single server or a cluster.
//!
//! ```
//! use cloakroom_core::store::{KeyDigest, SessionStore};
//! use cloakroom_core::{Clock, Expiry, SystemClock};
//! use cloakroom_redis::RedisStore;
//!
//! # async fn example() -> Result<(), cloakroom_core::Error> {
//! let store = RedisStore::connect("redis://127.0.0.1:6379").await?;
//! let digest = KeyDigest::from_bytes([0; 32]);
//! store.create(&digest, &Expiry::default().begin(SystemClock.now())).await?;
//! # Ok(())
//! # }
//! ```
//!
//! It needs Redis 6 or later, or Valkey, with scripts allowed, and a tokio runtime
//! with I/O and time: the one it was opened on, as long as it is used. Its tests have
//! passed with Redis 6.2 and 7.0 and with Valkey 9.1, single and in a cluster; TLS with
//! Redis 7.0.
//!
//! # What is promised
//!
//! On a single server every operation is one script, called by its digest: one
//! step for all who look, and one round trip. A server that was started since does
//! not know the script, says so without doing anything, and is given it: then it
//! is two.
//!
//! What is acknowledged is as durable as the server makes it. With
//! `appendonly yes` and `appendfsync always` it survives a crash of the server's
//! machine. With `everysec`, the default of `appendonly yes`, some two seconds of
//! writes may be lost, in rare cases when no more than the process is killed.
//! With snapshots alone it is what came after the last one, and with replicas
//! what had not reached the one that took over: a logout too, so that a session
//! may live again until its deadline.
//!
//! Nothing waits for ever: each round trip has a time-out, 2 s by default
//! ([`RedisBuilder::timeout`]), with the time to connect in it. A server that is
//! down or silent is [`ErrorKind::Unavailable`], and the next call looks for it
//! again: nothing has to be restarted. A connection that the server closed while
//! it was idle is noticed and opened again before the next call, which learns
//! nothing of it. Where a connection breaks under a call, a read is tried once
//! more. A write is not, since it may have been made: it is `Unavailable`. A call
//! that times out takes its connection with it, since nobody would tell if that
//! were dead.
//!
//! What a restart of the server would not cure (a wrong password, a missing right,
//! a replica) is [`ErrorKind::Misconfigured`]. No error and no `Debug` quotes a URL.
//!
//! **Set `maxmemory-policy noeviction`.** With any other, a server whose memory is
//! full ends sessions of its own choice; opening such a one logs a warning.
//!
//! # How it is kept
//!
//! Under `cloakroom:s:` (the prefix can be [chosen](RedisBuilder::prefix)) and the
//! digest in hexadecimal stands a string: a head of 134 characters, which scripts
//! compare and patch, and the [frame](Stored), with its version and CRC:
//!
//! ```text
//! cr1 r 00000000000000000002 00000001795413817617 00000001795410217617 9f86…0a08⏎
//!     |   revision             expires_at           last_seen_at       SHA-256 of the subject
//!     r record, m mark of a rotation (then the last is the digest it moved to)
//! ```
//!
//! A touch writes those 20 digits and leaves the rest. Where head and frame do not
//! agree the record is [`ErrorKind::Corrupt`]; one of a newer build takes no write.
//! A write does not read the frame it replaces: an update heals damage there.
//!
//! Redis's own TTL collects what is dead, a minute after its deadline, so that
//! the server's clock may run ahead of the application's by that much. There is
//! nothing to sweep, and no [`Sweep`](cloakroom_core::store::Sweep).
//!
//! Under `cloakroom:u:` and the SHA-256 of a subject stands the set of its
//! sessions, written by the same script as they are. A session that Redis drops
//! leaves its entry there: lists pass it over and take it out, and each login
//! looks at four old ones. The set itself ends by a TTL, never before its longest
//! session. The scripts reach keys that they were not given, by prefix and digest:
//! a proxy that spreads keys over several servers will not do.
//!
//! Writes are announced on the channel `cloakroom:changes`, by the same script: a
//! digest and a revision. A listener has a connection of its own and asks every
//! second whether that still lives: a silent one is noticed within that second and
//! the time-out, 3 s by default, a closed one at once. So is within the second a
//! server that was made a replica, where the user may ask for its ROLE. A primary
//! that is cut off from those who replaced it does not know, and is believed until
//! it does: till then a near cache has its bound on staleness. A listener that
//! leaves 65,536 messages waiting is given up ([`BACKLOG_MAX`]). Channels do not
//! know databases: two stores of one prefix in two databases hear each other, which
//! harms none.
//!
//! # In a cluster
//!
//! [`RedisStore::cluster`] finds the servers from the ones that it is told, and
//! follows slots that move. A session lies in one slot, the list of its subject in
//! another, the next key of a rotation in a third: no step spans two of them, and
//! they are ordered so that a crash between two steps does no harm.
//!
//! | | round trips: anonymous | with a subject | order |
//! |---|---|---|---|
//! | load | 1 | 1 | |
//! | create | 1 | 2 | entry in the list, record |
//! | update | 1 | 1, 2 where the deadline moves, 3 where it moves far or the subject changes | entry, record |
//! | touch | 1 | 2 where the deadline moves, 3 where it moves far | record, then the list is kept longer; before, where it would not outlive that |
//! | rotate | 3 | 5, two of them at once | entry, the new record as *moving*, the mark at the old one, the new one as arrived, the old entry |
//! | delete | 1, and 1 for each mark | and 1 | record, entry |
//! | revoke | 1 | and 2 or more for each session | each as a delete |
//!
//! An entry without its record is harmless, and goes as above. A record that is
//! *moving* opens nothing until the mark stands at the key it comes from: that mark
//! is the one step of a rotation that counts, a compare-and-swap. So at every
//! moment exactly one of the two keys opens the session, whatever is cut; who comes
//! to the new key before it is written as arrived looks at the old one, and writes
//! that. Where a crash left it unfinished, that must happen while the mark stands.
//! What fails after the step that counts is `Unavailable`, whatever the reason.
//!
//! A call waits for no other node than the one that has its slot. A revocation ends
//! 64 sessions at once; one that cannot be ended spares no other, and is the error.
//!
//! A listener hears every primary, and fails where one of them goes or another
//! comes, since what was told meanwhile may be lost. A scan may miss what the
//! cluster moves from server to server while it runs.

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

use cloakroom_core::store::{
    Capabilities, KeyDigest, Record, Revision, SessionStore, Stored, Touch,
};
use cloakroom_core::{Error, ErrorKind, Timestamp};

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

    async fn put(&self, digest: &KeyDigest, slot: &Stored) -> Result<bool, Error> {
        match self.caller.is_one() {
            true => one::put(&self.caller, digest, slot).await,
            false => many::put(&self.caller, digest, slot).await,
        }
    }
}

impl SessionStore for RedisStore {
    async fn load(&self, digest: &KeyDigest) -> Result<Option<Stored>, Error> {
        many::load(&self.caller, digest).await
    }

    async fn create(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        let slot = Stored::Record(record.at_revision(Revision::FIRST));
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

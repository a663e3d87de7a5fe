//! Cloakroom sessions in PostgreSQL, MySQL, MariaDB or SQLite.
//!
//! ```
//! use cloakroom_core::store::{KeyDigest, SessionStore};
//! use cloakroom_core::{Clock, Expiry, SystemClock};
//! use cloakroom_sql::SqlStore;
//!
//! # async fn example() -> Result<(), cloakroom_core::Error> {
//! // Or mysql://…, mariadb://…, sqlite:PATH.
//! let store = SqlStore::connect("postgres://app@localhost/app").await?;
//! store.migrate().await?;
//! let digest = KeyDigest::from_bytes([0; 32]);
//! store.create(&digest, &Expiry::default().begin(SystemClock.now())).await?;
//! // From here on the session survives a crash of the database.
//! # Ok(())
//! # }
//! ```
//!
//! Each database is a feature: `postgres`, `mysql` (MariaDB too), `sqlite`. `tls`
//! adds TLS with the machine's own roots. It runs on tokio.
//!
//! # What is promised
//!
//! What was answered is committed, `touch` included. How durable that is, the
//! database says: it is by default, and with `synchronous_commit=off` or
//! `innodb_flush_log_at_trx_commit=2` it is not. SQLite is told to sync.
//!
//! Each write that succeeds is one statement, and only one that meets no row looks
//! again. A rotation is one statement in PostgreSQL; in MySQL, which has none that
//! writes two rows differently, a transaction in two round trips (the values go into
//! variables of the connection, then one text that takes them from there is sent); in
//! SQLite four statements, but within this process. `Revoke::All` asks once more whether a rotation was under
//! way; in MySQL it costs a statement for each session.
//!
//! A future that is dropped leaves its statement done or undone. Where that was in
//! MySQL, its connection is closed: sqlx would give the rest of the answer to the
//! next statement.
//!
//! # Connections
//!
//! sqlx asks each connection before each use whether it lives, which doubles the
//! round trips. Here only those are asked that may have died in the pool: unused for
//! a second ([`trusted_idle`](SqlStoreBuilder::trusted_idle)), or in the pool when
//! another one broke. A read that meets a dead one is sent again. A write is not,
//! since nobody knows whether it has happened: one that comes within that second
//! after the server has cut its connection is
//! [`Unavailable`](cloakroom_core::ErrorKind::Unavailable), once. A deadlock, or a
//! serialization failure, is sent again: the database has rolled it back. When it
//! comes back a connection is asked behind the answer, which nobody waits for.
//!
//! Waits are bounded: 5 s for a connection, 5 s for a statement, by default. The
//! database is told to give a statement up itself after four fifths of that, so that
//! nothing which was answered as failed goes on there and happens later:
//! `statement_timeout` in PostgreSQL, `max_statement_time` in MariaDB, and in both
//! MariaDB and MySQL `innodb_lock_wait_timeout` and `lock_wait_timeout`, which count
//! whole seconds, from one on. What it has given up is undone, and
//! [`Unavailable`](cloakroom_core::ErrorKind::Unavailable); it is not sent again.
//! [`migrate`](SqlStore::migrate) has 60 s.
//!
//! A pool that is handed in is used as it is. It should set those itself, in its
//! `after_connect`, below the store's
//! [`statement_timeout`](SqlStoreBuilder::statement_timeout). So should who connects
//! through a pooler that lends connections by the transaction, for the role: what one
//! client sets there may hold for another.
//!
//! # How it is kept
//!
//! One table, [`TABLE_DEFAULT`], a row each for a record or a rotation mark; its SQL
//! stands in `migrations/` of this crate. Digest, subject, label and data are bytes;
//! instants are integers, milliseconds since the epoch; a revision is the 64 bits of
//! a signed integer. Indexes are on the deadline and on the subject. A row says of
//! which `format` it is: of a newer one it is
//! [`Unsupported`](cloakroom_core::ErrorKind::Unsupported), of none that there is, or
//! with a text that is not UTF-8, [`Corrupt`](cloakroom_core::ErrorKind::Corrupt).
//! The deadline means the same in every format, so that a sweep takes them all.
//! There is no checksum: pages are checked by the database, if it is told to, and an
//! operator may change a row by hand.
//!
//! The version of the schema stands in a table beside it, of that name and `_schema`.
//!
//! A record goes up to 16 MiB of data; in MySQL also up to the server's
//! `max_allowed_packet`, which is 16 MiB or 64 MiB by default: beyond it the server
//! hangs up, so the error is `TooLarge` or `Unavailable`.
//!
//! SQLite keeps a log beside its file (WAL): several processes of one machine may use
//! it at once, over a network file system they may not. One writes at a time; those
//! of one process queue.
//!
//! # Near caches on other nodes
//!
//! With [`notifying`](SqlStoreBuilder::notifying), PostgreSQL alone, each write that
//! takes something away says so by NOTIFY, in the same statement, on a channel of the
//! table's name (with its schema and a dot before it, where one is set: so all nodes
//! must name it alike). A listener has a connection of its own. It fails at once
//! where that is cut; where it is silently dead, within 15 s. LISTEN needs a real
//! session: a pooler that lends connections by the transaction gives none.

#![cfg_attr(docsrs, feature(doc_cfg))]
// What only one database uses lies idle in a build for another.
#![cfg_attr(
    not(all(feature = "mysql", feature = "postgres", feature = "sqlite")),
    allow(dead_code, unused_imports, unused_macros)
)]

mod backend;
mod builder;
mod dialect;
mod failure;
mod many;
mod migrate;
#[cfg(feature = "postgres")]
mod notify;
mod pool;
mod row;
mod store;
mod table;
mod texts;

use std::fmt;
use std::sync::Arc;

use cloakroom_core::store::{
    Capabilities, Invalidations, KeyDigest, Record, Revision, SessionStore, Stored, Touch,
};
use cloakroom_core::{Error, Timestamp};

use crate::backend::Backend;
pub use crate::builder::{
    ACQUIRE_TIMEOUT_DEFAULT, POOL_SIZE_DEFAULT, STATEMENT_TIMEOUT_DEFAULT, SqlStoreBuilder,
    TIMEOUT_MAX, TRUSTED_IDLE_DEFAULT,
};
pub use crate::table::{NAME_BYTES_MAX, TABLE_DEFAULT};

/// A store in a table of its own. Cheap to clone; its connections end with the last
/// clone.
#[derive(Clone)]
pub struct SqlStore {
    backend: Arc<dyn Backend>,
    channel: Option<Arc<dyn Invalidations>>,
}

impl SqlStore {
    /// Opens the database that a URL names, with every setting at its default; see
    /// [`SqlStoreBuilder::connect`].
    ///
    /// # Errors
    /// As [`SqlStoreBuilder::connect`].
    pub async fn connect(url: &str) -> Result<Self, Error> {
        Self::builder().connect(url).await
    }

    /// To set more than the address.
    #[must_use]
    pub fn builder() -> SqlStoreBuilder {
        SqlStoreBuilder::default()
    }

    /// Makes the table and its indexes, or brings them up to what this build needs.
    ///
    /// Idempotent, and safe where several processes begin at once: one does the
    /// work, the others wait for it. Where there is nothing to do, it only reads.
    /// The SQL is published in the folder `migrations` of this crate, and may be run
    /// by hand instead.
    ///
    /// # Errors
    /// [`Misconfigured`](cloakroom_core::ErrorKind::Misconfigured) where the
    /// database refuses it, [`Unsupported`](cloakroom_core::ErrorKind::Unsupported)
    /// where the table is of a newer schema,
    /// [`Unavailable`](cloakroom_core::ErrorKind::Unavailable) where there is no
    /// answer within 60 s.
    pub async fn migrate(&self) -> Result<(), Error> {
        self.backend.migrate().await
    }
}

impl fmt::Debug for SqlStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlStore")
            .field("database", &self.backend.name())
            .field("table", &self.backend.table())
            .finish_non_exhaustive()
    }
}

impl SessionStore for SqlStore {
    async fn load(&self, digest: &KeyDigest) -> Result<Option<Stored>, Error> {
        self.backend.load(digest).await
    }

    async fn create(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        self.backend.create(digest, record).await
    }

    async fn update(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        self.backend.update(digest, record).await
    }

    async fn touch(
        &self,
        digest: &KeyDigest,
        revision: Revision,
        touch: Touch,
    ) -> Result<(), Error> {
        self.backend.touch(digest, revision, touch).await
    }

    async fn rotate(
        &self,
        old: &KeyDigest,
        new: &KeyDigest,
        record: &Record,
        mark_until: Timestamp,
    ) -> Result<Revision, Error> {
        self.backend.rotate(old, new, record, mark_until).await
    }

    async fn delete(&self, digest: &KeyDigest) -> Result<(), Error> {
        self.backend.delete(digest).await
    }

    fn capabilities(&self) -> Capabilities<'_> {
        let all = Capabilities::NONE
            .with_sweep(&*self.backend)
            .with_subjects(&*self.backend)
            .with_scan(&*self.backend)
            .with_import(&*self.backend);
        match &self.channel {
            Some(channel) => all.with_invalidations(&**channel),
            None => all,
        }
    }
}

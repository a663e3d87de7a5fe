//! Cloakroom sessions in PostgreSQL, MySQL or MariaDB.
//!
//! ```
//! use cloakroom_core::store::{KeyDigest, SessionStore};
//! use cloakroom_core::{Clock, Expiry, SystemClock};
//! use cloakroom_sql::SqlStore;
//!
//! # async fn example() -> Result<(), cloakroom_core::Error> {
//! // Or mysql://…, mariadb://….
//! let store = SqlStore::connect("postgres://app@localhost/app").await?;
//! store.migrate().await?;
//! let digest = KeyDigest::from_bytes([0; 32]);
//! store.create(&digest, &Expiry::default().begin(SystemClock.now())).await?;
//! // From here on the session survives a crash of the database.
//! # Ok(())
//! # }
//! ```
//!
//! Each database is a feature: `postgres`, `mysql` (MariaDB too). `tls` adds TLS with the
//! machine's own roots. The store runs on tokio.
//!
//! **In the book:** [SQL databases: pools and poolers](https://github.com/cloakroom-rs/cloakroom/blob/main/docs/sql.md).
//!
//! # Promises
//!
//! A write that was answered is committed, `touch` included. The database decides how
//! durable a commit is. By default it survives a crash; with `synchronous_commit=off`
//! or `innodb_flush_log_at_trx_commit=2` it may not.
//!
//! A write that succeeds is one statement; only one that finds no row reads the table
//! again, to tell why. The exception: a rotation in MySQL, which cannot write two rows
//! differently in one statement, is a transaction in two round trips (the first puts the
//! values into variables of the connection, the second runs a script over them).
//! `Revoke::All` ends 256 sessions in a statement, so that none comes near its time limit
//! however many there are, and reads the table once more, for a session that was rotated
//! meanwhile; in MySQL it reads the table before each of these statements too. What such a
//! statement has ended stays ended, whatever comes of the next.
//!
//! A dropped future leaves its statement done or not done. In MySQL its connection is
//! then closed, since sqlx would take the rest of the answer for the next one.
//!
//! # Connections
//!
//! sqlx pings a connection before each use, by default, and each time that it is returned;
//! either doubles the round trips. This store pings only a connection that may have died in
//! the pool: one that was idle for a second
//! ([`trusted_idle`](SqlStoreBuilder::trusted_idle)), or was in the pool when another one
//! broke. One that is used all the time is pinged as often, and closed where it is older than
//! half an hour. A connection whose call was dropped half way, or whose statement failed, is
//! pinged before it is used again; no caller waits for that.
//!
//! Connections live on the tokio runtime on which the store was opened, as long as it runs,
//! whichever runtime asks: where each worker has its own, none ends with a worker while
//! others use it.
//!
//! A read on a broken connection is sent again. A write is not, since nobody knows
//! whether it has happened: one that comes within that second after the server has cut
//! its connection fails once, with [`Unavailable`](cloakroom_core::ErrorKind::Unavailable).
//! After a deadlock or a serialization failure a statement is sent again, since the
//! database has rolled it back. Statements and the making of tables name their isolation,
//! whatever the default of the database: READ COMMITTED in PostgreSQL, REPEATABLE READ in
//! MySQL. A pool that is handed in has its own; only the making of tables names it there.
//!
//! A connection and a statement are waited for 5 s each, by default. The database itself
//! gives a statement up after four fifths of that, so that it never carries out later
//! what was answered as failed. The limits are `statement_timeout` in PostgreSQL,
//! `max_statement_time` in MariaDB, and in both MariaDB and MySQL
//! `innodb_lock_wait_timeout` and `lock_wait_timeout`, in whole seconds, at least one.
//! A statement that was given up is undone, not sent again, and
//! [`Unavailable`](cloakroom_core::ErrorKind::Unavailable).
//! [`migrate`](SqlStore::migrate) has 60 s.
//!
//! [`close`](cloakroom_core::store::Close) waits for the statements under way and closes the
//! connections, for all clones of the store; a pool that was handed in is left open.
//!
//! A pool that is handed in is used as it is. Its `after_connect` should set these
//! limits, below the store's [`statement_timeout`](SqlStoreBuilder::statement_timeout).
//!
//! A server that refuses connections is told at once when the store is opened, and after
//! the acquire timeout later, since it may come back. Where TLS is not required and the
//! server is on another machine, opening the store is an event at `WARN`, which names the
//! host; `sslmode=disable` (`ssl-mode=DISABLED`) says that this is meant. A Unix socket is
//! `postgres://USER@%2FFOLDER/DATABASE` or `mysql://USER@localhost/DATABASE?socket=PATH`.
//!
//! # Behind a pooler
//!
//! pgbouncer and its like may lend a connection to PostgreSQL by the transaction. What one
//! client sets or prepares there, another one meets. So a connection of this store is opened
//! with its settings, which such a pooler refuses or swallows, and opening the store fails
//! with [`Misconfigured`](cloakroom_core::ErrorKind::Misconfigured), having left nothing
//! behind. With [`behind_pooler`](SqlStoreBuilder::behind_pooler) (in a URL
//! `pooler=transaction`), which also works without a pooler, it
//!
//! - sends each statement as one message and one transaction, which sets its isolation and
//!   its time limit for itself, prepares nothing, and costs one round trip;
//! - has the server parse and plan each statement anew;
//! - writes values into the text, as digits and hexadecimal alone. **A server that logs
//!   statements, as by default those that fail, logs the data of sessions with them**, in
//!   hexadecimal: turn that off for the role (`log_min_error_statement = panic`), or seal the
//!   data. Neither this crate nor sqlx logs them here;
//! - cannot listen. A cache hears of no other node, and relies on its bound on staleness;
//!   its writes may notify others, which listen at the server itself.
//!
//! What stands before MySQL or MariaDB must keep the variables of a connection to its client.
//!
//! # The table
//!
//! One table ([`TABLE_DEFAULT`]) has a row for each record, rotation mark or tombstone; its
//! SQL is in the folder `migrations` of this crate. Its columns, not frames, make the sweep, the
//! lists and compare-and-swap single statements over indexes, and an operator can read
//! and repair a row in SQL. Digests, texts and data are bytes, instants are milliseconds
//! since the epoch, a revision is the 64 bits of a signed integer. The indexes are on the
//! deadline, and on the digest of the subject together with that of the session, in whose
//! order lists are read page by page.
//!
//! Each row has a `format`. A newer one is
//! [`Unsupported`](cloakroom_core::ErrorKind::Unsupported); one that never was, or a text
//! that is not UTF-8, is [`Corrupt`](cloakroom_core::ErrorKind::Corrupt). The deadline
//! means the same in every format, so that a sweep removes them all. There is no
//! checksum: the database checks its pages, where it is told to. `CHECK`s keep rows out
//! that mean nothing, and the data of a record is checked whole when its session is opened.
//!
//! The version of the schema is in a second table, of that name and `_schema`.
//!
//! A record may have 16 MiB of data. In MySQL the server's `max_allowed_packet`, 16 or
//! 64 MiB by default, may be lower. The server hangs up on more, so the error is
//! `TooLarge` or `Unavailable`. A row that holds more is
//! [`Corrupt`](cloakroom_core::ErrorKind::Corrupt).
//!
//! # What is remembered of a session that has ended
//!
//! Its row becomes a tombstone: why and when it ended, the digest of its subject, and a note.
//! `end` and `end_sessions` write it in the one statement that ends the session, and notify as
//! for a session that is removed. A sweep leaves one of each record and rotation mark that
//! expired less than a day ago ([`Stored::swept`](cloakroom_core::store::Stored::swept)), and
//! removes it when its day is over: in PostgreSQL that is one statement, in MySQL three. A site
//! that sweeps so holds, beside its sessions, a short row for each that ended within a day.
//!
//! # Near caches on other nodes
//!
//! In PostgreSQL each end of a session and each move to another key notifies a channel in the
//! same statement, for those who wait for the end; with
//! [`notifying`](SqlStoreBuilder::notifying) each update does too. The channel has the
//! table's name, behind the schema and a dot where a schema is set, so all nodes must
//! name it alike. A listener has two connections of its own: on one it notifies itself each
//! 5 s, on the other it listens. It counts as heard from when the first such notification
//! has come back. It fails at once where the connection is cut, and within 15 s where it
//! does not hear itself any more, be it that the network is dead or that a pooler has
//! forgotten its LISTEN.

#![cfg_attr(docsrs, feature(doc_cfg))]
// What only one database uses is unused in a build for another.
#![cfg_attr(
    not(all(feature = "mysql", feature = "postgres")),
    allow(dead_code, unused_imports, unused_macros)
)]
#![cfg_attr(
    not(any(feature = "mysql", feature = "postgres")),
    allow(unused_variables)
)]

mod builder;
mod dialect;
mod driver;
mod endings;
mod error;
mod home;
mod idle;
mod literals;
mod migrate;
#[cfg(feature = "postgres")]
mod notify;
mod pool;
mod row;
mod scan;
mod sql_store;
mod statement;
mod statements;
mod store;
mod subjects;
mod table;

pub use crate::builder::{
    ACQUIRE_TIMEOUT_DEFAULT, POOL_SIZE_DEFAULT, STATEMENT_TIMEOUT_DEFAULT, SqlStoreBuilder,
    TIMEOUT_MAX, TRUSTED_IDLE_DEFAULT,
};
pub use crate::sql_store::SqlStore;
pub use crate::table::{NAME_BYTES_MAX, TABLE_DEFAULT};

//! Cloakroom sessions in an SQLite database: a table that any SQL can read, several
//! processes at one file, nothing to install.
//!
//! ```
//! use cloakroom_core::store::{KeyDigest, SessionStore};
//! use cloakroom_core::{Clock, Expiry, SystemClock};
//! use cloakroom_sqlite::SqliteStore;
//!
//! # async fn example(folder: &std::path::Path) -> Result<(), cloakroom_core::Error> {
//! let store = SqliteStore::open(folder.join("sessions.db"))?;
//! let digest = KeyDigest::from_bytes([0; 32]);
//! store.create(&digest, &Expiry::default().begin(SystemClock.now())).await?;
//! // From here on the session survives a crash of this machine.
//! # Ok(())
//! # }
//! ```
//!
//! **In the book:** [Which store?](https://github.com/cloakroom-rs/cloakroom/blob/main/docs/stores.md).
//!
//! # What is promised
//!
//! Every write is a transaction, and on the disk before it returns: `touch` too, since it
//! shares the sync of the others. With [`Synchronous::Normal`] a write is answered before
//! that. An `end_sessions` is a transaction for each 128 sessions, and a sweep one for each 64, so
//! that other writes get their turn; where it fails or is dropped in between, what was ended
//! stays ended, and another call goes on.
//!
//! Several processes of one machine may use the file at once, but not over a network file
//! system. One of them writes at a time; a write that waits for another process gives up
//! within the [`timeout`](SqliteStoreBuilder::timeout), has changed nothing then, and is
//! [`Unavailable`](cloakroom_core::ErrorKind::Unavailable). Reads wait for nobody.
//!
//! A dropped future leaves its write done or not done. A full disk fails the writes that find
//! it full, and a failed disk those that it does not take: they are
//! [`Unavailable`](cloakroom_core::ErrorKind::Unavailable), and may still be kept where the
//! disk failed. Sessions can be read meanwhile, and the store goes on by itself.
//!
//! Where the file was deleted, moved away or replaced, each write is
//! [`Unavailable`](cloakroom_core::ErrorKind::Unavailable) until it is back in its place.
//!
//! [`close`](cloakroom_core::store::Close) does what was asked before, and closes the file for
//! all clones of the store.
//!
//! # The table
//!
//! One table ([`TABLE_DEFAULT`]) has a row for each record, rotation mark or tombstone; its
//! SQL is in the folder `migrations` of this crate, and opening the store makes it. Its columns, not
//! frames, make the sweep, the lists and compare-and-swap single statements over indexes, and
//! an operator can read and repair a row in SQL. Digests, texts and data are bytes, instants
//! are milliseconds since the epoch, a revision is the 64 bits of a signed integer. The
//! indexes are on the deadline, and on the digest of the subject together with that of the
//! session, in whose order lists are read page by page.
//!
//! Each row has a `format`. A newer one is
//! [`Unsupported`](cloakroom_core::ErrorKind::Unsupported); one that never was, a value of
//! another type, or a text that is not UTF-8, is
//! [`Corrupt`](cloakroom_core::ErrorKind::Corrupt). The deadline means the same in every
//! format, so that a sweep removes them all. There is no checksum. `CHECK`s keep rows out
//! that mean nothing, and the data of a record is checked whole when its session is opened.
//! A record may have 16 MiB of data.
//!
//! The version of the schema is in a second table, of that name and `_schema`.
//!
//! # What is remembered of a session that has ended
//!
//! Its row becomes a tombstone: why and when it ended, the digest of its subject, and a note.
//! `end` writes it in the step that ends the session, with no further sync. A sweep leaves one
//! of each record and rotation mark that expired less than a day ago
//! ([`Stored::swept`](cloakroom_core::store::Stored::swept)), and removes it when its day is
//! over: that is two statements in one transaction. A site that sweeps so holds, beside its
//! sessions, a short row for each that ended within a day.
//!
//! # Decisions
//!
//! **One thread writes.** It takes every write that waits, up to 1,024, runs them in one
//! transaction, and commits them together: one sync for all. A write that is refused (a
//! conflict, a record that is gone) has changed nothing, and does not disturb the others.
//! Where one fails the transaction, each is tried in one of its own, so that it fails alone.
//! With [`Synchronous::Normal`] there is no sync to share: a short write is a transaction on
//! its caller's thread where nobody else writes, since a hop to another thread costs more
//! than that. The thread then empties the log, which syncs, after each 256 rows.
//!
//! **A load runs where it is called,** on a snapshot, and waits for nobody: where its pages
//! are in memory it takes some microseconds, a hop to another thread thirty. Where the disk
//! is slower than 25 ms, such work leaves the caller's thread, and after 10 s it fails: see
//! [`InlineWork`]. Pages of lists and scans are read on a thread of their own, one after the
//! other. There are as many connections as reads at the same time, which are few.
//!
//! **SQLite keeps a write-ahead log beside its file.** A log that was cut is a silent
//! rollback: SQLite reads it up to the first frame that does not fit, as a crash leaves them.
//! Later sessions are then gone, and some that were logged out are back. Where a process was
//! killed, it leaves the log's index behind, and a store that finds fewer frames than that
//! says is told by an event at `WARN`, on Linux. After a crash of the machine, and where the
//! index is missing, nobody can tell.
//!
//! **Any version of rusqlite will do,** from 0.32 on: SQLite may be linked once in a program,
//! and an application's sqlx, 0.8 or 0.9, asks for a version of its own.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod builder;
mod database;
mod lost_frames;
mod migrate;
mod row;
mod statements;
mod table;
mod writer;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use cloakroom_core::store::{
    BoxFuture, Capabilities, Close, Ending, Import, KeyDigest, ListPage, Record, Revision, Revoke,
    Scan, ScanCursor, ScanPage, SessionStore, Stored, SubjectDigest, Subjects, Sweep, Swept, Touch,
};
use cloakroom_core::{Error, Timestamp};
use cloakroom_disk::{InlineWork, JobThreads};

pub use crate::builder::{
    NAME_BYTES_MAX, SqliteStoreBuilder, Synchronous, TABLE_DEFAULT, TIMEOUT_DEFAULT, TIMEOUT_MAX,
};
use crate::database::{Database, unavailable};
use crate::table::{Table, TableError};
use crate::writer::{DatabaseHandle, Writer};

/// The store's name in its errors.
const NAME: &str = "sqlite";

/// Rows that a sweep removes in one transaction: others wait for about a millisecond.
const SWEEP_STEP_MAX: usize = 64;

/// A store in a table of a file. Cheap to clone; the database is closed by
/// [`close`](Close::close), or when the last clone is dropped.
#[derive(Clone)]
pub struct SqliteStore {
    inner: Arc<Inner>,
}

struct Inner {
    // Before the database: the threads have ended when that is closed.
    writer: Writer,
    inline: InlineWork,
    reader: JobThreads,
    database: Arc<DatabaseHandle>,
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore")
            .field("path", &self.inner.writer.path())
            .finish_non_exhaustive()
    }
}

impl SqliteStore {
    /// Opens the database in a file, with every setting at its default: see
    /// [`SqliteStoreBuilder::open`].
    ///
    /// # Errors
    /// As [`SqliteStoreBuilder::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::builder().open(path)
    }

    /// Begins with every setting at its default.
    #[must_use]
    pub fn builder() -> SqliteStoreBuilder {
        SqliteStoreBuilder::default()
    }

    fn open_with(path: &Path, settings: SqliteStoreBuilder) -> Result<Self, Error> {
        // The file is found again, whatever the process's folder is then.
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        let lock_timeout = settings.lock_timeout();
        let database = Database::open(&path, settings)?;
        let (writer, database) = Writer::start(database, &path, lock_timeout)?;
        let no_threads = |source| {
            let message = format!("cannot start the background threads of the store: {source}");
            unavailable(message).with_source(source)
        };
        let inline = InlineWork::start("cloakroom-sqlite").map_err(no_threads)?;
        let reader = JobThreads::start("cloakroom-sqlite-read", 1).map_err(no_threads)?;
        Ok(Self {
            inner: Arc::new(Inner {
                writer,
                inline,
                reader,
                database,
            }),
        })
    }

    /// Runs a read of many rows on the thread for them.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Table<'_>) -> Result<T, TableError> + Send + 'static,
    ) -> Result<T, Error> {
        let database = self.inner.database.clone();
        let read = move || database.to_read()?.read(work);
        match self.inner.reader.run(read).await {
            Ok(read) => read,
            Err(lost) => Err(unavailable(lost.to_string()).with_source(lost)),
        }
    }

    async fn write<T: Send + 'static>(
        &self,
        work: impl FnMut(&mut Table<'_>) -> Result<T, TableError> + Send + 'static,
    ) -> Result<T, Error> {
        self.inner.writer.write(work).await
    }

    async fn write_short<T: Send + 'static>(
        &self,
        work: impl FnMut(&mut Table<'_>) -> Result<T, TableError> + Send + 'static,
    ) -> Result<T, Error> {
        let Inner {
            writer,
            inline,
            database,
            ..
        } = &*self.inner;
        writer.write_short(inline, database, work).await
    }
}

impl SessionStore for SqliteStore {
    async fn load(&self, digest: &KeyDigest) -> Result<Option<Stored>, Error> {
        let digest = *digest;
        let load = move |handle: &DatabaseHandle| handle.to_read()?.read(|t| t.load(&digest));
        match self.inner.inline.run(&self.inner.database, load).await {
            Ok(loaded) => loaded,
            Err(not_done) => Err(self.inner.writer.not_done("read", not_done)),
        }
    }

    async fn create(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        let (digest, record) = (*digest, record.clone());
        self.write_short(move |t| t.create(&digest, &record)).await
    }

    async fn update(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        let (digest, record) = (*digest, record.clone());
        self.write_short(move |t| t.update(&digest, &record)).await
    }

    async fn touch(
        &self,
        digest: &KeyDigest,
        revision: Revision,
        touch: Touch,
    ) -> Result<(), Error> {
        let digest = *digest;
        self.write_short(move |t| t.touch(&digest, revision, touch))
            .await
    }

    async fn rotate(
        &self,
        old: &KeyDigest,
        new: &KeyDigest,
        record: &Record,
        mark_until: Timestamp,
    ) -> Result<Revision, Error> {
        let (old, new, record) = (*old, *new, record.clone());
        self.write_short(move |t| t.rotate(&old, &new, &record, mark_until))
            .await
    }

    async fn end(&self, digest: &KeyDigest, ending: Option<&Ending>) -> Result<(), Error> {
        let (digest, ending) = (*digest, ending.cloned());
        self.write_short(move |t| t.end(&digest, ending.as_ref()))
            .await
    }

    fn capabilities(&self) -> Capabilities<'_> {
        Capabilities::NONE
            .named("sqlite")
            .with_sweep(self)
            .with_subjects(self)
            .with_scan(self)
            .with_import(self)
            .with_close(self)
    }
}

impl Sweep for SqliteStore {
    /// In steps, each a transaction of its own, between which others write. Where one
    /// fails, what those before it have removed stays removed.
    fn sweep(&self, now: Timestamp, max: usize) -> BoxFuture<'_, Result<Swept, Error>> {
        Box::pin(async move {
            let mut removed = 0;
            while removed < max {
                let step = (max - removed).min(SWEEP_STEP_MAX);
                let done = self.write(move |t| t.sweep(now, step)).await?;
                removed += done;
                if done < step {
                    return Ok(Swept::new(removed, false));
                }
            }
            Ok(Swept::new(removed, max > 0))
        })
    }
}

impl Subjects for SqliteStore {
    /// Each page is read on a snapshot of its own.
    fn list_sessions<'a>(
        &'a self,
        subject: &'a SubjectDigest,
        from: Option<&'a ScanCursor>,
    ) -> BoxFuture<'a, Result<ListPage, Error>> {
        let (subject, from) = (*subject, from.cloned());
        Box::pin(self.read(move |t| t.list(&subject, from.as_ref())))
    }

    /// In steps, each a transaction of its own, between which others write.
    fn end_sessions<'a>(
        &'a self,
        subject: &'a SubjectDigest,
        which: Revoke,
        ending: Option<&'a Ending>,
    ) -> BoxFuture<'a, Result<Vec<KeyDigest>, Error>> {
        let subject = *subject;
        let step = move |which| {
            let ending = ending.cloned();
            self.write(move |t| t.end_sessions(&subject, which, ending.as_ref()))
        };
        Box::pin(which.in_steps(step))
    }
}

impl Scan for SqliteStore {
    /// Each page is read on a snapshot of its own.
    fn scan<'a>(
        &'a self,
        from: Option<&'a ScanCursor>,
        max: usize,
    ) -> BoxFuture<'a, Result<ScanPage, Error>> {
        let from = from.cloned();
        Box::pin(self.read(move |t| t.scan(from.as_ref(), max)))
    }
}

impl Import for SqliteStore {
    fn import<'a>(
        &'a self,
        digest: &'a KeyDigest,
        stored: &'a Stored,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        let (digest, stored) = (*digest, stored.clone());
        Box::pin(self.write(move |t| t.import(&digest, &stored)))
    }
}

impl Close for SqliteStore {
    fn close(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.inner.writer.close())
    }
}

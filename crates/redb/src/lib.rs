//! Cloakroom sessions in an embedded redb database: crash-safe by construction,
//! with nothing to install.
//!
//! ```
//! use cloakroom_core::store::{KeyDigest, SessionStore};
//! use cloakroom_core::{Clock, Expiry, SystemClock};
//! use cloakroom_redb::RedbStore;
//!
//! # async fn example(folder: &std::path::Path) -> Result<(), cloakroom_core::Error> {
//! let store = RedbStore::open(folder.join("sessions.redb"))?;
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
//! Every write is a transaction, and on the disk before it returns: `touch` too, since
//! it shares the sync of the others. An `end_sessions` is a transaction for each 128 sessions,
//! so that other writes get their turn; where it fails or is dropped in between, the sessions
//! that were ended stay ended, and another call goes on. When the
//! database is opened after a crash, redb undoes what was half done; it then reads the
//! whole file, which takes a while where that is large. A database whose making was cut
//! short is made anew.
//!
//! A session that was ended leaves a tombstone ([`Stored::Ended`]) in its place, which says why
//! and when. It is written in the transaction that ends the session, and costs no further sync.
//! A sweep leaves one of each session and rotation mark that expired less than a day before, and
//! removes each tombstone when its day is over. Until then it takes some 200 bytes.
//!
//! One process at a time has the file open: a second one gets
//! [`Locked`](cloakroom_core::ErrorKind::Locked).
//!
//! After a failed commit, on a full disk too, the outcome of its writes is unknown: they
//! fail with [`Unavailable`](cloakroom_core::ErrorKind::Unavailable). The store then opens the
//! database again by itself. Until that is done each call is `Unavailable`, since after a
//! failed sync the system may show pages that the disk does not have; on Linux it is made to
//! read them from the disk. Writes that were acknowledged are still there. Sessions can be
//! read from then on, also while the disk is full, and writes are taken after a pause that
//! begins at 0.1 s and doubles with each failure up to 5 s, or ten times what opening took.
//!
//! Where the file was deleted, moved away or replaced, no write to it is acknowledged any
//! more; the first write or sweep finds that out, and each call is `Unavailable`. The store
//! makes no empty file in its place, and opens the database again once it is back.
//!
//! [`close`](cloakroom_core::store::Close) closes the file for all clones of the store, so
//! that it can be opened again in the same process.
//!
//! # How it is kept
//!
//! One file with three tables. `records` holds, by deadline and digest, the subject's
//! digest (zeros for nobody) and the [frame](cloakroom_core::store::Stored).
//! `deadlines` maps a digest to the deadline in the key of its record. That one may be
//! earlier than the real one in the frame, because extending a session does not move its
//! record. `subjects` has an entry of subject and digest for each record with a
//! subject. Keys never reach the disk.
//!
//! A file that was cut is refused when it is opened; one that was emptied is made anew, and
//! nothing tells it from a new one. An older copy of the file is opened as it is.
//!
//! A frame is under a CRC; the rest is under redb's checks alone. Where a bit flips in
//! `deadlines`, the session opens nothing any more, and a sweep removes it; where one
//! flips in `subjects`, the session is not listed.
//!
//! # Decisions
//!
//! **One thread writes.** It takes every write that waits, up to 1,024, judges each on
//! what the ones before it have left, and commits them together: one sync for all. A
//! write that is refused (a conflict, a record that is gone) has changed nothing, and
//! does not disturb the others. A commit writes new pages and the header, and then syncs
//! once, by `fdatasync`, before any of the writes is answered; where the file has to
//! grow, that is done and synced first. The same thread opens a database again that has
//! failed, so no other operation waits for it.
//!
//! **A load runs where it is called,** on a snapshot, and waits for nobody: where its pages
//! are in memory it takes two microseconds, a hop to another thread thirty. A load of what
//! is not in memory waits for the disk: on a virtual machine with its caches dropped, 20,000
//! sessions of 2 KB took 0.1 ms in the median and 3 ms in the 99th percentile. Where it is
//! slower than 25 ms, loads leave the caller's thread: see [`InlineWork`].
//!
//! Pages of lists and scans, which read many records, are read on a thread of their own, one
//! after the other.
//!
//! **Records lie by deadline,** so what begins together shares pages, and so does what
//! expires together. The cost is that a load does two lookups; the gain is that a million
//! creates take half the time that they take where records lie by digest.
//!
//! **A deadline that moves on leaves the record where it is,** so that a touch writes one
//! table. The sweep that comes to the record moves it.
//!
//! **A sweep removes a record, or puts a tombstone in its place, in one transaction with all
//! that leads to it,** a piece of
//! four records in each, or of half as many as there are writes that share it. What
//! expires together lies together in `records` alone: in the other two tables, each
//! removal among many sessions writes pages of its own, as a creation does. A tombstone is
//! removed a day later, so each session that expires is swept twice. Small pieces
//! let writers wait little: with a million sessions and four to eight writers, a sweep
//! raises the 99th percentile of their waits by a factor of 1.2 to 1.8, and removes some
//! 1,000 records a second. Pieces of 32 raised it by three; a fixed size falls behind many
//! writers. Clearing the other two tables later and in bulk removed some 50,000 records a
//! second, and was given up: it needed two more tables and 300 lines, and raised the waits
//! by a factor of 2.6.
//!
//! **The subject stands beside the frame too,** so that a record whose frame is damaged
//! takes its entry in `subjects` along when it is swept.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod database;
mod reads;
mod stored_frame;
mod sweep;
mod tables;
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
use redb::Database;

use crate::database::{DatabaseFile, Failure, unavailable};
use crate::tables::{TableError, Tables};
use crate::writer::{DatabaseHandle, Writer};

/// Bytes of redb's page cache by default: 128 MiB, which fills as pages are read. The
/// tables `deadlines` and `subjects` of a million sessions take about as much.
pub const CACHE_BYTES_DEFAULT: usize = 128 * 1024 * 1024;

/// A store in a file of its own. Cheap to clone; the database is closed by
/// [`close`](Close::close), or when the last clone is dropped.
#[derive(Clone)]
pub struct RedbStore {
    inner: Arc<Inner>,
}

struct Inner {
    // Before the database: the threads have ended when that is closed.
    writer: Writer,
    loads: InlineWork,
    reader: JobThreads,
    database: Arc<DatabaseHandle>,
    sweep_cursor: Arc<sweep::Cursor>,
}

impl fmt::Debug for RedbStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbStore")
            .field("path", &self.inner.writer.path())
            .finish_non_exhaustive()
    }
}

impl RedbStore {
    /// Opens the database in a file, and makes it, and the folder it lies in,
    /// where there is none. On Unix what it makes is for its owner alone.
    ///
    /// This blocks on the disk: call it at start, or off the runtime's threads.
    ///
    /// # Errors
    /// [`Locked`](cloakroom_core::ErrorKind::Locked) where another process (or another
    /// store of this one) has it open,
    /// [`Misconfigured`](cloakroom_core::ErrorKind::Misconfigured) where this process may
    /// not use the file, or, on Unix, others than its owner have rights to it (those of its
    /// group are told by an event at `WARN`) or another user owns it,
    /// [`Unavailable`](cloakroom_core::ErrorKind::Unavailable) where the file cannot be
    /// used or is damaged; each names it.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::open_with(path, CACHE_BYTES_DEFAULT)
    }

    /// As [`open`](Self::open), with a page cache of this many bytes.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(path: impl AsRef<Path>, cache_bytes: usize) -> Result<Self, Error> {
        // The file is found again, whatever the process's folder is then.
        let path = path.as_ref();
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        Self::over(DatabaseFile::open(&path, cache_bytes)?, &path, cache_bytes)
    }

    fn over(database: DatabaseFile, path: &Path, cache_bytes: usize) -> Result<Self, Error> {
        let (writer, database) = Writer::start(database, path, cache_bytes)?;
        let no_threads = |source| {
            let message = format!("cannot start the background threads of the store: {source}");
            unavailable(message).with_source(source)
        };
        let loads = InlineWork::start("cloakroom-redb-load").map_err(no_threads)?;
        let reader = JobThreads::start("cloakroom-redb-read", 1).map_err(no_threads)?;
        Ok(Self {
            inner: Arc::new(Inner {
                writer,
                loads,
                reader,
                database,
                sweep_cursor: Arc::default(),
            }),
        })
    }

    /// Runs a read of many records on the thread for them.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, TableError> + Send + 'static,
    ) -> Result<T, Error> {
        let database = self.inner.database.clone();
        let read = move || database.to_read()?.attempt(work);
        match self.inner.reader.run(read).await {
            Ok(read) => self.checked(read).await,
            Err(lost) => Err(unavailable(lost.to_string()).with_source(lost)),
        }
    }

    /// Where a read has found that redb does nothing more with its file, the thread that
    /// writes finds the same, and opens the database again.
    async fn checked<T>(&self, read: Result<T, Failure>) -> Result<T, Error> {
        if let Err(failure) = &read
            && failure.is_final
        {
            let _ = self.write(|_| Ok(())).await;
        }
        Ok(read?)
    }

    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Tables<'_>) -> Result<T, TableError> + Send + 'static,
    ) -> Result<T, Error> {
        self.inner.writer.write(work).await
    }
}

impl SessionStore for RedbStore {
    async fn load(&self, digest: &KeyDigest) -> Result<Option<Stored>, Error> {
        let digest = *digest;
        let load =
            move |handle: &DatabaseHandle| handle.to_read()?.attempt(|db| reads::load(db, &digest));
        match self.inner.loads.run(&self.inner.database, load).await {
            Ok(loaded) => self.checked(loaded).await,
            Err(source) => {
                let path = self.inner.writer.path().display();
                Err(unavailable(format!("cannot read {path}: {source}")).with_source(source))
            }
        }
    }

    async fn create(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        let (digest, record) = (*digest, record.clone());
        self.write(move |t| t.create(&digest, &record)).await
    }

    async fn update(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        let (digest, record) = (*digest, record.clone());
        self.write(move |t| t.update(&digest, &record)).await
    }

    async fn touch(
        &self,
        digest: &KeyDigest,
        revision: Revision,
        touch: Touch,
    ) -> Result<(), Error> {
        let digest = *digest;
        self.write(move |t| t.touch(&digest, revision, touch)).await
    }

    async fn rotate(
        &self,
        old: &KeyDigest,
        new: &KeyDigest,
        record: &Record,
        mark_until: Timestamp,
    ) -> Result<Revision, Error> {
        let (old, new, record) = (*old, *new, record.clone());
        self.write(move |t| t.rotate(&old, &new, &record, mark_until))
            .await
    }

    async fn end(&self, digest: &KeyDigest, ending: Option<&Ending>) -> Result<(), Error> {
        let (digest, ending) = (*digest, ending.cloned());
        self.write(move |t| t.end(&digest, ending.as_ref())).await
    }

    fn capabilities(&self) -> Capabilities<'_> {
        Capabilities::NONE
            .named("redb")
            .with_sweep(self)
            .with_subjects(self)
            .with_scan(self)
            .with_import(self)
            .with_close(self)
    }
}

impl Sweep for RedbStore {
    /// Each piece is a transaction of its own: where one fails, what the pieces before
    /// it have removed stays removed.
    fn sweep(&self, now: Timestamp, max: usize) -> BoxFuture<'_, Result<Swept, Error>> {
        let inner = &*self.inner;
        Box::pin(sweep::sweep(&inner.writer, &inner.sweep_cursor, now, max))
    }
}

impl Subjects for RedbStore {
    /// Each page is read on a snapshot of its own.
    fn list_sessions<'a>(
        &'a self,
        subject: &'a SubjectDigest,
        from: Option<&'a ScanCursor>,
    ) -> BoxFuture<'a, Result<ListPage, Error>> {
        let (subject, from) = (*subject, from.cloned());
        Box::pin(self.read(move |db| reads::list(db, &subject, from.as_ref())))
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
            self.write(move |t| t.revoke(&subject, which, ending.as_ref()))
        };
        Box::pin(which.in_steps(step))
    }
}

impl Scan for RedbStore {
    /// Each page is read on a snapshot of its own.
    fn scan<'a>(
        &'a self,
        from: Option<&'a ScanCursor>,
        max: usize,
    ) -> BoxFuture<'a, Result<ScanPage, Error>> {
        let from = from.cloned();
        Box::pin(self.read(move |db| reads::scan(db, from.as_ref(), max)))
    }
}

impl Import for RedbStore {
    fn import<'a>(
        &'a self,
        digest: &'a KeyDigest,
        stored: &'a Stored,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        let (digest, stored) = (*digest, stored.clone());
        Box::pin(self.write(move |t| t.import(&digest, &stored)))
    }
}

impl Close for RedbStore {
    fn close(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.inner.writer.close())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A test that cannot go on panics.

    use std::io;
    use std::sync::Mutex;
    use std::sync::mpsc::channel;
    use std::thread;
    use std::time::Duration;

    use cloakroom_testkit::{key, sample};
    use redb::StorageBackend;
    use redb::backends::InMemoryBackend;

    use super::*;

    /// A disk that is read only while nobody holds the lock.
    #[derive(Debug)]
    struct Disk(InMemoryBackend, Arc<Mutex<()>>);

    impl StorageBackend for Disk {
        fn len(&self) -> io::Result<u64> {
            self.0.len()
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            drop(self.1.lock().unwrap());
            self.0.read(offset, out)
        }

        fn set_len(&self, len: u64) -> io::Result<()> {
            self.0.set_len(len)
        }

        fn sync_data(&self) -> io::Result<()> {
            self.0.sync_data()
        }

        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            self.0.write(offset, data)
        }
    }

    #[test]
    fn loads_that_hang_hold_one_runtime_thread() {
        let hangs = Arc::new(Mutex::new(()));
        let disk = Disk(InMemoryBackend::new(), hangs.clone());
        // What stands for the database, whose file is looked for before each answer.
        let file = tempfile::NamedTempFile::new().unwrap();
        let database = DatabaseFile::open_with(file.path(), |builder| {
            // Without a cache, each load reads the disk.
            let db = builder.set_cache_size(0).create_with_backend(disk)?;
            tables::make(&db)?;
            Ok(db)
        });
        let database = database.unwrap();
        let store = RedbStore::over(database, file.path(), 0).unwrap();
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).build().unwrap();
        let digest = key().digest();
        runtime
            .block_on(store.create(&digest, &sample("")))
            .unwrap();
        let hanging = hangs.lock().unwrap();
        let loads = [(); 2].map(|()| {
            let store = store.clone();
            runtime.spawn(async move { store.load(&digest).await.unwrap().is_some() })
        });
        thread::sleep(Duration::from_millis(500));
        let (tell, told) = channel();
        runtime.spawn(async move { tell.send(()) });
        let is_alive = told.recv_timeout(Duration::from_secs(6));
        drop(hanging);
        assert_eq!(is_alive, Ok(()), "a thread of the runtime is left");
        for load in loads {
            assert!(runtime.block_on(load).unwrap());
        }
    }
}

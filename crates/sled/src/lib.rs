//! Cloakroom sessions in an embedded sled database: durable on one machine,
//! with nothing to install.
//!
//! ```
//! use cloakroom_core::store::{KeyDigest, SessionStore};
//! use cloakroom_core::{Clock, Expiry, SystemClock};
//! use cloakroom_sled::SledStore;
//!
//! # async fn example(folder: &std::path::Path) -> Result<(), cloakroom_core::Error> {
//! let store = SledStore::open(folder.join("sessions"))?;
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
//! `create`, `update`, `rotate`, `end`, `end_sessions` and `import` are on the disk before
//! they return: written, flushed, and synced by `fdatasync`, since sled's own flush stops
//! short of that on Linux. What is too large for sled's log goes to files of its own,
//! which are synced too. Writers that wait at the same time share one sync.
//! A `touch` may reach the disk a second later. `rotate` is one transaction. An `end_sessions` of
//! many sessions is several, so that others get their turn between two of them, and a
//! crash before it is answered may leave some of the sessions.
//!
//! A session that was ended leaves a tombstone ([`Stored::Ended`]) in its place, which says why
//! and when. It is written in the transaction that ends the session, and costs no further sync.
//! A sweep leaves one of each session and rotation mark that expired less than a day before, and
//! removes each tombstone when its day is over. Until then it takes some 200 bytes.
//!
//! A session that more than [`ROTATION_HOPS_MAX`](cloakroom_core::store::ROTATION_HOPS_MAX)
//! rotation marks lead to cannot be ended by the old key, nor be spared by it: the answer
//! is [`Unavailable`](cloakroom_core::ErrorKind::Unavailable).
//!
//! Where a sync fails, on a full disk too, the outcome of the writes that wait for it is
//! unknown: they fail with [`Unavailable`](cloakroom_core::ErrorKind::Unavailable). The store
//! then opens the database again by itself. Until that is done each call is `Unavailable`,
//! since after a failed sync the system may show pages that the disk does not have; on Linux
//! it is made to read them from the disk. Writes that were acknowledged are still there, and
//! new ones are taken after a pause that begins at 0.1 s and doubles with each failure up to
//! 5 s, or ten times what opening took. sled writes when it opens, so on a full disk it may
//! open once there is room. A sync that could not begin, since the process has too many open
//! files, fails the writes that wait for it alone.
//!
//! Where the folder was deleted, moved away or replaced, no durable write to it is acknowledged
//! any more, and each call is `Unavailable` from the first one on. The store makes no empty
//! database in its place, and opens the database again once it is back.
//!
//! [`close`](cloakroom_core::store::Close) writes what is left, touches too, and closes the
//! database for all clones of the store, so that it can be opened again in the same process.
//!
//! A process may be killed at any moment, also while it opens the store: the next opening
//! finds all that was acknowledged.
//!
//! One process at a time: a second one gets [`Locked`](cloakroom_core::ErrorKind::Locked).
//!
//! **A damaged log may be a silent rollback.** sled reads its log up to the first place that
//! it cannot read, since a crash leaves such a place at the end; it cannot tell a log that was
//! cut, or damaged in the midst, from that. The store then opens as it was earlier: later
//! sessions are gone, and some that were logged out are back. What is found is an error of
//! [`open`](SledStore::open), where sled meets a contradiction, and an event at `WARN`, where
//! nothing at all is left of a log that is not empty. Take redb where that matters.
//!
//! # How it is kept
//!
//! Three trees. `records` holds, under the 32 bytes of a digest, a row: 8 bytes that say
//! where the row's entry stands in `expiry`, big-endian, and the
//! [frame](cloakroom_core::store::Stored).
//!
//! `expiry` is an index by deadline: a key is 8 bytes of a deadline, big-endian, and the
//! digest, so that a sweep reads what is due and nothing else. Each row has exactly one
//! entry there, at its deadline or before it. A later deadline leaves the entry where it
//! is, and the sweep that comes to the entry moves it. Its value is the record's
//! [`SubjectDigest`], or empty, so that a record which nobody can read leaves no entry
//! behind when it is removed.
//!
//! `subjects` is an index by subject: a key is the subject's digest and the session's, 64
//! bytes. It is written in the transaction that writes the record, and only where the
//! subject changes. Keys of sessions never reach the disk.
//!
//! A write that changes more than one tree is a transaction. A touch changes `records`
//! alone, by sled's compare-and-swap, and so does an update that keeps the subject and
//! does not bring the deadline nearer.
//!
//! A durable write reaches the disk in this order: sled writes its log (and before it,
//! what is too large for it, to a file in `blobs/`); then a background thread syncs each
//! new blob, their folder, and the log by `fdatasync`; and only then the write is
//! answered. sled itself never syncs blobs, and its recovery ends at the first one that it
//! cannot read. A `touch` syncs nothing: sled writes it within a second, and the next durable
//! write syncs it.
//!
//! A page of a list or a scan, and a step of a revocation or a sweep, are jobs of another
//! background thread, one after the other: none keeps the next waiting for long. All else
//! is done on the caller's thread, and takes some microseconds. A load of what is not in
//! memory waits for the disk: on a virtual machine with its caches dropped, 20,000 sessions
//! of 2 KB took 0.1 ms in the median and 3 ms in the 99th percentile. Where it is slower than
//! 25 ms, work leaves the caller's thread: see [`InlineWork`].
//!
//! Transactions and the reading of a subject's entries take turns on a lock of this crate,
//! since in sled an iteration over keys is no part of a transaction. So a revocation misses
//! no session that rotates meanwhile: it ends it at its current digest, and spares there
//! the one that is to be spared.
//!
//! A process that is killed while it opens the store may leave two files half written,
//! which sled 0.34.7 takes for damage, so that it never opens again: a snapshot of the log,
//! and the settings of a database that is not yet begun. The next opening removes them,
//! under sled's own lock and before sled looks; neither says anything that the log and the
//! defaults do not.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod database;
mod error;
mod layout;
mod open;
mod scan;
mod subjects;
mod sweep;
mod sync;
mod torn_files;
mod transaction;
mod trees;
mod writes;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cloakroom_core::store::{
    BoxFuture, Capabilities, Close, Ending, Import, KeyDigest, ListPage, Record, Revision, Revoke,
    Scan, ScanCursor, ScanPage, SessionStore, Stored, SubjectDigest, Subjects, Sweep, Swept, Touch,
};
use cloakroom_core::{Error, ErrorKind, Timestamp};
use cloakroom_disk::{InlineWork, JobThreads};

use crate::error::{damaged, unavailable};
use crate::sync::{DatabaseHandle, Syncer};
use crate::trees::Trees;

/// Bytes of sled's page cache by default: 64 MiB.
pub const CACHE_BYTES_DEFAULT: u64 = 64 * 1024 * 1024;

/// A store in a folder of its own. It is cheap to clone; [`close`](Close::close), or dropping
/// the last clone, closes the database.
#[derive(Clone)]
pub struct SledStore {
    inner: Arc<Inner>,
}

struct Inner {
    database: Arc<DatabaseHandle>,
    sweep_cursor: Arc<sweep::Cursor>,
    inline: InlineWork,
    thread: JobThreads,
    syncer: Syncer,
    path: PathBuf,
}

impl fmt::Debug for SledStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SledStore")
            .field("path", &self.inner.path)
            .finish_non_exhaustive()
    }
}

impl SledStore {
    /// Opens the database in a folder, and makes both where there are none. On Unix a new
    /// folder is for its owner alone.
    ///
    /// This blocks on the disk: call it at start, or off the runtime's threads.
    ///
    /// # Errors
    /// [`Locked`](cloakroom_core::ErrorKind::Locked) where another process, or another
    /// store of this one, has the database open and keeps it for 2 s;
    /// [`Misconfigured`](cloakroom_core::ErrorKind::Misconfigured) where, on Unix, others
    /// than its owner have rights to the folder (those of its group are told by an event at
    /// `WARN`) or another user owns it;
    /// [`Unavailable`](cloakroom_core::ErrorKind::Unavailable) where the folder cannot be
    /// used or the database is damaged. Each names the folder.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::open_with(path, CACHE_BYTES_DEFAULT)
    }

    /// As [`open`](Self::open), with a page cache of this many bytes.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(path: impl AsRef<Path>, cache_bytes: u64) -> Result<Self, Error> {
        // The folder is found again, whatever the process's own is then.
        let path = path.as_ref();
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        let (syncer, database) = Syncer::start(&path, cache_bytes)?;
        let no_thread = |source| {
            unavailable(format!("cannot start a background thread: {source}")).with_source(source)
        };
        let inline = InlineWork::start("cloakroom-sled-inline").map_err(no_thread)?;
        let thread = JobThreads::start("cloakroom-sled", 1).map_err(no_thread)?;
        Ok(Self {
            inner: Arc::new(Inner {
                database,
                sweep_cursor: Arc::default(),
                inline,
                thread,
                syncer,
                path,
            }),
        })
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Trees) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.run(|handle| read(handle, work)).await
    }

    /// Answers to the database of which generation it has written, too.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Trees) -> Result<T, Error> + Send + 'static,
    ) -> Result<(T, u64), Error> {
        self.run(|handle| write(handle, work)).await
    }

    async fn write_durably<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Trees) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (done, generation) = self.write(work).await?;
        self.inner.syncer.sync(generation).await?;
        Ok(done)
    }

    /// Runs bounded work, on the caller's thread while the disk is fast: a read of a cached
    /// page takes a microsecond, a hop to another thread thirty. It may have to wait while
    /// sled flushes its log.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&DatabaseHandle) -> Attempt<T> + Send + 'static,
    ) -> Result<T, Error> {
        let done = self.inner.inline.run(&self.inner.database, work).await;
        let done = done.map_err(|source| {
            let path = self.inner.path.display();
            unavailable(format!("cannot use the database in {path}: {source}")).with_source(source)
        })?;
        self.checked(done?).await
    }

    /// Reads what grows with what is stored on the background thread.
    async fn read_job<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Trees) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.run_job(|handle| read(handle, job)).await
    }

    /// Does work that grows with what is stored on the background thread.
    async fn write_job_durably<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Trees) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (done, generation) = self.run_job(|handle| write(handle, job)).await?;
        self.inner.syncer.sync(generation).await?;
        Ok(done)
    }

    async fn run_job<T: Send + 'static>(
        &self,
        job: impl FnOnce(&DatabaseHandle) -> Attempt<T> + Send + 'static,
    ) -> Result<T, Error> {
        let handle = self.inner.database.clone();
        let done = self.inner.thread.run(move || job(&handle)).await;
        let done = done.map_err(|lost| damaged(&self.inner.path).with_source(lost))?;
        self.checked(done?).await
    }

    /// Where sled has failed for good, the thread that syncs finds the same, and opens the
    /// database again.
    async fn checked<T>(&self, done: Result<T, Error>) -> Result<T, Error> {
        if let Err(error) = &done
            && error.kind() == ErrorKind::Unavailable
        {
            self.inner.syncer.check().await;
        }
        done
    }
}

/// What came of work on the database; the outer error says why there is none to be had.
type Attempt<T> = Result<Result<T, Error>, Error>;

fn read<T>(handle: &DatabaseHandle, work: impl FnOnce(&Trees) -> Result<T, Error>) -> Attempt<T> {
    Ok(handle.to_read()?.attempt(work))
}

/// Answers to the database of which generation it has written, too.
fn write<T>(
    handle: &DatabaseHandle,
    work: impl FnOnce(&Trees) -> Result<T, Error>,
) -> Attempt<(T, u64)> {
    let database = handle.to_write()?;
    let written = database.attempt(work);
    Ok(written.map(|done| (done, database.generation)))
}

impl SessionStore for SledStore {
    async fn load(&self, digest: &KeyDigest) -> Result<Option<Stored>, Error> {
        let digest = *digest;
        self.read(move |trees| trees.load(&digest)).await
    }

    async fn create(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        let (digest, record) = (*digest, record.clone());
        self.write_durably(move |trees| trees.create(&digest, &record))
            .await
    }

    async fn update(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        let (digest, record) = (*digest, record.clone());
        self.write_durably(move |trees| trees.update(&digest, &record))
            .await
    }

    async fn touch(
        &self,
        digest: &KeyDigest,
        revision: Revision,
        touch: Touch,
    ) -> Result<(), Error> {
        let digest = *digest;
        let touched = self.write(move |trees| trees.touch(&digest, revision, touch));
        touched.await.map(|((), _)| ())
    }

    async fn rotate(
        &self,
        old: &KeyDigest,
        new: &KeyDigest,
        record: &Record,
        mark_until: Timestamp,
    ) -> Result<Revision, Error> {
        let (old, new, record) = (*old, *new, record.clone());
        self.write_durably(move |trees| trees.rotate(&old, &new, &record, mark_until))
            .await
    }

    async fn end(&self, digest: &KeyDigest, ending: Option<&Ending>) -> Result<(), Error> {
        let (digest, ending) = (*digest, ending.cloned());
        self.write_durably(move |trees| trees.end(&digest, ending.as_ref()))
            .await
    }

    fn capabilities(&self) -> Capabilities<'_> {
        Capabilities::NONE
            .named("sled")
            .with_sweep(self)
            .with_subjects(self)
            .with_scan(self)
            .with_import(self)
            .with_close(self)
    }
}

impl Sweep for SledStore {
    fn sweep(&self, now: Timestamp, max: usize) -> BoxFuture<'_, Result<Swept, Error>> {
        let cursor = self.inner.sweep_cursor.clone();
        let step = move |trees: &Trees| sweep::step(trees, &cursor, now, max);
        Box::pin(self.write_job_durably(step))
    }
}

impl Subjects for SledStore {
    fn list_sessions<'a>(
        &'a self,
        subject: &'a SubjectDigest,
        from: Option<&'a ScanCursor>,
    ) -> BoxFuture<'a, Result<ListPage, Error>> {
        let (subject, from) = (*subject, from.cloned());
        Box::pin(self.read_job(move |trees| trees.list(&subject, from.as_ref())))
    }

    /// Each step is a job and a transaction of its own, and on the disk before the next
    /// begins: where one fails, those before it hold, also in a database that is opened
    /// again meanwhile.
    fn end_sessions<'a>(
        &'a self,
        subject: &'a SubjectDigest,
        which: Revoke,
        ending: Option<&'a Ending>,
    ) -> BoxFuture<'a, Result<Vec<KeyDigest>, Error>> {
        let subject = *subject;
        let step = move |which| {
            let ending = ending.cloned();
            self.write_job_durably(move |trees| trees.revoke(&subject, which, ending.as_ref()))
        };
        Box::pin(which.in_steps(step))
    }
}

impl Scan for SledStore {
    fn scan<'a>(
        &'a self,
        from: Option<&'a ScanCursor>,
        max: usize,
    ) -> BoxFuture<'a, Result<ScanPage, Error>> {
        let from = from.cloned();
        Box::pin(self.read_job(move |trees| scan::page(trees, from.as_ref(), max)))
    }
}

impl Import for SledStore {
    fn import<'a>(
        &'a self,
        digest: &'a KeyDigest,
        stored: &'a Stored,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        let (digest, stored) = (*digest, stored.clone());
        Box::pin(self.write_durably(move |trees| trees.import(&digest, &stored)))
    }
}

impl Close for SledStore {
    fn close(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.inner.syncer.close())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A test that cannot go on panics.

    use std::sync::mpsc::channel;
    use std::thread;
    use std::time::Duration;

    use cloakroom_testkit::{key, sample};

    use super::*;

    #[test]
    fn work_that_hangs_holds_one_runtime_thread() {
        let folder = tempfile::tempdir().unwrap();
        let store = SledStore::open(folder.path().join("sled")).unwrap();
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).build().unwrap();
        // sled has no disk of one's own, so it is a lock that hangs here.
        let database = store.inner.database.to_read().unwrap();
        let hanging = database.trees.lock_entries();
        let creates = [(); 2].map(|()| {
            let store = store.clone();
            runtime.spawn(async move { store.create(&key().digest(), &sample("")).await })
        });
        thread::sleep(Duration::from_millis(500));
        let (tell, told) = channel();
        let other = store.clone();
        runtime.spawn(async move { tell.send(other.load(&key().digest()).await.unwrap()) });
        let is_alive = told.recv_timeout(Duration::from_secs(6));
        drop(hanging);
        drop(database);
        assert_eq!(is_alive, Ok(None), "a thread of the runtime is left");
        for create in creates {
            runtime.block_on(create).unwrap().unwrap();
        }
    }
}

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
//! # What is promised
//!
//! `create`, `update`, `rotate`, `delete`, `revoke` and `import` are on the disk
//! before they return:
//! written, flushed, and synced by `fdatasync`, since sled's own flush stops
//! short of that on Linux. What is too large for sled's log goes to files of its
//! own, which are synced too. Writers that wait at the same time share one sync;
//! where one fails, nothing is acknowledged until the store is opened anew.
//! A `touch` may lag behind by a second. `rotate` is one transaction; a `revoke` of
//! many sessions is several, so that others get their turn between two of them, and
//! a crash before it is answered may leave some of the sessions.
//!
//! A process may be killed at any moment, also while it opens the store: the
//! next opening finds all that was acknowledged.
//!
//! One process at a time: a second one gets
//! [`ErrorKind::Locked`].
//!
//! # How it is kept
//!
//! Three trees. `records` holds, under the 32 bytes of a digest, 8 bytes that say
//! where the record stands in the index, big-endian, and the
//! [frame](cloakroom_core::store::Stored). `expiry` is that index: 8 bytes of a deadline
//! and the digest, so that a sweep reads what is due and nothing else. A record
//! has exactly one entry there, at its deadline or before it: moving a deadline
//! on leaves the index alone, and the sweep that comes to the old entry moves
//! it. `subjects` lists by subject: the length of its text (2 bytes, big-endian),
//! the text, and the digest. It is written in the transaction that writes the
//! record, and only where the subject changes; the entry in `expiry` holds the
//! subject as well, so that a record nobody can read leaves no entry behind when
//! it is removed. Keys never reach the disk.
//!
//! A durable write reaches the disk in this order: sled writes its log (before
//! it, what is too large for it, to a file in `blobs/`), then a thread of the
//! store syncs each new blob, their folder, and the log by `fdatasync`, and only
//! then the write is answered. A `touch` syncs nothing; sled writes it within a
//! second, and the next durable write syncs it.
//!
//! What grows with what is stored (lists, revocations, scans, the steps of a sweep)
//! is done on a thread of its own, one after the other. All else is done where it is
//! called, and takes some microseconds.
//!
//! What a process that was killed while it opened has left half written, and
//! sled takes for damage (a snapshot of the log, the settings of a database not
//! yet begun), is cleared away in the next opening.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod folder;
mod leftovers;
mod sweep;
mod sync;
mod trees;
mod walker;
mod walks;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use cloakroom_core::store::{
    BoxFuture, Capabilities, Import, KeyDigest, Listed, Record, Revision, Revoke, Scan, ScanCursor,
    ScanPage, SessionStore, Stored, SubjectDigest, Subjects, Sweep, Swept, Touch,
};
use cloakroom_core::{Error, ErrorKind, Timestamp};

use crate::leftovers::Cleared;
use crate::sync::{Disk, Syncer};
use crate::trees::Trees;
use crate::walker::Walker;

const NAME: &str = "sled";

/// Bytes of sled's page cache by default: 64 MiB.
pub const CACHE_BYTES_DEFAULT: u64 = 64 * 1024 * 1024;

/// How long an opening waits for a database that is being closed. It is looked at
/// several times, however slow this machine is.
const LOCK_WAIT_SECS_MAX: u64 = 2;
const LOCK_LOOKS_MIN: u32 = 20;

/// A store in a folder of its own. Cheap to clone; the database is closed when
/// the last clone is dropped.
#[derive(Clone)]
pub struct SledStore {
    inner: Arc<Inner>,
}

struct Inner {
    trees: Arc<Trees>,
    walker: Walker,
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
    /// Opens the database in a folder, and makes both where there are none. On
    /// Unix a new folder is for its owner alone.
    ///
    /// This blocks on the disk: call it at start, or off the runtime's threads.
    ///
    /// # Errors
    /// [`ErrorKind::Locked`] where another process (or another store of this
    /// one) holds it for 2 s on end, [`ErrorKind::Unavailable`] where the folder cannot be
    /// used or the database is damaged; both name the folder.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::open_with(path, CACHE_BYTES_DEFAULT)
    }

    /// As [`open`](Self::open), with a page cache of this many bytes.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(path: impl AsRef<Path>, cache_bytes: u64) -> Result<Self, Error> {
        let path = path.as_ref().to_path_buf();
        folder::make_way(&path).map_err(|source| {
            let message = format!("cannot make the folder {}: {source}", path.display());
            unavailable(message).with_source(source)
        })?;
        let config = sled::Config::new()
            .path(&path)
            .cache_capacity(cache_bytes)
            .flush_every_ms(Some(1_000));
        // sled panics on some damage where an error would do.
        let opened = catch_unwind(AssertUnwindSafe(|| {
            let db = open_unlocked(&config, &path)?;
            let trees = Trees::open(&db)?;
            Ok((db, trees))
        }));
        let (db, trees) = match opened {
            Ok(Ok(opened)) => opened,
            Ok(Err(source)) => return Err(not_opened(&path, source)),
            Err(_) => {
                let message = format!("the database in {} is damaged", path.display());
                return Err(unavailable(message));
            }
        };
        let trees = Arc::new(trees);
        let walker = Walker::start(trees.clone()).map_err(|source| {
            unavailable("cannot start the thread that walks").with_source(source)
        })?;
        let syncer = Disk::new(db, &path).and_then(Syncer::start);
        let syncer = syncer.map_err(|source| {
            let message = format!("cannot sync {}: {source}", path.display());
            unavailable(message).with_source(source)
        })?;
        Ok(Self {
            inner: Arc::new(Inner {
                trees,
                walker,
                syncer,
                path,
            }),
        })
    }

    /// Runs a bounded piece of work on the trees, inline: a read of a cached
    /// page takes a microsecond, a hop to another thread thirty. It may have to
    /// wait where sled is flushing its log.
    fn run<T>(&self, work: impl FnOnce(&Trees) -> Result<T, Error>) -> Result<T, Error> {
        catch_unwind(AssertUnwindSafe(|| work(&self.inner.trees)))
            .unwrap_or_else(|_| Err(damaged_pages()))
            .map_err(|error| error.in_store(NAME))
    }

    async fn durable<T>(&self, work: impl FnOnce(&Trees) -> Result<T, Error>) -> Result<T, Error> {
        let done = self.run(work)?;
        self.inner.syncer.sync().await?;
        Ok(done)
    }

    /// Runs a piece of work that grows with what is stored, on the thread for that.
    async fn walk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Trees) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let done = self.inner.walker.run(work).await;
        done.map_err(|error| error.in_store(NAME))
    }

    async fn durable_walk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Trees) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let done = self.walk(work).await?;
        self.inner.syncer.sync().await?;
        Ok(done)
    }
}

fn damaged_pages() -> Error {
    unavailable("the database failed on damaged pages")
}

fn unavailable(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Unavailable, message).in_store(NAME)
}

/// Opens the database once nobody holds its lock. sled's own threads keep that
/// for a moment after the last handle is gone; on a busy machine, milliseconds.
fn open_unlocked(config: &sled::Config, path: &Path) -> sled::Result<sled::Db> {
    let begun = Instant::now();
    let wait_max = Duration::from_secs(LOCK_WAIT_SECS_MAX);
    let mut looks = 0;
    loop {
        looks += 1;
        let may_wait = looks < LOCK_LOOKS_MIN || begun.elapsed() < wait_max;
        // Where it is locked, sled is asked at the end alone: it must not open, the
        // moment that it is free, what has not been cleared.
        let cleared = leftovers::clear(path)? == Cleared::Yes;
        if cleared || !may_wait {
            match config.open() {
                Err(error) if is_locked(&error) && may_wait => {}
                opened => return opened,
            }
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// sled has no kind for this; a test holds the text.
fn is_locked(error: &sled::Error) -> bool {
    error.to_string().contains("could not acquire lock")
}

fn not_opened(path: &Path, source: sled::Error) -> Error {
    if is_locked(&source) {
        return Error::new(
            ErrorKind::Locked,
            format!(
                "another process has {} open; stop it, or give this one a folder of its own",
                path.display()
            ),
        )
        .in_store(NAME)
        .with_source(source);
    }
    unavailable(format!("cannot open the database in {}", path.display())).with_source(source)
}

/// What sled says of its own failures: none of them is about one record.
pub(crate) fn failed(source: sled::Error) -> Error {
    unavailable("the database failed").with_source(source)
}

impl SessionStore for SledStore {
    async fn load(&self, digest: &KeyDigest) -> Result<Option<Stored>, Error> {
        self.run(|trees| trees.load(digest))
    }

    async fn create(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        self.durable(|trees| trees.create(digest, record)).await
    }

    async fn update(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        self.durable(|trees| trees.update(digest, record)).await
    }

    async fn touch(
        &self,
        digest: &KeyDigest,
        revision: Revision,
        touch: Touch,
    ) -> Result<(), Error> {
        self.run(|trees| trees.touch(digest, revision, touch))
    }

    async fn rotate(
        &self,
        old: &KeyDigest,
        new: &KeyDigest,
        record: &Record,
        mark_until: Timestamp,
    ) -> Result<Revision, Error> {
        self.durable(|trees| trees.rotate(old, new, record, mark_until))
            .await
    }

    async fn delete(&self, digest: &KeyDigest) -> Result<(), Error> {
        self.durable(|trees| trees.delete(digest)).await
    }

    fn capabilities(&self) -> Capabilities<'_> {
        Capabilities::NONE
            .with_sweep(self)
            .with_subjects(self)
            .with_scan(self)
            .with_import(self)
    }
}

impl Sweep for SledStore {
    fn sweep(&self, now: Timestamp, max: usize) -> BoxFuture<'_, Result<Swept, Error>> {
        Box::pin(self.durable_walk(move |trees| sweep::step(trees, now, max)))
    }
}

impl Subjects for SledStore {
    fn sessions_of<'a>(
        &'a self,
        subject: &'a SubjectDigest,
    ) -> BoxFuture<'a, Result<Vec<Listed>, Error>> {
        let subject = *subject;
        Box::pin(self.walk(move |trees| trees.sessions_of(&subject)))
    }

    /// Some at a time: where it fails, some of them may be ended.
    fn revoke<'a>(
        &'a self,
        subject: &'a SubjectDigest,
        which: Revoke,
    ) -> BoxFuture<'a, Result<Vec<KeyDigest>, Error>> {
        let subject = *subject;
        Box::pin(self.durable_walk(move |trees| trees.revoke(&subject, which)))
    }
}

impl Scan for SledStore {
    fn scan<'a>(
        &'a self,
        from: Option<&'a ScanCursor>,
        max: usize,
    ) -> BoxFuture<'a, Result<ScanPage, Error>> {
        let from = from.cloned();
        Box::pin(self.walk(move |trees| trees.scan(from.as_ref(), max)))
    }
}

impl Import for SledStore {
    fn import<'a>(
        &'a self,
        digest: &'a KeyDigest,
        stored: &'a Stored,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async move { self.durable(|trees| trees.import(digest, stored)).await })
    }
}

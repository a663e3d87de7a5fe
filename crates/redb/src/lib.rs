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
//! # What is promised
//!
//! Every write is a transaction, and on the disk before it returns: `touch` too,
//! since it shares the sync of the others, and `revoke`, of however many sessions. What a crash finds half done, redb
//! undoes when the database is opened again: it then reads the whole file, which
//! takes a while where it is large. A database whose making was cut short is
//! made anew.
//!
//! One process at a time: a second one gets [`ErrorKind::Locked`].
//!
//! After a failed commit, on a full disk too, nobody knows whether it holds: its
//! writes are answered with [`ErrorKind::Unavailable`]. So is every later one,
//! and every read that needs the disk, until the store is opened anew; what was
//! acknowledged before is there then. The store does not do that by itself, since
//! after a failed sync the system may show pages that the disk does not have.
//!
//! # How it is kept
//!
//! One file. `slots` holds, by deadline and digest, whose record it is (its length in 2
//! bytes, big-endian, and the text; 65,535 for nobody's) and the
//! [frame](cloakroom_core::store::Stored); `places` says under which deadline the slot of a
//! digest lies: its own, or one before it. Moving a deadline on leaves it there, and
//! the sweep that comes to it moves it. `subjects` lists by subject, of its text and the
//! digest. It is written in the transaction that writes the record, and only where the
//! subject changes. Keys never reach the disk.
//!
//! So what is due lies together, and so does what begins at the same time: a sweep
//! takes it out of `slots` page by page. The places and entries of what it has removed
//! lie scattered. They lead to nothing and wait in `removed`. They are cleared in their
//! own order, 2,000 in a step, when there is one for each four places, or 262,144: by
//! then they share pages. A sweep that finds nothing due clears some as well. `round`
//! says how far that has come. To sweep 1,000 takes some 7 ms among 10,000 sessions and
//! 10 ms among 1,000,000, all told.
//!
//! Frames are under a CRC; the rest is under redb's checks alone. Where a bit flips in a
//! place, its session opens nothing any more, and a sweep removes it; in an entry by
//! subject, the session is not listed.
//!
//! One thread writes. It takes every write that waits, up to 1,024, judges each
//! on what the ones before it have left, and commits them together: one sync for
//! all. A write that is refused (a conflict, a record that is gone) has changed
//! nothing, and does not disturb the others. A commit writes new pages and the
//! header, and then syncs once, by `fdatasync`, before any of them is answered;
//! where the file has to grow, that is done and synced first. A sweep takes turns with
//! them, 500 records each. Reads are made where they are
//! called, on a snapshot, and wait for nobody.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod reads;
mod removed;
mod row;
mod sweep;
mod tables;
mod writer;

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use cloakroom_core::store::{
    BoxFuture, Capabilities, Import, KeyDigest, Listed, Record, Revision, Revoke, Scan, ScanCursor,
    ScanPage, SessionStore, Stored, SubjectDigest, Subjects, Sweep, Swept, Touch,
};
use cloakroom_core::{Error, ErrorKind, Timestamp};
use redb::Database;

use crate::tables::{Failure, Tables};
use crate::writer::Writer;

const NAME: &str = "redb";

/// Bytes of redb's page cache by default: 128 MiB, which fills as pages are read. The
/// places and the entries by subject of a million sessions take about as much.
pub const CACHE_BYTES_DEFAULT: usize = 128 * 1024 * 1024;

/// Bytes of redb's magic number, at the start of its header.
const MAGIC_BYTES: usize = 9;

/// Bytes of redb's header, before its first page.
const HEADER_BYTES: usize = 320;

/// A database that has just been begun is shorter than this.
const UNBEGUN_BYTES_MAX: u64 = 1024 * 1024;

/// A store in a file of its own. Cheap to clone; the database is closed when the
/// last clone is dropped.
#[derive(Clone)]
pub struct RedbStore {
    inner: Arc<Inner>,
}

struct Inner {
    // Before the database: it must have ended when that is closed.
    writer: Writer,
    db: Arc<Database>,
    path: PathBuf,
    sweep: Arc<Mutex<sweep::Progress>>,
}

impl fmt::Debug for RedbStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbStore")
            .field("path", &self.inner.path)
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
    /// [`ErrorKind::Locked`] where another process (or another store of this
    /// one) holds it, [`ErrorKind::Unavailable`] where the file cannot be used or
    /// is damaged; both name it.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::open_with(path, CACHE_BYTES_DEFAULT)
    }

    /// As [`open`](Self::open), with a page cache of this many bytes.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(path: impl AsRef<Path>, cache_bytes: usize) -> Result<Self, Error> {
        let path = path.as_ref().to_path_buf();
        make_file(&path).map_err(|source| {
            let message = format!("cannot use the file {}: {source}", path.display());
            unavailable(message).with_source(source)
        })?;
        // redb trusts the pages of a file that was closed well, and panics on
        // some that were damaged since.
        let opened = catch_unwind(|| {
            let db = Database::builder()
                .set_cache_size(cache_bytes)
                .create(&path)?;
            tables::make(&db)?;
            Ok(db)
        });
        let db = match opened {
            Ok(Ok(db)) => Arc::new(db),
            Ok(Err(source)) => return Err(not_opened(&path, source)),
            Err(_) => {
                let message = format!("the database in {} is damaged", path.display());
                return Err(unavailable(message));
            }
        };
        let writer = Writer::start(db.clone()).map_err(|source| {
            unavailable("cannot start the thread that writes").with_source(source)
        })?;
        Ok(Self {
            inner: Arc::new(Inner {
                writer,
                db,
                path,
                sweep: Arc::default(),
            }),
        })
    }

    /// Reads on a snapshot, inline: it takes two microseconds, a hop to another
    /// thread thirty.
    fn read<T>(&self, work: impl FnOnce(&Database) -> Result<T, Failure>) -> Result<T, Error> {
        catch_unwind(AssertUnwindSafe(|| work(&self.inner.db)))
            .unwrap_or_else(|_| Err(damaged_pages().into()))
            .map_err(|failure| match failure {
                Failure::Refused(error) => error.in_store(NAME),
                Failure::Broken(source) => failed(source),
            })
    }
}

/// Makes an empty file for redb to fill, and puts its name on the disk.
fn make_file(path: &Path) -> io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    make_way(folder)?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    match private(&mut options).open(path) {
        Ok(_) => sync_folder(folder),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => clear_unbegun(path),
        Err(error) => Err(error),
    }
}

/// Empties a file in which a killed process had only begun to make a database.
/// redb writes its magic number last, and takes a file without it for a stranger's;
/// one that holds nothing but the rest of a header has never held a record.
fn clear_unbegun(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    // redb's own lock: whoever is making a database holds it.
    if file.try_lock().is_err() {
        return Ok(());
    }
    let mut start = Vec::new();
    (&mut file)
        .take(UNBEGUN_BYTES_MAX)
        .read_to_end(&mut start)?;
    let no_magic = start.iter().take(MAGIC_BYTES).all(|byte| *byte == 0);
    let no_page = start.iter().skip(HEADER_BYTES).all(|byte| *byte == 0);
    if no_magic && no_page && file.metadata()?.len() == start.len() as u64 {
        file.set_len(0)?;
    }
    file.unlock()
}

/// Makes a folder, and those on the way to it, with their names on the disk.
fn make_way(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let around = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return make_folder(path),
    };
    make_way(around)?;
    make_folder(path)?;
    sync_folder(around)
}

#[cfg(unix)]
fn make_folder(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

#[cfg(unix)]
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    use std::os::unix::fs::OpenOptionsExt as _;
    options.mode(0o600)
}

#[cfg(unix)]
fn sync_folder(path: &Path) -> io::Result<()> {
    std::fs::File::open(path)?.sync_all()
}

#[cfg(not(unix))]
fn make_folder(path: &Path) -> io::Result<()> {
    std::fs::create_dir_all(path)
}

#[cfg(not(unix))]
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options
}

/// Elsewhere a folder cannot be opened to be synced.
#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

fn unavailable(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Unavailable, message).in_store(NAME)
}

fn damaged_pages() -> Error {
    unavailable("the database failed on damaged pages")
}

fn not_opened(path: &Path, source: redb::Error) -> Error {
    match source {
        redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => Error::new(
            ErrorKind::Locked,
            format!(
                "another process has {} open; stop it, or give this one a file of its own",
                path.display()
            ),
        )
        .in_store(NAME)
        .with_source(source),
        _ => unavailable(format!("cannot open the database in {}", path.display()))
            .with_source(source),
    }
}

/// What redb says of its own failures: none of them is about one record.
fn failed(source: impl Into<redb::Error>) -> Error {
    let source = source.into();
    let message = match source {
        redb::Error::PreviousIo => {
            "the disk failed or was full; when it is well again, open the store anew".to_owned()
        }
        _ => format!("the database failed: {source}"),
    };
    unavailable(message).with_source(source)
}

impl SessionStore for RedbStore {
    async fn load(&self, digest: &KeyDigest) -> Result<Option<Stored>, Error> {
        self.read(|db| reads::load(db, digest))
    }

    async fn create(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        let (digest, record) = (*digest, record.clone());
        let write = self.inner.writer.write(move |t| t.create(&digest, &record));
        write.await
    }

    async fn update(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        let (digest, record) = (*digest, record.clone());
        let write = self.inner.writer.write(move |t| t.update(&digest, &record));
        write.await
    }

    async fn touch(
        &self,
        digest: &KeyDigest,
        revision: Revision,
        touch: Touch,
    ) -> Result<(), Error> {
        let digest = *digest;
        let write = self
            .inner
            .writer
            .write(move |t| t.touch(&digest, revision, touch));
        write.await
    }

    async fn rotate(
        &self,
        old: &KeyDigest,
        new: &KeyDigest,
        record: &Record,
        mark_until: Timestamp,
    ) -> Result<Revision, Error> {
        let (old, new, record) = (*old, *new, record.clone());
        let write = self
            .inner
            .writer
            .write(move |t| t.rotate(&old, &new, &record, mark_until));
        write.await
    }

    async fn delete(&self, digest: &KeyDigest) -> Result<(), Error> {
        let digest = *digest;
        self.inner.writer.write(move |t| t.delete(&digest)).await
    }

    fn capabilities(&self) -> Capabilities<'_> {
        Capabilities::NONE
            .with_sweep(self)
            .with_subjects(self)
            .with_scan(self)
            .with_import(self)
    }
}

/// Records that a sweep removes in one transaction. Other writers wait for it: some
/// 10 ms, or 50 where most of what it comes to has a later deadline by now.
const SWEEP_PIECE_MAX: usize = 500;

impl Sweep for RedbStore {
    /// Some at a time: where it fails, some of them may be removed.
    fn sweep(&self, now: Timestamp, max: usize) -> BoxFuture<'_, Result<Swept, Error>> {
        Box::pin(async move {
            let mut swept = Swept::default();
            loop {
                let piece = (max - swept.removed).min(SWEEP_PIECE_MAX);
                let progress = self.inner.sweep.clone();
                let step = move |t: &mut Tables<'_>| sweep::step(t, &progress, now, piece);
                let done = self.inner.writer.write(step).await?;
                swept.removed += done.removed;
                swept.more = done.more;
                // It has looked at as many as it may where it removed fewer.
                if !done.more || done.removed < piece || swept.removed == max {
                    return Ok(swept);
                }
            }
        })
    }
}

impl Subjects for RedbStore {
    fn sessions_of<'a>(
        &'a self,
        subject: &'a SubjectDigest,
    ) -> BoxFuture<'a, Result<Vec<Listed>, Error>> {
        Box::pin(async move { self.read(|db| reads::sessions_of(db, subject)) })
    }

    /// One transaction: all of them are ended, or none.
    fn revoke<'a>(
        &'a self,
        subject: &'a SubjectDigest,
        which: Revoke,
    ) -> BoxFuture<'a, Result<Vec<KeyDigest>, Error>> {
        let subject = *subject;
        let write = self.inner.writer.write(move |t| t.revoke(&subject, which));
        Box::pin(write)
    }
}

impl Scan for RedbStore {
    /// Each page is read on a snapshot of its own.
    fn scan<'a>(
        &'a self,
        from: Option<&'a ScanCursor>,
        max: usize,
    ) -> BoxFuture<'a, Result<ScanPage, Error>> {
        Box::pin(async move { self.read(|db| reads::scan(db, from, max)) })
    }
}

impl Import for RedbStore {
    fn import<'a>(
        &'a self,
        digest: &'a KeyDigest,
        slot: &'a Stored,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        let (digest, slot) = (*digest, slot.clone());
        Box::pin(self.inner.writer.write(move |t| t.import(&digest, &slot)))
    }
}

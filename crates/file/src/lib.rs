//! Cloakroom sessions as files, one each: durable, and shared by the processes
//! of one machine with nothing to install.
//!
//! ```
//! use cloakroom_core::store::{KeyDigest, SessionStore};
//! use cloakroom_core::{Clock, Expiry, SystemClock};
//! use cloakroom_file::FileStore;
//!
//! # async fn example(folder: &std::path::Path) -> Result<(), cloakroom_core::Error> {
//! let store = FileStore::open(folder.join("sessions"))?;
//! let digest = KeyDigest::from_bytes([0; 32]);
//! store.create(&digest, &Expiry::default().begin(SystemClock.now())).await?;
//! // From here on the session survives a crash of this machine, and every
//! // process that has the folder open finds it.
//! # Ok(())
//! # }
//! ```
//!
//! **In the book:** [Which store?](https://github.com/cloakroom-rs/cloakroom/blob/main/docs/stores.md).
//!
//! # What is promised
//!
//! `create`, `update`, `rotate`, `end`, `end_sessions` and `import` are on the disk before
//! they return ([`Durability::Synced`]). A file is whole at every moment, whatever ends
//! the process or fills the disk. A `touch` may be lost with the machine, and never takes
//! the session with it.
//!
//! Any number of processes of one machine may use the folder at once, and an `update` is
//! a compare-and-swap against all of them. On a network file system that holds where the
//! file system keeps `flock` and hard links among its clients.
//!
//! `rotate` is one step to every other process. A crash of the machine between its two
//! halves leaves the session open under both keys. Nobody has been told the new one, and
//! its session stays until its deadline.
//!
//! A session that was ended leaves a tombstone ([`Stored::Ended`]) in its place, which says why
//! and when: a file, which takes a block of the disk, mostly of 4 KiB. It costs no further sync,
//! since that of the folder makes the end hold, as with a delete. The tombstone itself is not
//! synced: a crash of the machine may leave a file that nobody can read, which opens nothing and
//! is swept a day later. Where the disk has no room for a tombstone, the session ends without
//! one. A sweep leaves one of each session and rotation mark that expired less than a day
//! before, and removes each tombstone when its day is over.
//!
//! A session that more than [`ROTATION_HOPS_MAX`](cloakroom_core::store::ROTATION_HOPS_MAX)
//! rotation marks lead to cannot be ended by the old key, nor be spared by it: the answer
//! is [`Unavailable`](cloakroom_core::ErrorKind::Unavailable).
//!
//! Where the folder is gone, because its disk is not mounted, each call is `Unavailable`:
//! nobody is logged out, and no logout is answered with success. As long as `v1` stands, what
//! a cleaner of temporary files has removed below it is made again: folders that were empty,
//! and locks.
//!
//! A file that is damaged, was cut or cannot be read is
//! [`Corrupt`](cloakroom_core::ErrorKind::Corrupt), and its visitor gets a fresh session; so is
//! what is no file, such as a folder or a named pipe of that name. Where this process has no
//! right to read it, or the disk takes no file beside it either, it is `Unavailable`: the store
//! is to be mended, and nobody is logged out. Nothing tells that a file is missing, or that an
//! older one was put in its place.
//!
//! # How it is kept
//!
//! ```text
//! sessions/                 0700; one that others may enter is not opened
//!   v1/                     this layout; another one gets another name
//!     00/ … ff/             by the first byte of the digest: 256 folders
//!       00c3…5e             a session: the frame of cloakroom_core::store::Stored, 0600
//!       .new-8d41…-17       a new file that is being written, or was left by a crash
//!     locks/00 … 3f         64 empty files
//!     subjects/00/ … ff/    by the first byte of the subject's digest
//!       7ae1…0c.00c3…5e     an entry: this session may be this subject's; empty
//! ```
//!
//! **Names.** A session's file is named by its digest, in hexadecimal. Nothing that a
//! client sends becomes part of a path, and keys never reach the disk.
//!
//! **Writing.** A frame is written to a new file beside its path and synced. Then the
//! file gets its name in one step: by a hard link where nothing may be overwritten, by a
//! rename where it replaces another. Then the folder is synced.
//!
//! ```text
//! create   write, fsync, link, fsync of the folder
//! update   write, fsync, rename, fsync of the folder
//! rotate   write, fsync of the new file and of the rotation mark;
//!          link of the new file, fsync of its folder;
//!          rename of the mark, fsync of its folder
//! end      write, rename, fsync of the folder
//! delete   unlink, fsync of the folder
//! touch    write, fsync, rename
//! ```
//!
//! When a rename replaces a file, ext4 writes the new file's data out at once, which
//! takes 170 to 209 µs against 42 for a new name. A synced file has that behind it; with
//! [`Durability::Lazy`] it is what keeps a crash from leaving an empty file. A file for
//! each revision would avoid the cost, and make every load a search.
//!
//! **Compare-and-swap.** Whoever replaces or removes a session's file holds one of 64
//! locks, chosen by the digest, from the look at the file until the new one has its name.
//! A lock is `flock` against other processes and a mutex within this one. It cannot be
//! the session's own file alone, since a rename puts another file in its place. A store keeps
//! the 64 lock files open, and whoever has locked one looks whether it is still the one at its
//! path. A cleaner may remove it behind that look, and others then make another one: so the
//! session's file is locked too, before it is replaced or removed. Writing and syncing, which are slow, come before the lock is
//! taken, and the sync of the folder comes after. Where another process keeps a lock,
//! since it was stopped, writes of the sessions behind that lock are
//! [`Unavailable`](cloakroom_core::ErrorKind::Unavailable) 10 s after they came, and at
//! once as long as it lasts; half of the background threads at most wait for such locks, and
//! none that waits keeps another. When a write other than a touch is
//! answered, every folder that it looked at is synced, so that it rests on nothing that a
//! crash can take back.
//!
//! **Subjects.** Each session with a subject has an entry in an index: an empty file,
//! named by the [`SubjectDigest`] and the session's digest. The entry is on the disk
//! before the session's file has its name, and is removed after the loss of that name is
//! on the disk, so a crash leaves no session unlisted. The writer looks again, with the
//! session's lock, that the entry stands when the session's file gets its name; an entry
//! is removed with that lock alone. So a sweep cannot come between. An orphan, an entry
//! whose session is gone or changed owner, is harmless, since the session's file says
//! whose it is. An entry costs one sync more, and a session without a subject has none.
//! With [`Durability::Lazy`] the file system decides in which order a crash of the
//! machine leaves entries and sessions.
//!
//! A page of a list reads one folder of 256 twice, since a session may move while it is
//! read, and then the sessions that it names, some 10 µs each, without a lock; where a
//! session has moved since, its rotation mark leads on. Each page reads the whole folder
//! again, two microseconds for each entry. A revocation ends the sessions one by one, each
//! with its lock, and after each 256 syncs their end and removes their entries: where it
//! fails, those stay ended. It follows those that move meanwhile, and reads the folder
//! again until it finds no other, the last time with every lock.
//!
//! **Sweep.** A pass goes through the folders one after the other, and reads the 26 bytes
//! of each file's head. What is due is read again, whole, with its lock, and removed or
//! replaced by a tombstone, without a sync. A step looks at
//! 4,096 files at most, and the next one goes on where it stopped. A damaged file is
//! removed when its head says that it is due; where the head is damaged too, a day after
//! the last change of the file. New files that a crash left, and orphans, are removed
//! after an hour. Files of other names are left alone.
//!
//! **Threads.** A load is made on the caller's thread, 5 µs each where the file is in memory.
//! Where it is not, it waits for the disk: on a virtual machine with its caches dropped,
//! 20,000 sessions of 2 KB took 0.1 ms in the median and 11 ms in the 99th percentile. Where
//! it is slower than 25 ms, loads leave the caller's thread: see [`InlineWork`]. Lists, scans
//! and writes are jobs of
//! 16 background threads, so that no thread of an async runtime waits for a disk. A write
//! that has begun is made to its end, though its future is dropped. 1,024 jobs may wait or
//! be done at the same time, and others wait until there is room; a job whose turn comes
//! later than 10 s after it came is `Unavailable`, and nothing of it is done.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod error;
mod files;
mod layout;
mod locked_file;
mod locks;
mod scan;
mod subject_index;
mod subjects;
mod sweep;
mod writes;

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use cloakroom_core::store::{
    BoxFuture, Capabilities, Ending, Import, KeyDigest, ListPage, Record, Revision, Revoke, Scan,
    ScanCursor, ScanPage, SessionStore, Stored, SubjectDigest, Subjects, Sweep, Swept, Touch,
};
use cloakroom_core::{Error, Timestamp};
use cloakroom_disk::{InlineWork, JobThreads, NotDone};

pub use crate::layout::Durability;

use crate::error::{NAME, unavailable};
use crate::files::Files;
use crate::layout::Layout;
use crate::sweep::Cursor;

/// As many writes are under way at once. Syncs that are share a commit of the file
/// system's journal: with 64 writers, 16 threads make twice the writes a second that 4
/// do.
const THREADS: usize = 16;

/// A store in a folder of its own. It is cheap to clone; dropping the last clone waits
/// for the writes under way.
#[derive(Clone)]
pub struct FileStore {
    files: Arc<Files>,
    sweep_cursor: Arc<Mutex<Cursor>>,
    threads: Arc<JobThreads>,
    reads: Arc<InlineWork>,
}

impl fmt::Debug for FileStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileStore")
            .field("path", &self.files.layout.path)
            .field("durability", &self.files.layout.durability)
            .finish_non_exhaustive()
    }
}

impl FileStore {
    /// Opens the store in a folder, and makes the folder, for its owner alone, where
    /// there is none.
    ///
    /// This blocks on the disk: call it at start, or off the runtime's threads.
    ///
    /// # Errors
    /// [`Misconfigured`](cloakroom_core::ErrorKind::Misconfigured) where, on Unix, others
    /// than its owner have rights to the folder (those of its group are told by an event at
    /// `WARN`) or another user owns it, and where its file system has no hard links;
    /// [`Unavailable`](cloakroom_core::ErrorKind::Unavailable) where it cannot be used.
    /// Each names the folder and what is wrong with it.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::open_with(path, Durability::default())
    }

    /// As [`open`](Self::open), with another durability. Processes that share a folder
    /// may choose differently: each keeps its promise for its own writes.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(path: impl AsRef<Path>, durability: Durability) -> Result<Self, Error> {
        let files = Files::open(path.as_ref(), durability)?;
        let no_threads = |source| {
            let message = format!("cannot start the background threads of the store: {source}");
            unavailable(message).with_source(source)
        };
        let threads = JobThreads::start("cloakroom-file", THREADS).map_err(no_threads)?;
        let reads = InlineWork::start("cloakroom-file-read").map_err(no_threads)?;
        Ok(Self {
            files: Arc::new(files),
            sweep_cursor: Arc::default(),
            threads: Arc::new(threads),
            reads: Arc::new(reads),
        })
    }

    /// Runs a job on a background thread.
    async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Files) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let files = self.files.renewed();
        let job = move || files.require_in_time().and_then(|()| job(&files));
        let done = self.threads.run(job).await;
        let done = done.map_err(|lost| unavailable(lost.to_string()).with_source(lost))?;
        done.map_err(|error| error.in_store(NAME))
    }

    /// A load that a background thread has not done.
    fn not_loaded(&self, source: NotDone) -> Error {
        let path = self.files.layout.path.display();
        unavailable(format!("cannot load a session from {path}: {source}")).with_source(source)
    }
}

impl SessionStore for FileStore {
    async fn load(&self, digest: &KeyDigest) -> Result<Option<Stored>, Error> {
        let digest = *digest;
        let load = move |layout: &Layout| files::load(layout, &digest);
        let loaded = self.reads.run(&self.files.layout, load).await;
        let loaded = loaded.map_err(|source| self.not_loaded(source))?;
        loaded.map_err(|error| error.in_store(NAME))
    }

    async fn create(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        let (digest, record) = (*digest, record.clone());
        self.run(move |files| files.create(&digest, &record)).await
    }

    async fn update(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        let (digest, record) = (*digest, record.clone());
        self.run(move |files| files.update(&digest, &record)).await
    }

    async fn touch(
        &self,
        digest: &KeyDigest,
        revision: Revision,
        touch: Touch,
    ) -> Result<(), Error> {
        let digest = *digest;
        self.run(move |files| files.touch(&digest, revision, touch))
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
        self.run(move |files| files.rotate(&old, &new, &record, mark_until))
            .await
    }

    async fn end(&self, digest: &KeyDigest, ending: Option<&Ending>) -> Result<(), Error> {
        let (digest, ending) = (*digest, ending.cloned());
        self.run(move |files| files.end(&digest, ending.as_ref()))
            .await
    }

    fn capabilities(&self) -> Capabilities<'_> {
        Capabilities::NONE
            .named("file")
            .with_sweep(self)
            .with_subjects(self)
            .with_scan(self)
            .with_import(self)
    }
}

impl Sweep for FileStore {
    fn sweep(&self, now: Timestamp, max: usize) -> BoxFuture<'_, Result<Swept, Error>> {
        let cursor = self.sweep_cursor.clone();
        Box::pin(self.run(move |files| sweep::step(files, &cursor, now, max)))
    }
}

impl Subjects for FileStore {
    fn list_sessions<'a>(
        &'a self,
        subject: &'a SubjectDigest,
        from: Option<&'a ScanCursor>,
    ) -> BoxFuture<'a, Result<ListPage, Error>> {
        let (subject, from) = (*subject, from.cloned());
        Box::pin(self.run(move |files| files.list(&subject, from.as_ref())))
    }

    fn end_sessions<'a>(
        &'a self,
        subject: &'a SubjectDigest,
        which: Revoke,
        ending: Option<&'a Ending>,
    ) -> BoxFuture<'a, Result<Vec<KeyDigest>, Error>> {
        let (subject, ending) = (*subject, ending.cloned());
        Box::pin(self.run(move |files| files.revoke(&subject, which, ending.as_ref())))
    }
}

impl Scan for FileStore {
    fn scan<'a>(
        &'a self,
        from: Option<&'a ScanCursor>,
        max: usize,
    ) -> BoxFuture<'a, Result<ScanPage, Error>> {
        let from = from.cloned();
        Box::pin(self.run(move |files| scan::page(files, from.as_ref(), max)))
    }
}

impl Import for FileStore {
    fn import<'a>(
        &'a self,
        digest: &'a KeyDigest,
        stored: &'a Stored,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        let (digest, stored) = (*digest, stored.clone());
        Box::pin(self.run(move |files| files.import(&digest, &stored)))
    }
}

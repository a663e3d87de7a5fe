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
//! # What is promised
//!
//! `create`, `update`, `rotate`, `delete`, `revoke` and `import` are on the disk
//! before they return ([`Durability::Synced`]). A file is whole at every moment, whatever ends the
//! process or fills the disk. A `touch` may be lost with the machine, and never
//! takes the session with it.
//!
//! Any number of processes of one machine may use the folder at once, and an
//! `update` of one is a compare-and-swap against all of them. A network file
//! system must keep `flock` and hard links among its clients for that.
//!
//! `rotate` is one step for all of them. A crash between its two halves leaves
//! both keys opening the session, of which nobody has been told the new one: it
//! stays until its deadline.
//!
//! # How it is kept
//!
//! ```text
//! sessions/                 0700, or the store does not open
//!   v1/                     of this layout; another one gets another name
//!     00/ … ff/             by the first byte of the digest: 256 folders
//!       00c3…5e             a session: the frame of cloakroom_core::store::Stored, 0600
//!       .new-8d41…-17       being written, or left by a crash
//!     locks/00 … 3f         64 empty files, never replaced
//!     subjects/00/ … ff/    by the first byte of the subject's name
//!       7ae1…0c.00c3…5e     that this session is that subject's; empty
//! ```
//!
//! **A name is a digest**, in hexadecimal: nothing that a client sends becomes
//! part of a path, and keys never reach the disk.
//!
//! **Whole.** A frame is written to a new file beside its place and synced; then
//! it takes its name in one step, a hard link where nothing may be overwritten,
//! a rename where it replaces; then the folder is synced. The second half of a
//! rotation begins when the first is on the disk:
//!
//! ```text
//! create   write, fsync, link, fsync of the folder
//! update   write, fsync, rename, fsync of the folder
//! rotate   write, fsync of the new file and of the mark;
//!          link of the new file, fsync of its folder;
//!          rename of the mark, fsync of its folder
//! delete   unlink, fsync of the folder
//! touch    write, fsync, rename
//! ```
//!
//! Replacing by rename is what
//! ext4 answers with writing the data out at once (170 to 209 µs against 42 for
//! a new name): a synced file has that behind it, and with
//! [`Durability::Lazy`] it is what keeps a crash from leaving an empty file. A
//! name for each revision would avoid it there, and make every load a search.
//!
//! **Compare-and-swap.** Whoever replaces or removes a file holds the lock file
//! of its stripe, by `flock` against other processes and by a mutex within this
//! one, from the look at what stands there until the new state has its name.
//! The session's own file could not be that lock, since a rename puts another
//! file in its place. A store keeps its 64 lock files open. The slow part,
//! writing and syncing, comes before, and the sync of the folder after. Each
//! write but a touch has, when it is answered, synced every folder it looked
//! at, so it never stands on a state that a crash takes back.
//!
//! **Subjects.** Each session with a subject has an entry, an empty file named by
//! the subject's hash ([`Subject::name_bytes`]) and the digest. It is on the disk before the
//! session's file has its name, and removed once that is gone from the disk, so a
//! session that stands is listed after a crash too. Its maker looks, under the lock
//! of the digest, that it still stands when the session takes its name, and it is
//! removed under that lock: a sweep cannot come between. An entry alone is
//! harmless, since the session's file says whose it is. It costs one sync more, and
//! a session of nobody's costs nothing. With [`Durability::Lazy`] the file system
//! decides in which order a crash of the machine leaves them.
//!
//! A list holds every lock while it reads one folder of 256 and the sessions it names,
//! some 10 µs each: a session that moves is neither missed nor listed twice. `revoke`
//! reads that folder in the same way, ends the sessions one by one, each under its
//! lock, follows those that move meanwhile, and looks again until it finds no other.
//!
//! **Sweep.** A pass goes through the folders, one after the other, and reads
//! the 26 bytes of each file's head; what is due is judged again, whole, under
//! its lock. A step looks at 4,096 files at most, and the next one goes on where
//! it stopped. A damaged file goes when its head says it is due, and where the
//! head itself is damaged, a day after its last change. What a crashed writer
//! left goes after an hour, entries without their session too. Files of other names are left alone.
//!
//! A load is made where it is called, 5 µs each; lists, scans and writes on 16 threads of
//! the store's own, so that no thread of an async runtime waits for a disk, and
//! a write whose future is dropped is still made to its end.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod access;
mod files;
mod folder;
mod locks;
mod scan;
mod subjects;
mod sweep;
mod workers;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use cloakroom_core::store::{
    BoxFuture, Capabilities, Import, KeyDigest, Listed, Record, Revision, Revoke, Scan, ScanCursor,
    ScanPage, SessionStore, Stored, SubjectDigest, Subjects, Sweep, Swept, Touch,
};
use cloakroom_core::{Error, ErrorKind, Timestamp};

use crate::files::Files;
use crate::workers::Workers;

const NAME: &str = "file";

/// How much of a crash a write survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// What was answered survives a crash of the machine: every file and every
    /// folder is synced.
    #[default]
    Synced,
    /// Nothing is synced, and a write takes a fraction of the time. What was
    /// answered survives the end of the process. A crash of the machine may take
    /// the last seconds of writes back, a logout among them, and on some file
    /// systems damage what was being written: such a session is
    /// [`ErrorKind::Corrupt`] and its visitor gets a fresh one.
    Lazy,
}

/// A store in a folder of its own. Cheap to clone; the last clone to be dropped
/// waits for the writes under way.
#[derive(Clone)]
pub struct FileStore {
    files: Arc<Files>,
    workers: Arc<Workers>,
}

impl fmt::Debug for FileStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileStore")
            .field("path", &self.files.path())
            .field("durability", &self.files.durability())
            .finish_non_exhaustive()
    }
}

impl FileStore {
    /// Opens the store in a folder, and makes it where there is none, for its
    /// owner alone.
    ///
    /// This blocks on the disk: call it at start, or off the runtime's threads.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] where, on Unix, others than its owner may
    /// enter the folder, and where its file system has no hard links;
    /// [`ErrorKind::Unavailable`] where it cannot be used. Each names the folder
    /// and what is wrong with it.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::open_with(path, Durability::default())
    }

    /// As [`open`](Self::open), with another durability. Processes that share a
    /// folder may differ in it: each keeps its promise for its own writes.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(path: impl AsRef<Path>, durability: Durability) -> Result<Self, Error> {
        let files = Files::open(path.as_ref(), durability)?;
        let workers = Workers::start().map_err(|source| {
            unavailable("cannot start the threads that write").with_source(source)
        })?;
        Ok(Self {
            files: Arc::new(files),
            workers: Arc::new(workers),
        })
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Files) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let files = self.files.clone();
        let done = self.workers.run(move || work(&files)).await;
        done.map_err(|error| error.in_store(NAME))
    }
}

fn unavailable(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Unavailable, message).in_store(NAME)
}

impl SessionStore for FileStore {
    async fn load(&self, digest: &KeyDigest) -> Result<Option<Stored>, Error> {
        let loaded = self.files.load(digest);
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

    async fn delete(&self, digest: &KeyDigest) -> Result<(), Error> {
        let digest = *digest;
        self.run(move |files| files.delete(&digest)).await
    }

    fn capabilities(&self) -> Capabilities<'_> {
        Capabilities::NONE
            .with_sweep(self)
            .with_subjects(self)
            .with_scan(self)
            .with_import(self)
    }
}

impl Sweep for FileStore {
    fn sweep(&self, now: Timestamp, max: usize) -> BoxFuture<'_, Result<Swept, Error>> {
        Box::pin(self.run(move |files| sweep::step(files, now, max)))
    }
}

impl Subjects for FileStore {
    fn sessions_of<'a>(
        &'a self,
        subject: &'a SubjectDigest,
    ) -> BoxFuture<'a, Result<Vec<Listed>, Error>> {
        let subject = *subject;
        Box::pin(self.run(move |files| files.sessions_of(&subject)))
    }

    fn revoke<'a>(
        &'a self,
        subject: &'a SubjectDigest,
        which: Revoke,
    ) -> BoxFuture<'a, Result<Vec<KeyDigest>, Error>> {
        let subject = *subject;
        Box::pin(self.run(move |files| files.revoke(&subject, which)))
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

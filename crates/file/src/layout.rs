//! Where each file of the store lies, and how it is read, written and listed.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use cloakroom_core::store::{FRAME_BYTES_CEILING, FrameHead, KeyDigest, SubjectDigest};
use cloakroom_core::{Error, ErrorKind};
use cloakroom_disk::{StagedFile, is_damage, make_private_folder_unsynced, sync_folder};

use crate::error::{failed, failed_at_path};

/// How the temporary name of a new file begins. No digest's does.
const TEMPORARY: &str = ".new-";

/// How often a folder is made again that a cleaner removes at once.
const REMAKES_MAX: u32 = 100;

/// Which crashes a write survives once it is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// A crash of the machine: every file and every folder is synced.
    #[default]
    Synced,
    /// The end of the process. Nothing is synced, and a write takes a fraction of the
    /// time. A crash of the machine may take back the last seconds of writes, a logout
    /// among them, and on some file systems damage what was being written: such a session
    /// is [`Corrupt`](cloakroom_core::ErrorKind::Corrupt), and its visitor gets a fresh one.
    Lazy,
}

/// The paths of a store, and the files at them.
pub(crate) struct Layout {
    /// The store's folder, as it was given.
    pub(crate) path: PathBuf,
    pub(crate) durability: Durability,
    root: PathBuf,
    /// Makes the temporary names of this store differ from those of every other
    /// process, in whatever container it runs.
    opening: u64,
    next_number: AtomicU64,
}

/// A file of the store, as its name tells.
pub(crate) enum Listed {
    Session(KeyDigest),
    /// A new file that has no name of its own yet, or was left by a crash.
    Temporary(PathBuf),
    SubjectEntry(SubjectEntry),
}

/// An entry of the index by subject: the session at this digest may be this subject's.
/// Whose it is, its own file says.
#[derive(Clone, Copy)]
pub(crate) struct SubjectEntry {
    pub(crate) subject: SubjectDigest,
    pub(crate) digest: KeyDigest,
}

impl SubjectEntry {
    /// The entry of a session; one without a subject has none.
    pub(crate) fn of(subject: Option<SubjectDigest>, digest: &KeyDigest) -> Option<Self> {
        let (subject, digest) = (subject?, *digest);
        Some(Self { subject, digest })
    }
}

impl Layout {
    pub(crate) fn new(path: &Path, durability: Durability) -> Self {
        Self {
            path: path.to_path_buf(),
            durability,
            root: path.join("v1"),
            opening: RandomState::new().hash_one(std::process::id()),
            next_number: AtomicU64::new(0),
        }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn locks_folder(&self) -> PathBuf {
        self.root.join("locks")
    }

    pub(crate) fn subjects_folder(&self) -> PathBuf {
        self.root.join("subjects")
    }

    /// The folder of the sessions whose digest begins with this byte.
    pub(crate) fn session_folder(&self, first: u8) -> PathBuf {
        self.root.join(format!("{first:02x}"))
    }

    /// The folder of the entries whose subject's digest begins with this byte.
    pub(crate) fn entry_folder(&self, first: u8) -> PathBuf {
        self.subjects_folder().join(format!("{first:02x}"))
    }

    fn folder_of(&self, digest: &KeyDigest) -> PathBuf {
        self.session_folder(digest.as_bytes()[0])
    }

    pub(crate) fn session_path(&self, digest: &KeyDigest) -> PathBuf {
        self.folder_of(digest).join(digest.to_hex())
    }

    pub(crate) fn entry_path(&self, entry: &SubjectEntry) -> PathBuf {
        let name = format!("{}.{}", entry.subject.to_hex(), entry.digest.to_hex());
        self.entry_folder(entry.subject.as_bytes()[0]).join(name)
    }

    /// The frame in a session's file. A file that is longer than any frame may be is
    /// read up to the byte that shows it.
    pub(crate) fn read(&self, digest: &KeyDigest) -> Result<Option<Vec<u8>>, Error> {
        self.read_start(digest, FRAME_BYTES_CEILING + 1)
    }

    /// The bytes of a frame's head; fewer where the file is shorter.
    pub(crate) fn read_head(&self, digest: &KeyDigest) -> Result<Option<Vec<u8>>, Error> {
        self.read_start(digest, FrameHead::BYTES)
    }

    fn read_start(&self, digest: &KeyDigest, bytes_max: usize) -> Result<Option<Vec<u8>>, Error> {
        let read = || {
            let file = self.open(digest, OpenOptions::new().read(true))?;
            read_opened(&file, bytes_max)
        };
        self.if_found(read())
            .map_err(|source| self.unreadable(digest, source))
    }

    /// Opens a session's file. What is no file is not opened: a named pipe would open once
    /// somebody writes to it.
    pub(crate) fn open(&self, digest: &KeyDigest, options: &OpenOptions) -> io::Result<File> {
        let path = self.session_path(digest);
        match fs::metadata(&path)?.is_file() {
            true => options.open(&path),
            false => Err(io::Error::new(io::ErrorKind::InvalidData, "it is no file")),
        }
    }

    /// A session's file that cannot be read. Where the reason is its own, and not that of the
    /// whole disk, it is as damaged as one that holds no frame.
    pub(crate) fn unreadable(&self, digest: &KeyDigest, source: io::Error) -> Error {
        let is_no_file = source.kind() == io::ErrorKind::InvalidData;
        if is_no_file || is_damage(&source) && self.takes_files(digest) {
            let (short, folder) = (digest.short(), self.folder_of(digest));
            let message = format!(
                "the file of session {short}… in {} cannot be read: {source}; look at the disk, \
                 and move the file away",
                folder.display()
            );
            return Error::new(ErrorKind::Corrupt, message).with_source(source);
        }
        self.session_failed("read a session's file", digest, source)
    }

    /// Whether the disk takes a new file beside that of a session.
    fn takes_files(&self, digest: &KeyDigest) -> bool {
        let written = self.stage_empty(digest).and_then(|mut staged| {
            staged.write(b"written to see whether the disk takes files")?;
            staged.sync()
        });
        written.is_ok()
    }

    /// `None` where what was looked for is not found, and the store stands: a disk that is
    /// not mounted holds no file either. A folder may be missing, since cleaners of temporary
    /// files remove those that are empty.
    pub(crate) fn if_found<T>(&self, result: io::Result<T>) -> io::Result<Option<T>> {
        match result {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::metadata(&self.root).map(|_| None)
            }
            result => result.map(Some),
        }
    }

    /// Makes a file in a folder, and the folder again where a cleaner has removed it.
    pub(crate) fn make_in<T>(
        &self,
        folder: &Path,
        make: impl Fn() -> io::Result<T>,
    ) -> io::Result<T> {
        let (made, is_remade) = self.make_in_unsynced(folder, make)?;
        if is_remade {
            let parents = folder.ancestors().skip(1);
            let mut parents = parents.take_while(|parent| parent.starts_with(&self.root));
            parents.try_for_each(|parent| self.sync_folder(parent))?;
        }
        Ok(made)
    }

    /// Answers whether the folder was made again, and has to be synced with those around it.
    pub(crate) fn make_in_unsynced<T>(
        &self,
        folder: &Path,
        make: impl Fn() -> io::Result<T>,
    ) -> io::Result<(T, bool)> {
        let is_missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        let mut made = make();
        let mut remakes = 0;
        while remakes < REMAKES_MAX && made.as_ref().is_err_and(is_missing) {
            remakes += 1;
            // What is made here, a cleaner may remove before the next line.
            match self.make_folder(folder) {
                Err(error) if is_missing(&error) => fs::metadata(&self.root).map(drop)?,
                remade => remade?,
            }
            made = make();
        }
        Ok((made?, remakes > 0))
    }

    /// Makes a folder of the layout. The root is not made: where it is missing, its disk may
    /// not be mounted.
    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        match (make_private_folder_unsynced(folder), folder.parent()) {
            (Err(error), Some(parent))
                if error.kind() == io::ErrorKind::NotFound && parent != self.root =>
            {
                self.make_folder(parent)?;
                make_private_folder_unsynced(folder)
            }
            (made, _) => made,
        }
    }

    /// An operation on a session's file that failed.
    pub(crate) fn session_failed(
        &self,
        operation: &str,
        digest: &KeyDigest,
        source: io::Error,
    ) -> Error {
        failed(operation, &self.folder_of(digest), source)
    }

    /// Removes a session's file, if there is one. A folder in its place is left: it opens
    /// nothing.
    pub(crate) fn remove(&self, digest: &KeyDigest) -> Result<(), Error> {
        let path = self.session_path(digest);
        match cloakroom_disk::remove_file(&path) {
            Err(source) if !path.is_dir() => {
                Err(self.session_failed("remove a session's file", digest, source))
            }
            _ => Ok(()),
        }
    }

    /// Removes an entry, if there is one.
    pub(crate) fn remove_entry(&self, entry: &SubjectEntry) -> Result<(), Error> {
        let path = self.entry_path(entry);
        cloakroom_disk::remove_file(&path)
            .map(drop)
            .map_err(|source| {
                let folder = self.entry_folder(entry.subject.as_bytes()[0]);
                failed("remove a subject's entry", &folder, source)
            })
    }

    /// Writes a frame to a new file, in the folder of its digest.
    pub(crate) fn stage(&self, digest: &KeyDigest, frame: &[u8]) -> Result<StagedFile, Error> {
        let staged = self.stage_unsynced(digest, frame)?;
        if self.durability == Durability::Synced {
            let synced = staged.sync();
            synced.map_err(|source| self.session_failed("sync a new file", digest, source))?;
        }
        Ok(staged)
    }

    /// As [`stage`](Self::stage), of what need not survive a crash of the machine.
    pub(crate) fn stage_unsynced(
        &self,
        digest: &KeyDigest,
        frame: &[u8],
    ) -> Result<StagedFile, Error> {
        let staged = self.stage_empty(digest).and_then(|mut staged| {
            staged.write(frame)?;
            Ok(staged)
        });
        staged.map_err(|source| self.session_failed("write a new file", digest, source))
    }

    fn stage_empty(&self, digest: &KeyDigest) -> io::Result<StagedFile> {
        loop {
            let number = self.next_number.fetch_add(1, Ordering::Relaxed);
            let name = format!("{TEMPORARY}{:016x}-{number}", self.opening);
            let folder = self.folder_of(digest);
            match self.make_in(&folder, || StagedFile::create(folder.join(&name))) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                staged => return staged,
            }
        }
    }

    /// Syncs the folders of these digests, each once.
    pub(crate) fn sync(&self, digests: &[KeyDigest]) -> Result<(), Error> {
        let mut firsts: Vec<u8> = digests.iter().map(|digest| digest.as_bytes()[0]).collect();
        firsts.sort_unstable();
        firsts.dedup();
        let mut folders = firsts.iter().map(|first| self.session_folder(*first));
        folders.try_for_each(|folder| self.sync_one(&folder))
    }

    /// Syncs the folder of a subject's entries.
    pub(crate) fn sync_entries(&self, subject: &SubjectDigest) -> Result<(), Error> {
        self.sync_one(&self.entry_folder(subject.as_bytes()[0]))
    }

    fn sync_one(&self, folder: &Path) -> Result<(), Error> {
        self.sync_folder(folder).map_err(failed_at_path)
    }

    /// Where a cleaner has removed the folder, since it was empty, it is the loss of its name
    /// that has to be on the disk.
    pub(crate) fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        if self.durability == Durability::Lazy {
            return Ok(());
        }
        match (sync_folder(folder), folder.parent()) {
            (Err(error), Some(parent))
                if error.kind() == io::ErrorKind::NotFound && folder != self.root =>
            {
                self.sync_folder(parent)
            }
            (synced, _) => synced,
        }
    }

    /// Fails where the file system has no hard links, without which no session can be
    /// created.
    pub(crate) fn probe_hard_links(&self) -> io::Result<()> {
        let digest = KeyDigest::from_bytes([0; KeyDigest::BYTES]);
        let linked = self
            .folder_of(&digest)
            .join(format!("{TEMPORARY}{:016x}-link", self.opening));
        self.stage_empty(&digest)?.link_to(&linked)?;
        fs::remove_file(linked)
    }

    /// The sessions and temporary files of one folder. Files of other names are not
    /// the store's.
    pub(crate) fn list_sessions(&self, first: u8) -> Result<Vec<Listed>, Error> {
        self.list(&self.session_folder(first), |name, path| {
            if name.starts_with(TEMPORARY) {
                return Some(Listed::Temporary(path()));
            }
            let digest = KeyDigest::from_hex(name)?;
            (digest.as_bytes()[0] == first).then_some(Listed::Session(digest))
        })
    }

    /// The digests in the entries of one subject. Its folder holds those of others too.
    pub(crate) fn list_entries_of(
        &self,
        subject: &SubjectDigest,
    ) -> Result<BTreeSet<KeyDigest>, Error> {
        let prefix = format!("{}.", subject.to_hex());
        let found = self.list(&self.entry_folder(subject.as_bytes()[0]), |name, _| {
            KeyDigest::from_hex(name.strip_prefix(&prefix)?)
        });
        found.map(BTreeSet::from_iter)
    }

    /// The entries of one folder of the index by subject.
    pub(crate) fn list_entries(&self, first: u8) -> Result<Vec<Listed>, Error> {
        self.list(&self.entry_folder(first), |name, _| {
            let (subject, digest) = name.split_once('.')?;
            let subject = SubjectDigest::from_hex(subject)?;
            let digest = KeyDigest::from_hex(digest)?;
            let entry = SubjectEntry { subject, digest };
            (subject.as_bytes()[0] == first).then_some(Listed::SubjectEntry(entry))
        })
    }

    fn list<T>(
        &self,
        folder: &Path,
        parse: impl Fn(&str, &dyn Fn() -> PathBuf) -> Option<T>,
    ) -> Result<Vec<T>, Error> {
        let list = || {
            let mut listed = Vec::new();
            for entry in self.if_found(fs::read_dir(folder))?.into_iter().flatten() {
                let entry = entry?;
                if entry.file_type().is_ok_and(|kind| kind.is_file()) {
                    let name = entry.file_name();
                    listed.extend(name.to_str().and_then(|name| parse(name, &|| entry.path())));
                }
            }
            Ok(listed)
        };
        list().map_err(|source| failed("list the files", folder, source))
    }
}

/// The first bytes of a file; all, where it is shorter.
pub(crate) fn read_opened(file: &File, bytes_max: usize) -> io::Result<Vec<u8>> {
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    let mut bytes = Vec::with_capacity(length.min(bytes_max));
    file.take(bytes_max as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

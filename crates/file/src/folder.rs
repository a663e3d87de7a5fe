//! The folder on the disk: its layout, and how a file gets its name.

use std::fs::{self, File};
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use cloakroom_core::Error;
use cloakroom_core::store::{FRAME_BYTES_CEILING, FrameHead, KeyDigest};

use crate::access::{private, sync_folder};
use crate::{Durability, subjects, unavailable};

/// How the name of a file begins that is being written. No digest's does.
const NEW: &str = ".new-";

pub(crate) struct Folder {
    /// As it was given, to be named in errors.
    pub(crate) path: PathBuf,
    pub(crate) durability: Durability,
    root: PathBuf,
    /// With a number of its own, each new file has a name that no other process
    /// takes, in whatever container it runs.
    opening: u64,
    number: AtomicU64,
}

/// What an entry of a folder is, by its name.
pub(crate) enum Entry {
    Session(KeyDigest),
    New(PathBuf),
    /// Of the folders of subjects.
    Listed(subjects::Entry),
}

impl Folder {
    pub(crate) fn new(path: &Path, durability: Durability) -> Self {
        Self {
            path: path.to_path_buf(),
            durability,
            root: path.join("v1"),
            opening: RandomState::new().hash_one(std::process::id()),
            number: AtomicU64::new(0),
        }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn locks(&self) -> PathBuf {
        self.root.join("locks")
    }

    pub(crate) fn subjects(&self) -> PathBuf {
        self.root.join("subjects")
    }

    /// The folder of the subjects whose name begins with this byte.
    pub(crate) fn subject_fan(&self, first: u8) -> PathBuf {
        self.subjects().join(format!("{first:02x}"))
    }

    /// The folder of the digests that begin with this byte.
    pub(crate) fn fan(&self, first: u8) -> PathBuf {
        self.root.join(format!("{first:02x}"))
    }

    fn home(&self, digest: &KeyDigest) -> PathBuf {
        self.fan(digest.as_bytes()[0])
    }

    pub(crate) fn place(&self, digest: &KeyDigest) -> PathBuf {
        self.home(digest).join(digest.to_hex())
    }

    /// The whole file, or as much of it as shows that it is no frame.
    pub(crate) fn read(&self, digest: &KeyDigest) -> Result<Option<Vec<u8>>, Error> {
        let read = self.read_start(digest, FRAME_BYTES_CEILING + 1);
        found(read).map_err(|source| failed("cannot read a session's file", source))
    }

    /// The bytes that a head takes, or fewer where the file is shorter.
    pub(crate) fn read_head(&self, digest: &KeyDigest) -> io::Result<Option<Vec<u8>>> {
        found(self.read_start(digest, FrameHead::BYTES))
    }

    fn read_start(&self, digest: &KeyDigest, bytes_max: usize) -> io::Result<Vec<u8>> {
        let file = File::open(self.place(digest))?;
        let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
        let mut bytes = Vec::with_capacity(length.min(bytes_max));
        file.take(bytes_max as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    pub(crate) fn remove(&self, digest: &KeyDigest) -> io::Result<()> {
        found(fs::remove_file(self.place(digest))).map(|_| ())
    }

    /// Writes a frame beside the place of its digest, whole and on the disk.
    pub(crate) fn stage(&self, digest: &KeyDigest, frame: &[u8]) -> Result<Staged<'_>, Error> {
        let (mut file, staged) = self
            .new_file(digest)
            .map_err(|source| failed("cannot make a new file", source))?;
        file.write_all(frame)
            .and_then(|()| match self.durability {
                Durability::Synced => file.sync_all(),
                Durability::Lazy => Ok(()),
            })
            .map_err(|source| failed("cannot write a new file", source))?;
        Ok(staged)
    }

    fn new_file(&self, digest: &KeyDigest) -> io::Result<(File, Staged<'_>)> {
        loop {
            let number = self.number.fetch_add(1, Ordering::Relaxed);
            let name = format!("{NEW}{:016x}-{number}", self.opening);
            let path = self.home(digest).join(name);
            match private().write(true).create_new(true).open(&path) {
                Ok(file) => {
                    let staged = Staged {
                        folder: self,
                        path,
                        renamed: false,
                    };
                    return Ok((file, staged));
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Puts on the disk which names stand in the folders of these digests.
    pub(crate) fn sync(&self, digests: &[KeyDigest]) -> Result<(), Error> {
        if self.durability == Durability::Lazy {
            return Ok(());
        }
        let mut firsts: Vec<u8> = digests.iter().map(|digest| digest.as_bytes()[0]).collect();
        firsts.sort_unstable();
        firsts.dedup();
        for first in firsts {
            sync_folder(&self.fan(first))
                .map_err(|source| failed("cannot sync a folder", source))?;
        }
        Ok(())
    }

    /// Puts on the disk which entries stand in a folder of subjects.
    pub(crate) fn sync_subjects(&self, first: u8) -> Result<(), Error> {
        match self.durability {
            Durability::Lazy => Ok(()),
            Durability::Synced => sync_folder(&self.subject_fan(first))
                .map_err(|source| failed("cannot sync a folder", source)),
        }
    }

    /// Proves that the file system can do what the store is built on.
    pub(crate) fn probe(&self) -> io::Result<()> {
        let digest = KeyDigest::from_bytes([0; KeyDigest::BYTES]);
        let (_, staged) = self.new_file(&digest)?;
        let linked = staged.path.with_extension("link");
        fs::hard_link(&staged.path, &linked)?;
        fs::remove_file(linked)
    }

    /// What stands in one folder; names that are not ours are passed over.
    pub(crate) fn list(&self, first: u8) -> io::Result<Vec<Entry>> {
        list(&self.fan(first), |name, path| known(first, name, path))
    }

    /// What stands in one folder of subjects.
    pub(crate) fn list_subjects(&self, first: u8) -> io::Result<Vec<Entry>> {
        list(&self.subject_fan(first), |name, _| {
            subjects::Entry::parse(first, name).map(Entry::Listed)
        })
    }
}

fn list(
    folder: &Path,
    known: impl Fn(&str, &dyn Fn() -> PathBuf) -> Option<Entry>,
) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type().is_ok_and(|kind| kind.is_file()) {
            let name = entry.file_name();
            entries.extend(name.to_str().and_then(|name| known(name, &|| entry.path())));
        }
    }
    Ok(entries)
}

fn known(first: u8, name: &str, path: &dyn Fn() -> PathBuf) -> Option<Entry> {
    if name.starts_with(NEW) {
        return Some(Entry::New(path()));
    }
    let digest = KeyDigest::from_hex(name)?;
    (digest.as_bytes()[0] == first).then_some(Entry::Session(digest))
}

/// A file that is written and has no name of its own yet. Dropped without one,
/// it is removed.
pub(crate) struct Staged<'f> {
    folder: &'f Folder,
    path: PathBuf,
    renamed: bool,
}

impl Staged<'_> {
    /// Takes the digest's name where nothing has it, in one step.
    ///
    /// # Errors
    /// `AlreadyExists` where something has.
    pub(crate) fn take_free(self, digest: &KeyDigest) -> io::Result<()> {
        fs::hard_link(&self.path, self.folder.place(digest))
    }

    /// Takes the digest's name from whatever has it, in one step.
    pub(crate) fn replace(mut self, digest: &KeyDigest) -> Result<(), Error> {
        fs::rename(&self.path, self.folder.place(digest))
            .map_err(|source| failed("cannot replace a session's file", source))?;
        self.renamed = true;
        Ok(())
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        if !self.renamed {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// What is not there is no failure.
pub(crate) fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

pub(crate) fn failed(what: &'static str, source: io::Error) -> Error {
    unavailable(format!("{what}: {source}")).with_source(source)
}

//! Files that a crash leaves whole: the old content, the new content, or no file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::folder::{make_private_folder, parent_of, sync_folder};
use crate::private::{about, judge};

/// Options that make a new file readable and writable by its owner alone. A file that
/// is there already keeps its mode.
#[cfg(unix)]
#[must_use]
pub fn private_options() -> OpenOptions {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

/// Options for a new file. The folder around it decides who may read it here.
#[cfg(not(unix))]
#[must_use]
pub fn private_options() -> OpenOptions {
    OpenOptions::new()
}

#[cfg(unix)]
mod system {
    use std::fs::{File, Metadata};
    use std::io;
    use std::os::unix::fs::MetadataExt as _;

    use rustix::io::Errno;

    pub(super) type Identity = (u64, u64);

    /// The last two are what the checksums of a file system find.
    #[cfg(target_os = "linux")]
    const DAMAGE: &[Errno] = &[
        Errno::IO,
        Errno::LOOP,
        Errno::NXIO,
        Errno::BADMSG,
        Errno::UCLEAN,
    ];
    #[cfg(not(target_os = "linux"))]
    const DAMAGE: &[Errno] = &[Errno::IO, Errno::LOOP, Errno::NXIO];

    pub(super) fn is_damage(error: &io::Error) -> bool {
        Errno::from_io_error(error).is_some_and(|errno| DAMAGE.contains(&errno))
    }

    pub(super) fn identity(metadata: &Metadata) -> Identity {
        (metadata.dev(), metadata.ino())
    }

    #[cfg(target_os = "linux")]
    pub(super) fn forget_pages(file: &File) -> io::Result<()> {
        rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed)?;
        Ok(())
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn forget_pages(_: &File) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(not(unix))]
mod system {
    use std::fs::{File, Metadata};
    use std::io;

    pub(super) type Identity = ();

    pub(super) fn identity(_: &Metadata) -> Identity {}

    pub(super) fn is_damage(_: &io::Error) -> bool {
        false
    }

    pub(super) fn forget_pages(_: &File) -> io::Result<()> {
        Ok(())
    }
}

/// Makes an empty file, and the folder that it lies in, where they are missing, and
/// answers whether the file is new. One that is there already is left as it is.
///
/// # Errors
/// The system's, and [`PermissionDenied`](io::ErrorKind::PermissionDenied) for a file that
/// is there and not private: see [`check_private_folder`](crate::check_private_folder).
pub fn make_private_file(path: &Path) -> io::Result<bool> {
    let parent = parent_of(path).unwrap_or(path);
    make_private_folder(parent)?;
    match private_options().write(true).create_new(true).open(path) {
        Ok(_) => sync_folder(parent).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let metadata = fs::metadata(path);
            let metadata =
                metadata.map_err(|error| about("cannot look at the file", path, &error))?;
            // Whoever opens a folder as a file is told that it is one.
            if metadata.is_file() {
                judge("file", path, &metadata)?;
            }
            Ok(false)
        }
        Err(error) => Err(about("cannot make the file", path, &error)),
    }
}

/// Replaces the content of a file in one step, or makes the file: a crash leaves the
/// old content or the new. The new content is on the disk when this returns.
///
/// It is written to a file of the same name with `.new` behind it first, so of two
/// calls for one path at the same time, one may fail.
pub fn replace_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut staged = path.as_os_str().to_owned();
    staged.push(".new");
    let staged = PathBuf::from(staged);
    // A crash may have left it, with a mode that lets others read it.
    remove_file(&staged)?;
    let mut staged = StagedFile::create(staged)?;
    staged.write(content)?;
    staged.sync()?;
    staged.rename_to(path)?;
    parent_of(path).map_or(Ok(()), sync_folder)
}

/// Removes a file, and answers whether there was one. The folder is not synced: until
/// it is, a crash may bring the file back.
pub fn remove_file(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Which file a path leads to, to see later whether it still does: a file that was deleted
/// or replaced takes writes from whoever has it open, and nobody finds them again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileIdentity(system::Identity);

impl FileIdentity {
    /// Of a file that is open.
    pub fn of(file: &File) -> io::Result<Self> {
        Ok(Self(system::identity(&file.metadata()?)))
    }

    /// Of the file that the path leads to now.
    pub fn at(path: &Path) -> io::Result<Self> {
        Ok(Self(system::identity(&fs::metadata(path)?)))
    }

    /// Whether the path is known to lead elsewhere, or nowhere. Elsewhere than on Unix a
    /// file that is open cannot be replaced.
    #[must_use]
    pub fn has_left(&self, path: &Path) -> bool {
        match Self::at(path) {
            Ok(found) => found != *self,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }
}

/// Whether a file could not be read for a reason that lies in itself, or in the disk: not in
/// rights, nor in what this process or machine has run out of.
#[must_use]
pub fn is_damage(error: &io::Error) -> bool {
    system::is_damage(error)
}

/// Syncs a file, then makes the system forget what it remembers of it, so that whoever
/// opens it reads what the disk has. After a sync that failed, the system may go on
/// showing pages that never reached the disk, and take them for written.
///
/// The system is made to forget on Linux alone.
pub fn reread_from_disk(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    file.sync_all()?;
    system::forget_pages(&file)
}

/// A new file under a temporary name, which gets its own name in one step once its
/// content is whole. Dropped before that, it is removed.
///
/// No step syncs the folder, so that one [`sync_folder`] may serve several files.
#[derive(Debug)]
pub struct StagedFile {
    file: File,
    path: PathBuf,
    renamed: bool,
}

impl StagedFile {
    /// Makes the file under its temporary name, which must lie in the same file system
    /// as the name that it is to get.
    ///
    /// # Errors
    /// [`AlreadyExists`](io::ErrorKind::AlreadyExists) where a file has that name.
    pub fn create(path: PathBuf) -> io::Result<Self> {
        let file = private_options().write(true).create_new(true).open(&path)?;
        Ok(Self {
            file,
            path,
            renamed: false,
        })
    }

    /// Adds to the content.
    pub fn write(&mut self, content: &[u8]) -> io::Result<()> {
        self.file.write_all(content)
    }

    /// Syncs the content. Without that, a crash may leave an empty file under the new
    /// name.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// Gives the file a name that no other has, by a hard link, and removes the temporary
    /// name.
    ///
    /// # Errors
    /// [`AlreadyExists`](io::ErrorKind::AlreadyExists) where a file has that name. Not
    /// every file system has hard links.
    pub fn link_to(self, path: &Path) -> io::Result<()> {
        fs::hard_link(&self.path, path)
    }

    /// Renames the file, in place of the file that has the name, if one does.
    pub fn rename_to(mut self, path: &Path) -> io::Result<()> {
        fs::rename(&self.path, path)?;
        self.renamed = true;
        Ok(())
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        if !self.renamed {
            let _ = fs::remove_file(&self.path);
        }
    }
}

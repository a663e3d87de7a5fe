//! Files that a crash leaves whole: the old content, the new content, or no file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::folder::{about, make_private_folder, parent_of, sync_folder};

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

/// Makes an empty file, and the folder that it lies in, where they are missing, and
/// answers whether the file is new. One that is there already is left as it is.
///
/// # Errors
/// Where the file or a folder cannot be made or synced; the text names it.
pub fn make_private_file(path: &Path) -> io::Result<bool> {
    let parent = parent_of(path).unwrap_or(path);
    make_private_folder(parent)?;
    match private_options().write(true).create_new(true).open(path) {
        Ok(_) => sync_folder(parent).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(about("cannot make the file", path, &error)),
    }
}

/// Replaces the content of a file in one step, or makes the file: a crash leaves the
/// old content or the new. The new content is on the disk when this returns.
///
/// It is written to a file of the same name with `.new` behind it first, so of two
/// calls for one path at the same time, one may fail.
///
/// # Errors
/// Where the file cannot be written, renamed or synced.
pub fn replace_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut staged = path.as_os_str().to_owned();
    staged.push(".new");
    let staged = PathBuf::from(staged);
    // A crash may have left it; whoever made it may have let others read it.
    remove_file(&staged)?;
    let mut staged = StagedFile::create(staged)?;
    staged.write(content)?;
    staged.sync()?;
    staged.replace(path)?;
    parent_of(path).map_or(Ok(()), sync_folder)
}

/// Removes a file, and answers whether there was one. The folder is not synced: until
/// it is, a crash may bring the file back.
///
/// # Errors
/// Where the file is there and cannot be removed.
pub fn remove_file(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// A new file under a temporary name, which takes its own name in one step once its
/// content is whole. One that is dropped before is removed.
///
/// Neither step syncs the folder, so that one [`sync_folder`] may serve several files.
#[derive(Debug)]
pub struct StagedFile {
    file: File,
    path: PathBuf,
    renamed: bool,
}

impl StagedFile {
    /// Makes the file under its temporary name, which must lie in the file system of
    /// the name it is to take.
    ///
    /// # Errors
    /// [`AlreadyExists`](io::ErrorKind::AlreadyExists) where a file has that name, and
    /// what else the system answers.
    pub fn create(path: PathBuf) -> io::Result<Self> {
        let file = private_options().write(true).create_new(true).open(&path)?;
        Ok(Self {
            file,
            path,
            renamed: false,
        })
    }

    /// Adds to the content.
    ///
    /// # Errors
    /// What the system answers, a full disk among it.
    pub fn write(&mut self, content: &[u8]) -> io::Result<()> {
        self.file.write_all(content)
    }

    /// Has the content on the disk. Without it, a crash after the file has taken its
    /// name may leave it empty.
    ///
    /// # Errors
    /// What the system answers; the content may be lost then.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// Takes a name that no file has. The temporary name is removed.
    ///
    /// # Errors
    /// [`AlreadyExists`](io::ErrorKind::AlreadyExists) where a file has that name, and
    /// what else the system answers; not every file system has hard links.
    pub fn take_free(self, path: &Path) -> io::Result<()> {
        fs::hard_link(&self.path, path)
    }

    /// Takes a name from the file that has it, if one does.
    ///
    /// # Errors
    /// What the system answers; the other file keeps its name then.
    pub fn replace(mut self, path: &Path) -> io::Result<()> {
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

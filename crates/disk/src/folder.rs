//! Folders that their owner alone may enter, and whose content survives a crash.

use std::fs;
use std::io;
use std::path::Path;

use crate::private::about;

#[cfg(unix)]
mod system {
    use std::fs::{DirBuilder, File};
    use std::io;
    use std::os::unix::fs::DirBuilderExt as _;
    use std::path::Path;

    pub(super) fn make_folder(path: &Path) -> io::Result<()> {
        DirBuilder::new().mode(0o700).create(path)
    }

    pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }
}

#[cfg(not(unix))]
mod system {
    use std::io;
    use std::path::Path;

    pub(super) fn make_folder(path: &Path) -> io::Result<()> {
        std::fs::create_dir(path)
    }

    /// A folder cannot be opened here, so it cannot be synced.
    pub(super) fn sync_folder(_: &Path) -> io::Result<()> {
        Ok(())
    }
}

/// Makes a folder, and the folders on the way to it, where they are missing.
///
/// A folder that is there already keeps its mode: see
/// [`check_private_folder`](crate::check_private_folder).
pub fn make_private_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = parent_of(path) {
        make_private_folder(parent)?;
        make_private_folder_unsynced(path)?;
        return sync_folder(parent);
    }
    make_private_folder_unsynced(path)
}

/// Makes a folder where it is missing, without a sync: for many folders in one, which is then
/// synced once, by [`sync_folder`].
///
/// # Errors
/// The system's; [`NotFound`](io::ErrorKind::NotFound) where the folder around it is missing.
pub fn make_private_folder_unsynced(path: &Path) -> io::Result<()> {
    let made = match system::make_folder(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match fs::metadata(path) {
            Ok(found) if found.is_dir() => Ok(()),
            Ok(_) => Err(io::ErrorKind::NotADirectory.into()),
            // It was removed meanwhile.
            Err(error) => Err(error),
        },
        made => made,
    };
    made.map_err(|error| about("cannot make the folder", path, &error))
}

/// Syncs a folder: what was made, renamed or removed in it until now survives a crash of
/// the machine.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    system::sync_folder(path).map_err(|error| about("cannot sync the folder", path, &error))
}

/// The folder that holds the name of a path; `None` for the root.
pub(crate) fn parent_of(path: &Path) -> Option<&Path> {
    let parent = path.parent()?;
    Some(match parent.as_os_str().is_empty() {
        true => Path::new("."),
        false => parent,
    })
}

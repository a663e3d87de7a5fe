//! Folders that their owner alone may enter, and when their entries are on the disk.

use std::io;
use std::path::Path;

#[cfg(unix)]
mod system {
    use std::fs::{DirBuilder, File};
    use std::io;
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    use std::path::Path;

    pub(super) fn make_folder(path: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)
    }

    pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    /// The mode of a folder that others than its owner may enter, list or change.
    pub(super) fn mode_too_open(path: &Path) -> io::Result<Option<u32>> {
        let mode = std::fs::metadata(path)?.permissions().mode() & 0o777;
        Ok((mode & 0o077 != 0).then_some(mode))
    }
}

#[cfg(not(unix))]
mod system {
    use std::io;
    use std::path::Path;

    pub(super) fn make_folder(path: &Path) -> io::Result<()> {
        std::fs::create_dir_all(path)
    }

    /// A folder cannot be opened here, so it cannot be synced.
    pub(super) fn sync_folder(_: &Path) -> io::Result<()> {
        Ok(())
    }

    /// Folders have no mode here.
    pub(super) fn mode_too_open(_: &Path) -> io::Result<Option<u32>> {
        Ok(None)
    }
}

/// Makes a folder, and the folders on the way to it, where they are missing.
///
/// A folder that is there already keeps its mode: see [`check_private_folder`].
///
/// # Errors
/// Where a folder cannot be made or synced; the text names that folder.
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

/// As [`make_private_folder`], without a sync: for who makes many in one folder and
/// then calls [`sync_folder`] once.
///
/// # Errors
/// Where the folder cannot be made; the text names it.
pub fn make_private_folder_unsynced(path: &Path) -> io::Result<()> {
    system::make_folder(path).map_err(|error| about("cannot make the folder", path, &error))
}

/// Checks that nobody but its owner may enter a folder. It passes on a system whose
/// folders have no mode.
///
/// # Errors
/// [`PermissionDenied`](io::ErrorKind::PermissionDenied) where others may enter; the
/// text names the folder, its mode and the command that closes it. What the system
/// answers where the folder cannot be looked at.
pub fn check_private_folder(path: &Path) -> io::Result<()> {
    let looked = system::mode_too_open(path);
    let too_open = looked.map_err(|error| about("cannot look at the folder", path, &error))?;
    let Some(mode) = too_open else { return Ok(()) };
    let shown = path.display().to_string();
    let quoted = shown.replace('\'', r"'\''");
    Err(io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!(
            "others than its owner may enter the folder {shown} (mode {mode:o}), and what lies \
             in it is private; run: chmod 700 '{quoted}'"
        ),
    ))
}

/// Has on the disk which names stand in a folder: what was made, renamed or removed
/// there until now survives a crash of the machine.
///
/// # Errors
/// Where the folder cannot be opened or synced; the text names it.
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

/// The system's own texts do not say which path they are about.
pub(crate) fn about(what: &str, path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what} {}: {error}", path.display()))
}

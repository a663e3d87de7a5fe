//! Who may enter: folders and files are for their owner alone, where the system
//! knows owners.

use std::io;
use std::path::Path;

#[cfg(unix)]
mod system {
    use std::fs::{DirBuilder, File, OpenOptions};
    use std::io;
    use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
    use std::path::Path;

    pub(crate) fn private() -> OpenOptions {
        let mut options = OpenOptions::new();
        options.mode(0o600);
        options
    }

    pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)
    }

    pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    /// The mode of a folder that others than its owner may enter.
    pub(crate) fn too_open(path: &Path) -> io::Result<Option<u32>> {
        let mode = std::fs::metadata(path)?.permissions().mode() & 0o777;
        Ok((mode & 0o077 != 0).then_some(mode))
    }
}

#[cfg(not(unix))]
mod system {
    use std::fs::OpenOptions;
    use std::io;
    use std::path::Path;

    pub(crate) fn private() -> OpenOptions {
        OpenOptions::new()
    }

    pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
        std::fs::create_dir_all(path)
    }

    /// A folder cannot be opened to be synced.
    pub(crate) fn sync_folder(_: &Path) -> io::Result<()> {
        Ok(())
    }

    /// Who may enter is what the folder around it says.
    pub(crate) fn too_open(_: &Path) -> io::Result<Option<u32>> {
        Ok(None)
    }
}

pub(crate) use system::{make_folder, private, sync_folder, too_open};

/// Makes a folder, and those on the way to it, with their names on the disk.
pub(crate) fn make_way(path: &Path) -> io::Result<()> {
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

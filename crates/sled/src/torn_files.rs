//! Files that a kill leaves half written while sled opens, and that sled then takes for
//! damage.
//!
//! sled writes two files in pieces, under names that it reads again: its settings
//! (`conf`), before there is a database, and in each opening a snapshot of the log
//! (`snap.….generating`, to be renamed; 0.34.7 passes over another ending). Killed between
//! two pieces, it finds a wrong checksum the next time and never opens again. Neither file
//! says anything that the log and the defaults do not.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use cloakroom_disk::remove_file;

/// Whether the torn files are gone.
#[derive(PartialEq, Eq)]
pub(crate) enum Cleared {
    Yes,
    /// Somebody has the database open.
    Locked,
}

/// Removes the torn files, unless somebody has the database open.
pub(crate) fn clear(folder: &Path) -> io::Result<Cleared> {
    let settings = folder.join("conf");
    let mut options = File::options();
    let db = match options.read(true).write(true).open(folder.join("db")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return remove_file(&settings).map(|_| Cleared::Yes);
        }
        opened => opened?,
    };
    // sled's own lock: whoever holds it may be writing a snapshot.
    if fs4::FileExt::try_lock(&db).is_err() {
        return Ok(Cleared::Locked);
    }
    let cleared = clear_locked(folder, &settings, db.metadata()?.len());
    // Closing the file is not enough: a process that was just forked has it open, too.
    fs4::FileExt::unlock(&db)?;
    cleared.map(|()| Cleared::Yes)
}

/// Whether somebody has the database open.
pub(crate) fn is_locked(folder: &Path) -> io::Result<bool> {
    let db = match File::open(folder.join("db")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        opened => opened?,
    };
    let is_locked = fs4::FileExt::try_lock(&db).is_err();
    if !is_locked {
        fs4::FileExt::unlock(&db)?;
    }
    Ok(is_locked)
}

fn clear_locked(folder: &Path, settings: &Path, db_bytes: u64) -> io::Result<()> {
    if db_bytes == 0 {
        remove_file(settings)?;
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            remove_file(&entry.path())?;
        }
    }
    Ok(())
}

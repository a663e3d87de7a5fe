//! What a kill leaves behind while sled opens, and sled then takes for damage.
//!
//! sled writes two files in pieces, under names that it reads again: its settings
//! (`conf`), before there is a database, and in each opening a snapshot of the
//! log (`snap.….generating`, to be renamed; 0.34.7 passes over another ending).
//! Killed between two pieces, it finds a wrong checksum the next time and never
//! opens again. Neither file says anything that the log and the defaults do not.

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Whether nothing of it is left.
#[derive(PartialEq, Eq)]
pub(crate) enum Cleared {
    Yes,
    /// Somebody has the database open.
    Locked,
}

/// Removes them, where nobody has the database open.
pub(crate) fn clear(folder: &Path) -> io::Result<Cleared> {
    let settings = folder.join("conf");
    let mut options = File::options();
    let db = match options.read(true).write(true).open(folder.join("db")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return remove(&settings).map(|()| Cleared::Yes);
        }
        opened => opened?,
    };
    // sled's own lock: a snapshot in the making belongs to whoever holds it.
    if fs4::FileExt::try_lock(&db).is_err() {
        return Ok(Cleared::Locked);
    }
    let cleared = clear_locked(folder, &settings, db.metadata()?.len());
    // Not by closing the file alone: a process just forked off has it open, too.
    fs4::FileExt::unlock(&db)?;
    cleared.map(|()| Cleared::Yes)
}

fn clear_locked(folder: &Path, settings: &Path, db_bytes: u64) -> io::Result<()> {
    if db_bytes == 0 {
        remove(settings)?;
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

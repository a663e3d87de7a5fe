//! Whether SQLite's write-ahead log has lost its end since it was last used.
//!
//! SQLite reads the log up to the first frame that does not fit, since a crash leaves such
//! frames behind; a log that was cut is an earlier state of the database to it. But a process
//! that was killed leaves the index beside the log, which says how many frames there were.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// The version of the index, which has been one since SQLite has a log.
const INDEX_VERSION: u32 = 3_007_000;

/// Bytes of the log before its first frame, and of each frame before its page.
const LOG_HEADER_BYTES: u64 = 32;
const FRAME_HEADER_BYTES: u64 = 24;

/// How many frames are lost that no checkpoint has written to the database. `None` too
/// where nothing says so: no index, or one of an earlier log, or one in use here.
pub(crate) fn lost_frames(database: &Path) -> Option<u64> {
    // Where the path is a link, the log lies beside what it leads to.
    let database = database.canonicalize().ok()?;
    let beside = |ending: &str| {
        let mut path = OsString::from(&database);
        path.push(ending);
        PathBuf::from(path)
    };
    let index = beside("-shm");
    // Whoever closes a file drops all the locks that the process has on it. SQLite's are on
    // the index: without them, two processes would write at once.
    if is_open_here(&index) {
        return None;
    }
    let (index, _) = start(&index, 100).ok()?;
    let number = |at: usize| Some(u32::from_ne_bytes(index.get(at..at + 4)?.try_into().ok()?));
    if number(0)? != INDEX_VERSION || index.get(12) == Some(&0) {
        return None;
    }
    let page_bytes = match u16::from_ne_bytes(index.get(14..16)?.try_into().ok()?) {
        1 => 65_536,
        bytes => u64::from(bytes),
    };
    let (had, in_database) = (u64::from(number(16)?), u64::from(number(96)?));
    let has = match start(&beside("-wal"), 32) {
        // The salt is another with each beginning of the log.
        Ok((log, _))
            if log
                .get(16..24)
                .is_some_and(|salt| index.get(32..40) != Some(salt)) =>
        {
            return None;
        }
        Ok((_, bytes)) => {
            bytes.saturating_sub(LOG_HEADER_BYTES) / (FRAME_HEADER_BYTES + page_bytes)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(_) => return None,
    };
    let lost = had.saturating_sub(has.max(in_database));
    (lost > 0).then_some(lost)
}

/// Whether this process has a file open, or may have: only Linux tells.
fn is_open_here(path: &Path) -> bool {
    let (Ok(path), Ok(open)) = (path.canonicalize(), fs::read_dir("/proc/self/fd")) else {
        // A file that is not there is open nowhere, and will not be read either.
        return true;
    };
    open.flatten()
        .any(|file| fs::read_link(file.path()).is_ok_and(|to| to == path))
}

/// The first bytes of a file, and its length.
fn start(path: &Path, bytes_max: u64) -> io::Result<(Vec<u8>, u64)> {
    let file = File::open(path)?;
    let bytes = file.metadata()?.len();
    let mut start = Vec::new();
    file.take(bytes_max).read_to_end(&mut start)?;
    Ok((start, bytes))
}

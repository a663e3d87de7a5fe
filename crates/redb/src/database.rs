//! The database file: how it is opened, and the errors that name it.

use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use cloakroom_core::{Error, ErrorKind};
use cloakroom_disk::{
    FileIdentity, check_private_file, make_private_file, next_step, reread_from_disk,
};
use redb::Database;

use crate::reads;
use crate::tables::{self, TableError};

/// The store's name in its errors.
pub(crate) const NAME: &str = "redb";

/// Bytes of redb's magic number, at the start of its header.
const MAGIC_BYTES: usize = 9;

/// Bytes of redb's header, before its first page.
const HEADER_BYTES: usize = 320;

/// redb has made a file at least this long when it writes its first page.
const UNFINISHED_BYTES_MAX: u64 = 1024 * 1024;

/// A database, and the file that it lies in.
pub(crate) struct DatabaseFile {
    db: Database,
    path: PathBuf,
    identity: FileIdentity,
}

/// Why an operation on the database failed.
pub(crate) struct Failure {
    pub(crate) error: Error,
    /// redb does nothing more with its file, until that is opened again.
    pub(crate) is_final: bool,
}

/// Why there is no database to be had: whoever opens it again knows.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self {
            error,
            is_final: false,
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        failure.error
    }
}

impl DatabaseFile {
    /// Opens the database, and makes it where there is none.
    pub(crate) fn open(path: &Path, cache_bytes: usize) -> Result<Self, Error> {
        prepare(path).map_err(|source| unusable(path, source))?;
        Self::open_with(path, |builder| {
            let db = builder.set_cache_size(cache_bytes).create(path)?;
            tables::make(&db)?;
            Ok(db)
        })
    }

    /// Opens a database again, after its disk has failed. What was acknowledged is on the
    /// disk; of the commit that failed, the disk has all or nothing, and which of the two,
    /// redb reads there. A database that is gone is not made anew: that would end all
    /// sessions.
    pub(crate) fn open_again(path: &Path, cache_bytes: usize) -> Result<Self, Error> {
        let reread = check_private(path).and_then(|()| reread_from_disk(path));
        reread.map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => gone(path),
            _ => unusable(path, source),
        })?;
        Self::open_with(path, |builder| {
            let db = builder.set_cache_size(cache_bytes).open(path)?;
            // Nothing is written: on a full disk, sessions can be read all the same.
            reads::check(&db)?;
            Ok(db)
        })
    }

    pub(crate) fn open_with(
        path: &Path,
        open: impl FnOnce(&mut redb::Builder) -> Result<Database, redb::Error>,
    ) -> Result<Self, Error> {
        // redb trusts the pages of a file that was closed well, and panics on some that
        // were damaged since.
        let opened = catch_unwind(AssertUnwindSafe(|| open(&mut Database::builder())));
        let db = opened.map_err(|_| damaged(path))?;
        let db = db.map_err(|source| not_opened(path, source))?;
        Ok(Self {
            db,
            path: path.to_path_buf(),
            identity: FileIdentity::at(path).map_err(|source| unusable(path, source))?,
        })
    }

    /// Runs what may fail or panic on a damaged page.
    pub(crate) fn attempt<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, TableError>,
    ) -> Result<T, Failure> {
        catch_unwind(AssertUnwindSafe(|| work(&self.db)))
            .unwrap_or_else(|_| Err(damaged(&self.path).into()))
            .map_err(|failure| match failure {
                TableError::Refused(error) => Failure {
                    error: error.in_store(NAME),
                    is_final: false,
                },
                TableError::Database(source) => Failure {
                    is_final: matches!(source, redb::Error::Io(_) | redb::Error::PreviousIo),
                    error: self.failed(source),
                },
            })
    }

    /// Fails where the file is no longer the one at its path: what is written to it then,
    /// nobody will find again.
    pub(crate) fn check_place(&self) -> Result<(), Failure> {
        match self.identity.has_left(&self.path) {
            false => Ok(()),
            true => Err(Failure {
                error: gone(&self.path),
                is_final: true,
            }),
        }
    }

    /// What redb says of its own failures; none of them is about one record.
    fn failed(&self, source: redb::Error) -> Error {
        let path = self.path.display();
        let message = match source {
            redb::Error::Io(_) | redb::Error::PreviousIo => format!(
                "the disk under {path} failed or was full: {source}; a write that was under way \
                 may or may not be kept; see to the disk: the store opens the database again by \
                 itself"
            ),
            _ => format!("the database in {path} failed: {source}"),
        };
        unavailable(message).with_source(source)
    }
}

fn unusable(path: &Path, source: io::Error) -> Error {
    let (path, next_step) = (path.display(), next_step(&source));
    let message = format!("cannot use the file {path}: {source}{next_step}");
    let kind = match source.kind() {
        io::ErrorKind::PermissionDenied => ErrorKind::Misconfigured,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, message).in_store(NAME).with_source(source)
}

fn check_private(path: &Path) -> io::Result<()> {
    check_private_file(&File::open(path)?, path)
}

fn gone(path: &Path) -> Error {
    unavailable(format!(
        "the file {} was deleted, moved away or replaced while the store had it open; put it, or \
         a copy, back in its place, where the store opens it by itself, or restart the process to \
         begin with an empty one, which ends all sessions",
        path.display()
    ))
}

/// What a store answers after it was closed.
pub(crate) fn closed(path: &Path) -> Error {
    unavailable(format!(
        "this store of the file {} was closed; open another one to go on",
        path.display()
    ))
}

/// Makes an empty file for redb to fill, where there is none.
fn prepare(path: &Path) -> io::Result<()> {
    match make_private_file(path)? {
        true => Ok(()),
        false => clear_unfinished(path),
    }
}

/// Empties a file in which a killed process had only begun to make a database.
///
/// redb writes its magic number last, and refuses a file without it as none of its own.
/// A file that holds nothing but the rest of a header has never held a record.
fn clear_unfinished(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    // redb's own lock: whoever is making a database holds it.
    if file.try_lock().is_err() {
        return Ok(());
    }
    let mut start = Vec::new();
    (&mut file)
        .take(UNFINISHED_BYTES_MAX)
        .read_to_end(&mut start)?;
    let no_magic = start.iter().take(MAGIC_BYTES).all(|byte| *byte == 0);
    let no_page = start.iter().skip(HEADER_BYTES).all(|byte| *byte == 0);
    if no_magic && no_page && file.metadata()?.len() == start.len() as u64 {
        file.set_len(0)?;
    }
    file.unlock()
}

pub(crate) fn unavailable(message: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Unavailable, message).in_store(NAME)
}

/// The same, of a store that was open.
pub(crate) fn as_outage(error: Error) -> Error {
    unavailable(error.message().to_owned()).with_source(error)
}

fn damaged(path: &Path) -> Error {
    unavailable(format!(
        "the database in {} is damaged; put back a copy of the file, or move it away to begin \
         with an empty one, which ends all sessions",
        path.display()
    ))
}

fn not_opened(path: &Path, source: redb::Error) -> Error {
    let path = path.display();
    match source {
        redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => {
            let message = format!(
                "{path} is open already, in another process or by another store of this one; \
                 close that one, or use another file"
            );
            Error::new(ErrorKind::Locked, message)
                .in_store(NAME)
                .with_source(source)
        }
        redb::Error::Io(ref disk) if disk.kind() != io::ErrorKind::InvalidData => {
            let message = format!(
                "cannot open the database in {path}: {source}{}",
                next_step(disk)
            );
            unavailable(message).with_source(source)
        }
        _ => {
            let message = format!(
                "the file {path} is no database of redb, or is damaged: {source}; put back a copy \
                 of it, or move it away to begin with an empty one, which ends all sessions"
            );
            unavailable(message).with_source(source)
        }
    }
}

//! The database file: how it is opened, and the errors that name it.

use std::borrow::Cow;
use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use cloakroom_core::{Error, ErrorKind};
use cloakroom_disk::make_private_file;
use redb::Database;

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
    pub(crate) db: Database,
    pub(crate) path: PathBuf,
}

impl DatabaseFile {
    pub(crate) fn open(path: &Path, cache_bytes: usize) -> Result<Self, Error> {
        prepare(path).map_err(|source| {
            let message = format!("cannot use the file {}: {source}", path.display());
            let kind = match source.kind() {
                io::ErrorKind::PermissionDenied => ErrorKind::Misconfigured,
                _ => ErrorKind::Unavailable,
            };
            Error::new(kind, message).in_store(NAME).with_source(source)
        })?;
        // redb trusts the pages of a file that was closed well, and panics on some that
        // were damaged since.
        let opened = catch_unwind(|| {
            let db = Database::builder()
                .set_cache_size(cache_bytes)
                .create(path)?;
            tables::make(&db)?;
            Ok(db)
        });
        match opened {
            Ok(Ok(db)) => Ok(Self {
                db,
                path: path.to_path_buf(),
            }),
            Ok(Err(source)) => Err(not_opened(path, source)),
            Err(_) => Err(damaged(path)),
        }
    }

    /// Runs what may fail or panic on a damaged page.
    pub(crate) fn attempt<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, TableError>,
    ) -> Result<T, Error> {
        catch_unwind(AssertUnwindSafe(|| work(&self.db)))
            .unwrap_or_else(|_| Err(damaged(&self.path).into()))
            .map_err(|failure| match failure {
                TableError::Refused(error) => error.in_store(NAME),
                TableError::Database(source) => self.failed(source),
            })
    }

    /// What redb says of its own failures; none of them is about one record.
    fn failed(&self, source: redb::Error) -> Error {
        let path = self.path.display();
        let message = match source {
            redb::Error::PreviousIo => format!(
                "the disk under {path} failed or was full, and nobody knows what the last \
                 commit has left; see to the disk, then open the store anew"
            ),
            _ => format!("the database in {path} failed: {source}"),
        };
        unavailable(message).with_source(source)
    }
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
        _ => {
            unavailable(format!("cannot open the database in {path}: {source}")).with_source(source)
        }
    }
}

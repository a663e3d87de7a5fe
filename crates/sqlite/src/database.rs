//! The database file: how it is opened, its connections, and the errors that name it.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use cloakroom_core::{Error, ErrorKind};
use cloakroom_disk::{FileIdentity, check_access, make_private_file, next_step};
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::NAME;
use crate::builder::{SqliteStoreBuilder, Synchronous};
use crate::lost_frames::lost_frames;
use crate::migrate::migrate;
use crate::statements::Statements;
use crate::table::{Table, TableError};

/// Statements that a connection keeps prepared: all that there are, and what begins and ends
/// a transaction.
const STATEMENTS: usize = 20;

/// A pause while another process turns a new file to write-ahead logging: SQLite does not
/// wait for that lock.
const TURN: Duration = Duration::from_millis(20);

/// The log is long with so many rows: a row and its indexes take some four pages of 4 KiB,
/// and SQLite itself empties a log of 1,000 pages.
const LOG_ROWS_MAX: usize = 256;

/// The connections to a database, and the file that it lies in.
pub(crate) struct Database {
    path: PathBuf,
    identity: FileIdentity,
    settings: SqliteStoreBuilder,
    statements: Statements,
    writer: Mutex<Connection>,
    /// How many rows were written since the log was emptied, where commits do not do so.
    rows_in_log: AtomicUsize,
    /// Those that nobody reads on. There are as many as once read at the same time: few,
    /// since a read does not wait.
    readers: Mutex<Vec<Connection>>,
}

/// Why an operation on the database failed.
pub(crate) struct Failure {
    pub(crate) error: Error,
    /// Whether it says nothing about other writes of the transaction.
    pub(crate) is_of_one: bool,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self {
            error,
            is_of_one: false,
        }
    }
}

/// Is locked while a database is opened. To look for lost frames opens and closes a file on which
/// another thread's SQLite might take its locks meanwhile, and this process would lose them.
static OPENING: Mutex<()> = Mutex::new(());

impl Database {
    /// Opens the database, and makes it where there is none.
    pub(crate) fn open(path: &Path, settings: SqliteStoreBuilder) -> Result<Self, Error> {
        let _opening = lock(&OPENING);
        // SQLite would make it for everybody to read, and does not say why it cannot use it.
        let made = make_private_file(path).and_then(|_| match path.is_dir() {
            true => Err(io::ErrorKind::IsADirectory.into()),
            false => check_access(path),
        });
        made.map_err(|source| unusable(path, source))?;
        if let Some(frames) = lost_frames(path) {
            tracing::warn!(
                event = "database_lost_writes",
                path = %path.display(),
                frames,
                "the write-ahead log of the database was cut since a process that used it was \
                 killed: the last writes are lost, logouts among them; restore the database \
                 with its log from a backup, or end all sessions"
            );
        }
        let identity = FileIdentity::at(path).map_err(|source| unusable(path, source))?;
        let writer = connect(path, &settings);
        let writer = writer.and_then(|conn| {
            write_ahead(&conn, settings.lock_timeout())?;
            if settings.synchronous == Synchronous::Normal {
                // A commit that empties the log syncs; see `empty_long_log`.
                conn.pragma_update(None, "wal_autocheckpoint", 0)?;
            }
            Ok(conn)
        });
        let writer = writer.map_err(|source| failed(path, &settings.table, source).error)?;
        if settings.migrate {
            migrate(&writer, path, &settings.table)?;
        }
        Ok(Self {
            statements: Statements::new(&settings.table),
            path: path.to_path_buf(),
            identity,
            settings,
            writer: Mutex::new(writer),
            rows_in_log: AtomicUsize::new(0),
            readers: Mutex::default(),
        })
    }

    /// Reads on a connection that nobody else uses meanwhile.
    pub(crate) fn read<T>(
        &self,
        work: impl FnOnce(&Table<'_>) -> Result<T, TableError>,
    ) -> Result<T, Error> {
        let free = lock(&self.readers).pop();
        let conn = free.map_or_else(|| self.connect_reader(), Ok)?;
        let read = work(&Table::on(&conn, &self.statements));
        lock(&self.readers).push(conn);
        match read {
            Ok(read) => Ok(read),
            Err(TableError::Refused(error)) => Err(error.in_store(NAME)),
            Err(TableError::Database(source)) => Err(self.failed(source).error),
        }
    }

    fn connect_reader(&self) -> Result<Connection, Error> {
        let conn = connect(&self.path, &self.settings);
        let conn = conn.map_err(|source| self.failed(source).error)?;
        // Another file may be at the path by now.
        self.check_place()?;
        Ok(conn)
    }

    /// Runs work in a transaction that keeps all other writers away, and commits it if it
    /// has changed anything. Another process that has the lock is waited for.
    pub(crate) fn transact(
        &self,
        lock_timeout: Duration,
        work: impl FnOnce(&mut Table<'_>) -> Result<(), rusqlite::Error>,
    ) -> Result<(), Failure> {
        let done = self.transact_on(&lock(&self.writer), lock_timeout, work);
        done.map_err(|source| self.failed(source))?;
        Ok(self.check_place()?)
    }

    fn transact_on(
        &self,
        conn: &Connection,
        lock_timeout: Duration,
        work: impl FnOnce(&mut Table<'_>) -> Result<(), rusqlite::Error>,
    ) -> Result<(), rusqlite::Error> {
        let run = |sql: &str| conn.prepare_cached(sql)?.execute([]);
        let done = conn.busy_timeout(lock_timeout).and_then(|()| {
            run("BEGIN IMMEDIATE")?;
            let mut table = Table::on(conn, &self.statements);
            work(&mut table)?;
            // Every write was refused, or had nothing to do: there is nothing to sync.
            match table.changed {
                0 => run("ROLLBACK"),
                rows => run("COMMIT").inspect(|_| {
                    self.rows_in_log.fetch_add(rows, Ordering::Relaxed);
                }),
            }
        });
        if !conn.is_autocommit() {
            // It fails where SQLite has rolled back already.
            let _ = run("ROLLBACK");
        }
        done.map(drop)
    }

    /// Runs a short write in a transaction of its own where nobody else writes, in this
    /// process or another, and the log is not long; else `None`.
    pub(crate) fn transact_at_once<T>(
        &self,
        work: impl FnOnce(&mut Table<'_>) -> Result<T, TableError>,
    ) -> Result<Option<T>, Error> {
        if self.is_log_long() {
            return Ok(None);
        }
        let Ok(conn) = self.writer.try_lock() else {
            return Ok(None);
        };
        let mut done = None;
        let transacted = self.transact_on(&conn, Duration::ZERO, |table| match work(table) {
            Err(TableError::Database(source)) => Err(source),
            written => {
                done = Some(written);
                Ok(())
            }
        });
        match (transacted, done) {
            // It has not begun.
            (Err(source), None) if is_busy(&source) => Ok(None),
            (Err(source), _) => Err(self.failed(source).error),
            (Ok(()), Some(Err(TableError::Refused(error)))) => Err(error.in_store(NAME)),
            (Ok(()), done) => {
                self.check_place()?;
                Ok(done.and_then(Result::ok))
            }
        }
    }

    /// Whether a commit waits for the disk.
    pub(crate) fn syncs(&self) -> bool {
        self.settings.synchronous == Synchronous::Full
    }

    fn is_log_long(&self) -> bool {
        !self.syncs() && self.rows_in_log.load(Ordering::Relaxed) >= LOG_ROWS_MAX
    }

    /// Where a commit does not sync, and so does not empty a long log either, this does. It
    /// syncs, and so does the next commit, which begins the log anew.
    pub(crate) fn empty_long_log(&self) {
        if !self.is_log_long() {
            return;
        }
        let conn = lock(&self.writer);
        self.rows_in_log.store(0, Ordering::Relaxed);
        // As much as other readers and writers allow. What fails here fails a commit soon,
        // and that is answered.
        let _ = conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
    }

    /// Fails where the file is no longer the one at its path: what is written to it then,
    /// nobody will find again.
    fn check_place(&self) -> Result<(), Error> {
        match self.identity.has_left(&self.path) {
            false => Ok(()),
            true => Err(unavailable(format!(
                "the file {} was deleted, moved away or replaced while the store had it open, and \
                 what is written to it is lost; put it back in its place, or restart the process \
                 to use what is there",
                self.path.display()
            ))),
        }
    }

    fn failed(&self, source: rusqlite::Error) -> Failure {
        match self.check_place() {
            Ok(()) => failed(&self.path, &self.settings.table, source),
            Err(gone) => gone.into(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens a connection to a file that is there. The path is absolute: SQLite would read a
/// name that begins with `file:` as a URL, and `:memory:` as no file.
fn connect(path: &Path, settings: &SqliteStoreBuilder) -> Result<Connection, rusqlite::Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(settings.lock_timeout())?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    conn.pragma_update(None, "synchronous", settings.synchronous.pragma())?;
    Ok(conn)
}

/// Turns the file to write-ahead logging, where it is not so already.
fn write_ahead(conn: &Connection, within: Duration) -> Result<(), rusqlite::Error> {
    let begun = Instant::now();
    loop {
        match conn.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())) {
            Err(failed) if is_busy(&failed) && begun.elapsed() < within => sleep(TURN),
            done => return done,
        }
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}

pub(crate) fn unavailable(message: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Unavailable, message).in_store(NAME)
}

/// What a store answers after it was closed.
pub(crate) fn closed(path: &Path) -> Error {
    unavailable(format!(
        "this store of the file {} was closed; open another one to go on",
        path.display()
    ))
}

fn unusable(path: &Path, source: io::Error) -> Error {
    let (path, next_step) = (path.display(), next_step(&source));
    let message = format!("cannot open or make the file {path}: {source}{next_step}");
    let kind = match source.kind() {
        io::ErrorKind::PermissionDenied => ErrorKind::Misconfigured,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, message).in_store(NAME).with_source(source)
}

/// What an operator reads of a failure of SQLite.
pub(crate) fn failed(path: &Path, table: &str, source: rusqlite::Error) -> Failure {
    use ErrorKind::{Misconfigured, TooLarge, Unavailable};
    let code = source.sqlite_error_code();
    let path = path.display();
    let said = match &source {
        // The rest quotes the statement.
        rusqlite::Error::SqlInputError { msg, .. } => msg.clone(),
        other => other.to_string(),
    };
    let (kind, message) = match code {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => (
            Unavailable,
            format!(
                "another process keeps the database in {path} locked: {said}; look for a \
                 transaction that stays open"
            ),
        ),
        Some(ErrorCode::DiskFull) => (
            Unavailable,
            format!(
                "the disk under {path} is full: {said}; make room: the store then goes on by \
                 itself"
            ),
        ),
        Some(ErrorCode::SystemIoFailure) => (
            Unavailable,
            format!(
                "the disk under {path} failed: {said}; a write that was under way may or may \
                 not be kept; see to the disk"
            ),
        ),
        Some(ErrorCode::DatabaseCorrupt) => (
            Unavailable,
            format!(
                "the database in {path} is damaged: {said}; put back a copy of the file, or \
                 move it away to begin with an empty one, which ends all sessions"
            ),
        ),
        Some(ErrorCode::NotADatabase) => (
            Misconfigured,
            format!(
                "the file {path} is no SQLite database: {said}; give another path, or move the \
                 file away"
            ),
        ),
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly) => (
            Misconfigured,
            format!(
                "the file {path} cannot be used: {said}; check the rights of this process to \
                 it, to its folder, and to the files -wal and -shm beside it, and how many \
                 files it may have open"
            ),
        ),
        Some(ErrorCode::TooBig) => (
            TooLarge,
            format!("SQLite takes no row so large: {said}; keep less in a session"),
        ),
        Some(ErrorCode::Unknown) => (
            Misconfigured,
            format!(
                "the table {table} in {path} is missing, or is not the store's: {said}; open \
                 the store with migrate, which makes it, or run the published SQL"
            ),
        ),
        _ => (
            Unavailable,
            format!("the database in {path} failed: {said}"),
        ),
    };
    Failure {
        // The disk, or whoever has the lock, would fail the others too.
        is_of_one: !matches!(
            code,
            Some(
                ErrorCode::DatabaseBusy
                    | ErrorCode::DatabaseLocked
                    | ErrorCode::SystemIoFailure
                    | ErrorCode::NotADatabase
                    | ErrorCode::CannotOpen
                    | ErrorCode::ReadOnly
            )
        ),
        error: Error::new(kind, message).in_store(NAME).with_source(source),
    }
}

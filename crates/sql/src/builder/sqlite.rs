use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cloakroom_core::{Error, ErrorKind};
use cloakroom_disk::{FileIdentity, make_private_file};
use sqlx::Sqlite;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqliteSynchronous};

use super::settings::{SqlStoreBuilder, misconfigured};
use super::sqlite_log::lost_frames;
use crate::error::Cause;
use crate::pool::{ConnectionPool, HasLeft};
use crate::sql_store::{AnyTable, SqlStore};

impl SqlStoreBuilder {
    /// `sqlite:PATH`, or `sqlite://PATH`.
    pub(super) async fn connect_sqlite(self, url: &str) -> Result<SqlStore, Error> {
        let path = url.strip_prefix("sqlite:").unwrap_or(url);
        let path = path.strip_prefix("//").unwrap_or(path);
        if path.is_empty() || path.contains('?') || path.contains(":memory:") {
            return Err(misconfigured(
                "sqlite: needs the path of a file, and takes no options: write sqlite:PATH",
            ));
        }
        self.open_sqlite(path).await
    }

    /// Opens the SQLite database in a file, and makes it, and the folder it lies in,
    /// where there is none. On Unix what it makes is for its owner alone.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`](cloakroom_core::ErrorKind::Unavailable) where the
    /// file cannot be used, or another process keeps it locked;
    /// [`ErrorKind::Misconfigured`](cloakroom_core::ErrorKind::Misconfigured) where
    /// it is no database, or this process may not use it, or others than its owner may,
    /// and for a table's name that cannot be used.
    pub async fn open_sqlite(self, path: impl AsRef<Path>) -> Result<SqlStore, Error> {
        self.check::<Sqlite>()?;
        let path = path.as_ref();
        let options = options(path, self.timeouts.time_limit());
        // SQLite would make it for everybody to read.
        make_private_file(path).map_err(|source| {
            let message = format!(
                "cannot open or make the file {}: {source}; check the folders on its way, and \
                 the rights of this process",
                path.display()
            );
            let kind = match source.kind() {
                io::ErrorKind::PermissionDenied => ErrorKind::Misconfigured,
                _ => ErrorKind::Unavailable,
            };
            let target = self.target::<Sqlite>(&options);
            target.error(kind, message).with_source(source)
        })?;
        if let Some(frames) = lost_frames(path) {
            tracing::warn!(
                path = %path.display(),
                frames,
                "the write-ahead log of the database was cut since a process that used it was \
                 killed: the last writes are lost, logouts among them; restore the database \
                 with its log from a backup, or end all sessions"
            );
        }
        let until = tokio::time::Instant::now() + self.timeouts.acquire;
        loop {
            match self.open_pool(options.clone()).await {
                Ok(mut pool) => {
                    pool.has_left = has_left(path);
                    return Ok(self.over_sqlite(pool));
                }
                // SQLite does not wait for the lock where several processes find a new
                // file and turn it to WAL at once.
                Err(failed)
                    if failed.cause == Cause::Locked && tokio::time::Instant::now() < until =>
                {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(failed) => return Err(failed.into()),
            }
        }
    }

    /// Makes a store over an SQLite pool of one's own, which must set what `connect`
    /// sets otherwise: `journal_mode` WAL, `synchronous` FULL (without it an
    /// acknowledged write may be lost in a power failure), and a `busy_timeout`.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`](cloakroom_core::ErrorKind::Misconfigured) for a
    /// table's name that cannot be used, and where a schema or notifying is asked for.
    pub fn from_sqlite_pool(self, pool: SqlitePool) -> Result<SqlStore, Error> {
        self.check::<Sqlite>()?;
        let pool = self.adopt_pool(pool);
        Ok(self.over_sqlite(pool))
    }

    fn over_sqlite(self, pool: ConnectionPool<Sqlite>) -> SqlStore {
        SqlStore {
            table: Arc::new(AnyTable::Sqlite(self.store(pool, None))),
        }
    }
}

/// Tells whether the file that is at the path now has left it.
fn has_left(path: &Path) -> Option<HasLeft> {
    let path = std::path::absolute(path).ok()?;
    let identity = FileIdentity::at(&path).ok()?;
    Some(Box::new(move || identity.has_left(&path)))
}

fn options(path: &Path, within: Duration) -> SqliteConnectOptions {
    // SQLite reads a name that begins with `file:` as a URL, and `:memory:` as no file.
    let path = match path.is_relative() {
        true => &Path::new(".").join(path),
        false => path,
    };
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        // A write is durable before it is answered.
        .synchronous(SqliteSynchronous::Full)
        // Shorter than the timeout of the statement as a whole.
        .busy_timeout(within)
}

#[cfg(test)]
mod tests {
    use sqlx::{ConnectOptions as _, Row as _};

    use super::*;

    #[test]
    fn no_path_means_something_else_to_sqlite() {
        for path in ["file:x", ":memory:", "x", "x/file:x"] {
            let options = options(Path::new(path), Duration::from_secs(5));
            let there = Path::new(".").join(path);
            assert_eq!(options.get_filename(), there);
        }
        let options = options(Path::new("/x"), Duration::from_secs(5));
        assert_eq!(options.get_filename(), Path::new("/x"));
    }

    #[tokio::test]
    async fn a_connection_writes_ahead_and_syncs_before_it_answers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sessions.db");
        let options = options(&path, Duration::from_secs(5)).create_if_missing(true);
        let mut conn = options.connect().await.unwrap();
        let mode = sqlx::query("PRAGMA journal_mode").fetch_one(&mut conn);
        assert_eq!(mode.await.unwrap().get::<String, _>(0), "wal");
        // 2 is FULL.
        let sync = sqlx::query("PRAGMA synchronous").fetch_one(&mut conn);
        assert_eq!(sync.await.unwrap().get::<i64, _>(0), 2);
    }
}

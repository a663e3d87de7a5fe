use std::path::Path;
use std::time::Duration;

use cloakroom_core::Error;
use cloakroom_disk::make_private_file;
use sqlx::Sqlite;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqliteSynchronous};

use super::misconfigured;
use crate::failure::{Cause, unavailable};
use crate::pool::Health;
use crate::{SqlStore, SqlStoreBuilder};

impl SqlStoreBuilder {
    /// `sqlite:PATH`, or `sqlite://PATH`.
    pub(super) async fn connect_sqlite(self, url: &str) -> Result<SqlStore, Error> {
        let path = url.strip_prefix("sqlite:").unwrap_or(url);
        let path = path.strip_prefix("//").unwrap_or(path);
        if path.is_empty() || path.contains('?') || path.contains(":memory:") {
            return Err(misconfigured(
                "sqlite: needs the path of a file, and takes no options",
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
    /// it is no database, and for a table that is no name.
    pub async fn open_sqlite(self, path: impl AsRef<Path>) -> Result<SqlStore, Error> {
        self.checked::<Sqlite>()?;
        let path = path.as_ref();
        // SQLite would make it for everybody to read.
        make_private_file(path).map_err(|source| {
            let message = format!(
                "cannot use the file {}: {source}; give a path that this process may write to",
                path.display()
            );
            unavailable::<Sqlite>(message).with_source(source)
        })?;
        let options = options(path, self.waits.within());
        let health = Health::default();
        let until = tokio::time::Instant::now() + self.waits.acquire;
        loop {
            match self.pool::<Sqlite>(options.clone(), &health).await {
                Ok(pool) => return Ok(self.store(pool, None, health, None)),
                // SQLite does not wait for the lock where processes that all find a
                // new file turn it to WAL at once.
                Err(failure)
                    if failure.cause == Cause::Busy && tokio::time::Instant::now() < until =>
                {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(failure) => return Err(failure.into()),
            }
        }
    }

    /// Over an SQLite pool of one's own. What `connect` sets is then one's own
    /// concern: `journal_mode` WAL, `synchronous` FULL (without it an acknowledged
    /// write may be lost with the power), a `busy_timeout`.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`](cloakroom_core::ErrorKind::Misconfigured) for a
    /// table that is no name, and where a schema or notifying is asked for.
    pub fn from_sqlite_pool(self, pool: SqlitePool) -> Result<SqlStore, Error> {
        self.checked::<Sqlite>()?;
        Ok(self.store(pool, None, Health::default(), None))
    }
}

fn options(path: &Path, within: Duration) -> SqliteConnectOptions {
    // SQLite takes what begins with `file:` for a URL, and `:memory:` for no file; sqlx
    // leaves both to it.
    let path = match path.is_relative() {
        true => &Path::new(".").join(path),
        false => path,
    };
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        // Durable before it is answered.
        .synchronous(SqliteSynchronous::Full)
        // Before the statement as a whole is given up.
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

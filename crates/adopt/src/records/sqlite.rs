//! A table in SQLite.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cloakroom_core::store::BoxFuture;
use cloakroom_core::{Error, ErrorKind};
use rusqlite::{Connection, OpenFlags, OptionalExtension as _};
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::{FoundRecord, Records, check_name, row};

/// How long another process may hold the database.
const BUSY: Duration = Duration::from_secs(5);

/// How long a request waits for those ahead of it.
const TURN_MAX: Duration = Duration::from_secs(10);

/// The table of tower-sessions' `SqliteStore`, or Django's.
#[derive(Clone, Debug)]
pub struct SqliteTable {
    connection: Arc<Mutex<Connection>>,
    statements: Arc<Statements>,
}

#[derive(Debug)]
struct Statements {
    get: String,
    delete: String,
}

impl SqliteTable {
    /// The table `tower_sessions` of an existing database.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] where the file is no database that can be opened to be
    /// written.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::open_table(path, "tower_sessions")
    }

    /// A table of another name, as `with_table_name` has set it.
    ///
    /// # Errors
    /// As [`open`](Self::open), and for a name that cannot be one.
    pub fn open_table(path: impl AsRef<Path>, table: &str) -> Result<Self, Error> {
        check_name(table)?;
        let statements = Statements {
            get: format!("select data, null from \"{table}\" where id = ?1"),
            delete: format!("delete from \"{table}\" where id = ?1"),
        };
        Self::with(path.as_ref(), table, statements)
    }

    /// Django's table `django_session`, of an existing database.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn django(path: impl AsRef<Path>) -> Result<Self, Error> {
        let get = "select cast(session_data as blob), \
                   cast(unixepoch(expire_date, 'subsec') * 1000 as integer) \
                   from django_session where session_key = ?1";
        let delete = "delete from django_session where session_key = ?1";
        let statements = Statements {
            get: get.to_owned(),
            delete: delete.to_owned(),
        };
        Self::with(path.as_ref(), "django_session", statements)
    }

    fn with(path: &Path, table: &str, statements: Statements) -> Result<Self, Error> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let open = || {
            let connection = Connection::open_with_flags(path, flags)?;
            connection.busy_timeout(BUSY)?;
            connection.prepare(&statements.get)?;
            Ok(connection)
        };
        let connection = open().map_err(|source: rusqlite::Error| {
            let why = format!(
                "the former sessions in {} cannot be read: it must be a database with the table \
                 {table}, which this process may write",
                path.display()
            );
            Error::new(ErrorKind::Misconfigured, why).with_source(source)
        })?;
        Ok(Self {
            connection: Arc::new(Mutex::new(connection)),
            statements: Arc::new(statements),
        })
    }

    /// Runs a statement off the runtime's threads.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection, &Statements) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let unavailable = |source: &dyn std::error::Error| {
            let why = format!("the former sessions in SQLite do not answer: {source}");
            Error::new(ErrorKind::Unavailable, why)
        };
        let Self {
            connection,
            statements,
        } = self.clone();
        // Whoever waits holds no thread.
        let turn = timeout(TURN_MAX, connection.lock_owned()).await;
        let connection = turn.map_err(|late| unavailable(&late))?;
        let done = spawn_blocking(move || work(&connection, &statements));
        match done.await {
            Ok(done) => done.map_err(|source| unavailable(&source)),
            Err(source) => Err(unavailable(&source)),
        }
    }
}

impl Records for SqliteTable {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<FoundRecord>, Error>> {
        Box::pin(async move {
            let key = key.to_owned();
            let found = self.run(move |connection, statements| {
                let mut statement = connection.prepare_cached(&statements.get)?;
                let found = statement.query_row([key], |row| Ok((row.get(0)?, row.get(1)?)));
                found.optional()
            });
            Ok(found.await?.map(row))
        })
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let key = key.to_owned();
            self.run(move |connection, statements| {
                let mut statement = connection.prepare_cached(&statements.delete)?;
                statement.execute([key])?;
                Ok(())
            })
            .await
        })
    }
}

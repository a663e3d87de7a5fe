//! What went wrong, and whether a statement may be sent again.

use std::fmt;
use std::time::Duration;

use cloakroom_core::{Error, ErrorKind};

use crate::dialect::Dialect;

/// Why a statement failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The primary key is taken: the statement has changed nothing.
    Taken,
    /// A deadlock, or a transaction that could not be put in order with another:
    /// the database has rolled it back, and it may be made again.
    Undone,
    /// The connection is of no more use. A write may or may not have happened.
    Broken,
    /// Somebody else has kept the lock for too long: nothing has happened.
    Busy,
    /// The database has given the statement up: it is undone, and would be again.
    GivenUp,
    /// The database refuses one so large: nothing has happened.
    TooLarge,
    /// The table is not there, or is not what `migrate` makes.
    NoTable,
    /// The rights or the address are not what they must be.
    Setup,
    /// No connection was free, or could be made, in time: nothing has happened.
    NoConnection,
    /// There was no answer in time. A write may or may not have happened.
    NoAnswer,
    Other,
}

/// A statement that failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) cause: Cause,
    pub(crate) error: Error,
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        failure.error
    }
}

pub(crate) fn cause<DB: Dialect>(error: &sqlx::Error) -> Cause {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => Cause::Broken,
        sqlx::Error::Database(error) => DB::cause(&**error),
        sqlx::Error::Tls(_) | sqlx::Error::Configuration(_) => Cause::Setup,
        sqlx::Error::PoolTimedOut => Cause::NoConnection,
        _ => Cause::Other,
    }
}

impl Failure {
    /// From what sqlx says; `acquire` is how long a connection is waited for.
    pub(crate) fn new<DB: Dialect>(source: sqlx::Error, acquire: Duration) -> Self {
        let cause = cause::<DB>(&source);
        let (kind, message) = match cause {
            Cause::Taken => (ErrorKind::Exists, String::new()),
            Cause::Undone => (
                ErrorKind::Unavailable,
                format!("another transaction was in the way, again and again: {source}"),
            ),
            Cause::Broken => (
                ErrorKind::Unavailable,
                format!("the connection broke: {source}"),
            ),
            Cause::Busy => (
                ErrorKind::Unavailable,
                format!("somebody else keeps the database locked: {source}"),
            ),
            Cause::GivenUp => (
                ErrorKind::Unavailable,
                format!("the database gave the statement up, and has undone it: {source}"),
            ),
            Cause::TooLarge => (
                ErrorKind::TooLarge,
                format!("the database takes none so large: {source}"),
            ),
            Cause::NoTable => (
                ErrorKind::Misconfigured,
                format!("{source}; call migrate(), which makes the table"),
            ),
            Cause::Setup => (ErrorKind::Misconfigured, source.to_string()),
            Cause::NoConnection => (
                ErrorKind::Unavailable,
                format!(
                    "no connection within {acquire:?}: the database is down, or all of the pool are in use"
                ),
            ),
            Cause::NoAnswer | Cause::Other => (
                ErrorKind::Unavailable,
                format!("the database failed: {source}"),
            ),
        };
        let error = match cause {
            // What two writers meet every day; the source says no more.
            Cause::Taken => Error::from(kind),
            _ => with_source(Error::new(kind, message), source),
        };
        Self {
            cause,
            error: error.in_store(DB::STORE),
        }
    }

    pub(crate) fn no_answer<DB: Dialect>(patience: Duration) -> Self {
        Self {
            cause: Cause::NoAnswer,
            error: unavailable::<DB>(format!("no answer within {patience:?}")),
        }
    }
}

/// What a database says of an error, and nothing else that it tells with it: in its
/// detail PostgreSQL quotes the row, which is what a session holds.
#[derive(Debug)]
struct Told {
    code: Option<String>,
    message: String,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.code {
            Some(code) => write!(f, "{} ({code})", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for Told {}

pub(crate) fn with_source(error: Error, source: sqlx::Error) -> Error {
    match source {
        sqlx::Error::Database(source) => error.with_source(Told {
            code: source.code().map(|code| code.into_owned()),
            message: source.message().to_owned(),
        }),
        source => error.with_source(source),
    }
}

pub(crate) fn unavailable<DB: Dialect>(
    message: impl Into<std::borrow::Cow<'static, str>>,
) -> Error {
    Error::new(ErrorKind::Unavailable, message).in_store(DB::STORE)
}

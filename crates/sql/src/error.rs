//! Why a statement failed, and what an operator reads of it.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use cloakroom_core::{Error, ErrorKind};

/// What to do about a pooler.
const POOLER_ADVICE: &str = "open the store by a URL with pooler=transaction, or name the \
                             server itself";

/// Why a statement failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The primary key exists already. Nothing has happened.
    Exists,
    /// A deadlock, or a transaction that conflicts with another. The database has
    /// rolled it back, and it may be sent again.
    RolledBack,
    /// The connection is of no more use. A write may or may not have happened.
    Broken,
    /// Another client kept a lock for too long. Nothing has happened.
    Locked,
    /// The database ended the statement at its time limit, and has undone it.
    TimeLimit,
    /// The database takes no statement so large. Nothing has happened.
    TooLarge,
    /// The table is missing, or is not as `migrate` makes it.
    NoTable,
    /// The address or the rights are wrong.
    Misconfigured,
    /// A pooler stands before the server, and the store was not told.
    Pooler,
    /// No connection was free, or could be opened, in time. Nothing has happened.
    NoConnection,
    /// There was no answer in time. A write may or may not have happened.
    NoAnswer,
    /// The store was closed. Nothing has happened.
    Closed,
    Other,
}

/// What a store's errors are about: its table, and the address of its database. The
/// address holds no password.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) store: &'static str,
    pub(crate) address: String,
    pub(crate) table: String,
}

/// A statement that failed.
#[derive(Debug)]
pub(crate) struct StatementError {
    pub(crate) cause: Cause,
    pub(crate) error: Error,
}

impl From<StatementError> for Error {
    fn from(failed: StatementError) -> Self {
        failed.error
    }
}

impl Target {
    pub(crate) fn error(&self, kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Error {
        Error::new(kind, message).in_store(self.store)
    }

    pub(crate) fn unavailable(&self, message: impl Into<Cow<'static, str>>) -> Error {
        self.error(ErrorKind::Unavailable, message)
    }

    pub(crate) fn no_answer(&self, timeout: Duration) -> StatementError {
        let message = format!(
            "no answer from {} within {timeout:?}; a write may or may not have happened",
            self.address
        );
        StatementError {
            cause: Cause::NoAnswer,
            error: self.unavailable(message),
        }
    }

    /// No connection can be opened.
    pub(crate) fn unreachable(&self, why: impl fmt::Display) -> Error {
        self.unavailable(format!(
            "{} cannot be reached: {why}; check that the server runs there, and the host and \
             port of the URL",
            self.address
        ))
    }

    /// Something between this process and the server keeps settings from it.
    pub(crate) fn swallows_settings(&self) -> Error {
        self.error(
            ErrorKind::Misconfigured,
            format!(
                "{} does not have the statement_timeout that its connection was opened with, so \
                 it is behind a pooler such as pgbouncer; {POOLER_ADVICE}",
                self.address
            ),
        )
    }

    /// A statement that sqlx says failed.
    pub(crate) fn failed(&self, cause: Cause, source: sqlx::Error) -> StatementError {
        // Two writers meet every day, and the source says no more.
        if cause == Cause::Exists {
            let error = self.error(ErrorKind::Exists, "");
            return StatementError { cause, error };
        }
        let kind = match cause {
            Cause::TooLarge => ErrorKind::TooLarge,
            Cause::NoTable | Cause::Misconfigured | Cause::Pooler => ErrorKind::Misconfigured,
            _ => ErrorKind::Unavailable,
        };
        let Self { address, table, .. } = self;
        let message = match cause {
            Cause::RolledBack => format!(
                "{address} rolled the write back again and again for other transactions: {source}; \
                 look for what else writes to the table {table}"
            ),
            Cause::Broken => format!(
                "the connection to {address} broke: {source}; a write that was under way may or \
                 may not have happened"
            ),
            Cause::Locked => format!(
                "another client keeps the table {table} of {address} locked: {source}; look for a \
                 transaction that stays open"
            ),
            Cause::TimeLimit => format!(
                "{address} gave the statement up at its time limit, and has undone it: {source}; \
                 look for a lock on the table {table}, or raise the statement timeout"
            ),
            Cause::TooLarge => format!(
                "{address} takes no statement so large: {source}; raise the server's limit, or \
                 keep less in a session"
            ),
            Cause::NoTable => format!(
                "the table {table} of {address} is missing, or is not the store's: {source}; call \
                 migrate(), which makes it"
            ),
            Cause::Misconfigured => format!(
                "{address} cannot be used: {source}; check the URL, and the rights of its user"
            ),
            Cause::Pooler => {
                format!("{address} is behind a pooler such as pgbouncer: {source}; {POOLER_ADVICE}")
            }
            Cause::NoConnection => format!("no connection to {address} within the acquire timeout"),
            Cause::Closed => {
                format!("this store of {address} was closed; open another one to go on")
            }
            _ => format!("{address} failed: {source}"),
        };
        let error = with_source(self.error(kind, message), source);
        StatementError { cause, error }
    }
}

/// The code and message of a database's error. The rest is left out: in its detail
/// PostgreSQL quotes the row, and the row is the session.
#[derive(Debug)]
struct DatabaseMessage {
    code: Option<String>,
    message: String,
}

impl fmt::Display for DatabaseMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.code {
            Some(code) => write!(f, "{} ({code})", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for DatabaseMessage {}

/// Attaches what sqlx says, without what it quotes of a row.
pub(crate) fn with_source(error: Error, source: sqlx::Error) -> Error {
    match source {
        sqlx::Error::Database(source) => error.with_source(DatabaseMessage {
            code: source.code().map(|code| code.into_owned()),
            message: source.message().to_owned(),
        }),
        source => error.with_source(source),
    }
}

//! What the databases write differently, as plain data.

use crate::statement::Statement;

/// One kind of database.
pub(crate) struct Dialect {
    /// The store's name in errors.
    pub(crate) store: &'static str,
    /// Begins a transaction that writes.
    pub(crate) begin: &'static str,
    /// What quotes an identifier.
    pub(crate) quote: char,
    /// The cast that widens a small integer, so that every integer is read as one type.
    pub(crate) bigint: &'static str,
    /// Whether placeholders carry numbers.
    pub(crate) numbered_placeholders: bool,
    /// How a rotation mark and a record are written in one step.
    pub(crate) rotation: Rotation,
    /// Whether a DELETE can answer the rows that it removes.
    pub(crate) delete_returning: bool,
    /// Whether there are schemas, and channels for NOTIFY.
    pub(crate) schemas_and_notify: bool,
    /// Whether a connection can be used again after a statement was dropped half way.
    /// In MySQL sqlx takes what is left of its answer for that to the next statement.
    pub(crate) survives_dropped_statement: bool,
    /// The sweep of a table, with [these arguments](crate::endings::sweep_args).
    pub(crate) sweep: fn(&str) -> String,
    /// Where that does no more than leave tombstones: what removes the rest, likewise. Both
    /// pass over what is the other's, so they are told a deadline that is not far.
    pub(crate) sweep_rest: Option<fn(&str) -> String>,
    /// Answers the milliseconds since the epoch by the clock of the server.
    pub(crate) own_time: &'static str,
}

impl Dialect {
    /// A statement whose placeholders are `$1` and so on.
    pub(crate) fn statement(&self, sql: &str) -> Statement {
        Statement::new(sql, self.numbered_placeholders)
    }
}

/// How a rotation mark and a record are written in one step.
#[derive(Clone, Copy)]
pub(crate) enum Rotation {
    /// By one statement.
    Statement,
    /// By a script that is one transaction, and takes its values from variables of the
    /// connection.
    Script,
}

/// What keeps other processes away while the tables are made.
pub(crate) struct MigrationLock {
    /// Answers 1 where the table of schema versions is there.
    pub(crate) has_versions: String,
    /// Waits for the lock, and answers 1 where it was taken.
    pub(crate) take: String,
    /// Gives back a lock that outlives the transaction.
    pub(crate) release: Option<String>,
}

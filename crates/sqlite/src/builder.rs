//! What a store is made from.

use std::path::Path;
use std::time::Duration;

use cloakroom_core::{Error, ErrorKind};

use crate::{NAME, SqliteStore};

/// The table's name by default.
pub const TABLE_DEFAULT: &str = "cloakroom_sessions";

/// Bytes of the longest name of a table, as in the SQL stores of servers.
pub const NAME_BYTES_MAX: usize = 31;

/// How long a call waits for another process by default.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);

/// The longest timeout; a longer one is this.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// When a write is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Synchronous {
    /// When it is on the disk: it survives a crash of the machine.
    #[default]
    Full,
    /// When the system has it. It survives a crash of the process; a crash of the machine
    /// may lose the writes of the last seconds, logouts among them, but damages nothing.
    Normal,
}

impl Synchronous {
    pub(crate) fn pragma(self) -> &'static str {
        match self {
            Self::Full => "FULL",
            Self::Normal => "NORMAL",
        }
    }
}

/// Settings of a store, beside the path of its file.
#[derive(Clone, Debug)]
pub struct SqliteStoreBuilder {
    pub(crate) table: String,
    pub(crate) timeout: Duration,
    pub(crate) synchronous: Synchronous,
    pub(crate) migrate: bool,
}

impl Default for SqliteStoreBuilder {
    fn default() -> Self {
        Self {
            table: TABLE_DEFAULT.to_owned(),
            timeout: TIMEOUT_DEFAULT,
            synchronous: Synchronous::Full,
            migrate: true,
        }
    }
}

impl SqliteStoreBuilder {
    /// Sets the name of the table. Default [`TABLE_DEFAULT`].
    ///
    /// A name is made of a-z, 0-9 and _, does not begin with a digit and has at most 31
    /// bytes ([`NAME_BYTES_MAX`]). Opening the store fails with any other.
    #[must_use]
    pub fn table(mut self, name: impl Into<String>) -> Self {
        self.table = name.into();
        self
    }

    /// Sets how long a call may take that waits for other processes, at most
    /// [`TIMEOUT_MAX`]. Default 5 s. The lock is given up after four fifths of that.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout.min(TIMEOUT_MAX);
        self
    }

    /// Sets when a write is answered. Default [`Synchronous::Full`].
    #[must_use]
    pub fn synchronous(mut self, synchronous: Synchronous) -> Self {
        self.synchronous = synchronous;
        self
    }

    /// Sets whether opening the store makes the table and its indexes, or brings them up to
    /// what this build needs. Default yes. The SQL is published in the folder `migrations`
    /// of this crate, and may be run by hand instead.
    #[must_use]
    pub fn migrate(mut self, migrate: bool) -> Self {
        self.migrate = migrate;
        self
    }

    /// Opens the database in a file, and makes it, and the folder it lies in, where there
    /// is none. On Unix what it makes is for its owner alone.
    ///
    /// This blocks on the disk, and on processes that have the file locked: call it at
    /// start, or off the runtime's threads.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] where the file cannot be used or is damaged, or another
    /// process keeps it locked; [`ErrorKind::Misconfigured`] where it is no database, or
    /// this process may not use it, or, on Unix, others than its owner have rights to it
    /// (those of its group are told by an event at `WARN`) or another user owns it, and for
    /// a table's name that cannot be used; [`ErrorKind::Unsupported`] where the table is of
    /// a newer schema. Each names the file.
    pub fn open(self, path: impl AsRef<Path>) -> Result<SqliteStore, Error> {
        check(&self.table)?;
        SqliteStore::open_with(path.as_ref(), self)
    }

    /// How long the lock of another process is waited for: it is given up before the caller
    /// stops waiting.
    pub(crate) fn lock_timeout(&self) -> Duration {
        self.timeout / 5 * 4
    }
}

/// Refuses what could be anything but a name, since it is written into SQL.
fn check(name: &str) -> Result<(), Error> {
    let is_first = |byte: u8| byte == b'_' || byte.is_ascii_lowercase();
    let mut bytes = name.bytes();
    let is_good = bytes.next().is_some_and(is_first)
        && bytes.all(|byte| is_first(byte) || byte.is_ascii_digit())
        && name.len() <= NAME_BYTES_MAX;
    if is_good {
        return Ok(());
    }
    let message = format!(
        "the name of a table is made of a-z, 0-9 and _, does not begin with a digit and has at \
         most {NAME_BYTES_MAX} bytes"
    );
    Err(Error::new(ErrorKind::Misconfigured, message).in_store(NAME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_could_be_anything_but_a_name_is_refused() {
        let longest = "x".repeat(NAME_BYTES_MAX);
        for name in ["s", "_", "order", "a1_b", &longest] {
            assert!(check(name).is_ok(), "{name}");
        }
        let longer = "x".repeat(NAME_BYTES_MAX + 1);
        for name in [
            "", "1a", "A", "a b", "a\"", "a`", "a'", "a;--", "a.b", "é", "a\0", "a-b", &longer,
        ] {
            let error = check(name).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Misconfigured, "{name:?}");
        }
    }
}

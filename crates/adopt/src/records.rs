//! Where the records of a former site lie.

use std::fmt;
use std::time::Duration;

use cloakroom_core::store::BoxFuture;
use cloakroom_core::{Error, Timestamp};

#[cfg(feature = "django")]
mod files;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(any(feature = "postgres", feature = "mysql"))]
mod sqlx;

#[cfg(feature = "django")]
pub use files::DjangoFiles;
#[cfg(feature = "redis")]
pub use redis::RedisKeys;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteTable;
#[cfg(feature = "mysql")]
pub use sqlx::MysqlTable;
#[cfg(feature = "postgres")]
pub use sqlx::PostgresTable;

/// The records of a former site: bytes under keys.
pub trait Records: Send + Sync + 'static {
    /// The record of a key; `None` where there is none.
    ///
    /// # Errors
    /// [`Unavailable`](cloakroom_core::ErrorKind::Unavailable) where nobody can tell. It holds
    /// neither the key nor the record.
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<FoundRecord>, Error>>;

    /// Deletes the record of a key; success where there is none.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<(), Error>>;
}

/// A record, as it was found.
#[non_exhaustive]
pub struct FoundRecord {
    /// What the library has written.
    pub bytes: Vec<u8>,
    /// How long the store keeps it, where it forgets by itself.
    pub lives_for: Option<Duration>,
    /// When the session ends, where the store has that beside what the library has written.
    pub expires_at: Option<Timestamp>,
}

impl FoundRecord {
    /// One that the store keeps.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self {
            bytes,
            lives_for: None,
            expires_at: None,
        }
    }
}

impl fmt::Debug for FoundRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FoundRecord")
            .field("bytes", &self.bytes.len())
            .field("lives_for", &self.lives_for)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// A record of a table: what the library has written, and when the session ends, in
/// milliseconds since the epoch, where the table has a column for that.
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
fn row((bytes, expires_at): (Vec<u8>, Option<i64>)) -> FoundRecord {
    let mut found = FoundRecord::new(bytes);
    found.expires_at =
        expires_at.map(|millis| Timestamp::from_millis(u64::try_from(millis).unwrap_or(0)));
    found
}

/// Whether a text may stand in a statement as the name of a table or schema.
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
fn check_name(name: &str) -> Result<(), Error> {
    let is_plain = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '-' | '$');
    if !name.is_empty() && name.len() <= 128 && name.chars().all(is_plain) {
        return Ok(());
    }
    Err(Error::new(
        cloakroom_core::ErrorKind::Misconfigured,
        "the name of a former table holds letters, digits, `_`, `-` and `$` alone",
    ))
}

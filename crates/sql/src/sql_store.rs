//! The store over whichever database it was opened on.

use std::fmt;
use std::sync::Arc;

use cloakroom_core::store::{
    Capabilities, Ending, KeyDigest, Record, Revision, SessionStore, Stored, Touch,
};
use cloakroom_core::{Error, Timestamp};

use crate::driver::Driver;
use crate::error::Target;
use crate::migrate::migrate;
use crate::store::TableStore;

/// A store in a table of its own. Cheap to clone; its connections end with the last
/// clone, or when it is [closed](cloakroom_core::store::Close).
#[derive(Clone)]
pub struct SqlStore {
    pub(crate) table: Arc<AnyTable>,
}

/// A table in one of the databases. An enum, since a future behind `dyn` would be one
/// more box for each operation.
pub(crate) enum AnyTable {
    #[cfg(feature = "mysql")]
    MySql(TableStore<sqlx::MySql>),
    #[cfg(feature = "postgres")]
    Postgres(TableStore<sqlx::Postgres>),
}

/// Evaluates an expression over the table, whichever database it is in.
macro_rules! with_table {
    ($store:expr, $table:ident => $result:expr) => {
        match *$store.table {
            #[cfg(feature = "mysql")]
            AnyTable::MySql(ref $table) => $result,
            #[cfg(feature = "postgres")]
            AnyTable::Postgres(ref $table) => $result,
        }
    };
}

impl SqlStore {
    /// Makes the table and its indexes, or brings them up to what this build needs.
    ///
    /// Idempotent, and safe where several processes begin at once: one does the
    /// work, the others wait for it. Where there is nothing to do, it only reads.
    /// The SQL is published in the folder `migrations` of this crate, and may be run
    /// by hand instead.
    ///
    /// # Errors
    /// [`Misconfigured`](cloakroom_core::ErrorKind::Misconfigured) where the
    /// database refuses it, [`Unsupported`](cloakroom_core::ErrorKind::Unsupported)
    /// where the table is of a newer schema,
    /// [`Unavailable`](cloakroom_core::ErrorKind::Unavailable) where there is no
    /// answer within 60 s.
    pub async fn migrate(&self) -> Result<(), Error> {
        with_table!(self, table => migrate(&table.pool, &table.table).await)
    }

    fn target(&self) -> &Target {
        with_table!(self, table => &table.pool.target)
    }
}

fn capabilities<DB: Driver>(table: &TableStore<DB>) -> Capabilities<'_> {
    let all = Capabilities::NONE
        .named(DB::DIALECT.store)
        .with_sweep(table)
        .with_subjects(table)
        .with_scan(table)
        .with_import(table);
    let all = match &table.invalidations {
        Some(invalidations) => all.with_invalidations(&**invalidations),
        None => all,
    };
    // A pool that was handed in is not this store's to close.
    match table.pool.idle.is_some() {
        true => all.with_close(table),
        false => all,
    }
}

impl fmt::Debug for SqlStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlStore")
            .field("database", &self.target().store)
            .field("table", &self.target().table)
            .finish_non_exhaustive()
    }
}

impl SessionStore for SqlStore {
    async fn load(&self, digest: &KeyDigest) -> Result<Option<Stored>, Error> {
        with_table!(self, table => table.load(digest).await)
    }

    async fn create(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        with_table!(self, table => table.create(digest, record).await)
    }

    async fn update(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        with_table!(self, table => table.update(digest, record).await)
    }

    async fn touch(
        &self,
        digest: &KeyDigest,
        revision: Revision,
        touch: Touch,
    ) -> Result<(), Error> {
        with_table!(self, table => table.touch(digest, revision, touch).await)
    }

    async fn rotate(
        &self,
        old: &KeyDigest,
        new: &KeyDigest,
        record: &Record,
        mark_until: Timestamp,
    ) -> Result<Revision, Error> {
        with_table!(self, table => table.rotate(old, new, record, mark_until).await)
    }

    async fn end(&self, digest: &KeyDigest, ending: Option<&Ending>) -> Result<(), Error> {
        with_table!(self, table => table.end(digest, None, ending).await.map(drop))
    }

    fn capabilities(&self) -> Capabilities<'_> {
        with_table!(self, table => capabilities(table))
    }
}

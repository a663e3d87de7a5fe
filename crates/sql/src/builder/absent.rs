//! The databases that this build was not made for.

#[cfg(not(all(feature = "mysql", feature = "postgres", feature = "sqlite")))]
use cloakroom_core::Error;

#[cfg(not(all(feature = "mysql", feature = "postgres", feature = "sqlite")))]
use crate::{SqlStore, SqlStoreBuilder};

#[cfg(not(all(feature = "mysql", feature = "postgres", feature = "sqlite")))]
fn not_built(feature: &str) -> Error {
    super::misconfigured(format!(
        "cloakroom-sql was built without its feature `{feature}`"
    ))
}

#[cfg(not(feature = "postgres"))]
impl SqlStoreBuilder {
    pub(super) async fn connect_postgres(self, _: &str) -> Result<SqlStore, Error> {
        Err(not_built("postgres"))
    }
}

#[cfg(not(feature = "mysql"))]
impl SqlStoreBuilder {
    pub(super) async fn connect_mysql(self, _: &str) -> Result<SqlStore, Error> {
        Err(not_built("mysql"))
    }
}

#[cfg(not(feature = "sqlite"))]
impl SqlStoreBuilder {
    pub(super) async fn connect_sqlite(self, _: &str) -> Result<SqlStore, Error> {
        Err(not_built("sqlite"))
    }
}

//! Opening a store.

use cloakroom_core::Error;

use crate::sql_store::SqlStore;

#[cfg(any(feature = "mysql", feature = "postgres"))]
mod first;
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;
mod settings;
#[cfg(any(feature = "mysql", feature = "postgres"))]
mod url;

use self::settings::misconfigured;
pub use self::settings::{
    ACQUIRE_TIMEOUT_DEFAULT, POOL_SIZE_DEFAULT, STATEMENT_TIMEOUT_DEFAULT, SqlStoreBuilder,
    TIMEOUT_MAX, TRUSTED_IDLE_DEFAULT,
};

impl SqlStore {
    /// Opens the database that a URL names, with every setting at its default; see
    /// [`SqlStoreBuilder::connect`].
    ///
    /// # Errors
    /// As [`SqlStoreBuilder::connect`].
    pub async fn connect(url: &str) -> Result<Self, Error> {
        Self::builder().connect(url).await
    }

    /// Begins with every setting at its default.
    #[must_use]
    pub fn builder() -> SqlStoreBuilder {
        SqlStoreBuilder::default()
    }
}

impl SqlStoreBuilder {
    /// Opens the database that a URL names: `postgres:`, `postgresql:`, `mysql:`,
    /// `mariadb:` as sqlx reads them. A parameter that sqlx does not read is refused.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`](cloakroom_core::ErrorKind::Misconfigured) for a URL,
    /// a name or an address that cannot work, and for a database that this build was not
    /// made for; [`ErrorKind::Unavailable`](cloakroom_core::ErrorKind::Unavailable) where
    /// the database does not answer. Neither quotes the URL: it may hold a password.
    pub async fn connect(self, url: &str) -> Result<SqlStore, Error> {
        let scheme = url.split_once(':').map(|(scheme, _)| scheme);
        match scheme {
            Some("postgres" | "postgresql") => self.connect_postgres(url).await,
            Some("mysql" | "mariadb") => self.connect_mysql(url).await,
            _ => Err(misconfigured(
                "the URL of an SQL store begins with postgres:, mysql: or mariadb:",
            )),
        }
    }
}

/// Refuses the URL of a database that this build was not made for.
macro_rules! not_built {
    ($feature:literal, $connect:ident) => {
        #[cfg(not(feature = $feature))]
        impl SqlStoreBuilder {
            async fn $connect(self, _: &str) -> Result<SqlStore, Error> {
                Err(misconfigured(concat!(
                    "cloakroom-sql was built without its feature `",
                    $feature,
                    "`: add it in Cargo.toml"
                )))
            }
        }
    };
}

not_built!("mysql", connect_mysql);
not_built!("postgres", connect_postgres);

use std::sync::Arc;

use cloakroom_core::Error;
use cloakroom_core::store::Invalidations;
use sqlx::Postgres;
use sqlx::postgres::{PgConnectOptions, PgPool};

use super::settings::SqlStoreBuilder;
use super::url::{check_parameters, unreadable};
use crate::notify::Channel;
use crate::pool::ConnectionPool;
use crate::sql_store::{AnyTable, SqlStore};

/// The parameters of a URL that sqlx reads.
const PARAMETERS: &str = "sslmode ssl-mode sslrootcert ssl-root-cert ssl-ca sslcert ssl-cert sslkey \
                          ssl-key statement-cache-capacity host hostaddr port dbname user password \
                          application_name options options[]";

impl SqlStoreBuilder {
    pub(super) async fn connect_postgres(self, url: &str) -> Result<SqlStore, Error> {
        self.check::<Postgres>()?;
        check_parameters(url, PARAMETERS)?;
        let options: PgConnectOptions = url.parse().map_err(unreadable)?;
        let pool = self.open_pool(options).await?;
        Ok(self.over_postgres(pool))
    }

    /// Makes a store over a PostgreSQL pool of one's own, whose settings count.
    ///
    /// With sqlx's default `test_before_acquire`, each use costs one more round trip;
    /// without it a write may meet a dead connection.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`](cloakroom_core::ErrorKind::Misconfigured) for a
    /// name of a table or a schema that cannot be used.
    pub fn from_pg_pool(self, pool: PgPool) -> Result<SqlStore, Error> {
        self.check::<Postgres>()?;
        let pool = self.adopt_pool(pool);
        Ok(self.over_postgres(pool))
    }

    fn over_postgres(self, pool: ConnectionPool<Postgres>) -> SqlStore {
        let invalidations = self.notifying.then(|| -> Box<dyn Invalidations> {
            Box::new(Channel {
                name: self.table_path().into_owned(),
                options: (*pool.pool.connect_options()).clone(),
                target: pool.target.clone(),
                connect_timeout: pool.timeouts.acquire,
            })
        });
        SqlStore {
            table: Arc::new(AnyTable::Postgres(self.store(pool, invalidations))),
        }
    }
}

use std::sync::Arc;

use cloakroom_core::Error;
use cloakroom_core::store::Invalidations;
use sqlx::Postgres;
use sqlx::postgres::{PgConnectOptions, PgPool};

use super::{check_parameters, unread};
use crate::dialect::Dialect as _;
use crate::notify::Channel;
use crate::pool::{Bounds, Health};
use crate::{SqlStore, SqlStoreBuilder};

/// What sqlx reads of a URL.
const PARAMETERS: [&str; 19] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
    "options[]",
];

impl SqlStoreBuilder {
    pub(super) async fn connect_postgres(self, url: &str) -> Result<SqlStore, Error> {
        self.checked::<Postgres>()?;
        check_parameters(url, &PARAMETERS)?;
        let options: PgConnectOptions = url.parse().map_err(unread)?;
        let health = Health::default();
        let pool = self.pool::<Postgres>(options, &health).await?;
        let bounds = Postgres::bounds(self.waits.within());
        Ok(self.over_postgres(pool, bounds, health))
    }

    /// Over a PostgreSQL pool of one's own, whose settings count: with sqlx's
    /// `test_before_acquire`, its default, each use costs a round trip more, and
    /// without it a write may meet a connection that is dead.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`](cloakroom_core::ErrorKind::Misconfigured) for a
    /// table or a schema that is no name.
    pub fn from_pg_pool(self, pool: PgPool) -> Result<SqlStore, Error> {
        self.checked::<Postgres>()?;
        Ok(self.over_postgres(pool, None, Health::default()))
    }

    fn over_postgres(self, pool: PgPool, bounds: Option<Bounds>, health: Health) -> SqlStore {
        let channel = self.notifying.then(|| {
            let channel: Arc<dyn Invalidations> = Arc::new(Channel {
                name: self.table.path().into_owned(),
                options: (*pool.connect_options()).clone(),
                acquire: self.waits.acquire,
            });
            channel
        });
        self.store(pool, bounds, health, channel)
    }
}

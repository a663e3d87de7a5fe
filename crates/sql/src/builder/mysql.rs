use cloakroom_core::Error;
use sqlx::MySql;
use sqlx::mysql::{MySqlConnectOptions, MySqlPool};

use super::{check_parameters, unread};
use crate::dialect::Dialect as _;
use crate::pool::Health;
use crate::{SqlStore, SqlStoreBuilder};

/// What sqlx reads of a URL.
const PARAMETERS: [&str; 14] = [
    "sslmode",
    "ssl-mode",
    "sslca",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "charset",
    "collation",
    "statement-cache-capacity",
    "socket",
    "timezone",
    "time-zone",
];

impl SqlStoreBuilder {
    pub(super) async fn connect_mysql(self, url: &str) -> Result<SqlStore, Error> {
        self.checked::<MySql>()?;
        check_parameters(url, &PARAMETERS)?;
        let options: MySqlConnectOptions = url.parse().map_err(unread)?;
        let health = Health::default();
        let pool = self.pool::<MySql>(options, &health).await?;
        let bounds = MySql::bounds(self.waits.within());
        Ok(self.store(pool, bounds, health, None))
    }

    /// Over a MySQL or MariaDB pool of one's own, whose settings count: with sqlx's
    /// `test_before_acquire`, its default, each use costs a round trip more, and
    /// without it a write may meet a connection that is dead. It must commit by
    /// itself: where the server's `autocommit` is 0, its `after_connect` sets it to 1,
    /// or nothing that is answered is kept.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`](cloakroom_core::ErrorKind::Misconfigured) for a
    /// table that is no name, and where a schema or notifying is asked for.
    pub fn from_mysql_pool(self, pool: MySqlPool) -> Result<SqlStore, Error> {
        self.checked::<MySql>()?;
        Ok(self.store(pool, None, Health::default(), None))
    }
}

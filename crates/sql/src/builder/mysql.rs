use std::sync::Arc;

use cloakroom_core::Error;
use sqlx::mysql::{MySqlConnectOptions, MySqlPool, MySqlSslMode};
use sqlx::{Connection as _, MySql};

use super::first::warn_of_plaintext;
use super::settings::SqlStoreBuilder;
use super::url::{check_parameters, unreadable};
use crate::pool::ConnectionPool;
use crate::sql_store::{AnyTable, SqlStore};

/// The parameters of a URL that sqlx reads.
const PARAMETERS: &str = "sslmode ssl-mode sslca ssl-ca sslcert ssl-cert sslkey ssl-key charset collation \
                          statement-cache-capacity socket timezone time-zone";

impl SqlStoreBuilder {
    pub(super) async fn connect_mysql(self, url: &str) -> Result<SqlStore, Error> {
        self.check::<MySql>()?;
        check_parameters(url, PARAMETERS)?;
        let options: MySqlConnectOptions = url.parse().map_err(unreadable)?;
        if matches!(options.get_ssl_mode(), MySqlSslMode::Preferred)
            && options.get_socket().is_none()
        {
            let target = self.target::<MySql>(&options);
            let advice = "ssl-mode=VERIFY_IDENTITY, or ssl-mode=DISABLED in a network that is \
                          trusted";
            warn_of_plaintext(&target, options.get_host(), advice);
        }
        let first = self.connect_once::<MySql>(&options).await?;
        let pool = self.open_pool(options).await?;
        // It has told what it could.
        let _ = first.close().await;
        Ok(self.over_mysql(pool))
    }

    /// Makes a store over a MySQL or MariaDB pool of one's own, whose settings count.
    ///
    /// With sqlx's default `test_before_acquire`, each use costs one more round trip;
    /// without it a write may meet a dead connection. The connections must commit by
    /// themselves: where the server's `autocommit` is 0, the pool's `after_connect` must
    /// set it to 1, or nothing that is answered is kept.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`](cloakroom_core::ErrorKind::Misconfigured) for a
    /// table's name that cannot be used, and where a schema or notifying is asked for.
    pub fn from_mysql_pool(self, pool: MySqlPool) -> Result<SqlStore, Error> {
        self.check::<MySql>()?;
        let pool = self.adopt_pool(pool);
        Ok(self.over_mysql(pool))
    }

    fn over_mysql(self, pool: ConnectionPool<MySql>) -> SqlStore {
        SqlStore {
            table: Arc::new(AnyTable::MySql(self.store(pool, None))),
        }
    }
}

use std::sync::Arc;

use cloakroom_core::Error;
use cloakroom_core::store::{Announced, Invalidations};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgSslMode};
use sqlx::{ConnectOptions as _, Connection as _, Postgres, SqlStr};

use super::first::warn_of_plaintext;
use super::settings::{SqlStoreBuilder, misconfigured};
use super::url::{check_parameters, unreadable};
use crate::driver::Driver as _;
use crate::error::Target;
use crate::literals::limit_millis;
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
        let options = self.startup(options);
        let target = self.target::<Postgres>(&options);
        if matches!(options.get_ssl_mode(), PgSslMode::Allow | PgSslMode::Prefer)
            && options.get_socket().is_none()
            && !options.get_host().starts_with('/')
        {
            let advice = "sslmode=verify-full, or sslmode=disable in a network that is trusted";
            warn_of_plaintext(&target, options.get_host(), advice);
        }
        let first = self.connect_once::<Postgres>(&options).await?;
        if !self.behind_pooler {
            let limit = limit_millis(self.timeouts.time_limit());
            check_settings(first, limit, &target).await?;
        }
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
        if self.behind_pooler {
            return Err(misconfigured(
                "a pool that is handed in may log its statements, which hold the data of sessions \
                 behind a pooler: open the store by a URL with pooler=transaction",
            ));
        }
        let pool = self.adopt_pool(pool);
        Ok(self.over_postgres(pool))
    }

    /// What each connection says when it is opened.
    ///
    /// A direct connection belongs to this store, so its settings are set for good, without
    /// a round trip. Poolers refuse or swallow them, and thereby betray themselves before
    /// anything is left on a connection which they lend to others.
    fn startup(&self, options: PgConnectOptions) -> PgConnectOptions {
        // The store reads no floating-point number, and poolers refuse this one too.
        let options = options.extra_float_digits(None);
        match self.behind_pooler {
            // The text of a statement holds the data of a session.
            true => options.disable_statement_logging(),
            false => options.options([
                ("default_transaction_isolation", "read committed".to_owned()),
                (
                    "statement_timeout",
                    limit_millis(self.timeouts.time_limit()).to_string(),
                ),
            ]),
        }
    }

    fn over_postgres(self, pool: ConnectionPool<Postgres>) -> SqlStore {
        let invalidations = (!self.behind_pooler).then(|| -> Box<dyn Invalidations> {
            Box::new(Channel {
                name: self.table_path().into_owned(),
                options: (*pool.pool.connect_options()).clone(),
                target: pool.target.clone(),
                connect_timeout: pool.timeouts.acquire,
                announced: match self.notifying {
                    true => Announced::Writes,
                    false => Announced::Ends,
                },
            })
        });
        SqlStore {
            table: Arc::new(AnyTable::Postgres(self.store(pool, invalidations))),
        }
    }
}

/// Fails where the server does not have the settings that its connection was opened with.
async fn check_settings(
    mut connection: PgConnection,
    millis: u128,
    target: &Target,
) -> Result<(), Error> {
    let sql = "SELECT setting::int8 FROM pg_settings WHERE name = 'statement_timeout'";
    let rows = Postgres::script_rows(&mut connection, SqlStr::from_static(sql)).await;
    let row = rows.and_then(|rows| rows.first().map(|row| Postgres::int(row, 0)).transpose());
    let set = row.map_err(|source| Postgres::failed(target, source))?;
    let _ = connection.close().await;
    match set.flatten().map(u128::try_from) {
        Some(Ok(set)) if set == millis => Ok(()),
        _ => Err(target.swallows_settings()),
    }
}

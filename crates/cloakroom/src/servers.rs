//! Stores on a server, by their URLs.

use cloakroom_core::Error;

use crate::layers::FromStore;
use crate::options::{Layers, Query};

/// What lies between the scheme and the `?`, and the options after it.
pub(crate) struct Address<'u> {
    pub(crate) scheme: &'u str,
    /// `//host…`, or a path.
    pub(crate) place: &'u str,
    pub(crate) options: &'u str,
}

const REDIS: &str = "on_disconnect=serve_stale or on_disconnect=bypass, prefix=TEXT, timeout=2s, \
                     tls_ca_file=PATH, cluster=true, allow_eviction=true";

const REDIS_SOCKET: &str = "on_disconnect=serve_stale or on_disconnect=bypass, prefix=TEXT, \
                            timeout=2s, allow_eviction=true, db=NUMBER, user=NAME, pass=TEXT";

/// Whether `rediss:` and an SQL server over TLS were built.
#[allow(dead_code)] // Each is of one feature.
const HAS_REDIS_TLS: bool = cfg!(feature = "redis-tls");
#[allow(dead_code)]
const HAS_SQL_TLS: bool = cfg!(feature = "sql-tls");

#[cfg(feature = "redis")]
pub(crate) async fn redis<T: FromStore>(address: Address<'_>) -> Result<T, Error> {
    use cloakroom_redis::RedisStore;
    let Address { scheme, place, .. } = address;
    if scheme == "rediss" && !HAS_REDIS_TLS {
        return Err(crate::options::not_built("redis-tls"));
    }
    let is_socket = scheme == "redis+unix";
    let own = if is_socket { REDIS_SOCKET } else { REDIS };
    let mut query = Query::parse(scheme, address.options, own)?;
    let layers = Layers::take_watching::<T>(&mut query)?;
    let mut builder = if is_socket {
        if !place.starts_with("///") {
            return Err(query.refuse("the URL of a Unix socket reads redis+unix:///PATH"));
        }
        let passed_on = query.rest(&["db", "user", "pass"]);
        RedisStore::builder(format!("{scheme}:{place}{passed_on}"))
    } else if query.truth("cluster")? == Some(true) {
        RedisStore::cluster(seeds(scheme, place))
    } else {
        RedisStore::builder(format!("{scheme}:{place}"))
    };
    if let Some(prefix) = query.text("prefix") {
        builder = builder.prefix(prefix);
    }
    if let Some(timeout) = query.duration("timeout")? {
        builder = builder.timeout(timeout);
    }
    if let Some(allowed) = query.truth("allow_eviction")? {
        builder = builder.allow_eviction(allowed);
    }
    let ca_file = match is_socket {
        true => None,
        false => query.text("tls_ca_file"),
    };
    query.finish()?;
    if let Some(path) = ca_file {
        builder = trusting(builder, path)?;
    }
    T::over(builder.connect().await?, &layers)
}

#[cfg(feature = "redis-tls")]
fn trusting(
    builder: cloakroom_redis::RedisBuilder,
    path: &str,
) -> Result<cloakroom_redis::RedisBuilder, Error> {
    let pem = std::fs::read(path).map_err(|source| {
        let why = format!("cannot read the file {path} of tls_ca_file=: {source}");
        Error::new(cloakroom_core::ErrorKind::Misconfigured, why).with_source(source)
    })?;
    Ok(builder.tls_ca_pem(pem))
}

#[cfg(all(feature = "redis", not(feature = "redis-tls")))]
fn trusting(
    _: cloakroom_redis::RedisBuilder,
    _: &str,
) -> Result<cloakroom_redis::RedisBuilder, Error> {
    Err(crate::options::not_built("redis-tls"))
}

#[cfg(not(feature = "redis"))]
pub(crate) async fn redis<T>(_: Address<'_>) -> Result<T, Error> {
    Err(crate::options::not_built("redis"))
}

/// The URLs of a cluster's servers: several hosts, joined by commas, have user and
/// password in common.
fn seeds(scheme: &str, place: &str) -> Vec<String> {
    let place = place.trim_start_matches('/');
    let (user, hosts) = match place.rsplit_once('@') {
        Some((user, hosts)) => (format!("{user}@"), hosts),
        None => (String::new(), place),
    };
    let hosts = hosts.split(',');
    hosts
        .map(|host| format!("{scheme}://{user}{host}"))
        .collect()
}

const POSTGRES: &str = "on_disconnect=serve_stale or on_disconnect=bypass, table=NAME, schema=NAME, \
                        pool=10, pooler=transaction, timeout=5s, migrate=false, notify=true, sslmode=, \
                        sslrootcert=, sslcert=, sslkey=, application_name=";
const MYSQL: &str = "table=NAME, pool=10, timeout=5s, migrate=false, ssl-mode=, ssl-ca=, ssl-cert=, \
                     ssl-key=, socket=PATH";

/// What one of the two takes.
#[derive(Clone, Copy)]
struct Dialect {
    own: &'static str,
    /// Options that are the driver's.
    passed_on: &'static [&'static str],
    notifies: bool,
}

const DIALECT_POSTGRES: Dialect = Dialect {
    own: POSTGRES,
    passed_on: &[
        "sslmode",
        "sslrootcert",
        "sslcert",
        "sslkey",
        "application_name",
    ],
    notifies: true,
};
const DIALECT_MYSQL: Dialect = Dialect {
    own: MYSQL,
    passed_on: &["ssl-mode", "ssl-ca", "ssl-cert", "ssl-key", "socket"],
    notifies: false,
};

/// Whether the driver's options ask for TLS without a way around it.
#[allow(dead_code)] // Without an SQL feature, nothing calls this.
fn requires_tls(passed_on: &str) -> bool {
    let passed_on = passed_on.to_ascii_lowercase();
    let asks = ["mode=require", "mode=verify"];
    asks.iter().any(|mode| passed_on.contains(mode))
}

#[cfg(any(feature = "mysql", feature = "postgres"))]
async fn sql<T: FromStore>(address: Address<'_>, dialect: Dialect) -> Result<T, Error> {
    let Address { scheme, place, .. } = address;
    let mut query = Query::parse(scheme, address.options, dialect.own)?;
    let layers = match dialect.notifies {
        true => Layers::take_watching::<T>(&mut query)?,
        false => Layers::take::<T>(&mut query)?,
    };
    let mut builder = cloakroom_sql::SqlStore::builder();
    if let Some(table) = query.text("table") {
        builder = builder.table(table);
    }
    if dialect.notifies {
        if let Some(schema) = query.text("schema") {
            builder = builder.schema(schema);
        }
        match query.text("pooler") {
            None => {}
            Some("transaction") if layers.cache.is_some_and(|cache| cache.bypass_on_disconnect) => {
                return Err(query.refuse(
                    "through a pooler a cache hears of no other node: leave on_disconnect= out, \
                     and cache= too where its bound on staleness is not enough",
                ));
            }
            Some("transaction") => builder = builder.behind_pooler(true),
            Some(_) => return Err(query.refuse("pooler= is transaction, or left out")),
        }
        // A cache here wants to hear of other nodes, and they of it.
        let notifying = query.truth("notify")?.unwrap_or(layers.cache.is_some());
        builder = builder.notifying(notifying);
    }
    if let Some(size) = query.count("pool")? {
        builder = builder.pool_size(size);
    }
    if let Some(timeout) = query.duration("timeout")? {
        builder = builder.acquire_timeout(timeout).statement_timeout(timeout);
    }
    let migrates = query.truth("migrate")?.unwrap_or(true);
    let passed_on = query.rest(dialect.passed_on);
    query.finish()?;
    if requires_tls(&passed_on) && !HAS_SQL_TLS {
        return Err(crate::options::not_built("sql-tls"));
    }
    let store = builder
        .connect(&format!("{scheme}:{place}{passed_on}"))
        .await?;
    if migrates {
        store.migrate().await?;
    }
    T::over(store, &layers)
}

/// How a feature opens its database, or the word that it was not built.
macro_rules! database {
    ($feature:literal, $name:ident, $dialect:ident) => {
        #[cfg(feature = $feature)]
        pub(crate) async fn $name<T: FromStore>(address: Address<'_>) -> Result<T, Error> {
            sql(address, $dialect).await
        }

        #[cfg(not(feature = $feature))]
        pub(crate) async fn $name<T>(_: Address<'_>) -> Result<T, Error> {
            Err(crate::options::not_built($feature))
        }
    };
}

database!("postgres", postgres, DIALECT_POSTGRES);
database!("mysql", mysql, DIALECT_MYSQL);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_requires_tls_is_told_from_what_prefers_it() {
        for asks in [
            "?sslmode=require",
            "?sslrootcert=x&sslmode=verify-full",
            "?ssl-mode=REQUIRED",
            "?ssl-mode=VERIFY_CA",
        ] {
            assert!(requires_tls(asks), "{asks}");
        }
        for does_not in ["", "?sslmode=prefer", "?ssl-mode=DISABLED", "?sslcert=x"] {
            assert!(!requires_tls(does_not), "{does_not}");
        }
    }

    #[cfg(all(feature = "redis", not(feature = "redis-tls")))]
    #[tokio::test]
    async fn a_feature_that_is_missing_is_named_as_this_crate_names_it() {
        let error = crate::open("rediss://host").await.unwrap_err();
        assert!(error.to_string().contains("feature `redis-tls`"), "{error}");
    }

    #[test]
    fn the_servers_of_a_cluster_share_user_and_password() {
        assert_eq!(seeds("redis", "//a:1"), ["redis://a:1"]);
        assert_eq!(
            seeds("rediss", "//ada:p,w@a:1,b:2"),
            ["rediss://ada:p,w@a:1", "rediss://ada:p,w@b:2"]
        );
    }
}

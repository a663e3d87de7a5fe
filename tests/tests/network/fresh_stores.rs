//! Empty stores for these tests, each under a table or prefix of its own on a server
//! that the whole process shares.

use cloakroom::stores::{RedisStore, SqlStore};
use cloakroom_testkit::key;
use tempfile::TempDir;

/// The URL of an empty store.
pub(crate) struct FreshStore {
    pub(crate) name: &'static str,
    pub(crate) url: String,
    _folder: Option<TempDir>,
}

fn fresh_name() -> String {
    format!("t_{}", key().digest().short())
}

fn fresh_store(name: &'static str, url: String) -> FreshStore {
    FreshStore {
        name,
        url,
        _folder: None,
    }
}

/// One in a file that several processes may use.
fn sqlite() -> FreshStore {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sessions.sqlite");
    FreshStore {
        name: "SQLite",
        // Who waits for its lock is let in by chance.
        url: format!("sqlite:{}?timeout=60s", path.display()),
        _folder: Some(folder),
    }
}

/// One on every SQL server of this machine.
fn sql_servers() -> Vec<FreshStore> {
    let mut stores = Vec::new();
    if let Some(server) = cloakroom_servers::postgres() {
        let url = format!("{}?table={}", server.url(), fresh_name());
        stores.push(fresh_store("PostgreSQL", url));
    }
    if let Some(server) = cloakroom_servers::mariadb() {
        let url = format!("{}?table={}", server.url(), fresh_name());
        stores.push(fresh_store("MariaDB", url));
    }
    stores
}

/// One on every SQL database of this machine.
pub(crate) fn sql() -> Vec<FreshStore> {
    let mut stores = sql_servers();
    stores.insert(0, sqlite());
    stores
}

/// One on a single Redis, and one on a cluster of three.
pub(crate) fn redis() -> Vec<FreshStore> {
    let mut stores = Vec::new();
    if let Some(server) = cloakroom_servers::redis() {
        let url = format!("{}?prefix={}:", server.url(), fresh_name());
        stores.push(fresh_store("Redis", url));
    }
    if let Some(servers) = cloakroom_servers::redis_cluster() {
        let hosts: Vec<_> = servers.urls();
        let hosts: Vec<_> = hosts
            .iter()
            .map(|url| url.trim_start_matches("redis://").trim_end_matches('/'))
            .collect();
        let hosts = hosts.join(",");
        let url = format!("redis://{hosts}?cluster=true&prefix={}:", fresh_name());
        stores.push(fresh_store("Redis cluster", url));
    }
    stores
}

/// All of them.
pub(crate) fn all() -> Vec<FreshStore> {
    let mut stores = sql();
    stores.extend(redis());
    stores
}

/// As their own types, without a URL's layers.
pub(crate) async fn sql_stores() -> Vec<SqlStore> {
    let mut stores = Vec::new();
    for fresh in sql_servers() {
        let (url, options) = fresh.url.split_once('?').unwrap();
        let table = options.strip_prefix("table=");
        let table = table.map_or_else(fresh_name, str::to_owned);
        let store = SqlStore::builder().table(table).connect(url).await.unwrap();
        store.migrate().await.unwrap();
        stores.push(store);
    }
    stores
}

/// As their own type.
pub(crate) async fn redis_stores() -> Vec<RedisStore> {
    let prefix = || format!("{}:", fresh_name());
    let mut stores = Vec::new();
    if let Some(server) = cloakroom_servers::redis() {
        let store = RedisStore::builder(server.url()).prefix(prefix());
        stores.push(store.connect().await.unwrap());
    }
    if let Some(servers) = cloakroom_servers::redis_cluster() {
        let store = RedisStore::cluster(servers.urls()).prefix(prefix());
        stores.push(store.connect().await.unwrap());
    }
    stores
}

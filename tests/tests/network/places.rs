//! Where the stores of these tests are: each place is fresh, on a server that the
//! process shares.

use cloakroom::stores::{RedisStore, SqlStore};
use cloakroom_testkit::key;
use tempfile::TempDir;

/// The URL of a store in which nothing stands.
pub(crate) struct Place {
    pub(crate) name: &'static str,
    pub(crate) url: String,
    _folder: Option<TempDir>,
}

fn fresh() -> String {
    format!("t_{}", key().digest().short())
}

fn place(name: &'static str, url: String) -> Place {
    Place {
        name,
        url,
        _folder: None,
    }
}

/// One on every SQL database of this machine.
pub(crate) fn sql() -> Vec<Place> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sessions.sqlite");
    let mut places = vec![Place {
        name: "SQLite",
        // Who waits for its lock is let in by chance.
        url: format!("sqlite:{}?timeout=60s", path.display()),
        _folder: Some(folder),
    }];
    if let Some(server) = cloakroom_servers::postgres() {
        let url = format!("{}?table={}", server.url(), fresh());
        places.push(place("PostgreSQL", url));
    }
    if let Some(server) = cloakroom_servers::mariadb() {
        let url = format!("{}?table={}", server.url(), fresh());
        places.push(place("MariaDB", url));
    }
    places
}

/// One on a single Redis, and one on a cluster of three.
pub(crate) fn redis() -> Vec<Place> {
    let mut places = Vec::new();
    if let Some(server) = cloakroom_servers::redis() {
        let url = format!("{}?prefix={}:", server.url(), fresh());
        places.push(place("Redis", url));
    }
    if let Some(servers) = cloakroom_servers::redis_cluster() {
        let hosts: Vec<_> = servers.urls();
        let hosts: Vec<_> = hosts
            .iter()
            .map(|url| url.trim_start_matches("redis://").trim_end_matches('/'))
            .collect();
        let hosts = hosts.join(",");
        let url = format!("redis://{hosts}?cluster=true&prefix={}:", fresh());
        places.push(place("Redis cluster", url));
    }
    places
}

/// All of them.
pub(crate) fn all() -> Vec<Place> {
    let mut places = sql();
    places.extend(redis());
    places
}

/// As their own types, without a URL's layers.
pub(crate) async fn sql_stores() -> Vec<(Place, SqlStore)> {
    let mut stores = Vec::new();
    for place in sql() {
        let (url, options) = place.url.split_once('?').unwrap();
        let table = options.strip_prefix("table=");
        let table = table.map_or_else(fresh, str::to_owned);
        let store = SqlStore::builder().table(table).connect(url).await.unwrap();
        store.migrate().await.unwrap();
        stores.push((place, store));
    }
    stores
}

/// As their own type.
pub(crate) async fn redis_stores() -> Vec<RedisStore> {
    let prefix = || format!("{}:", fresh());
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

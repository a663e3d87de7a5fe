//! Stores under a prefix of their own, so that tests can share a server.
#![allow(dead_code)] // Each test file uses a part of it.

use cloakroom_redis::RedisStore;
use cloakroom_testkit::key;

pub(crate) fn prefix() -> String {
    format!("test-{}:", key().digest().short())
}

/// A store on the single server, where there is a Redis on this machine.
pub(crate) async fn single() -> Option<RedisStore> {
    let server = cloakroom_servers::redis()?;
    let store = RedisStore::builder(server.url()).prefix(prefix());
    Some(store.connect().await.unwrap())
}

/// A store on the cluster.
pub(crate) async fn cluster() -> Option<RedisStore> {
    let servers = cloakroom_servers::redis_cluster()?;
    let store = RedisStore::cluster(servers.urls()).prefix(prefix());
    Some(store.connect().await.unwrap())
}

/// A count of a command in `INFO commandstats`.
pub(crate) fn calls(server: &cloakroom_servers::Redis, command: &str) -> u64 {
    let stats = server.command(&["INFO", "commandstats"]).unwrap();
    let line = format!("cmdstat_{command}:calls=");
    let count = stats.lines().find_map(|l| l.strip_prefix(line.as_str()));
    let count = count.and_then(|rest| rest.split(',').next()?.parse().ok());
    count.unwrap_or(0)
}

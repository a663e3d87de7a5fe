//! Stores under a prefix of their own, so that tests can share a server.
#![allow(dead_code)] // Each test file uses a part of it.

pub(crate) mod proxy;

use std::sync::Arc;
use std::time::Duration;

use cloakroom_core::store::{Invalidation, Listener};
use cloakroom_core::{Clock, Error, SystemClock};
use cloakroom_redis::RedisStore;
use cloakroom_servers::Redis;
use cloakroom_testkit::key;
use tokio::time::timeout;

/// How long a test waits for an invalidation, or for the end of its channel.
pub(crate) const LISTEN_MAX: Duration = Duration::from_secs(10);

/// What a listener gives next. An invalidation that was lost fails the test, which
/// would otherwise wait for ever.
pub(crate) async fn next(listener: &mut dyn Listener) -> Result<Invalidation, Error> {
    let next = timeout(LISTEN_MAX, listener.next()).await;
    next.expect("an invalidation, or an error, within LISTEN_MAX")
}

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
pub(crate) fn calls(server: &Redis, command: &str) -> u64 {
    let stats = server.command(&["INFO", "commandstats"]).unwrap();
    let line = format!("cmdstat_{command}:calls=");
    let count = stats.lines().find_map(|l| l.strip_prefix(line.as_str()));
    let count = count.and_then(|rest| rest.split(',').next()?.parse().ok());
    count.unwrap_or(0)
}

/// A store and the servers it is on, with the prefix of its keys.
pub(crate) struct Setup {
    pub(crate) store: RedisStore,
    pub(crate) prefix: String,
    servers: Vec<&'static Redis>,
}

/// One on a single server and one on a cluster, where there is a Redis.
pub(crate) async fn both() -> Vec<Setup> {
    both_by(Arc::new(SystemClock)).await
}

/// The same, by another clock than the system's.
pub(crate) async fn both_by(clock: Arc<dyn Clock>) -> Vec<Setup> {
    let mut both = Vec::new();
    if let Some(server) = cloakroom_servers::redis() {
        let prefix = prefix();
        let store = RedisStore::builder(server.url()).prefix(prefix.clone());
        let store = store.clock(clock.clone());
        both.push(Setup {
            store: store.connect().await.unwrap(),
            prefix,
            servers: vec![server],
        });
    }
    if let Some(servers) = cloakroom_servers::redis_cluster() {
        let prefix = prefix();
        let store = RedisStore::cluster(servers.urls()).prefix(prefix.clone());
        let store = store.clock(clock.clone());
        both.push(Setup {
            store: store.connect().await.unwrap(),
            prefix,
            servers: servers.nodes().iter().collect(),
        });
    }
    both
}

impl Setup {
    pub(crate) fn servers(&self) -> usize {
        self.servers.len()
    }

    /// What the server that has the key says.
    pub(crate) fn ask(&self, parts: &[&str]) -> String {
        self.try_ask(parts).expect("one has it")
    }

    /// The same, where one has all of the keys.
    pub(crate) fn try_ask(&self, parts: &[&str]) -> Option<String> {
        let answers = self.servers.iter().map(|server| server.command(parts));
        answers.filter_map(Result::ok).next()
    }
}

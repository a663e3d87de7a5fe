//! The nodes of a cluster, and which of them has a key.
//!
//! redis-rs has a client for clusters, which sends a command again after its
//! connection broke. A write must not be: so the slot map is kept here, and a
//! command is sent again only where a node has refused it.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use cloakroom_core::Clock;
use redis::{Client, Cmd, ConnectionAddr, Value};
use tokio::time::{Instant, sleep, timeout_at};

use crate::connection::Connection;
use crate::errors::{Access, CallFailure, CallResult, is_from_replica};
use crate::home::Home;

const SLOTS: u16 = 16_384;

/// How often one call is sent while nodes redirect it.
const TRIES_MAX: usize = 6;

/// The wait before a call is retried that a cluster in motion refused.
const PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(crate) struct Nodes {
    /// The nodes that the application named.
    seeds: Vec<Arc<Connection>>,
    map: RwLock<Arc<Map>>,
    reading: tokio::sync::Mutex<()>,
    /// Whether a task refreshes the map.
    is_refreshing: AtomicBool,
    timeout: Duration,
    clock: Arc<dyn Clock>,
    home: Home,
}

#[derive(Clone, Debug, Default)]
struct Map {
    /// How often the map was read.
    version: u64,
    connections: BTreeMap<String, Arc<Connection>>,
    /// First slot, last slot, primary.
    ranges: Vec<(u16, u16, String)>,
    is_old: bool,
}

impl Map {
    fn owner(&self, slot: u16) -> Option<&str> {
        let mut ranges = self.ranges.iter();
        let range = ranges.find(|(first, last, _)| (*first..=*last).contains(&slot));
        range.map(|(_, _, at)| at.as_str())
    }
}

/// The hash slot of a key: CRC-16 (XMODEM) of the whole key, since no key of this store
/// has a brace.
pub(crate) fn slot(key: &[u8]) -> u16 {
    let crc = key.iter().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            (crc << 1) ^ if crc & 0x8000 == 0 { 0 } else { 0x1021 }
        })
    });
    crc % SLOTS
}

impl Nodes {
    pub(crate) fn new(clients: Vec<Client>, timeout: Duration, clock: Arc<dyn Clock>) -> Self {
        let home = Home::here();
        let connections = clients
            .into_iter()
            .map(|client| Arc::new(Connection::new(client, clock.clone(), home.clone())));
        Self {
            seeds: connections.collect(),
            map: RwLock::default(),
            reading: tokio::sync::Mutex::new(()),
            is_refreshing: AtomicBool::new(false),
            timeout,
            clock,
            home,
        }
    }

    pub(crate) fn seeds(&self) -> &[Arc<Connection>] {
        &self.seeds
    }

    fn map(&self) -> Arc<Map> {
        self.map
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn change(&self, change: impl FnOnce(&mut Map)) {
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        change(Arc::make_mut(&mut map));
    }

    /// The primaries that the map names.
    pub(crate) async fn primaries(&self, by: Instant) -> CallResult<Vec<String>> {
        if self.map().version == 0 {
            self.read_map(by).await?;
        }
        let map = self.map();
        let mut primaries: Vec<String> = map.ranges.iter().map(|(_, _, at)| at.clone()).collect();
        primaries.sort();
        primaries.dedup();
        Ok(primaries)
    }

    /// The connection to a node.
    pub(crate) fn connection(&self, at: &str) -> Option<Arc<Connection>> {
        if let Some(connection) = self.map().connections.get(at) {
            return Some(connection.clone());
        }
        let client = self.client(at)?;
        let connection = Connection::new(client, self.clock.clone(), self.home.clone());
        let connection = Arc::new(connection);
        self.change(|map| {
            map.connections.entry(at.to_owned()).or_insert(connection);
        });
        self.map().connections.get(at).cloned()
    }

    /// A client of another node: like that of the first seed, but for host and port.
    fn client(&self, at: &str) -> Option<Client> {
        let (host, port) = at.rsplit_once(':')?;
        let (host, port) = (host.to_owned(), port.parse().ok()?);
        let info = self.seeds.first()?.client().get_connection_info();
        let addr = match info.addr() {
            ConnectionAddr::TcpTls {
                insecure,
                tls_params,
                ..
            } => ConnectionAddr::TcpTls {
                host,
                port,
                insecure: *insecure,
                tls_params: tls_params.clone(),
            },
            _ => ConnectionAddr::Tcp(host, port),
        };
        Client::open(info.clone().set_addr(addr)).ok()
    }

    /// Reads the map from whichever node answers, first from the one that did last.
    pub(crate) async fn read_map(&self, by: Instant) -> CallResult<()> {
        let before = self.map().version;
        let Ok(_reading) = timeout_at(by, self.reading.lock()).await else {
            return Err(CallFailure::NotSent(None));
        };
        if self.map().version != before {
            return Ok(()); // another call has read it meanwhile
        }
        let map = self.map();
        let mut known: Vec<&Arc<Connection>> =
            map.connections.values().chain(&self.seeds).collect();
        known.sort_by_cached_key(|connection| {
            let health = connection.health();
            (health.is_silent, Reverse(health.replied_at))
        });
        let mut failure = CallFailure::NotSent(None);
        let call = redis::cmd("CLUSTER").arg("SLOTS").to_owned();
        for connection in known {
            // A silent node leaves time for the others.
            let share = Instant::now() + by.saturating_duration_since(Instant::now()) / 2;
            match connection.call(&call, Access::Read, share).await {
                Ok(slots) => {
                    let ranges = ranges(slots, &connection.address());
                    if ranges.is_empty() {
                        continue;
                    }
                    self.change(|map| {
                        map.version += 1;
                        map.is_old = false;
                        map.connections
                            .retain(|at, _| ranges.iter().any(|(_, _, r)| r == at));
                        map.ranges = ranges;
                    });
                    return Ok(());
                }
                Err(other) => failure = other,
            }
        }
        Err(failure)
    }

    /// The connection to the owner of a slot. An old map will do, since nodes redirect
    /// what goes wrong; only where the owner was silent, or there is none, does the call
    /// wait for a new one.
    async fn owner(self: &Arc<Self>, slot: u16, by: Instant) -> CallResult<Arc<Connection>> {
        let map = self.map();
        let known = map.owner(slot).and_then(|at| self.connection(at));
        if let Some(connection) = known
            .as_ref()
            .filter(|connection| !connection.health().is_silent)
        {
            if map.is_old {
                self.refresh();
            }
            return Ok(connection.clone());
        }
        let read = self.read_map(by).await;
        let found = self.map().owner(slot).and_then(|at| self.connection(at));
        match (found.or(known), read) {
            (Some(connection), _) => Ok(connection),
            (None, Err(failure)) => Err(failure),
            (None, Ok(())) => Err(CallFailure::NotSent(None)),
        }
    }

    /// Reads the map anew while calls go on by the old one.
    fn refresh(self: &Arc<Self>) {
        if self.is_refreshing.swap(true, Ordering::AcqRel) {
            return;
        }
        let refreshing = Refreshing(self.clone());
        tokio::spawn(async move {
            let nodes = &refreshing.0;
            let read = nodes.read_map(Instant::now() + nodes.timeout).await;
            if let Err(failure) = read {
                tracing::debug!(
                    event = "no_cluster_node_answers",
                    ?failure,
                    "no node answers CLUSTER SLOTS"
                );
            }
            // No more often than this, whatever the calls meet.
            sleep(PAUSE).await;
        });
    }

    /// Sends a call to the owner of a key's slot.
    pub(crate) async fn call(
        self: &Arc<Self>,
        key: &str,
        call: &Cmd,
        access: Access,
        by: Instant,
    ) -> CallResult<Value> {
        let slot = slot(key.as_bytes());
        let mut redirected: Option<Arc<Connection>> = None;
        let mut tries = 1;
        loop {
            let sent = match redirected.take() {
                Some(connection) => call_asking(&connection, call, by).await,
                None => match self.owner(slot, by).await {
                    Ok(connection) => connection.call(call, access, by).await,
                    Err(failure) => Err(failure),
                },
            };
            let failure = match sent {
                Ok(value) => return Ok(value),
                Err(failure) => failure,
            };
            if tries >= TRIES_MAX || Instant::now() + PAUSE >= by {
                self.change(|map| map.is_old = true);
                return Err(failure);
            }
            tries += 1;
            match &failure {
                CallFailure::Refused(no) => match no.code() {
                    // Later calls refresh the map; this one follows the redirection.
                    Some("MOVED") => {
                        self.change(|map| map.is_old = true);
                        redirected = no.redirect_node().and_then(|(at, _)| self.connection(at));
                    }
                    Some("ASK") => {
                        redirected = no.redirect_node().and_then(|(at, _)| self.connection(at))
                    }
                    Some("TRYAGAIN" | "CLUSTERDOWN") => self.wait().await,
                    _ if is_from_replica(no) => self.wait().await,
                    _ => return Err(failure),
                },
                CallFailure::NotSent(Some(_)) => self.wait().await,
                CallFailure::NotSent(None) | CallFailure::ReplyLost(_) => {
                    self.change(|map| map.is_old = true);
                    return Err(failure);
                }
            }
        }
    }

    async fn wait(&self) {
        sleep(PAUSE).await;
        self.change(|map| map.is_old = true);
    }
}

/// A refresh of the map, which is over when this is dropped: its runtime may end before it
/// is done.
struct Refreshing(Arc<Nodes>);

impl Drop for Refreshing {
    fn drop(&mut self) {
        self.0.is_refreshing.store(false, Ordering::Release);
    }
}

/// Sends a call to a node that is importing the slot. ASKING is harmless at its owner.
async fn call_asking(connection: &Connection, call: &Cmd, by: Instant) -> CallResult<Value> {
    let mut row = redis::pipe();
    row.cmd("ASKING").add_command(call.clone());
    let mut replies = connection.call_in_row(&row, by).await?;
    replies.pop().ok_or(CallFailure::ReplyLost(None))
}

/// What `CLUSTER SLOTS` says. A node that does not know its own host is called by the
/// one that it was reached under.
fn ranges(slots: Value, asked: &str) -> Vec<(u16, u16, String)> {
    let slots: Vec<Vec<Value>> = redis::from_redis_value(slots).unwrap_or_default();
    let own = asked.rsplit_once(':').map_or(asked, |(host, _)| host);
    let range = |range: Vec<Value>| {
        let mut parts = range.into_iter();
        let first: u16 = redis::from_redis_value(parts.next()?).ok()?;
        let last: u16 = redis::from_redis_value(parts.next()?).ok()?;
        let primary: Vec<Value> = redis::from_redis_value(parts.next()?).ok()?;
        let mut primary = primary.into_iter();
        let host: Option<String> = redis::from_redis_value(primary.next()?).ok()?;
        let port: u16 = redis::from_redis_value(primary.next()?).ok()?;
        let host = host.filter(|host| !host.is_empty() && host != "?");
        let host = host.unwrap_or_else(|| own.to_owned());
        Some((first, last, format!("{host}:{port}")))
    };
    slots.into_iter().filter_map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each worker of a site may have a runtime of its own.
    #[test]
    fn a_refresh_that_ends_with_its_runtime_is_followed_by_the_next() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("redis://{}", listener.local_addr().unwrap());
        let clients = vec![Client::open(url).unwrap()];
        let clock = Arc::new(cloakroom_core::SystemClock);
        let nodes = Arc::new(Nodes::new(clients, Duration::from_secs(60), clock));
        for _ in 0..2 {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = runtime.enable_all().build().unwrap();
            runtime.block_on(async {
                assert!(!nodes.is_refreshing.load(Ordering::Acquire));
                nodes.refresh();
                tokio::task::yield_now().await;
                assert!(nodes.is_refreshing.load(Ordering::Acquire));
            });
        }
    }

    /// The examples of Redis's own specification of its clusters.
    #[test]
    fn a_key_is_in_the_slot_that_redis_says() {
        assert_eq!(slot(b"123456789"), 0x31c3);
        assert_eq!(slot(b"foo"), 12_182);
        assert_eq!(slot(b""), 0);
    }
}

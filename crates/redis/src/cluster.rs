//! The servers of a cluster, and which of them has a key.
//!
//! redis-rs has a client for clusters, which sends a command again after its
//! connection broke. A write must not be: so the map of slots is kept here, and a
//! command is sent again only where a server has refused it.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use redis::{Client, Cmd, ConnectionAddr, Value};
use tokio::time::{Instant, sleep, timeout_at};

use crate::link::{Again, Fault, Link, is_of_a_replica};

const SLOTS: u16 = 16_384;

/// How often a call is sent where the cluster says that it should go.
const TRIES_MAX: usize = 6;

/// The wait before a call is tried again that a cluster in motion refused.
const PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(crate) struct Cluster {
    /// The servers that the application named.
    seeds: Vec<Arc<Link>>,
    map: RwLock<Arc<Map>>,
    reading: tokio::sync::Mutex<()>,
    /// Whether a task reads the map.
    is_renewed: AtomicBool,
    timeout: Duration,
}

#[derive(Clone, Debug, Default)]
struct Map {
    /// How often it was read.
    edition: u64,
    links: BTreeMap<String, Arc<Link>>,
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

/// The slot of a key: CRC-16 (XMODEM), of all of it, since no key of this store
/// has a brace.
pub(crate) fn slot(key: &[u8]) -> u16 {
    let crc = key.iter().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            (crc << 1) ^ if crc & 0x8000 == 0 { 0 } else { 0x1021 }
        })
    });
    crc % SLOTS
}

impl Cluster {
    pub(crate) fn new(clients: Vec<Client>, timeout: Duration) -> Self {
        let links = clients
            .into_iter()
            .map(|client| Arc::new(Link::new(client)));
        Self {
            seeds: links.collect(),
            map: RwLock::default(),
            reading: tokio::sync::Mutex::new(()),
            is_renewed: AtomicBool::new(false),
            timeout,
        }
    }

    pub(crate) fn seeds(&self) -> &[Arc<Link>] {
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

    /// The primaries, as they are known.
    pub(crate) async fn servers(&self, by: Instant) -> Result<Vec<String>, Fault> {
        if self.map().edition == 0 {
            self.read_map(by).await?;
        }
        let map = self.map();
        let mut servers: Vec<String> = map.ranges.iter().map(|(_, _, at)| at.clone()).collect();
        servers.sort();
        servers.dedup();
        Ok(servers)
    }

    /// The connection to a server.
    pub(crate) fn link(&self, at: &str) -> Option<Arc<Link>> {
        if let Some(link) = self.map().links.get(at) {
            return Some(link.clone());
        }
        let link = Arc::new(Link::new(self.client(at)?));
        self.change(|map| {
            map.links.entry(at.to_owned()).or_insert(link);
        });
        self.map().links.get(at).cloned()
    }

    /// A client of another server of this cluster: as for the first that was
    /// named, but for host and port.
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

    /// Reads the map from whichever server answers: first the one that did last.
    pub(crate) async fn read_map(&self, by: Instant) -> Result<(), Fault> {
        let before = self.map().edition;
        let Ok(_reading) = timeout_at(by, self.reading.lock()).await else {
            return Err(Fault::NotSent(None));
        };
        if self.map().edition != before {
            return Ok(()); // somebody else has, while this call waited
        }
        let map = self.map();
        let mut known: Vec<&Arc<Link>> = map.links.values().chain(&self.seeds).collect();
        known.sort_by_cached_key(|link| {
            let health = link.health();
            (health.is_silent, Reverse(health.answered))
        });
        let mut fault = Fault::NotSent(None);
        let call = redis::cmd("CLUSTER").arg("SLOTS").to_owned();
        for link in known {
            // One that does not answer leaves time for the others.
            let share = Instant::now() + by.saturating_duration_since(Instant::now()) / 2;
            match link.call(&call, Again::Read, share).await {
                Ok(slots) => {
                    let ranges = ranges(slots, &link.address());
                    if ranges.is_empty() {
                        continue;
                    }
                    self.change(|map| {
                        map.edition += 1;
                        map.is_old = false;
                        map.links
                            .retain(|at, _| ranges.iter().any(|(_, _, r)| r == at));
                        map.ranges = ranges;
                    });
                    return Ok(());
                }
                Err(other) => fault = other,
            }
        }
        Err(fault)
    }

    /// The connection to the server of a slot. An old map will do, and what it is
    /// wrong about the servers tell; only where its server was silent, or there is
    /// none, does the call wait for another.
    async fn owner(self: &Arc<Self>, slot: u16, by: Instant) -> Result<Arc<Link>, Fault> {
        let map = self.map();
        let known = map.owner(slot).and_then(|at| self.link(at));
        if let Some(link) = known.as_ref().filter(|link| !link.health().is_silent) {
            if map.is_old {
                self.renew();
            }
            return Ok(link.clone());
        }
        let read = self.read_map(by).await;
        let found = self.map().owner(slot).and_then(|at| self.link(at));
        match (found.or(known), read) {
            (Some(link), _) => Ok(link),
            (None, Err(fault)) => Err(fault),
            (None, Ok(())) => Err(Fault::NotSent(None)),
        }
    }

    /// Reads the map anew while calls go on by the old one.
    fn renew(self: &Arc<Self>) {
        if self.is_renewed.swap(true, Ordering::AcqRel) {
            return;
        }
        let cluster = self.clone();
        tokio::spawn(async move {
            let read = cluster.read_map(Instant::now() + cluster.timeout).await;
            if let Err(fault) = read {
                tracing::debug!(?fault, "no server tells which has which slots");
            }
            // As often is enough, whatever the calls meet.
            sleep(PAUSE).await;
            cluster.is_renewed.store(false, Ordering::Release);
        });
    }

    /// Sends a call to the server that has the slot of a key.
    pub(crate) async fn call(
        self: &Arc<Self>,
        key: &str,
        call: &Cmd,
        again: Again,
        by: Instant,
    ) -> Result<Value, Fault> {
        let slot = slot(key.as_bytes());
        let mut asked: Option<Arc<Link>> = None;
        let mut tries = 1;
        loop {
            let sent = match asked.take() {
                Some(link) => ask(&link, call, by).await,
                None => match self.owner(slot, by).await {
                    Ok(link) => link.call(call, again, by).await,
                    Err(fault) => Err(fault),
                },
            };
            let fault = match sent {
                Ok(value) => return Ok(value),
                Err(fault) => fault,
            };
            if tries >= TRIES_MAX || Instant::now() + PAUSE >= by {
                self.change(|map| map.is_old = true);
                return Err(fault);
            }
            tries += 1;
            match &fault {
                Fault::Refused(no) => match no.code() {
                    // The map is read anew for the calls to come; this one follows.
                    Some("MOVED") => {
                        self.change(|map| map.is_old = true);
                        asked = no.redirect_node().and_then(|(at, _)| self.link(at));
                    }
                    Some("ASK") => asked = no.redirect_node().and_then(|(at, _)| self.link(at)),
                    Some("TRYAGAIN" | "CLUSTERDOWN") => self.wait().await,
                    _ if is_of_a_replica(no) => self.wait().await,
                    _ => return Err(fault),
                },
                Fault::NotSent(Some(_)) => self.wait().await,
                Fault::NotSent(None) | Fault::Lost(_) => {
                    self.change(|map| map.is_old = true);
                    return Err(fault);
                }
            }
        }
    }

    async fn wait(&self) {
        sleep(PAUSE).await;
        self.change(|map| map.is_old = true);
    }
}

/// To a server that has a slot only for who asks; harmless at one that has it.
async fn ask(link: &Link, call: &Cmd, by: Instant) -> Result<Value, Fault> {
    let mut row = redis::pipe();
    row.cmd("ASKING").add_command(call.clone());
    let mut answers = link.row(&row, by).await?;
    answers.pop().ok_or(Fault::Lost(None))
}

/// What `CLUSTER SLOTS` says. A server that does not know its own name is called
/// by the one it was asked under.
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

    /// The examples of Redis's own specification of its clusters.
    #[test]
    fn a_key_is_in_the_slot_that_redis_says() {
        assert_eq!(slot(b"123456789"), 0x31c3);
        assert_eq!(slot(b"foo"), 12_182);
        assert_eq!(slot(b""), 0);
    }
}

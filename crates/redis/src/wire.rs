//! To the server that has a key: the one there is, or one of a cluster.

use std::sync::Arc;
use std::time::Duration;

use cloakroom_core::store::KeyDigest;
use cloakroom_core::{Error, ErrorKind};
use futures_util::future::join_all;
use redis::{Client, Cmd, Value};
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::link::{Again, Fault, Link};
use crate::script::Script;
use crate::trouble::{error, told};

/// Where calls go.
#[derive(Debug)]
pub(crate) enum Wire {
    One(Box<Link>),
    Many(Arc<Cluster>),
}

/// The calls of one store, each with its limit of time.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) wire: Wire,
    pub(crate) timeout: Duration,
    pub(crate) prefix: String,
}

impl Caller {
    pub(crate) fn is_one(&self) -> bool {
        matches!(self.wire, Wire::One(_))
    }

    /// Which server, for an error.
    pub(crate) fn at(&self) -> String {
        match &self.wire {
            Wire::One(link) => link.address(),
            Wire::Many(cluster) => {
                let seeds: Vec<String> = cluster.seeds().iter().map(|l| l.address()).collect();
                format!("the cluster of {}", seeds.join(", "))
            }
        }
    }

    async fn send(&self, key: &str, call: &Cmd, again: Again, by: Instant) -> Result<Value, Fault> {
        match &self.wire {
            Wire::One(link) => link.call(call, again, by).await,
            Wire::Many(cluster) => cluster.call(key, call, again, by).await,
        }
    }

    /// The servers that hold sessions.
    pub(crate) async fn servers(&self) -> Result<Vec<String>, Error> {
        match &self.wire {
            Wire::One(_) => Ok(vec!["0".to_owned()]),
            Wire::Many(cluster) => {
                let servers = cluster.servers(self.by()).await;
                servers.map_err(|fault| self.told(fault, Again::Read))
            }
        }
    }

    /// The same, after a fresh look.
    pub(crate) async fn servers_now(&self) -> Result<Vec<String>, Error> {
        if let Wire::Many(cluster) = &self.wire {
            let read = cluster.read_map(self.by()).await;
            read.map_err(|fault| self.told(fault, Again::Read))?;
        }
        self.servers().await
    }

    /// A client of each server, and its name.
    pub(crate) async fn clients(&self) -> Result<Vec<(Client, String)>, Error> {
        match &self.wire {
            Wire::One(link) => Ok(vec![(link.client().clone(), link.address())]),
            Wire::Many(cluster) => {
                let servers = self.servers_now().await?;
                let client = |at: String| Some((cluster.link(&at)?.client().clone(), at));
                Ok(servers.into_iter().filter_map(client).collect())
            }
        }
    }

    /// Asks one of the [`servers`](Self::servers).
    pub(crate) async fn read_at(&self, server: &str, call: &Cmd) -> Result<Value, Error> {
        let by = self.by();
        let answer = match &self.wire {
            Wire::One(link) => link.call(call, Again::Read, by).await,
            Wire::Many(cluster) => match cluster.link(server) {
                Some(link) => link.call(call, Again::Read, by).await,
                None => Err(Fault::NotSent(None)),
            },
        };
        answer.map_err(|fault| self.told(fault, Again::Read))
    }

    /// What stands at each of these digests.
    pub(crate) async fn values(&self, digests: &[KeyDigest]) -> Result<Vec<Value>, Error> {
        let keys: Vec<String> = digests.iter().map(|digest| self.session(digest)).collect();
        if self.is_one() {
            let first = keys.first().map_or("", String::as_str);
            let values = self.read(first, redis::cmd("MGET").arg(&keys)).await?;
            return redis::from_redis_value(values).map_err(|_| strange());
        }
        let get = keys.iter().map(|key| async move {
            let call = redis::cmd("GET").arg(key).to_owned();
            self.read(key, &call).await
        });
        join_all(get).await.into_iter().collect()
    }

    fn by(&self) -> Instant {
        Instant::now() + self.timeout
    }

    fn told(&self, fault: Fault, again: Again) -> Error {
        match (&self.wire, &fault) {
            (Wire::Many(_), Fault::Refused(no)) if no.code() == Some("MOVED") => error(
                ErrorKind::Unavailable,
                format!("{} does not agree on who has a slot (MOVED)", self.at()),
            ),
            _ => told(fault, again, &self.at(), self.timeout),
        }
    }

    /// Asks about a key; what breaks is tried once more.
    pub(crate) async fn read(&self, key: &str, call: &Cmd) -> Result<Value, Error> {
        let by = self.by();
        let answer = self.send(key, call, Again::Read, by).await;
        answer.map_err(|fault| self.told(fault, Again::Read))
    }

    /// Runs a script where its first key lies, and gives its list of words.
    pub(crate) async fn run(
        &self,
        script: &Script,
        keys: &[String],
        args: &[&[u8]],
    ) -> Result<Vec<String>, Error> {
        let by = self.by();
        let alone: &[u8] = if self.is_one() { b"1" } else { b"0" };
        let mut all = vec![self.prefix.as_bytes(), alone];
        all.extend(args);
        let key = keys.first().map_or("", String::as_str);
        let call = script.by_digest(keys, &all);
        let mut answer = self.send(key, &call, Again::Never, by).await;
        if matches!(&answer, Err(Fault::Refused(no)) if no.code() == Some("NOSCRIPT")) {
            let call = script.in_full(keys, &all);
            answer = self.send(key, &call, Again::Never, by).await;
        }
        let answer = answer.map_err(|fault| self.told(fault, Again::Never))?;
        redis::from_redis_value(answer).map_err(|_| strange())
    }

    pub(crate) fn session(&self, digest: &KeyDigest) -> String {
        format!("{}s:{}", self.prefix, digest.to_hex())
    }

    pub(crate) fn index(&self, subject: &str) -> String {
        format!("{}u:{subject}", self.prefix)
    }

    pub(crate) fn channel(&self) -> String {
        format!("{}changes", self.prefix)
    }
}

/// The server answers in a way that no Redis does.
pub(crate) fn strange() -> Error {
    error(ErrorKind::Unavailable, "the server gives a strange answer")
}

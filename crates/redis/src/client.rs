//! Calls to the server that has a key: the single node, or a node of the cluster.

use std::sync::Arc;
use std::time::Duration;

use cloakroom_core::store::{KeyDigest, SubjectDigest};
use cloakroom_core::{Clock, Error, ErrorKind, Timestamp};
use redis::{Cmd, FromRedisValue, Value};
use tokio::time::Instant;

use crate::connection::Connection;
use crate::errors::{Access, CallFailure, CallResult, Origin, error};
use crate::nodes::Nodes;
use crate::scripts::Script;
use crate::value::refusal;

#[derive(Debug)]
pub(crate) enum Servers {
    Single(Arc<Connection>),
    Cluster(Arc<Nodes>),
}

/// The calls of one store, each with its time limit.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) servers: Servers,
    pub(crate) timeout: Duration,
    clock: Arc<dyn Clock>,
    /// The server and the prefix, for error texts.
    pub(crate) origin: Origin,
}

/// What a script has answered.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) outcome: String,
    pub(crate) rest: Vec<Vec<u8>>,
}

impl Reply {
    fn parse(reply: &Value) -> Option<Self> {
        let words = match reply {
            Value::Array(words) => words.as_slice(),
            word => std::slice::from_ref(word),
        };
        let mut words = words.iter().map(|word| match word {
            Value::BulkString(bytes) => Some(bytes.clone()),
            _ => None,
        });
        let outcome = String::from_utf8(words.next()??).ok()?;
        let rest = words.collect::<Option<_>>()?;
        Some(Self { outcome, rest })
    }

    pub(crate) fn digests(&self) -> Vec<KeyDigest> {
        digests(&self.rest)
    }

    /// The subject in a reply; `None` where the session has none.
    pub(crate) fn subject(&self) -> Option<SubjectDigest> {
        let hex = std::str::from_utf8(self.rest.first()?).ok()?;
        SubjectDigest::from_hex(hex)
    }
}

/// The digests among the texts of a reply.
pub(crate) fn digests(texts: &[Vec<u8>]) -> Vec<KeyDigest> {
    let hex = texts
        .iter()
        .filter_map(|text| std::str::from_utf8(text).ok());
    hex.filter_map(KeyDigest::from_hex).collect()
}

impl Client {
    pub(crate) fn new(
        servers: Servers,
        timeout: Duration,
        prefix: String,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let server = match &servers {
            Servers::Single(node) => format!("Redis at {}", node.address()),
            Servers::Cluster(nodes) => {
                let seeds: Vec<String> = nodes.seeds().iter().map(|s| s.address()).collect();
                format!("the Redis cluster at {}", seeds.join(", "))
            }
        };
        Self {
            servers,
            timeout,
            clock,
            origin: Origin { server, prefix },
        }
    }

    pub(crate) fn is_single(&self) -> bool {
        matches!(self.servers, Servers::Single(_))
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// What the key of every session begins with.
    pub(crate) fn sessions(&self) -> String {
        format!("{}s:", self.origin.prefix)
    }

    /// What the key of every index begins with.
    pub(crate) fn indexes(&self) -> String {
        format!("{}u:", self.origin.prefix)
    }

    pub(crate) fn session_key(&self, digest: &KeyDigest) -> String {
        format!("{}s:{}", self.origin.prefix, digest.to_hex())
    }

    pub(crate) fn index_key(&self, subject: &SubjectDigest) -> String {
        format!("{}u:{}", self.origin.prefix, subject.to_hex())
    }

    pub(crate) fn channel(&self) -> String {
        format!("{}changes", self.origin.prefix)
    }

    /// Reads by a key; a call whose connection breaks is retried once.
    pub(crate) async fn read<T: FromRedisValue>(&self, key: &str, call: &Cmd) -> Result<T, Error> {
        let reply = self.send(key, call, Access::Read, self.deadline()).await;
        let reply = reply.map_err(|failure| self.failed(failure, Access::Read))?;
        self.parse(reply, "the reply to a read")
    }

    /// Reads from one of the [`primaries`](Self::primaries).
    pub(crate) async fn read_from<T: FromRedisValue>(
        &self,
        primary: &str,
        call: &Cmd,
    ) -> Result<T, Error> {
        let connection = match &self.servers {
            Servers::Single(node) => Some(node.clone()),
            Servers::Cluster(nodes) => nodes.connection(primary),
        };
        let reply = match connection {
            Some(to) => to.call(call, Access::Read, self.deadline()).await,
            None => Err(CallFailure::NotSent(None)),
        };
        let reply = reply.map_err(|failure| self.failed(failure, Access::Read))?;
        self.parse(reply, "the reply to a read")
    }

    /// Sends a command that writes, once.
    pub(crate) async fn write(&self, key: &str, call: &Cmd) -> Result<Value, Error> {
        let reply = self.send(key, call, Access::Write, self.deadline()).await;
        reply.map_err(|failure| self.failed(failure, Access::Write))
    }

    /// Runs a script where its first key lies.
    pub(crate) async fn run(
        &self,
        script: &Script,
        keys: &[String],
        args: &[Vec<u8>],
    ) -> Result<Reply, Error> {
        let by = self.deadline();
        let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
        let key = keys.first().map_or("", String::as_str);
        let call = script.evalsha(keys, &args);
        let mut reply = self.send(key, &call, Access::Write, by).await;
        if matches!(&reply, Err(CallFailure::Refused(no)) if no.code() == Some("NOSCRIPT")) {
            let call = script.eval(keys, &args);
            reply = self.send(key, &call, Access::Write, by).await;
        }
        let reply = reply.map_err(|failure| self.failed(failure, Access::Write))?;
        let mut parsed = Reply::parse(&reply).ok_or_else(|| {
            let expected = "an outcome of a script";
            self.origin.unexpected(&reply, expected)
        })?;
        if parsed.outcome == "REFUSED" {
            let head = parsed.rest.first().map_or(&[][..], Vec::as_slice);
            parsed.outcome = refusal(head).to_owned();
        }
        Ok(parsed)
    }

    /// The same, where every outcome but `OK` is an error.
    pub(crate) async fn run_ok(
        &self,
        script: &Script,
        keys: &[String],
        args: &[Vec<u8>],
    ) -> Result<Reply, Error> {
        let reply = self.run(script, keys, args).await?;
        match reply.outcome.as_str() {
            "OK" => Ok(reply),
            outcome => Err(self.origin.outcome_failed(outcome)),
        }
    }

    /// The nodes that hold sessions, by host and port. A single node has no need of that
    /// name: a scan's cursor goes on where its address has changed.
    pub(crate) async fn primaries(&self) -> Result<Vec<String>, Error> {
        match &self.servers {
            Servers::Single(_) => Ok(vec!["0".to_owned()]),
            Servers::Cluster(nodes) => {
                let primaries = nodes.primaries(self.deadline()).await;
                primaries.map_err(|failure| self.failed(failure, Access::Read))
            }
        }
    }

    /// The same, after a fresh look at the slot map.
    pub(crate) async fn primaries_now(&self) -> Result<Vec<String>, Error> {
        if let Servers::Cluster(nodes) = &self.servers {
            let read = nodes.read_map(self.deadline()).await;
            read.map_err(|failure| self.failed(failure, Access::Read))?;
        }
        self.primaries().await
    }

    /// A redis-rs client of each primary, and its address.
    pub(crate) async fn clients(&self) -> Result<Vec<(redis::Client, String)>, Error> {
        match &self.servers {
            Servers::Single(node) => Ok(vec![(node.client().clone(), node.address())]),
            Servers::Cluster(nodes) => {
                let primaries = self.primaries_now().await?;
                let client = |at: String| Some((nodes.connection(&at)?.client().clone(), at));
                Ok(primaries.into_iter().filter_map(client).collect())
            }
        }
    }

    /// What `INFO` says at the single node, or at the first node that answers.
    pub(crate) async fn info(&self) -> Result<String, Error> {
        let seeds = match &self.servers {
            Servers::Single(node) => std::slice::from_ref(node),
            Servers::Cluster(nodes) => nodes.seeds(),
        };
        let call = redis::cmd("INFO");
        let mut failure = CallFailure::NotSent(None);
        for seed in seeds {
            match seed.call(&call, Access::Read, self.deadline()).await {
                Ok(info) => return self.parse(info, "the text of INFO"),
                Err(other) => failure = other,
            }
        }
        Err(self.failed(failure, Access::Read))
    }

    async fn send(&self, key: &str, call: &Cmd, access: Access, by: Instant) -> CallResult<Value> {
        match &self.servers {
            Servers::Single(node) => node.call(call, access, by).await,
            Servers::Cluster(nodes) => nodes.call(key, call, access, by).await,
        }
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }

    fn parse<T: FromRedisValue>(&self, reply: Value, expected: &str) -> Result<T, Error> {
        let parsed = redis::from_redis_value_ref(&reply);
        parsed.map_err(|_| self.origin.unexpected(&reply, expected))
    }

    fn failed(&self, failure: CallFailure, access: Access) -> Error {
        match (&self.servers, &failure) {
            (Servers::Cluster(_), CallFailure::Refused(no)) if no.code() == Some("MOVED") => error(
                ErrorKind::Unavailable,
                format!(
                    "the nodes of {} do not agree on who has a slot (MOVED): see CLUSTER SLOTS \
                     at each",
                    self.origin.server
                ),
            ),
            _ => self.origin.call_failed(failure, access, self.timeout),
        }
    }
}

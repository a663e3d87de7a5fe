//! To the server that has a key: the one there is, or one of a cluster.

use std::time::Duration;

use cloakroom_core::{Error, ErrorKind};
use redis::{Cmd, Value};
use tokio::time::Instant;

use crate::link::{Again, Fault, Link};
use crate::script::Script;
use crate::trouble::{error, told};

/// Where calls go.
#[derive(Debug)]
pub(crate) enum Wire {
    One(Link),
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
        }
    }

    async fn send(
        &self,
        _key: &str,
        call: &Cmd,
        again: Again,
        by: Instant,
    ) -> Result<Value, Fault> {
        match &self.wire {
            Wire::One(link) => link.call(call, again, by).await,
        }
    }

    fn told(&self, fault: Fault, again: Again) -> Error {
        told(fault, again, &self.at(), self.timeout)
    }

    /// Asks about a key; what breaks is tried once more.
    pub(crate) async fn read(&self, key: &str, call: &Cmd) -> Result<Value, Error> {
        let by = Instant::now() + self.timeout;
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
        let by = Instant::now() + self.timeout;
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

    pub(crate) fn session(&self, digest: &cloakroom_core::KeyDigest) -> String {
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

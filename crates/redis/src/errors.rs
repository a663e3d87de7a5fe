//! What a server or the network says, as errors of the contract that an operator can
//! act on.

use std::borrow::Cow;
use std::time::Duration;

use cloakroom_core::store::ROTATION_HOPS_MAX;
use cloakroom_core::{Error, ErrorKind};
use redis::{ErrorKind as RedisErrorKind, RedisError, ServerErrorKind, Value};

pub(crate) const NAME: &str = "redis";

/// Why a call got no reply that it can use.
#[derive(Debug)]
pub(crate) enum CallFailure {
    /// Nothing was sent: no connection could be opened, or none in time.
    NotSent(Option<RedisError>),
    /// The call was sent, or may have been, and its reply will not come.
    ReplyLost(Option<RedisError>),
    /// The server refused the call.
    Refused(RedisError),
}

pub(crate) type CallResult<T> = Result<T, CallFailure>;

/// Whether a call may be sent a second time when its connection breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// It changes nothing, so it may.
    Read,
    /// It may have been carried out already.
    Write,
}

/// An error of this store.
pub(crate) fn error(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Error {
    Error::new(kind, message).in_store(NAME)
}

fn unavailable(message: String) -> Error {
    error(ErrorKind::Unavailable, message)
}

/// Whether the server is a replica, which takes no writes. Before Redis 7 a script's
/// error has the word inside its text.
pub(crate) fn is_from_replica(error: &RedisError) -> bool {
    error.kind() == RedisErrorKind::Server(ServerErrorKind::ReadOnly)
        || error.to_string().contains("READONLY")
}

/// Whether the server has answered with this error, and so has done nothing.
pub(crate) fn is_from_server(error: &RedisError) -> bool {
    matches!(
        error.kind(),
        RedisErrorKind::Server(_)
            | RedisErrorKind::Extension
            | RedisErrorKind::AuthenticationFailed
            | RedisErrorKind::RESP3NotSupported
            | RedisErrorKind::InvalidClientConfig
    )
}

/// Whether an error concerns one session alone, and the others can be read.
pub(crate) fn is_of_one_session(error: &Error) -> bool {
    use ErrorKind::{Corrupt, TooLarge, Unsupported};
    matches!(error.kind(), Corrupt | Unsupported | TooLarge)
}

/// Where a call went, for error texts: "Redis at HOST" and the prefix, and no secrets.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) server: String,
    pub(crate) prefix: String,
}

impl Origin {
    pub(crate) fn call_failed(
        &self,
        failure: CallFailure,
        access: Access,
        timeout: Duration,
    ) -> Error {
        let server = &self.server;
        let outcome = match access {
            Access::Read => "",
            Access::Write => "; whether the write was made is not known",
        };
        match failure {
            CallFailure::NotSent(None) => unavailable(format!(
                "no connection to {server} within {timeout:?}: is it running, and reachable?"
            )),
            CallFailure::NotSent(Some(source)) if source.to_string().contains("certificate") => {
                let text = format!(
                    "the certificate of {server} is not trusted ({source}): give the CA that \
                     signed it"
                );
                error(ErrorKind::Misconfigured, text).with_source(source)
            }
            CallFailure::NotSent(Some(source)) => unavailable(format!(
                "cannot connect to {server}: is it running, and reachable?"
            ))
            .with_source(source),
            CallFailure::ReplyLost(None) => unavailable(format!(
                "no reply from {server} within {timeout:?}{outcome}"
            )),
            CallFailure::ReplyLost(Some(source)) => {
                unavailable(format!("the connection to {server} broke{outcome}"))
                    .with_source(source)
            }
            CallFailure::Refused(source) => self.refused(&source),
        }
    }

    /// A refusal has changed nothing: Redis refuses a script before its first write or
    /// not at all. Only known words of its text are passed on, since the rest may quote
    /// what was sent.
    fn refused(&self, source: &RedisError) -> Error {
        let server = &self.server;
        let text = format!("{} {source}", source.code().unwrap_or_default());
        if let Some(word) = NO_PERMISSION.iter().find(|word| text.contains(**word)) {
            let text = format!(
                "{server}: the user lacks a right on the keys `{prefix}*`, on the channel \
                 `{prefix}changes`, or to a command: {COMMANDS} ({word})",
                prefix = self.prefix
            );
            return error(ErrorKind::Misconfigured, text);
        }
        for (kind, refusals) in REFUSALS {
            let mut known = refusals.iter().filter_map(|line| line.split_once(": "));
            if let Some((word, meaning)) = known.find(|known| text.contains(known.0)) {
                return error(*kind, format!("{server}: {meaning} ({word})"));
            }
        }
        let code = source.code().unwrap_or("ERR");
        unavailable(format!("{server} refused the call ({code})"))
    }

    /// A reply of a shape that no Redis gives.
    pub(crate) fn unexpected(&self, reply: &Value, expected: &str) -> Error {
        unavailable(format!(
            "{} answered {} where {expected} was expected: is another application, or a proxy, \
             using the prefix `{}`?",
            self.server,
            shape(reply),
            self.prefix
        ))
    }

    /// The error that a script's outcome stands for.
    pub(crate) fn outcome_failed(&self, outcome: &str) -> Error {
        match outcome {
            "GONE" => ErrorKind::Gone.into(),
            "EXISTS" => ErrorKind::Exists.into(),
            "CONFLICT" => ErrorKind::Conflict.into(),
            "CORRUPT" => error(
                ErrorKind::Corrupt,
                format!(
                    "{}: the value under the session's key is damaged, or of another application \
                     that uses the prefix `{}`",
                    self.server, self.prefix
                ),
            ),
            "UNSUPPORTED" => error(
                ErrorKind::Unsupported,
                "a newer build has written this session: update this application too",
            ),
            // What `RotationPath` says where a cluster's steps follow the marks.
            "ROTATED_TOO_OFTEN" => unavailable(format!(
                "the session has moved more than ROTATION_HOPS_MAX = {ROTATION_HOPS_MAX} times \
                 while its rotation marks stand; try again when they have expired"
            )),
            _ => self.unexpected(
                &Value::SimpleString(String::new()),
                "an outcome of a script",
            ),
        }
    }
}

/// What a reply is, without what it holds.
fn shape(reply: &Value) -> &'static str {
    match reply {
        Value::Nil => "nothing",
        Value::Int(_) => "a number",
        Value::BulkString(_) | Value::SimpleString(_) | Value::Okay => "a text",
        Value::Array(_) | Value::Set(_) => "a list",
        _ => "something else",
    }
}

/// What the user of this store must be allowed.
const COMMANDS: &str = "GET, SET, SCAN, ZSCAN, ZRANGE, ZREM, PTTL, PING, SUBSCRIBE, PUBLISH, EVAL, \
                        EVALSHA; of the scripts EXISTS, GETRANGE, SETRANGE, DEL, PEXPIRE, ZADD, \
                        ZRANGEBYSCORE, ZSCORE; in a cluster CLUSTER, ASKING, GETRANGE; \
                        SELECT where the URL names a database";

/// Words of a missing right. Within a script, Valkey and Redis 6 leave NOPERM out.
const NO_PERMISSION: [&str; 3] = [
    "NOPERM",
    "ACL failure in script",
    "user executing the script",
];

pub(crate) fn is_missing_right(error: &Error) -> bool {
    error.message().contains(COMMANDS)
}

/// Refusals by kind: a word, what it means and what to do. A script's error has the word
/// inside its text, so all of the text is searched.
const REFUSALS: &[(ErrorKind, &[&str])] = &[
    (
        ErrorKind::Corrupt,
        &["WRONGTYPE: a key of the prefix holds another type; is another application using it?"],
    ),
    (
        ErrorKind::Misconfigured,
        &[
            "WRONGPASS: the user or the password is wrong; correct the URL",
            "authentication failed: the user or the password is wrong; correct the URL",
            "NOAUTH: the server asks for a password; put it into the URL",
            "without any password configured: the server asks for no password; take it out of the URL",
            "DB index is out of range: there is no database of that number; correct the URL",
            "refused to switch database: there is no database of that number; correct the URL",
            "SELECT is not allowed in cluster mode: a cluster has database 0 alone; correct the URL",
            "RESP3: the server does not speak RESP3; Redis 6 or later, or Valkey, is needed",
            "unknown command: the server lacks a command; Redis 6 or later, or Valkey, is needed",
            "CROSSSLOT: this is a node of a cluster; open it as one",
            "MOVED: this is a node of a cluster; open it as one",
        ],
    ),
    (
        ErrorKind::Unavailable,
        &[
            "READONLY: the server is a replica, and takes no writes; name the primary",
            "OOM: the memory is full up to maxmemory; raise it, or end sessions",
            "LOADING: the server is loading its data; wait",
            "CLUSTERDOWN: the cluster is down; see CLUSTER INFO",
            "NOREPLICAS: the server has fewer replicas than min-replicas-to-write asks for; add some",
            "MISCONF: the server cannot save to its disk, and takes no writes; see its log",
            "BUSY: another script keeps the server busy; see SCRIPT KILL",
        ],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_is_known_by_its_word_wherever_that_stands() {
        let said = |kind, text: &str| RedisError::from((kind, "refused", text.to_owned()));
        let old = "Error running script (call to f_7d1e): @user_script:42: @user_script: 42: \
                   -READONLY You can't write against a read only replica.";
        let error = RedisErrorKind::Server(ServerErrorKind::ResponseError);
        assert!(is_from_replica(&said(error, old)));
        let new = RedisErrorKind::Server(ServerErrorKind::ReadOnly);
        assert!(is_from_replica(&said(new, "You can't write")));
        assert!(!is_from_replica(&said(error, "unknown command")));
    }
}

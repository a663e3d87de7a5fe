//! What the server and the network say, in the words of the contract.

use std::borrow::Cow;
use std::time::Duration;

use cloakroom_core::{Error, ErrorKind};
use redis::RedisError;

use crate::NAME;
use crate::link::{Again, Fault};

/// An error of this store.
pub(crate) fn error(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Error {
    Error::new(kind, message).in_store(NAME)
}

/// What a fault means for who called. `at` names the server, without secrets.
pub(crate) fn told(fault: Fault, again: Again, at: &str, timeout: Duration) -> Error {
    let open = match again {
        Again::Read => "",
        Again::Never => "; whether the write was made is not known",
    };
    match fault {
        Fault::NotSent(None) => unavailable(format!("no connection to {at} within {timeout:?}")),
        Fault::NotSent(Some(source)) if speaks_of_certificates(&source) => error(
            ErrorKind::Misconfigured,
            format!("{at} is not trusted: {source}"),
        )
        .with_source(source),
        Fault::NotSent(Some(source)) => {
            unavailable(format!("cannot connect to {at}")).with_source(source)
        }
        Fault::Lost(None) => unavailable(format!("no answer from {at} within {timeout:?}{open}")),
        Fault::Lost(Some(source)) => {
            unavailable(format!("the connection to {at} broke{open}")).with_source(source)
        }
        Fault::Refused(source) => refused(&source, at),
    }
}

fn unavailable(message: String) -> Error {
    error(ErrorKind::Unavailable, message)
}

fn speaks_of_certificates(source: &RedisError) -> bool {
    source.to_string().contains("certificate")
}

/// What the user of this store must be allowed.
const RIGHTS: &str = "the user lacks a right on the keys or the channel of the prefix, or to a \
                      command: GET, MGET, SCAN, ZRANGE, ZREM, PTTL, PING, SUBSCRIBE, EVAL, \
                      EVALSHA; of the scripts EXISTS, GETRANGE, SETRANGE, SET, DEL, PEXPIREAT, \
                      TIME, ZADD, ZRANGEBYSCORE, ZSCORE, PUBLISH; in a cluster CLUSTER, ASKING; \
                      SELECT where the URL names a database";

/// What a refusal says: its word, its kind, what it means. A script's error has
/// the word inside, so it is looked for in all of the text.
const REFUSALS: [(&str, ErrorKind, &str); 22] = [
    (
        "WRONGTYPE",
        ErrorKind::Corrupt,
        "a key of this store's prefix holds another type: someone else writes there",
    ),
    (
        "WRONGPASS",
        ErrorKind::Misconfigured,
        "user or password is wrong",
    ),
    (
        "NOAUTH",
        ErrorKind::Misconfigured,
        "the server asks for a password",
    ),
    (
        "authentication failed",
        ErrorKind::Misconfigured,
        "user or password is wrong",
    ),
    (
        "without any password configured",
        ErrorKind::Misconfigured,
        "the URL has a password, the server asks for none",
    ),
    ("NOPERM", ErrorKind::Misconfigured, RIGHTS),
    // Within a script, Valkey and Redis 6 leave the word out.
    ("ACL failure in script", ErrorKind::Misconfigured, RIGHTS),
    (
        "user executing the script",
        ErrorKind::Misconfigured,
        RIGHTS,
    ),
    (
        "DB index is out of range",
        ErrorKind::Misconfigured,
        "there is no database of that number",
    ),
    (
        "SELECT is not allowed in cluster mode",
        ErrorKind::Misconfigured,
        "a cluster has database 0 alone",
    ),
    (
        "refused to switch database",
        ErrorKind::Misconfigured,
        "there is no database of that number",
    ),
    (
        "RESP3",
        ErrorKind::Misconfigured,
        "the server does not speak RESP3: Redis 6 or later, or Valkey, is needed",
    ),
    (
        "unknown command",
        ErrorKind::Misconfigured,
        "the server lacks a command: Redis 6 or later with scripts, or Valkey, is needed",
    ),
    (
        "CROSSSLOT",
        ErrorKind::Misconfigured,
        "this is a cluster; open it as one",
    ),
    (
        "MOVED",
        ErrorKind::Misconfigured,
        "this is a cluster; open it as one",
    ),
    (
        "READONLY",
        ErrorKind::Unavailable,
        "the server is a replica, and takes no writes",
    ),
    (
        "OOM",
        ErrorKind::Unavailable,
        "the server is at its maxmemory, and evicts nothing",
    ),
    (
        "LOADING",
        ErrorKind::Unavailable,
        "the server is loading its data",
    ),
    ("CLUSTERDOWN", ErrorKind::Unavailable, "the cluster is down"),
    (
        "NOREPLICAS",
        ErrorKind::Unavailable,
        "the server has fewer replicas than it wants",
    ),
    (
        "MISCONF",
        ErrorKind::Unavailable,
        "the server cannot save to its disk, and takes no writes",
    ),
    (
        "BUSY",
        ErrorKind::Unavailable,
        "the server is busy with a script",
    ),
];

pub(crate) fn lacks_a_right(error: &Error) -> bool {
    error.message().contains(RIGHTS)
}

/// Redis says no before the first write of a script or not at all, so that a
/// refusal has changed nothing. Of its text only the first word is passed on: the
/// rest may quote what was sent.
fn refused(source: &RedisError, at: &str) -> Error {
    let text = format!("{} {source}", source.code().unwrap_or_default());
    for (word, kind, meaning) in REFUSALS {
        if text.contains(word) {
            return error(kind, format!("{at}: {meaning} ({word})"));
        }
    }
    let code = source.code().unwrap_or("ERR").to_owned();
    unavailable(format!("{at} refuses: {code}"))
}

//! Invalidations through Redis pub/sub.

use std::convert::Infallible;
use std::time::Duration;

use cloakroom_core::store::{
    BoxFuture, Invalidation, Invalidations, KeyDigest, Listener, Revision,
};
use cloakroom_core::{Error, ErrorKind};
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ErrorKind as ErrorKindOf, Msg, PushInfo, PushKind, RedisError,
    ServerErrorKind, Value,
};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};

use crate::RedisStore;
use crate::link::{Again, Fault, from_server};
use crate::trouble::{error, told};
use crate::wire::Caller;

/// How often a channel is asked whether it still is one; it has the store's
/// time-out to answer.
pub const HEARTBEAT: Duration = Duration::from_secs(1);

/// Messages that a listener may leave waiting before it is given up.
pub const BACKLOG_MAX: usize = 65_536;

impl Invalidations for RedisStore {
    fn listen(&self) -> BoxFuture<'_, Result<Box<dyn Listener>, Error>> {
        Box::pin(async move {
            let (to, heard) = mpsc::channel(BACKLOG_MAX);
            let (end, ended) = watch::channel(None);
            let mut tasks = JoinSet::new();
            let servers = self.caller.clients().await?;
            let names: Vec<String> = servers.iter().map(|(_, at)| at.clone()).collect();
            for (client, at) in servers {
                let ear = Ear {
                    to: to.clone(),
                    end: end.clone(),
                    broken: format!("the channel from {at} broke, and messages may be lost"),
                };
                let mut channel = subscribe(&self.caller, &client, &at, ear.clone()).await?;
                let limit = self.caller.timeout;
                tasks.spawn(async move {
                    while let Ok(Ok(true)) = timeout(limit, channel.beat()).await {
                        sleep(HEARTBEAT).await;
                    }
                    ear.end();
                });
            }
            drop(to);
            if !self.caller.is_one() {
                let caller = self.caller.clone();
                tasks.spawn(async move {
                    watch_servers(&caller, &names).await;
                    let text = "the cluster has changed, and messages may be lost";
                    end.send_replace(Some(error(ErrorKind::Unavailable, text)));
                });
            }
            let listener = RedisListener {
                heard,
                ended,
                _tasks: tasks,
            };
            Ok(Box::new(listener) as Box<dyn Listener>)
        })
    }
}

/// Where the messages of one server go.
#[derive(Clone)]
struct Ear {
    to: mpsc::Sender<Invalidation>,
    end: watch::Sender<Option<Error>>,
    broken: String,
}

impl Ear {
    /// Passes on what one server tells, until it ends, or nobody listens, or not
    /// fast enough, or a message is one that nobody here wrote: others may be missing.
    fn hear(&self, push: PushInfo) {
        let is_message = push.kind == PushKind::Message;
        let is_end = push.kind == PushKind::Disconnection;
        let told = Msg::from_push_info(push).and_then(|message| read(message.get_payload_bytes()));
        let is_lost = told.is_none_or(|told| self.to.try_send(told).is_err());
        if is_end || is_message && is_lost {
            self.end();
        }
    }

    fn end(&self) {
        self.end.send_if_modified(|end| {
            let is_first = end.is_none();
            if is_first {
                *end = Some(error(ErrorKind::Unavailable, self.broken.clone()));
            }
            is_first
        });
    }
}

/// A connection that is subscribed. It is no more than that to redis-rs's own, which
/// can be asked nothing but a PING.
struct Channel {
    connection: MultiplexedConnection,
    /// Where the user may not know, a replica is heard like a primary.
    asks_role: bool,
}

impl Channel {
    /// Whether the server answers, and is a primary as far as it knows.
    async fn beat(&mut self) -> Result<bool, RedisError> {
        if self.asks_role {
            match self.ask("ROLE").await {
                Ok(Value::Array(role)) => {
                    let name: Option<String> = role.into_iter().next().and_then(text);
                    return Ok(name.as_deref() != Some("slave"));
                }
                Ok(_) => {}
                Err(error) if from_server(&error) => {
                    let lacks = ErrorKindOf::Server(ServerErrorKind::NoPerm);
                    self.asks_role = error.kind() != lacks;
                }
                Err(error) => return Err(error),
            }
        }
        match self.ask("PING").await {
            Err(error) if !from_server(&error) => Err(error),
            _ => Ok(true),
        }
    }

    async fn ask(&mut self, what: &str) -> Result<Value, RedisError> {
        let answer = self.connection.send_packed_command(&redis::cmd(what)).await;
        answer.and_then(Value::extract_error)
    }
}

fn text(value: Value) -> Option<String> {
    redis::from_redis_value(value).ok()
}

async fn subscribe(caller: &Caller, client: &Client, at: &str, ear: Ear) -> Result<Channel, Error> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(None)
        .set_response_timeout(None)
        .set_push_sender(move |push: PushInfo| {
            ear.hear(push);
            Ok::<(), Infallible>(())
        });
    let opened = timeout(caller.timeout, async {
        let mut connection = client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        connection.subscribe(caller.channel()).await?;
        let mut channel = Channel {
            connection,
            asks_role: true,
        };
        let is_primary = channel.beat().await?;
        Ok(is_primary.then_some(channel))
    });
    let fault = match opened.await {
        Ok(Ok(Some(channel))) => return Ok(channel),
        Ok(Ok(None)) => {
            let text = format!("{at} is a replica: what it tells may be late or lost");
            return Err(error(ErrorKind::Unavailable, text));
        }
        Ok(Err(source)) if from_server(&source) => Fault::Refused(source),
        Ok(Err(source)) => Fault::NotSent(Some(source)),
        Err(_) => Fault::NotSent(None),
    };
    Err(told(fault, Again::Read, at, caller.timeout))
}

/// Until a cluster has other servers: one that has joined is not listened to.
async fn watch_servers(caller: &Caller, before: &[String]) {
    let mut beats = interval(HEARTBEAT);
    loop {
        beats.tick().await;
        match caller.servers_now().await {
            Ok(now) if now == before => {}
            _ => return,
        }
    }
}

/// A digest, a space, a revision.
fn read(message: &[u8]) -> Option<Invalidation> {
    let (digest, revision) = std::str::from_utf8(message).ok()?.split_once(' ')?;
    Some(Invalidation {
        digest: KeyDigest::from_hex(digest)?,
        revision: Revision::from_u64(revision.parse().ok()?),
    })
}

struct RedisListener {
    heard: mpsc::Receiver<Invalidation>,
    ended: watch::Receiver<Option<Error>>,
    /// They end with the listener.
    _tasks: JoinSet<()>,
}

impl Listener for RedisListener {
    fn next(&mut self) -> BoxFuture<'_, Result<Invalidation, Error>> {
        Box::pin(async move {
            let broken = async {
                let ended = self.ended.wait_for(Option::is_some).await;
                ended.ok().and_then(|ended| ended.clone())
            };
            let broken = tokio::select! {
                biased;
                broken = broken => broken,
                told = self.heard.recv() => match told {
                    Some(told) => return Ok(told),
                    None => None,
                },
            };
            Err(broken.unwrap_or_else(|| {
                let text = "the channel broke, and messages may be lost";
                error(ErrorKind::Unavailable, text)
            }))
        })
    }
}

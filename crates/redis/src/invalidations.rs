//! Invalidations through Redis pub/sub.
//!
//! A connection that stands proves nothing: a proxy may keep it and pass no message on, or
//! lead it to another server than the writes. So a subscription counts only while its own
//! messages come back, published where the writes are.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use cloakroom_core::engine::{Entropy as _, OsEntropy};
use cloakroom_core::store::{
    BoxFuture, Invalidation, Invalidations, KeyDigest, Listener, Revision,
};
use cloakroom_core::{Error, ErrorKind};
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, ErrorKind as RedisErrorKind, Msg, PushInfo, PushKind, RedisError,
    ServerErrorKind, Value,
};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};

use crate::client::Client;
use crate::errors::{Access, CallFailure, Origin, error, is_from_server};
use crate::session::message;
use crate::store::RedisStore;

/// How often a subscription is checked; it has the store's time-out to answer.
pub const HEARTBEAT: Duration = Duration::from_secs(1);

/// How often a subscription publishes a message of its own.
pub const PROOF_EVERY: Duration = Duration::from_secs(5);

/// A subscription that has heard no message of its own for this long fails.
pub const PROOF_AGE_MAX: Duration = Duration::from_secs(15);

/// How the digest begins that a message of a subscription's own names, in place of a
/// session's: no hash comes out so. Older builds take it for a session that they lack.
const PROOF: &[u8; 16] = b"cloakroom proof\0";

/// Messages that a listener may leave waiting before it fails.
pub const BACKLOG_MAX: usize = 65_536;

impl Invalidations for RedisStore {
    fn listen(&self) -> BoxFuture<'_, Result<Box<dyn Listener>, Error>> {
        Box::pin(async move {
            let (sender, messages) = mpsc::channel(BACKLOG_MAX);
            let (failure, failed) = watch::channel(None);
            let mut tasks = JoinSet::new();
            let servers = self.client.clients().await?;
            let names: Vec<String> = servers.iter().map(|(_, at)| at.clone()).collect();
            for (client, at) in servers {
                // Of this server alone: in a cluster each hears what any publishes.
                let mut own = [0; 32];
                OsEntropy.fill(&mut own)?;
                own[..PROOF.len()].copy_from_slice(PROOF);
                let own = KeyDigest::from_bytes(own);
                let (proven, heard) = watch::channel(0);
                let inbox = Inbox {
                    messages: sender.clone(),
                    failure: failure.clone(),
                    own,
                    proven,
                    text: format!(
                        "the subscription at Redis at {at} is lost, and messages with it: listen \
                         again"
                    ),
                };
                let mut subscription =
                    Subscription::open(&self.client, &client, &at, inbox.clone()).await?;
                let mut proofs = Proofs {
                    client: self.client.clone(),
                    at,
                    own,
                    heard,
                    published: 0,
                };
                if !proofs.prove(self.client.timeout).await {
                    return Err(error(ErrorKind::Unavailable, proofs.unheard()));
                }
                let limit = self.client.timeout;
                let (lost, unproven) = (inbox.clone(), inbox);
                tasks.spawn(async move {
                    while let Ok(Ok(true)) = timeout(limit, subscription.check()).await {
                        sleep(HEARTBEAT).await;
                    }
                    lost.fail(&lost.text);
                });
                tasks.spawn(async move {
                    loop {
                        sleep(PROOF_EVERY).await;
                        if !proofs.prove(PROOF_AGE_MAX - PROOF_EVERY).await {
                            return unproven.fail(&proofs.unheard());
                        }
                    }
                });
            }
            drop(sender);
            if !self.client.is_single() {
                let client = self.client.clone();
                tasks.spawn(async move {
                    watch_primaries(&client, &names).await;
                    let text = format!(
                        "{} has other primaries, and messages may be lost: listen again",
                        client.origin.server
                    );
                    failure.send_replace(Some(error(ErrorKind::Unavailable, text)));
                });
            }
            let listener = RedisListener {
                messages,
                failed,
                _tasks: tasks,
            };
            Ok(Box::new(listener) as Box<dyn Listener>)
        })
    }
}

/// Where the messages of one server go.
#[derive(Clone)]
struct Inbox {
    messages: mpsc::Sender<Invalidation>,
    failure: watch::Sender<Option<Error>>,
    /// What the messages of this listener's own name.
    own: KeyDigest,
    /// The number of the last one that came back.
    proven: watch::Sender<u64>,
    /// What the listener fails with when this server is lost.
    text: String,
}

impl Inbox {
    /// Passes on what the server pushes. The listener fails where the connection ends,
    /// where the backlog is full, and where a message is none of this store: others may
    /// be missing.
    fn receive(&self, push: PushInfo) {
        let is_message = push.kind == PushKind::Message;
        let is_end = push.kind == PushKind::Disconnection;
        let message = Msg::from_push_info(push);
        let invalidation = message.and_then(|message| parse(message.get_payload_bytes()));
        let is_lost = match invalidation {
            Some(Invalidation { digest, revision }) if digest.as_bytes().starts_with(PROOF) => {
                if digest == self.own {
                    self.proven.send_replace(revision.as_u64());
                }
                false
            }
            Some(invalidation) => self.messages.try_send(invalidation).is_err(),
            None => true,
        };
        if is_end || is_message && is_lost {
            self.fail(&self.text);
        }
    }

    fn fail(&self, text: &str) {
        self.failure.send_if_modified(|failure| {
            let is_first = failure.is_none();
            if is_first {
                *failure = Some(error(ErrorKind::Unavailable, text.to_owned()));
            }
            is_first
        });
    }
}

/// The messages by which a subscription proves that it hears.
struct Proofs {
    client: Arc<Client>,
    /// The server that it hears.
    at: String,
    own: KeyDigest,
    heard: watch::Receiver<u64>,
    published: u64,
}

impl Proofs {
    /// Whether a message that is published now, or one after it, comes back within a time.
    /// They go the way of the writes: by the store's own connection.
    async fn prove(&mut self, within: Duration) -> bool {
        let first = self.published + 1;
        let proven = timeout(within, async {
            loop {
                self.published += 1;
                let message = message(&self.own, Revision::from_u64(self.published));
                let mut call = redis::cmd("PUBLISH");
                call.arg(self.client.channel()).arg(message);
                let published = self.client.read_from(&self.at, &call).await;
                if let Err::<i64, _>(error) = published {
                    tracing::debug!(event = "subscription_not_proven", %error, "a subscription cannot publish a message of its own");
                }
                let heard = self.heard.wait_for(|heard| *heard >= first);
                if let Ok(heard) = timeout(PROOF_EVERY, heard).await {
                    return heard.is_ok();
                }
            }
        });
        proven.await.unwrap_or(false)
    }

    fn unheard(&self) -> String {
        format!(
            "the subscription at Redis at {at} hears nothing: messages that are published on the \
             channel `{channel}` do not come back. Do this connection and the others lead to one \
             server, and does what lies between pass messages on?",
            at = self.at,
            channel = self.client.channel(),
        )
    }
}

/// A subscribed connection. It is an ordinary one of redis-rs, whose own pub/sub
/// connection sends no command but PING.
struct Subscription {
    connection: MultiplexedConnection,
    /// Where the user may not ask for ROLE, a replica is heard like a primary.
    asks_role: bool,
}

impl Subscription {
    async fn open(
        client: &Client,
        server: &redis::Client,
        at: &str,
        inbox: Inbox,
    ) -> Result<Self, Error> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_push_sender(move |push: PushInfo| {
                inbox.receive(push);
                Ok::<(), Infallible>(())
            });
        let opened = timeout(client.timeout, async {
            let mut connection = server
                .get_multiplexed_async_connection_with_config(&config)
                .await?;
            connection.subscribe(client.channel()).await?;
            let mut subscription = Self {
                connection,
                asks_role: true,
            };
            let is_primary = subscription.check().await?;
            Ok(is_primary.then_some(subscription))
        });
        let failure = match opened.await {
            Ok(Ok(Some(subscription))) => return Ok(subscription),
            Ok(Ok(None)) => {
                let text = format!(
                    "Redis at {at} is a replica, whose messages may be late or lost: name the \
                     primary"
                );
                return Err(error(ErrorKind::Unavailable, text));
            }
            Ok(Err(source)) if is_from_server(&source) => CallFailure::Refused(source),
            Ok(Err(source)) => CallFailure::NotSent(Some(source)),
            Err(_) => CallFailure::NotSent(None),
        };
        let origin = Origin {
            server: format!("Redis at {at}"),
            prefix: client.origin.prefix.clone(),
        };
        Err(origin.call_failed(failure, Access::Read, client.timeout))
    }

    /// Whether the server answers, and is a primary as far as it knows.
    async fn check(&mut self) -> Result<bool, RedisError> {
        if self.asks_role {
            match self.ask("ROLE").await {
                Ok(Value::Array(role)) => {
                    let name = role.into_iter().next().map(redis::from_redis_value);
                    return Ok(!matches!(name, Some(Ok::<String, _>(name)) if name == "slave"));
                }
                Ok(_) => {}
                Err(error) if is_from_server(&error) => {
                    let lacks = RedisErrorKind::Server(ServerErrorKind::NoPerm);
                    self.asks_role = error.kind() != lacks;
                }
                Err(error) => return Err(error),
            }
        }
        match self.ask("PING").await {
            Err(error) if !is_from_server(&error) => Err(error),
            _ => Ok(true),
        }
    }

    async fn ask(&mut self, what: &str) -> Result<Value, RedisError> {
        let reply = self.connection.send_packed_command(&redis::cmd(what)).await;
        reply.and_then(Value::extract_error)
    }
}

/// Returns when the cluster has other primaries: one that has joined is not listened to.
async fn watch_primaries(client: &Client, before: &[String]) {
    let mut beats = interval(HEARTBEAT);
    loop {
        beats.tick().await;
        match client.primaries_now().await {
            Ok(now) if now == before => {}
            _ => return,
        }
    }
}

/// A digest, a space, a revision.
fn parse(message: &[u8]) -> Option<Invalidation> {
    let (digest, revision) = std::str::from_utf8(message).ok()?.split_once(' ')?;
    Some(Invalidation {
        digest: KeyDigest::from_hex(digest)?,
        revision: Revision::from_u64(revision.parse().ok()?),
    })
}

struct RedisListener {
    messages: mpsc::Receiver<Invalidation>,
    failed: watch::Receiver<Option<Error>>,
    /// They end with the listener.
    _tasks: JoinSet<()>,
}

impl Listener for RedisListener {
    fn next(&mut self) -> BoxFuture<'_, Result<Invalidation, Error>> {
        Box::pin(async move {
            let failure = async {
                let failed = self.failed.wait_for(Option::is_some).await;
                failed.ok().and_then(|failure| failure.clone())
            };
            let failure = tokio::select! {
                biased;
                failure = failure => failure,
                message = self.messages.recv() => match message {
                    Some(invalidation) => return Ok(invalidation),
                    None => None,
                },
            };
            Err(failure.unwrap_or_else(|| {
                let text = "the subscription is lost, and messages with it: listen again";
                error(ErrorKind::Unavailable, text)
            }))
        })
    }
}

//! Invalidations through Redis pub/sub.

use std::time::Duration;

use cloakroom_core::{
    BoxFuture, Error, ErrorKind, Invalidation, Invalidations, KeyDigest, Listener, Revision,
};
use futures_util::StreamExt as _;
use redis::Client;
use redis::aio::{PubSubSink, PubSubStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::RedisStore;
use crate::link::{Again, Fault};
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
                let (sink, stream) = subscribe(&self.caller, &client, &at).await?;
                let (to, end, limit) = (to.clone(), end.clone(), self.caller.timeout);
                tasks.spawn(async move {
                    hear(sink, stream, to, limit).await;
                    let text = format!("the channel from {at} broke, and messages may be lost");
                    end.send_replace(Some(error(ErrorKind::Unavailable, text)));
                });
            }
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

async fn subscribe(
    caller: &Caller,
    client: &Client,
    at: &str,
) -> Result<(PubSubSink, PubSubStream), Error> {
    let opened = timeout(caller.timeout, async {
        let (mut sink, stream) = client.get_async_pubsub().await?.split();
        sink.subscribe(caller.channel()).await?;
        Ok((sink, stream))
    });
    let fault = match opened.await {
        Ok(Ok(channel)) => return Ok(channel),
        Ok(Err(source)) if crate::link::from_server(&source) => Fault::Refused(source),
        Ok(Err(source)) => Fault::NotSent(Some(source)),
        Err(_) => Fault::NotSent(None),
    };
    Err(told(fault, Again::Read, at, caller.timeout))
}

/// Passes on what one server tells, until that is silent, or nobody listens, or
/// not fast enough.
async fn hear(
    mut sink: PubSubSink,
    mut stream: PubSubStream,
    to: mpsc::Sender<Invalidation>,
    limit: Duration,
) {
    let beat = async {
        let mut beats = interval(HEARTBEAT);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            beats.tick().await;
            match timeout(limit, sink.ping::<redis::Value>()).await {
                Ok(Ok(_)) => {}
                _ => return,
            }
        }
    };
    let pass_on = async {
        while let Some(message) = stream.next().await {
            // A message that nobody here wrote: another may be missing.
            let Some(told) = read(message.get_payload_bytes()) else {
                return;
            };
            if to.try_send(told).is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = beat => {}
        () = pass_on => {}
    }
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

//! One connection to one server, opened again when it is lost.

use std::convert::Infallible;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cloakroom_core::{Clock, Timestamp};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, Pipeline, PushInfo, PushKind, RedisError, Value};
use tokio::time::{Instant, timeout_at};

use crate::errors::{Access, CallFailure, CallResult, is_from_replica, is_from_server};
use crate::home::Home;

/// Calls that may wait to be written to the connection.
const CALLS_QUEUED_MAX: usize = 1024;

/// After this long without a call the server may have closed the connection.
const IDLE: Duration = Duration::from_millis(200);

/// How far a server's clock may be from the application's before that is an event.
const SKEW_MAX: Duration = Duration::from_secs(5);

/// One multiplexed connection. redis-rs's connection manager will not do: it fails the
/// first call after a loss, and keeps a connection that has fallen silent.
pub(crate) struct Connection {
    client: Client,
    clock: Arc<dyn Clock>,
    home: Home,
    current: Mutex<Option<Multiplexed>>,
    opening: tokio::sync::Mutex<()>,
    health: Mutex<Health>,
}

/// What calls have learnt of a server.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Health {
    /// The last call got no reply.
    pub(crate) is_silent: bool,
    pub(crate) replied_at: Option<Instant>,
}

#[derive(Clone)]
struct Multiplexed {
    connection: MultiplexedConnection,
    /// Set as soon as the server closes it: under RESP3, redis-rs reports that at once.
    is_lost: Arc<AtomicBool>,
    used_at: Arc<Mutex<Instant>>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connection({})", self.address())
    }
}

impl Connection {
    pub(crate) fn new(client: Client, clock: Arc<dyn Clock>, home: Home) -> Self {
        Self {
            client,
            clock,
            home,
            current: Mutex::new(None),
            opening: tokio::sync::Mutex::new(()),
            health: Mutex::default(),
        }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Host and port, without the user and the password.
    pub(crate) fn address(&self) -> String {
        self.client.get_connection_info().addr().to_string()
    }

    pub(crate) fn health(&self) -> Health {
        *lock(&self.health)
    }

    /// Sends one command.
    pub(crate) async fn call(&self, call: &Cmd, access: Access, by: Instant) -> CallResult<Value> {
        let reply = self.send(call, access, by).await;
        let has_replied = matches!(reply, Ok(_) | Err(CallFailure::Refused(_)));
        let mut health = lock(&self.health);
        health.is_silent = !has_replied;
        if has_replied {
            health.replied_at = Some(Instant::now());
        }
        reply
    }

    async fn send(&self, call: &Cmd, access: Access, by: Instant) -> CallResult<Value> {
        let mut is_last_try = access == Access::Write;
        loop {
            let mut open = self.ready(by).await?;
            let reply = timeout_at(by, open.connection.send_packed_command(call)).await;
            match open.check(reply.ok()) {
                Err(CallFailure::ReplyLost(Some(_))) if !is_last_try => is_last_try = true,
                checked => return checked,
            }
        }
    }

    /// Sends commands in a row, with no other call between them.
    pub(crate) async fn call_in_row(
        &self,
        calls: &Pipeline,
        by: Instant,
    ) -> CallResult<Vec<Value>> {
        let mut open = self.ready(by).await?;
        let count = calls.len();
        let sent = open.connection.send_packed_commands(calls, 0, count);
        let reply = timeout_at(by, sent).await.ok();
        let reply = reply.map(|result| result.map(Value::Array));
        match open.check(reply)? {
            Value::Array(values) => Ok(values),
            _ => Ok(Vec::new()),
        }
    }

    /// A connection that is not known to be lost.
    async fn ready(&self, by: Instant) -> CallResult<Multiplexed> {
        if let Some(open) = self.current() {
            let used_before = std::mem::replace(&mut *lock(&open.used_at), Instant::now());
            if used_before.elapsed() <= IDLE {
                return Ok(open);
            }
            // redis-rs's task reads first what has arrived meanwhile, perhaps that the
            // server has closed it.
            tokio::task::yield_now().await;
        }
        match timeout_at(by, self.open()).await {
            Ok(Ok(open)) => Ok(open),
            Ok(Err(error)) if is_from_server(&error) => Err(CallFailure::Refused(error)),
            Ok(Err(error)) => Err(CallFailure::NotSent(Some(error))),
            Err(_) => Err(CallFailure::NotSent(None)),
        }
    }

    async fn open(&self) -> Result<Multiplexed, RedisError> {
        // A call that comes while another one opens the connection waits for that.
        let _opening = self.opening.lock().await;
        if let Some(open) = self.current() {
            return Ok(open);
        }
        let is_lost = Arc::new(AtomicBool::new(false));
        let lost = is_lost.clone();
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_pipeline_buffer_size(CALLS_QUEUED_MAX)
            .set_push_sender(move |push: PushInfo| {
                if push.kind == PushKind::Disconnection {
                    lost.store(true, Ordering::Release);
                }
                Ok::<(), Infallible>(())
            });
        let opened = self
            .client
            .get_multiplexed_async_connection_with_config(&config);
        let mut connection = self.home.open(opened).await?;
        self.compare_clocks(&mut connection).await?;
        let open = Multiplexed {
            connection,
            is_lost,
            used_at: Arc::new(Mutex::new(Instant::now())),
        };
        *lock(&self.current) = Some(open.clone());
        Ok(open)
    }

    /// Sessions are given to the server as durations, so that no skew ends one. But one
    /// of the clocks is wrong, and each correction of the server's ends sessions early, or
    /// late.
    async fn compare_clocks(
        &self,
        connection: &mut MultiplexedConnection,
    ) -> Result<(), RedisError> {
        let before = self.clock.now();
        let reply = connection.send_packed_command(&redis::cmd("TIME")).await;
        let after = self.clock.now();
        let time = match reply.and_then(Value::extract_error) {
            // Its user may not ask for TIME.
            Err(error) if is_from_server(&error) => return Ok(()),
            reply => redis::from_redis_value::<(u64, u64)>(reply?),
        };
        let Ok((secs, micros)) = time else {
            return Ok(());
        };
        let millis = secs.saturating_mul(1_000).saturating_add(micros / 1_000);
        let theirs = Timestamp::from_millis(millis);
        let ahead = theirs.saturating_since(after);
        let behind = before.saturating_since(theirs);
        if ahead.max(behind) > SKEW_MAX {
            tracing::warn!(
                event = "server_clock_differs",
                server = %self.address(),
                server_unix_secs = secs,
                own_unix_secs = after.as_millis() / 1_000,
                ?ahead,
                ?behind,
                "the clock of this Redis is ahead of the application's, or behind it: compare \
                 `redis-cli TIME` with `date +%s`, and have both machines keep the time by NTP. \
                 Sessions live as long as they were given, until one of the clocks is corrected"
            );
        }
        Ok(())
    }

    fn current(&self) -> Option<Multiplexed> {
        let mut current = lock(&self.current);
        current.take_if(|open| open.is_lost.load(Ordering::Acquire));
        current.clone()
    }
}

impl Multiplexed {
    /// What the reply means for the call, and for this connection; `None` is a time-out.
    fn check(&self, reply: Option<Result<Value, RedisError>>) -> CallResult<Value> {
        let failure = match reply.map(|result| result.and_then(Value::extract_error)) {
            Some(Ok(value)) => return Ok(value),
            Some(Err(error)) if is_from_server(&error) && !is_from_replica(&error) => {
                return Err(CallFailure::Refused(error));
            }
            // By now the name may lead to another primary.
            Some(Err(error)) if is_from_server(&error) => CallFailure::Refused(error),
            Some(Err(error)) => CallFailure::ReplyLost(Some(error)),
            // A silent connection may be dead without a sign; the next call opens another.
            None => CallFailure::ReplyLost(None),
        };
        self.is_lost.store(true, Ordering::Release);
        Err(failure)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

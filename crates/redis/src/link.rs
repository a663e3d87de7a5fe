//! One connection to one server, opened again when it is lost.

use std::convert::Infallible;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, Pipeline, PushInfo, PushKind, RedisError,
    ServerErrorKind, Value,
};
use tokio::time::{Instant, timeout_at};

/// Calls that may wait for their place on the connection.
const CALLS_QUEUED_MAX: usize = 1024;

/// After this long without a call the server may have closed the connection.
const IDLE: Duration = Duration::from_millis(200);

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Fault {
    /// Nothing was sent: no connection could be opened, or none in time.
    NotSent(Option<RedisError>),
    /// It was sent, or may have been; the answer will not come.
    Lost(Option<RedisError>),
    /// The server says no.
    Refused(RedisError),
}

/// Whether a call may be made a second time when its connection breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    /// It changes nothing.
    Read,
    /// It may have been carried out already.
    Never,
}

/// One multiplexed connection. It is not redis-rs's manager, since that one
/// gives the first call after a loss an error, and keeps a connection on which
/// nothing is answered any more.
pub(crate) struct Link {
    client: Client,
    current: Mutex<Option<Live>>,
    opening: tokio::sync::Mutex<()>,
    health: Mutex<Health>,
}

/// What calls have learnt of a server.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Health {
    /// The last call got no answer.
    pub(crate) is_silent: bool,
    pub(crate) answered: Option<Instant>,
}

#[derive(Clone)]
struct Live {
    connection: MultiplexedConnection,
    /// Set as soon as the server closes it: under RESP3 redis-rs tells that
    /// without being asked.
    dead: Arc<AtomicBool>,
    used: Arc<Mutex<Instant>>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Link({})", self.address())
    }
}

impl Link {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client,
            current: Mutex::new(None),
            opening: tokio::sync::Mutex::new(()),
            health: Mutex::default(),
        }
    }

    pub(crate) fn health(&self) -> Health {
        *self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, answers: bool) {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        health.is_silent = !answers;
        if answers {
            health.answered = Some(Instant::now());
        }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Host and port, without what the URL says of users and passwords.
    pub(crate) fn address(&self) -> String {
        self.client.get_connection_info().addr().to_string()
    }

    /// Sends one command.
    pub(crate) async fn call(&self, call: &Cmd, again: Again, by: Instant) -> Result<Value, Fault> {
        let answer = self.send(call, again, by).await;
        self.note(matches!(answer, Ok(_) | Err(Fault::Refused(_))));
        answer
    }

    async fn send(&self, call: &Cmd, again: Again, by: Instant) -> Result<Value, Fault> {
        let mut last = again == Again::Never;
        loop {
            let mut live = self.ready(by).await?;
            let answer = timeout_at(by, live.connection.send_packed_command(call)).await;
            match self.judge(&live, answer.ok()) {
                Err(Fault::Lost(Some(_))) if !last => last = true,
                judged => return judged,
            }
        }
    }

    /// Sends commands in a row, with nobody else's between them.
    pub(crate) async fn row(&self, calls: &Pipeline, by: Instant) -> Result<Vec<Value>, Fault> {
        let mut live = self.ready(by).await?;
        let count = calls.len();
        let sent = live.connection.send_packed_commands(calls, 0, count);
        let answer = timeout_at(by, sent).await.ok();
        let answer = answer.map(|result| result.map(Value::Array));
        match self.judge(&live, answer)? {
            Value::Array(values) => Ok(values),
            _ => Ok(Vec::new()),
        }
    }

    fn judge(
        &self,
        live: &Live,
        answer: Option<Result<Value, RedisError>>,
    ) -> Result<Value, Fault> {
        match answer.map(|result| result.and_then(Value::extract_error)) {
            Some(Ok(value)) => Ok(value),
            // A connection that does not answer may never do so again, and no one
            // would be told: the next call opens another.
            None => {
                self.discard(live);
                Err(Fault::Lost(None))
            }
            Some(Err(error)) if from_server(&error) => {
                // Behind the same name there may be another primary by now.
                if is_of_a_replica(&error) {
                    self.discard(live);
                }
                Err(Fault::Refused(error))
            }
            Some(Err(error)) => {
                self.discard(live);
                Err(Fault::Lost(Some(error)))
            }
        }
    }

    /// A connection that is not known to be lost.
    async fn ready(&self, by: Instant) -> Result<Live, Fault> {
        if let Some(live) = self.current() {
            if !live.idle() {
                return Ok(live);
            }
            // Its task reads first what has come meanwhile: the end, perhaps.
            tokio::task::yield_now().await;
        }
        match timeout_at(by, self.open()).await {
            Ok(Ok(live)) => Ok(live),
            Ok(Err(error)) if from_server(&error) => Err(Fault::Refused(error)),
            Ok(Err(error)) => Err(Fault::NotSent(Some(error))),
            Err(_) => Err(Fault::NotSent(None)),
        }
    }

    async fn open(&self) -> Result<Live, RedisError> {
        // Whoever comes while one opens it waits for that one.
        let _opening = self.opening.lock().await;
        if let Some(live) = self.current() {
            return Ok(live);
        }
        let dead = Arc::new(AtomicBool::new(false));
        let flag = dead.clone();
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_pipeline_buffer_size(CALLS_QUEUED_MAX)
            .set_push_sender(move |push: PushInfo| {
                if push.kind == PushKind::Disconnection {
                    flag.store(true, Ordering::Release);
                }
                Ok::<(), Infallible>(())
            });
        let live = Live {
            connection: self
                .client
                .get_multiplexed_async_connection_with_config(&config)
                .await?,
            dead,
            used: Arc::new(Mutex::new(Instant::now())),
        };
        *self.slot() = Some(live.clone());
        Ok(live)
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Live>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn current(&self) -> Option<Live> {
        let mut slot = self.slot();
        if slot.as_ref().is_some_and(Live::is_dead) {
            *slot = None;
        }
        slot.clone()
    }

    fn discard(&self, live: &Live) {
        live.dead.store(true, Ordering::Release);
    }
}

impl Live {
    fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Acquire)
    }

    /// Whether nothing was sent for a while; notes that something is now.
    fn idle(&self) -> bool {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *used, Instant::now());
        before.elapsed() > IDLE
    }
}

/// Whether it takes no writes. Before Redis 7 the error of a script has the word
/// within its text.
pub(crate) fn is_of_a_replica(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
        || error.to_string().contains("READONLY")
}

/// Whether the server has said this, and so has done nothing.
pub(crate) fn from_server(error: &RedisError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Server(_)
            | ErrorKind::Extension
            | ErrorKind::AuthenticationFailed
            | ErrorKind::RESP3NotSupported
            | ErrorKind::InvalidClientConfig
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_is_known_by_its_word_wherever_that_stands() {
        let said = |kind, text: &str| RedisError::from((kind, "refused", text.to_owned()));
        let old = "Error running script (call to f_7d1e): @user_script:42: @user_script: 42: \
                   -READONLY You can't write against a read only replica.";
        let error = ErrorKind::Server(ServerErrorKind::ResponseError);
        assert!(is_of_a_replica(&said(error, old)));
        let new = ErrorKind::Server(ServerErrorKind::ReadOnly);
        assert!(is_of_a_replica(&said(new, "You can't write")));
        assert!(!is_of_a_replica(&said(error, "unknown command")));
    }
}

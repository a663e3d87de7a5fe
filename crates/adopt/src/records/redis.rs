//! Keys in Redis.

use std::fmt;
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue, RedisError, cmd, pipe};
use cloakroom_core::store::BoxFuture;
use cloakroom_core::{Error, ErrorKind};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::{FoundRecord, Records};

/// How long a request waits for Redis, to connect and to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The keys of a Redis or Valkey, a single node.
pub struct RedisKeys {
    client: Client,
    /// Shared by all requests; `None` after an error, until the next one connects anew.
    connection: Mutex<Option<MultiplexedConnection>>,
}

impl fmt::Debug for RedisKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisKeys").finish_non_exhaustive()
    }
}

impl RedisKeys {
    /// Of a URL: `redis://HOST:PORT/DATABASE`, with `USER:PASSWORD@` before the host where
    /// there is a password. It connects with the first request. `rediss://`, which is TLS, needs
    /// the feature `redis-tls` of the crate `cloakroom`, or one of TLS of the crate `redis`.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] where the URL is none.
    pub fn new(url: &str) -> Result<Self, Error> {
        let client = Client::open(url).map_err(|_| {
            let why = "the URL of the former sessions is none of Redis: \
                       redis://HOST:PORT/DATABASE, or rediss:// in a build with cloakroom's \
                       feature `redis-tls`";
            Error::new(ErrorKind::Misconfigured, why)
        })?;
        Ok(Self {
            client,
            connection: Mutex::new(None),
        })
    }

    async fn connected(&self) -> Result<MultiplexedConnection, RedisError> {
        let mut connection = self.connection.lock().await;
        if let Some(connection) = &*connection {
            return Ok(connection.clone());
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        let connected = self
            .client
            .get_multiplexed_async_connection_with_config(&config);
        let connected = connected.await?;
        *connection = Some(connected.clone());
        Ok(connected)
    }

    /// Asks, and asks once more on a new connection where the one at hand had broken: each of
    /// these commands may be sent twice.
    async fn ask<T: FromRedisValue>(&self, pipe: &::redis::Pipeline) -> Result<T, Error> {
        let twice = async {
            match self.ask_once(pipe).await {
                Err(_) => self.ask_once(pipe).await,
                answer => answer,
            }
        };
        let error = Error::new(
            ErrorKind::Unavailable,
            "the Redis of the former sessions does not answer",
        );
        match timeout(PATIENCE, twice).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(source)) => Err(error.with_source(source)),
            Err(late) => Err(error.with_source(late)),
        }
    }

    async fn ask_once<T: FromRedisValue>(&self, pipe: &::redis::Pipeline) -> Result<T, RedisError> {
        let mut connection = self.connected().await?;
        let answer = pipe.query_async(&mut connection).await;
        if answer.is_err() {
            *self.connection.lock().await = None;
        }
        answer
    }
}

/// One round trip, and nothing in between.
fn at_once(commands: impl IntoIterator<Item = Cmd>) -> ::redis::Pipeline {
    let mut pipe = pipe();
    pipe.atomic();
    for command in commands {
        pipe.add_command(command);
    }
    pipe
}

fn command(name: &str, key: &str) -> Cmd {
    let mut command = cmd(name);
    command.arg(key);
    command
}

impl Records for RedisKeys {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<FoundRecord>, Error>> {
        Box::pin(async move {
            let both = at_once([command("GET", key), command("PTTL", key)]);
            let (bytes, millis): (Option<Vec<u8>>, i64) = self.ask(&both).await?;
            Ok(bytes.map(|bytes| {
                let mut found = FoundRecord::new(bytes);
                // A key without a lifetime answers -1.
                found.lives_for = u64::try_from(millis).ok().map(Duration::from_millis);
                found
            }))
        })
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let (_deleted,): (i64,) = self.ask(&at_once([command("DEL", key)])).await?;
            Ok(())
        })
    }
}

//! How a store is opened, and what its server is asked first.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cloakroom_core::{Clock, Error, ErrorKind, SystemClock};
use redis::{ConnectionInfo, IntoConnectionInfo as _, ProtocolVersion};

use crate::client::{Client, Servers};
use crate::connection::Connection;
use crate::errors::{error, is_missing_right};
use crate::home::Home;
use crate::nodes::Nodes;
use crate::store::RedisStore;

/// What keys begin with, unless told otherwise.
pub const PREFIX_DEFAULT: &str = "cloakroom:";

/// How long a call waits for its reply, unless told otherwise.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(2);

/// Bytes of the longest prefix.
pub const PREFIX_BYTES_MAX: usize = 64;

/// A store about to be opened: [`RedisStore::builder`].
pub struct RedisBuilder {
    urls: Vec<String>,
    is_cluster: bool,
    prefix: String,
    timeout: Duration,
    allow_eviction: bool,
    clock: Arc<dyn Clock>,
    #[cfg(feature = "tls")]
    ca_pem: Option<Vec<u8>>,
}

impl fmt::Debug for RedisBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URLs may hold a password.
        f.debug_struct("RedisBuilder")
            .field("servers", &self.urls.len())
            .field("prefix", &self.prefix)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl RedisStore {
    /// Opens a single server: `redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]`, or over a
    /// Unix socket `redis+unix:///PATH[?db=DATABASE&user=USER&pass=PASSWORD]`.
    ///
    /// # Errors
    /// As [`RedisBuilder::connect`].
    pub async fn connect(url: &str) -> Result<Self, Error> {
        Self::builder(url).connect().await
    }

    /// A single server, with a prefix or a time-out of one's own.
    #[must_use]
    pub fn builder(url: impl Into<String>) -> RedisBuilder {
        RedisBuilder::new(vec![url.into()], false)
    }

    /// A cluster, by the URL of one of its servers or of several, in case one is
    /// down: user, password and TLS of the first hold for all.
    #[must_use]
    pub fn cluster(urls: impl IntoIterator<Item = impl Into<String>>) -> RedisBuilder {
        RedisBuilder::new(urls.into_iter().map(Into::into).collect(), true)
    }
}

impl RedisBuilder {
    fn new(urls: Vec<String>, is_cluster: bool) -> Self {
        Self {
            urls,
            is_cluster,
            prefix: PREFIX_DEFAULT.to_owned(),
            timeout: TIMEOUT_DEFAULT,
            allow_eviction: false,
            clock: Arc::new(SystemClock),
            #[cfg(feature = "tls")]
            ca_pem: None,
        }
    }

    /// What every key begins with, the channel's name too. At most 64 bytes
    /// ([`PREFIX_BYTES_MAX`]) of printable ASCII without space, quotes, and the
    /// characters `{}*?[]^\` that mean something in patterns or to a cluster.
    /// Default `cloakroom:` ([`PREFIX_DEFAULT`]).
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// How long a call waits for its reply, the time to connect included.
    /// Default 2 s ([`TIMEOUT_DEFAULT`]).
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Whether a server may evict keys when its memory is full: it then logs users out, and
    /// a logout of a subject misses the sessions whose index was evicted. Default false:
    /// any `maxmemory-policy` but `noeviction` is refused. Told true, an event at `WARN`
    /// names the policy.
    #[must_use]
    pub fn allow_eviction(mut self, allowed: bool) -> Self {
        self.allow_eviction = allowed;
        self
    }

    /// The clock by which a session's deadline becomes the duration for which Redis keeps
    /// it: that of the engine, where it has another than the system's, as in tests that
    /// move the time by hand.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Trusts the certificates in this PEM, and none of the system's, to sign
    /// for a `rediss://` server.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls_ca_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.ca_pem = Some(pem.into());
        self
    }

    /// Connects, and checks that the server can hold sessions.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] where the URL, the prefix or the time-out
    /// cannot be, the server refuses user, password or database, is too old, is a
    /// replica, is a node of a cluster where a single server was named, or evicts keys
    /// without [leave](Self::allow_eviction);
    /// [`ErrorKind::Unavailable`] where it does not answer or is loading its data.
    /// None quotes the URL.
    pub async fn connect(self) -> Result<RedisStore, Error> {
        check_prefix(&self.prefix)?;
        if self.timeout.is_zero() {
            return Err(misconfigured("the time-out is zero; two seconds are usual"));
        }
        let servers = self.servers()?;
        let client = Client::new(servers, self.timeout, self.prefix, self.clock);
        handshake(&client, self.allow_eviction).await?;
        let client = Arc::new(client);
        Ok(RedisStore { client })
    }

    fn servers(&self) -> Result<Servers, Error> {
        let clients: Result<Vec<redis::Client>, Error> =
            self.urls.iter().map(|url| self.client(url)).collect();
        let mut clients = clients?;
        if self.is_cluster && !clients.is_empty() {
            let nodes = Nodes::new(clients, self.timeout, self.clock.clone());
            return Ok(Servers::Cluster(Arc::new(nodes)));
        }
        match clients.pop() {
            Some(client) => Ok(Servers::Single(Arc::new(Connection::new(
                client,
                self.clock.clone(),
                Home::here(),
            )))),
            None => Err(misconfigured(
                "a Redis cluster needs the URL of one of its nodes at least",
            )),
        }
    }

    #[cfg(feature = "tls")]
    fn client(&self, url: &str) -> Result<redis::Client, Error> {
        let info = read_url(url)?;
        // rustls has one provider a process; one that the application chose stands.
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            let ours = rustls::crypto::ring::default_provider();
            // It fails where another thread was faster, which does no harm.
            let _ = ours.install_default();
        }
        let Some(pem) = &self.ca_pem else {
            return redis::Client::open(info).map_err(|source| unusable(&source));
        };
        // redis-rs accepts a PEM without a certificate, and then trusts no server.
        let begin = b"-----BEGIN CERTIFICATE-----";
        if !pem.windows(begin.len()).any(|part| part == begin) {
            let text = "the CA file holds no certificate in PEM; give one that does";
            return Err(misconfigured(text));
        }
        let client = match info.addr() {
            redis::ConnectionAddr::TcpTls { .. } => {
                let certificates = redis::TlsCertificates {
                    client_tls: None,
                    root_cert: Some(pem.clone()),
                };
                redis::Client::build_with_tls(info, certificates)
            }
            _ => redis::Client::open(info),
        };
        client.map_err(|source| unusable(&source))
    }

    #[cfg(not(feature = "tls"))]
    fn client(&self, url: &str) -> Result<redis::Client, Error> {
        redis::Client::open(read_url(url)?).map_err(|source| unusable(&source))
    }
}

fn unusable(source: &redis::RedisError) -> Error {
    let why = source.category();
    misconfigured(format!(
        "cannot use the Redis URL or its certificates: {why}"
    ))
}

fn misconfigured(why: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    error(ErrorKind::Misconfigured, why)
}

fn check_prefix(prefix: &str) -> Result<(), Error> {
    if prefix.is_empty() || prefix.len() > PREFIX_BYTES_MAX {
        return Err(misconfigured(format!(
            "the prefix has {} bytes; give 1 to PREFIX_BYTES_MAX = {PREFIX_BYTES_MAX}",
            prefix.len()
        )));
    }
    let fits = |byte: u8| byte.is_ascii_graphic() && !br#"{}*?[]^\"'"#.contains(&byte);
    if !prefix.bytes().all(fits) {
        return Err(misconfigured(
            "the prefix has a character that is not printable ASCII, or one of {}*?[]^\\\"'; leave it \
             out",
        ));
    }
    Ok(())
}

/// Reads a URL, and asks for RESP3: redis-rs reports a closed connection under that
/// protocol alone.
fn read_url(url: &str) -> Result<ConnectionInfo, Error> {
    if url.contains('#') {
        return Err(misconfigured(
            "the Redis URL has a fragment; write `#` in a password as %23",
        ));
    }
    let info = url.into_connection_info().map_err(|source| {
        // The first part of redis-rs's text quotes nothing of the URL.
        let text = source.to_string();
        let why = text.split(" - ").next().unwrap_or_default();
        misconfigured(format!(
            "this is no Redis URL ({why}); it reads redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE], \
             rediss:// with TLS (the feature `tls`, in the crate cloakroom \
             `redis-tls`), or redis+unix:///PATH[?db=DATABASE&user=USER&pass=PASSWORD]"
        ))
    })?;
    let settings = info.redis_settings().clone();
    let settings = settings.set_protocol(ProtocolVersion::RESP3);
    Ok(info.set_redis_settings(settings))
}

/// Connects, and refuses or warns of what would fail later.
async fn handshake(client: &Client, allow_eviction: bool) -> Result<(), Error> {
    let info = match client.info().await {
        Ok(info) => info,
        // The server answers; its user may not ask for INFO.
        Err(error) if is_missing_right(&error) => {
            return client.primaries_now().await.map(|_| ());
        }
        Err(error) => return Err(error),
    };
    let says = |line: &str| info.lines().any(|l| l.trim_end() == line);
    let server = &client.origin.server;
    if says("loading:1") {
        let text = format!("{server} is loading its data; wait");
        return Err(error(ErrorKind::Unavailable, text));
    }
    match (client.is_single(), says("cluster_enabled:1")) {
        (true, true) => {
            return Err(misconfigured(format!(
                "{server} is a node of a cluster; open it as one"
            )));
        }
        (false, false) => {
            return Err(misconfigured(format!(
                "{server} is no cluster; open it as a single server"
            )));
        }
        (true, false) if says("role:slave") => {
            return Err(misconfigured(format!(
                "{server} is a replica, and takes no writes; name the primary"
            )));
        }
        (true, false) => {}
        (false, true) => {
            client.primaries_now().await?;
        }
    }
    let policies = info
        .lines()
        .filter_map(|line| line.strip_prefix("maxmemory_policy:"));
    if let Some(policy) = policies.map(str::trim_end).find(|p| *p != "noeviction") {
        if !allow_eviction {
            return Err(misconfigured(format!(
                "{server} evicts keys when its memory is full (maxmemory-policy {policy}): \
                 users are logged out, and a logout misses sessions whose index is gone; set \
                 maxmemory-policy noeviction, or allow eviction (`allow_eviction`)"
            )));
        }
        tracing::warn!(
            event = "server_evicts",
            %server,
            policy,
            "this server evicts sessions when its memory is full; set maxmemory-policy noeviction"
        );
    }
    Ok(())
}

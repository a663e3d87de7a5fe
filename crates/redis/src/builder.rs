//! How a store is opened.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cloakroom_core::{Error, ErrorKind};
use redis::{Client, ConnectionInfo, IntoConnectionInfo as _, ProtocolVersion};

use crate::cluster::Cluster;
use crate::link::Link;
use crate::trouble::error;
use crate::wire::{Caller, Wire};
use crate::{PREFIX_DEFAULT, RedisStore, TIMEOUT_DEFAULT};

/// Bytes of the longest prefix.
pub const PREFIX_BYTES_MAX: usize = 64;

/// A store about to be opened: [`RedisStore::builder`].
pub struct RedisBuilder {
    urls: Vec<String>,
    is_cluster: bool,
    prefix: String,
    timeout: Duration,
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

impl RedisBuilder {
    pub(crate) fn new(urls: Vec<String>, is_cluster: bool) -> Self {
        Self {
            urls,
            is_cluster,
            prefix: PREFIX_DEFAULT.to_owned(),
            timeout: TIMEOUT_DEFAULT,
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

    /// How long a call waits for its answer, the time to connect included.
    /// Default 2 s ([`TIMEOUT_DEFAULT`]).
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
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

    /// Connects and looks at the server.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] where the URL, the prefix or the time-out
    /// cannot be, the server refuses user, password or database, is too old, is a
    /// replica, or is a node of a cluster where a single server was named;
    /// [`ErrorKind::Unavailable`] where it does not answer or is loading its data.
    /// None quotes the URL.
    pub async fn connect(self) -> Result<RedisStore, Error> {
        check_prefix(&self.prefix)?;
        if self.timeout.is_zero() {
            return Err(wrong("the time-out is zero; two seconds are usual"));
        }
        self.check_ca()?;
        let wire = self.wire()?;
        let caller = Caller {
            wire,
            timeout: self.timeout,
            prefix: self.prefix,
        };
        crate::greeting::greet(&caller).await?;
        Ok(RedisStore::new(caller))
    }

    fn wire(&self) -> Result<Wire, Error> {
        let clients: Result<Vec<Client>, Error> =
            self.urls.iter().map(|url| self.client(url)).collect();
        let mut clients = clients?;
        if self.is_cluster && !clients.is_empty() {
            let cluster = Cluster::new(clients, self.timeout);
            return Ok(Wire::Many(Arc::new(cluster)));
        }
        match clients.pop() {
            Some(client) => Ok(Wire::One(Box::new(Link::new(client)))),
            None => Err(wrong(
                "a cluster needs the URL of one of its servers at least",
            )),
        }
    }

    fn client(&self, url: &str) -> Result<Client, Error> {
        let info = read_url(url)?;
        self.open(info).map_err(|source| {
            let why = source.category().to_owned();
            wrong(format!("cannot use this URL or its certificates: {why}"))
        })
    }

    /// redis-rs takes a PEM without any certificate, and then trusts nobody.
    #[cfg(feature = "tls")]
    fn check_ca(&self) -> Result<(), Error> {
        let begin = b"-----BEGIN CERTIFICATE-----";
        match &self.ca_pem {
            Some(pem) if !pem.windows(begin.len()).any(|part| part == begin) => {
                Err(wrong("the CA file holds no certificate in PEM"))
            }
            _ => Ok(()),
        }
    }

    #[cfg(not(feature = "tls"))]
    fn check_ca(&self) -> Result<(), Error> {
        Ok(())
    }

    #[cfg(feature = "tls")]
    fn open(&self, info: ConnectionInfo) -> Result<Client, redis::RedisError> {
        // rustls asks for one choice a process; what the application chose stands.
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            let ours = rustls::crypto::ring::default_provider();
            // Another thread may have been faster, which is as well.
            let _ = ours.install_default();
        }
        match (&self.ca_pem, info.addr()) {
            (Some(pem), redis::ConnectionAddr::TcpTls { .. }) => {
                let certificates = redis::TlsCertificates {
                    client_tls: None,
                    root_cert: Some(pem.clone()),
                };
                Client::build_with_tls(info, certificates)
            }
            _ => Client::open(info),
        }
    }

    #[cfg(not(feature = "tls"))]
    fn open(&self, info: ConnectionInfo) -> Result<Client, redis::RedisError> {
        Client::open(info)
    }
}

fn wrong(why: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    error(ErrorKind::Misconfigured, why)
}

fn check_prefix(prefix: &str) -> Result<(), Error> {
    if prefix.is_empty() || prefix.len() > PREFIX_BYTES_MAX {
        return Err(wrong(format!(
            "the prefix is {} bytes; it is 1 to PREFIX_BYTES_MAX, {PREFIX_BYTES_MAX}",
            prefix.len()
        )));
    }
    let fits = |byte: u8| byte.is_ascii_graphic() && !br#"{}*?[]^\"'"#.contains(&byte);
    if !prefix.bytes().all(fits) {
        return Err(wrong(
            "the prefix has a character that is not printable ASCII or is one of {}*?[]^\\\"'",
        ));
    }
    Ok(())
}

/// Reads a URL, and asks for RESP3: redis-rs tells of a closed connection under
/// that one alone.
pub(crate) fn read_url(url: &str) -> Result<ConnectionInfo, Error> {
    if url.contains('#') {
        return Err(wrong(
            "a Redis URL with a fragment; `#` in a password is %23",
        ));
    }
    let info = url.into_connection_info().map_err(|source| {
        // Of its own texts, which quote nothing, the first part.
        let text = source.to_string();
        let why = text.split(" - ").next().unwrap_or_default();
        wrong(format!(
            "no Redis URL: {why}; it reads redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE], \
             rediss:// with TLS (feature `tls`), or unix:PATH"
        ))
    })?;
    let settings = info.redis_settings().clone();
    let settings = settings.set_protocol(ProtocolVersion::RESP3);
    Ok(info.set_redis_settings(settings))
}

//! The demo on a port, from start to a clean stop.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cloakroom::dbsc::Dbsc;
use cloakroom::engine::TokenStore;
use cloakroom::stores::RedbStore;
use cloakroom::{AnyStore, CookiePolicy, Engine, Error, Sweeper};
use cloakroom_admin::AdminPage;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;

use crate::pages::admin::administrator;
use crate::site::with_admin_page;
use crate::state::Stopping;
use crate::{Accounts, DemoError, connections, metrics, store_url, tls};

/// How often expired sessions are swept.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// Where the demo runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// The address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The store's URL; `None` for redb in the folder.
    pub store: Option<String>,
    /// Where accounts are kept, and sessions by default.
    pub folder: PathBuf,
    /// Whether an address is taken that other machines may reach, though
    /// session cookies then travel in the clear.
    pub allow_public_http: bool,
    /// Whether it serves https, with a certificate of its own making. Sessions are bound to
    /// their devices then, where the browser can do it.
    pub tls: bool,
}

impl Default for Options {
    /// 127.0.0.1:8000, and `cloakroom-demo` in the working directory.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8_000)),
            store: None,
            folder: PathBuf::from("./cloakroom-demo"),
            allow_public_http: false,
            tls: false,
        }
    }
}

/// What a demo that runs says of itself.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Ready {
    /// The address it listens on, with its real port.
    pub addr: SocketAddr,
    /// The store's URL, without what may be secret in it.
    pub store: String,
    /// Where accounts are kept.
    pub folder: PathBuf,
    /// With TLS, the digest of the certificate's key, by which a browser can be told to believe
    /// it.
    pub key_digest: Option<String>,
}

/// Runs the demo until Ctrl-C (or SIGTERM), then lets open requests finish and
/// closes the store. `ready` is called once it listens. Where this machine alone can reach it,
/// `/metrics` is what Prometheus reads.
///
/// # Errors
/// A [`DemoError`] where it cannot start.
pub async fn serve(options: Options, ready: impl FnOnce(&Ready)) -> Result<(), DemoError> {
    let Options {
        listen,
        store: url,
        folder,
        allow_public_http,
        tls,
    } = options;
    if !listen.ip().is_loopback() && !allow_public_http {
        return Err(DemoError::PublicHttp(listen));
    }
    let refuse = |source| DemoError::Listen {
        addr: listen,
        source,
    };
    let recorder = metrics::recorder();
    let listener = TcpListener::bind(listen).await.map_err(refuse)?;
    let addr = listener.local_addr().map_err(refuse)?;
    let accounts = Arc::new(Accounts::open(&folder)?);
    let sessions = folder.join("sessions.redb");
    let shown_url = match &url {
        Some(url) => store_url::shown(url),
        None => format!("redb:{}", sessions.display()),
    };
    let not_opened = |source| DemoError::Store {
        url: shown_url.clone(),
        source,
    };
    // A path of one's own need not pass through a URL, whose ? it may hold.
    let store = match &url {
        Some(url) => cloakroom::open(url).await,
        None => RedbStore::open(sessions).map(AnyStore::new),
    };
    let store = store.map_err(not_opened)?;
    let (engine, tls) = match tls {
        true => (bound_engine(store.clone()), Some(tls::acceptor()?)),
        false => (engine(store.clone()), None),
    };
    let engine = engine.map_err(not_opened)?;
    let (acceptor, key_digest) = tls.unzip();
    let sweeper = Sweeper::spawn(store.clone(), SWEEP_EVERY);
    let stopped = stop_signal().map_err(DemoError::Signal)?;
    ready(&Ready {
        addr,
        store: shown_url,
        folder,
        key_digest,
    });
    let of_sessions = AdminPage::new(engine.clone(), administrator);
    let of_sessions = of_sessions.sweep_reports(sweeper.reporter());
    let stopping = Stopping::default();
    let mut site = with_admin_page(engine, accounts, of_sessions, stopping.clone());
    if let Some(recorder) = recorder.filter(|_| listen.ip().is_loopback()) {
        site = metrics::beside(site, recorder);
    }
    tokio::select! {
        () = connections::serve(listener, acceptor, site, &stopping, stopped) => {}
        () = upkeep(recorder) => {}
    }
    sweeper.stop().await;
    if let Err(error) = store.close().await {
        tracing::warn!(error = %error, "the store was not closed well");
    }
    Ok(())
}

/// Never ends.
async fn upkeep(recorder: Option<&PrometheusHandle>) {
    match recorder {
        Some(recorder) => metrics::upkeep(recorder).await,
        None => std::future::pending().await,
    }
}

/// The demo's engine over a store: the defaults, but for a cookie that travels over plain
/// http on this machine.
///
/// # Errors
/// [`ErrorKind::Misconfigured`](cloakroom::ErrorKind::Misconfigured) where the store cannot
/// do what the engine needs.
pub fn engine(store: impl TokenStore) -> Result<Engine, Error> {
    Engine::builder(store)
        .cookie(CookiePolicy::loopback_http())
        .build()
}

/// The same for https: the default cookie, and sessions that are bound to their devices.
fn bound_engine(store: impl TokenStore) -> Result<Engine, Error> {
    Engine::builder(store).device_bound(Dbsc::prefer()).build()
}

/// Ends when the process is asked to stop. It listens as soon as this returns.
#[cfg(unix)]
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Ends when the process is asked to stop.
#[cfg(not(unix))]
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    Ok(async {
        // Without a handler Ctrl-C ends the process by itself.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}

//! Connections: how many there are at once, and how long each may take.
//!
//! `axum::serve` waits for ever for the rest of a request's head, so a client that
//! sends half a request keeps its connection for good. This loop does what it does,
//! over the same parts, with limits.

use std::io;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::state::Stopping;

/// Connections that are open at once; others wait until one closes.
const CONNECTIONS_MAX: usize = 512;

/// How long a connection may go without a whole request head: half-sent, or idle
/// between two requests.
const HEAD_MAX: Duration = Duration::from_secs(10);

/// How old a connection may get. It bounds a client that does not read its answer.
const CONNECTION_MAX: Duration = Duration::from_secs(300);

/// How long the open request of a connection may take when the connection is closed.
const STOP_MAX: Duration = Duration::from_secs(5);

/// How long to wait after a failed accept: until then a file descriptor may be free.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Serves the site until told to stop, then lets open requests finish.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    site: Router,
    stopping: &Stopping,
    stop: impl Future<Output = ()>,
) {
    let mut open = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            Some(_) = open.join_next() => {}
            accepted = listener.accept(), if open.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => {
                    let (tls, site, stopping) = (tls.clone(), site.clone(), stopping.begun());
                    open.spawn(async move {
                        let Some(tls) = tls else {
                            return connection(stream, site, stopping).await;
                        };
                        // A browser that does not believe the certificate is no event.
                        if let Ok(Ok(stream)) = timeout(HEAD_MAX, tls.accept(stream)).await {
                            connection(stream, site, stopping).await;
                        }
                    });
                }
                Err(error) => refused(&error).await,
            },
        }
    }
    drop(listener);
    stopping.begin();
    while open.join_next().await.is_some() {}
}

async fn refused(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if !matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    ) {
        tracing::warn!(error = %error, "no connection can be accepted");
        sleep(ACCEPT_AGAIN_AFTER).await;
    }
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    site: Router,
    stopping: impl Future<Output = ()>,
) {
    let mut http = Builder::new(TokioExecutor::new()).http1_only();
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX);
    let served = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(site));
    let mut served = pin!(served);
    tokio::select! {
        _ = &mut served => return,
        () = stopping => {}
        () = sleep(CONNECTION_MAX) => {}
    }
    served.as_mut().graceful_shutdown();
    if timeout(STOP_MAX, served).await.is_err() {
        tracing::warn!(
            secs = STOP_MAX.as_secs(),
            "a request was still open when its connection was closed"
        );
    }
}

//! Expired sessions are swept in the background, and a stop loses nothing: requests under way
//! are answered, then the store is closed.
//!
//! `cargo run -p cloakroom-examples --bin graceful_stop`, then <http://127.0.0.1:3000>, and
//! Ctrl-C.

use std::time::Duration;

use axum::Router;
use axum::routing::get;
use cloakroom::axum::{Session, SessionError, SessionLayer};
use cloakroom::{Engine, Sweeper};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

async fn count(session: Session) -> Result<String, SessionError> {
    session.update("visits", |visits: &mut u64| *visits += 1)?;
    let visits: u64 = session.get("visits")?.unwrap_or(0);
    Ok(format!("You have been here {visits} times.\n"))
}

/// A request that takes its time.
async fn count_slowly(session: Session) -> Result<String, SessionError> {
    sleep(Duration::from_secs(2)).await;
    count(session).await
}

/// Ends when the process is asked to stop: by Ctrl-C, or by what runs services.
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
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().init();
    let store = cloakroom::open("redb:./graceful_stop.redb").await?;
    let sweeper = Sweeper::spawn(store.clone(), Duration::from_secs(600));
    let app = Router::new()
        .route("/", get(count))
        .route("/slow", get(count_slowly))
        .layer(SessionLayer::new(Engine::new(store.clone())));
    let stopped = stop_signal()?;
    let port = std::env::var("PORT").unwrap_or_else(|_| "3000".to_owned());
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("http://{}", listener.local_addr()?);

    let (stop, asked) = oneshot::channel::<()>();
    let server = axum::serve(listener, app).with_graceful_shutdown(async {
        // Also where the sender is gone.
        let _ = asked.await;
    });
    let mut server = tokio::spawn(server.into_future());
    tokio::select! {
        ended = &mut server => ended??,
        () = stopped => {
            drop(stop);
            // A client that never ends its request does not keep the process.
            if let Ok(ended) = timeout(Duration::from_secs(10), server).await {
                ended??;
            }
        }
    }
    let report = sweeper.report();
    sweeper.stop().await;
    store.close().await?;
    println!("Stopped; sweeps: {}.", report.passes);
    Ok(())
}

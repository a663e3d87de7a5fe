//! What Prometheus reads of the demo, and who may read it.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

use std::net::SocketAddr;
use std::path::Path;

use cloakroom_demo::{Options, serve};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

async fn demo(folder: &Path, listen: &str, allow_public_http: bool) -> (u16, JoinHandle<()>) {
    let options = Options {
        tls: false,
        listen: listen.parse().unwrap(),
        store: Some("memory:?cache=1MiB&stale=5s".to_owned()),
        folder: folder.to_owned(),
        allow_public_http,
    };
    let (tell, told) = tokio::sync::oneshot::channel();
    let server = tokio::spawn(async move {
        let ready = |ready: &cloakroom_demo::Ready| tell.send(ready.addr.port()).unwrap();
        serve(options, ready).await.unwrap();
    });
    (told.await.unwrap(), server)
}

async fn get(port: u16, path: &str) -> String {
    let addr = SocketAddr::from(([127, 0, 0, 1], port));
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn prometheus_reads_them_on_this_machine_and_nobody_on_another() {
    let folder = tempfile::tempdir().unwrap();
    let (port, server) = demo(folder.path(), "127.0.0.1:0", false).await;
    get(port, "/count").await;
    let metrics = get(port, "/metrics").await;
    assert!(metrics.starts_with("HTTP/1.1 200 OK"), "{metrics}");
    assert!(
        metrics.contains("content-type: text/plain; version=0.0.4"),
        "{metrics}"
    );
    for line in [
        "# TYPE cloakroom_logins_total counter",
        "cloakroom_logins_total{store=\"memory\"} 0",
        "cloakroom_store_up{store=\"memory\"} 1",
        "# TYPE cloakroom_load_seconds histogram",
        "cloakroom_tokens_refused_total{store=\"memory\",reason=\"malformed\"} 0",
        "cloakroom_cache_hits_total 0",
        "cloakroom_sweep_lag_seconds{store=\"memory\"}",
    ] {
        assert!(metrics.contains(line), "{line} in\n{metrics}");
    }
    server.abort();

    let folder = tempfile::tempdir().unwrap();
    let (port, server) = demo(folder.path(), "0.0.0.0:0", true).await;
    assert!(get(port, "/about").await.starts_with("HTTP/1.1 200 OK"));
    let refused = get(port, "/metrics").await;
    assert!(refused.starts_with("HTTP/1.1 404"), "{refused}");
    server.abort();
}

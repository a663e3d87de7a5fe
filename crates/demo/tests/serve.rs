//! Starting, and not starting.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use cloakroom_demo::{DemoError, Options, serve};
use tokio::net::TcpListener;

fn options(folder: &Path) -> Options {
    Options {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        store: Some("memory:".to_owned()),
        folder: folder.to_owned(),
        ..Options::default()
    }
}

async fn refusal(options: Options) -> DemoError {
    serve(options, |_| panic!("it started")).await.unwrap_err()
}

#[tokio::test]
async fn a_public_address_must_be_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    for listen in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let listen = listen.parse().unwrap();
        let options = options(folder.path());
        let error = refusal(Options { listen, ..options }).await;
        assert!(matches!(error, DemoError::PublicHttp(_)));
        assert!(error.to_string().contains("--allow-public-http"));
    }
}

#[tokio::test]
async fn a_port_in_use_and_a_bad_url_are_said_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let listen = taken.local_addr().unwrap();
    let error = refusal(Options {
        listen,
        ..options(folder.path())
    });
    let error = error.await.to_string();
    assert!(
        error.contains("the port is in use") && error.contains("--listen"),
        "{error}"
    );

    let error = refusal(Options {
        store: Some("redis://:hunter2@host?x=hunter3".to_owned()),
        ..options(folder.path())
    });
    let error = error.await.to_string();
    assert!(error.contains("redis://***@host`"), "{error}");
    assert!(
        !error.contains("hunter") && !error.contains('\n'),
        "{error}"
    );
}

#[tokio::test]
async fn port_0_is_told_and_the_server_answers() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let folder = tempfile::tempdir().unwrap();
    let folder_path = folder.path().to_owned();
    let (tell, told) = tokio::sync::oneshot::channel();
    let server = tokio::spawn(serve(options(&folder_path), |ready| {
        let _ = tell.send(ready.clone());
    }));
    let ready = told.await.unwrap();
    assert_ne!(ready.addr.port(), 0);
    assert_eq!(ready.store, "memory:");
    let mut stream = tokio::net::TcpStream::connect(ready.addr).await.unwrap();
    let request = "GET /about HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    server.abort();
}

/// Sends a part of a request, reads an answer up to `first`, and from then on lets the
/// clock jump to the next deadline whenever everybody waits. Returns all that came
/// before the server closed the connection.
async fn until_closed(addr: SocketAddr, sent: &str, first: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(addr).await.unwrap();
    stream.write_all(sent.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !String::from_utf8_lossy(&answer).contains(first) {
        assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "{answer:?}");
    }
    tokio::time::pause();
    let rest = stream.read_to_end(&mut answer);
    let closed = tokio::time::timeout(Duration::from_secs(60), rest).await;
    tokio::time::resume();
    closed.expect("the connection stayed open").unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn half_sent_requests_are_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let folder_path = folder.path().to_owned();
    let (tell, told) = tokio::sync::oneshot::channel();
    let server = tokio::spawn(serve(options(&folder_path), |ready| {
        let _ = tell.send(ready.addr);
    }));
    let addr = told.await.unwrap();

    for half_a_head in ["", "GE", "GET / HTTP/1.1\r\nhost: x\r\n"] {
        assert_eq!(until_closed(addr, half_a_head, "").await, "");
    }
    // A whole one is served; no other follows.
    let whole = "GET /about HTTP/1.1\r\nhost: x\r\n\r\n";
    let answer = until_closed(addr, whole, "</html>").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    // The server says `100 Continue` once it waits for the form.
    let half_a_form = "POST /count HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n\
                       content-type: application/x-www-form-urlencoded\r\n\
                       content-length: 9\r\n\r\nx=";
    let answer = until_closed(addr, half_a_form, "100 Continue").await;
    assert!(answer.contains("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("did not arrive in time"), "{answer}");
    server.abort();
}

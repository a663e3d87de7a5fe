//! Responses whose body goes on, that come early, or never; and a WebSocket.

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{Method, Response};
use futures_util::{StreamExt as _, stream};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::{WEBSOCKET_ACCEPT, number, told};
use crate::{Browser, Reply};

const PATIENCE: Duration = Duration::from_secs(30);

pub(super) async fn run(site: SocketAddr) {
    a_stream(site).await;
    a_panic(site).await;
    an_early_response(site).await;
    an_unread_body(site).await;
    a_socket(site).await;
}

async fn ask(
    browser: &Browser,
    request: axum::http::request::Builder,
    body: Body,
) -> Response<Incoming> {
    let request = request.body(body).expect("a request");
    let response = timeout(PATIENCE, browser.try_send(request)).await;
    response
        .expect("the head comes at once")
        .expect("the site answers")
}

fn head_of(response: &Response<Incoming>) -> Reply {
    Reply {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        body: String::new(),
    }
}

/// The cookie is in the head, and what comes after the head is refused.
async fn a_stream(site: SocketAddr) {
    let browser = Browser::at(site);
    let request = browser.request(Method::GET, "/stream");
    let mut response = ask(&browser, request, Body::empty()).await;
    let head = head_of(&response);
    assert_eq!(
        (head.status, told(&head)),
        (200, ["cookie", "no-store", "set"])
    );
    // The session stands while the body still comes.
    assert_eq!(number(&browser).await, "1");
    browser.post("/meet").await;
    let mut text = Vec::new();
    while let Some(frame) = response.body_mut().frame().await {
        text.extend_from_slice(frame.expect("a frame").data_ref().expect("data"));
    }
    assert_eq!(String::from_utf8_lossy(&text), "begun\nrefused");
    assert_eq!(number(&browser).await, "1");
}

/// The client gets an error or no response at all; the session is what it was, and its
/// next request is answered.
async fn a_panic(site: SocketAddr) {
    let browser = Browser::at(site);
    browser.post("/count").await;
    for _ in 0..2 {
        let request = browser.request(Method::GET, "/panic").body(Body::empty());
        let response = browser.try_send(request.expect("a request")).await;
        if let Some(response) = response {
            assert_eq!(response.status(), 500);
            assert!(!response.headers().contains_key("set-cookie"));
        }
        assert_eq!(number(&browser).await, "1");
    }
    assert_eq!(browser.post("/count").await.body, "2");
}

async fn an_early_response(site: SocketAddr) {
    let browser = Browser::at(site);
    browser.post("/count").await;
    let reply = browser.get("/early").await;
    assert_eq!((reply.status, reply.body.as_str()), (403, "early"));
    assert_eq!(told(&reply), ["", "", ""]);
    let reply = browser.get("/early/read").await;
    assert_eq!((reply.status, reply.body.as_str()), (403, "1"));
    assert_eq!(told(&reply), ["cookie", "private", ""]);
}

/// The answer does not wait for a body that never comes.
async fn an_unread_body(site: SocketAddr) {
    let browser = Browser::at(site);
    let begun =
        stream::once(async { Ok::<_, std::convert::Infallible>(Bytes::from_static(b"begun")) });
    let body = Body::from_stream(begun.chain(stream::pending()));
    let request = browser.request(Method::POST, "/unread");
    let response = ask(&browser, request, body).await;
    let head = head_of(&response);
    assert_eq!(
        (head.status, told(&head)),
        (200, ["cookie", "no-store", "set"])
    );
    drop(response);
    assert_eq!(number(&browser).await, "1");
}

/// The 101 carries the cookie; what comes after it is refused.
async fn a_socket(site: SocketAddr) {
    let browser = Browser::at(site);
    for (n, told_of_it) in [
        (1, ["cookie", "no-store", "set"]),
        (2, ["cookie", "private", ""]),
    ] {
        let request = browser
            .request(Method::GET, "/socket")
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        let response = ask(&browser, request, Body::empty()).await;
        let head = head_of(&response);
        assert_eq!((head.status, told(&head)), (101, told_of_it));
        assert_eq!(head.header("sec-websocket-accept"), [WEBSOCKET_ACCEPT]);
        assert_eq!(number(&browser).await, n.to_string());
        let upgraded = hyper::upgrade::on(response).await.expect("an upgrade");
        let mut socket = TokioIo::new(upgraded);
        // A text frame of two bytes, masked with zeros.
        let sent = socket.write_all(b"\x81\x82\0\0\0\0hi").await;
        sent.expect("the site reads");
        let mut frame = [0; 9];
        let read = timeout(PATIENCE, socket.read_exact(&mut frame)).await;
        read.expect("an answer at once").expect("a frame");
        assert_eq!(&frame, b"\x81\x07refused");
        assert_eq!(number(&browser).await, n.to_string());
    }
}

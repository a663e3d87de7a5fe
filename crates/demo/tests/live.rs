//! A page that waits for the end of its session.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use axum::http::StatusCode;
use cloakroom_demo::{Options, serve};
use common::Site;
use tokio::time::timeout;

#[tokio::test]
async fn a_page_left_open_is_told_the_moment_its_session_ends() {
    let site = Site::new().await;
    let (mut phone, mut laptop) = (site.browser(), site.browser());
    laptop.enter("/register", "ada").await;
    phone.enter("/login", "ada").await;
    let page = phone.get("/devices").await;
    let (_, script) = page.text.split_once(r#"<script src=""#).unwrap();
    let script = phone.get(script.split_once('"').unwrap().0).await;
    assert!(script.header("content-type").starts_with("text/javascript"));
    assert!(script.text.contains("new EventSource('/devices/live')"));

    let waiting = tokio::spawn(async move { (phone.get("/devices/live").await, phone) });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!waiting.is_finished(), "it is logged in still");
    laptop.get("/devices").await;
    laptop.submit("/devices/end-others", &[]).await;
    let (told, mut phone) = timeout(Duration::from_secs(5), waiting)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(told.header("content-type"), "text/event-stream");
    assert_eq!(told.text, "event: ended\ndata: logged_out_elsewhere\n\n");
    // The page that is shown again says it, and waits for nothing.
    let again = phone.get("/devices").await;
    assert!(
        again.text.contains("from Firefox on Linux"),
        "{}",
        again.text
    );
    assert!(!again.text.contains("<script"));
}

#[tokio::test]
async fn who_is_not_logged_in_has_nothing_to_wait_for() {
    let site = Site::new().await;
    let mut browser = site.browser();
    assert!(!browser.get("/devices").await.text.contains("<script"));
    // No answer that an `EventSource` would ask for again.
    let answer = browser.get("/devices/live").await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
}

#[cfg(unix)]
#[tokio::test]
async fn pages_that_wait_hold_up_no_stop() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        store: Some("memory:".to_owned()),
        folder: folder.path().to_owned(),
        ..Options::default()
    };
    let (tell, told) = tokio::sync::oneshot::channel();
    let server = tokio::spawn(serve(options, |ready| {
        let _ = tell.send(ready.addr);
    }));
    let addr = told.await.unwrap();
    let ask = async |request: String, until: &str| {
        let mut stream = tokio::net::TcpStream::connect(addr).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !String::from_utf8_lossy(&answer).contains(until) {
            assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "{answer:?}");
        }
        (stream, String::from_utf8(answer).unwrap())
    };
    let form = "name=ada&password=correct+horse";
    let register = format!(
        "POST /register HTTP/1.1\r\nhost: {addr}\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{form}",
        form.len(),
    );
    let (_, registered) = ask(register, "\r\n\r\n").await;
    let (_, cookie) = registered.split_once("set-cookie: ").unwrap();
    let (cookie, _) = cookie.split_once(';').unwrap();
    let live = format!("GET /devices/live HTTP/1.1\r\nhost: {addr}\r\ncookie: {cookie}\r\n\r\n");
    let (mut waiting, answer) = ask(live, "\r\n\r\n").await;
    assert!(answer.contains("text/event-stream"), "{answer}");

    // The server listens for this signal, so it ends the server and not the test.
    let own_id = std::process::id().to_string();
    let mut stop = std::process::Command::new("kill");
    assert!(stop.args(["-TERM", &own_id]).status().unwrap().success());
    let mut rest = String::new();
    let closed = timeout(Duration::from_secs(2), waiting.read_to_string(&mut rest)).await;
    assert!(closed.is_ok(), "it waits on");
    server.await.unwrap().unwrap();
}

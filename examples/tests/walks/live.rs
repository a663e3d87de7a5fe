//! The examples that go on until their session ends.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;

use tempfile::tempdir;

use crate::site::{Browser, Site};

/// Reads what has arrived; again where a signal interrupts that, as the end of another test's
/// process may.
fn read_some(connection: &mut TcpStream, buffer: &mut [u8]) -> usize {
    loop {
        match connection.read(buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            read => return read.unwrap(),
        }
    }
}

/// Reads until a text arrives.
fn read_until(connection: &mut TcpStream, text: &[u8]) {
    let mut read = Vec::new();
    let mut byte = [0];
    while !read.windows(text.len()).any(|window| window == text) {
        let count = read_some(connection, &mut byte);
        assert_ne!(count, 0, "ended: {}", String::from_utf8_lossy(&read));
        read.push(byte[0]);
    }
}

#[test]
fn live_events() {
    let folder = tempdir().unwrap();
    let site = Site::start(env!("CARGO_BIN_EXE_live_events"), folder.path());
    let mut browser = site.browser();
    assert_eq!(browser.get("/events").status, 401);
    browser.get("/").shows("EventSource");

    browser.post("/login", "").leads_to("/");
    let mut events = browser.begin("GET", "/events", "", "");
    read_until(&mut events, b"data: 3\n");

    let mut other_tab = browser.clone();
    other_tab.post("/logout", "").leads_to("/");
    let (mut rest, mut buffer) = (String::new(), [0; 1_000]);
    loop {
        let count = read_some(&mut events, &mut buffer);
        if count == 0 {
            break;
        }
        rest += &String::from_utf8_lossy(&buffer[..count]);
        let events = rest.matches("data: ").count();
        assert!(events < 10, "{events} events after the logout");
    }
    assert!(rest.ends_with("0\r\n\r\n"), "the last chunk: {rest}");
    assert_eq!(browser.get("/events").status, 401);
}

/// Opens a WebSocket, and reads the answer to its request.
fn open_socket(browser: &Browser, path: &str) -> (u16, TcpStream) {
    let mut socket = browser.connect();
    let cookies = browser.cookie_header();
    write!(
        socket,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{cookies}\r\n"
    )
    .unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let status = head.split(' ').nth(1).unwrap();
    (status.parse().unwrap(), socket)
}

/// Sends a short text, under a mask that changes nothing.
fn say(socket: &mut TcpStream, text: &str) {
    let length = 0x80 | u8::try_from(text.len()).unwrap();
    let mut frame = vec![0x81, length, 0, 0, 0, 0];
    frame.extend(text.as_bytes());
    socket.write_all(&frame).unwrap();
}

/// The kind of the next frame, and what is in it.
fn hear(socket: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut head = [0; 2];
    socket.read_exact(&mut head).unwrap();
    let mut content = vec![0; head[1].into()];
    socket.read_exact(&mut content).unwrap();
    (head[0] & 0xf, content)
}

#[test]
fn chat_room() {
    const TEXT: u8 = 1;
    const CLOSE: u8 = 8;
    let folder = tempdir().unwrap();
    let site = Site::start(env!("CARGO_BIN_EXE_chat_room"), folder.path());
    let [mut ada, mut bob] = [site.browser(), site.browser()];
    assert_eq!(open_socket(&ada, "/room").0, 401);
    ada.post("/login", "name=ada").leads_to("/");
    bob.post("/login", "name=bob").leads_to("/");
    ada.get("/").shows("new WebSocket");
    let (status, mut with_ada) = open_socket(&ada, "/room");
    assert_eq!(status, 101);
    let (_, mut with_bob) = open_socket(&bob, "/room");

    say(&mut with_ada, "Good morning");
    let line = (TEXT, b"ada: Good morning".to_vec());
    assert_eq!(hear(&mut with_ada), line);
    assert_eq!(hear(&mut with_bob), line);

    let closes = |socket: &mut TcpStream, because: &str| {
        let (kind, why) = hear(socket);
        assert_eq!(kind, CLOSE);
        assert_eq!(why[..2], 1008_u16.to_be_bytes());
        let why = String::from_utf8_lossy(&why[2..]).into_owned();
        assert_eq!(why, format!("your session has ended: {because}"));
    };
    // In the other tab of a browser.
    ada.clone().post("/logout", "").leads_to("/");
    closes(&mut with_ada, "logged_out");
    assert_eq!(open_socket(&ada, "/room").0, 401);

    // On another device.
    ada.post("/login", "name=ada").leads_to("/");
    let (_, mut with_ada) = open_socket(&ada, "/room");
    let mut phone = site.browser();
    phone.post("/login", "name=ada").leads_to("/");
    phone.post("/logout-everywhere", "").leads_to("/");
    closes(&mut with_ada, "logged_out_elsewhere");
    assert_eq!(open_socket(&ada, "/room").0, 401);

    say(&mut with_bob, "Is anybody here?");
    assert_eq!(
        hear(&mut with_bob),
        (TEXT, b"bob: Is anybody here?".to_vec())
    );
}

//! The example whose responses go on.

use std::io::Read as _;
use std::net::TcpStream;

use tempfile::tempdir;

use crate::site::Site;

/// Reads until a text arrives.
fn read_until(connection: &mut TcpStream, text: &[u8]) {
    let mut read = Vec::new();
    let mut byte = [0];
    while !read.windows(text.len()).any(|window| window == text) {
        let count = connection.read(&mut byte).unwrap();
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
    // They go on for as long as the session does, past several looks.
    read_until(&mut events, b"data: 12\n");

    let mut other_tab = browser.clone();
    other_tab.post("/logout", "").leads_to("/");
    let (mut rest, mut buffer) = (String::new(), [0; 1_000]);
    loop {
        let count = events.read(&mut buffer).unwrap();
        if count == 0 {
            break;
        }
        rest += &String::from_utf8_lossy(&buffer[..count]);
        let events = rest.matches("data: ").count();
        assert!(events < 60, "{events} events after the logout");
    }
    assert!(rest.ends_with("0\r\n\r\n"), "the last chunk: {rest}");
    assert_eq!(browser.get("/events").status, 401);
}

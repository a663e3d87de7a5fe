//! The site of each example runs, and gives the same answers.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// An example that runs, until the test ends.
struct Site {
    addr: String,
    child: Child,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Site {
    fn start(program: &str) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = free.local_addr().unwrap().to_string();
        drop(free);
        let mut command = Command::new(program);
        let child = command.arg(&addr).stdout(Stdio::null()).spawn();
        let site = Self {
            child: child.unwrap(),
            addr,
        };
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(&site.addr).is_err() {
            assert!(Instant::now() < deadline, "{program} does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        site
    }
}

/// A browser that keeps one cookie.
struct Browser<'s> {
    site: &'s Site,
    cookie: String,
}

struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let found = lines.find(|(found, _)| found.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value)
    }
}

impl Browser<'_> {
    fn send(&mut self, method: &str, path: &str) -> Reply {
        let mut connection = TcpStream::connect(&self.site.addr).unwrap();
        let cookie = match self.cookie.as_str() {
            "" => String::new(),
            cookie => format!("Cookie: {cookie}\r\n"),
        };
        write!(
            connection,
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Length: 0\r\n{cookie}\r\n"
        )
        .unwrap();
        let mut text = String::new();
        connection.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let reply = Reply {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            head: head.to_owned(),
            body: body.to_owned(),
        };
        if let Some(set) = reply.header("set-cookie") {
            let pair = set.split(';').next().unwrap();
            let is_removed = set.contains("Max-Age=0;");
            self.cookie = if is_removed { "" } else { pair }.to_owned();
        }
        reply
    }

    /// What is told of the session beside the body.
    fn walk(&mut self, line: &str, status: u16, body: &str, control: &str) {
        let (method, path) = line.split_once(' ').unwrap();
        let reply = self.send(method, path);
        assert_eq!(reply.status, status, "{line}: {}", reply.head);
        if status == 200 {
            assert!(reply.body.contains(body), "{line}: {}", reply.body);
        }
        let told = ["vary", "cache-control"].map(|name| reply.header(name));
        assert_eq!(told, [Some("Cookie"), Some(control)], "{line}");
    }
}

fn walk(program: &str) {
    let site = Site::start(program);
    let mut browser = Browser {
        site: &site,
        cookie: String::new(),
    };
    browser.walk("GET /", 200, "nobody 0", "private");
    assert_eq!(browser.cookie, "", "nothing has begun");
    browser.walk("POST /fail", 500, "", "private");
    assert_eq!(browser.cookie, "", "nothing has begun");
    browser.walk("POST /count", 200, "nobody 1", "no-store");
    browser.walk("POST /count", 200, "nobody 2", "private");
    browser.walk("POST /fail", 500, "", "private");
    let before = browser.cookie.clone();
    browser.walk("POST /login/ada", 200, "ada 2", "no-store");
    assert_ne!(browser.cookie, before);
    browser.walk("GET /", 200, "ada 2", "private");
    let logged_in = browser.cookie.clone();
    browser.walk("POST /logout", 200, "bye", "no-store");
    assert_eq!(browser.cookie, "");
    for old in [before, logged_in] {
        browser.cookie = old;
        let reply = browser.send("GET", "/");
        assert!(reply.body.contains("nobody 0"), "{}", reply.body);
    }
}

#[test]
fn warp() {
    walk(env!("CARGO_BIN_EXE_warp"));
}

#[test]
fn salvo() {
    walk(env!("CARGO_BIN_EXE_salvo"));
}

#[test]
fn poem() {
    walk(env!("CARGO_BIN_EXE_poem"));
}

#[test]
fn rocket() {
    walk(env!("CARGO_BIN_EXE_rocket"));
}

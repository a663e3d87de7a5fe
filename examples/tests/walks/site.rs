//! An example that runs, and a browser that visits it.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

/// Longer than any example takes to answer, on a machine with much else to do.
const PATIENCE: Duration = Duration::from_secs(60);

/// An example that runs, until the test ends.
pub(crate) struct Site {
    /// Host and port.
    pub(crate) addr: String,
    pub(crate) child: Child,
    /// What it prints; open for as long as it may print.
    pub(crate) output: BufReader<ChildStdout>,
}

impl Drop for Site {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Site {
    /// Starts a program in a folder, and reads where it listens.
    pub(crate) fn start(program: &str, folder: &Path) -> Self {
        Self::start_with(program, folder, |_| ())
    }

    /// The same with arguments and variables.
    pub(crate) fn start_with(
        program: &str,
        folder: &Path,
        prepare: impl FnOnce(&mut Command),
    ) -> Self {
        let mut command = Command::new(program);
        command.current_dir(folder).env("PORT", "0");
        prepare(&mut command);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let addr = loop {
            let mut line = String::new();
            let read = output.read_line(&mut line).unwrap();
            assert_ne!(read, 0, "{program} ends without saying where it listens");
            if let Some(url) = line.strip_prefix("http://") {
                break url.split('/').next().unwrap().trim().to_owned();
            }
        };
        Self {
            addr,
            child,
            output,
        }
    }

    pub(crate) fn browser(&self) -> Browser {
        Browser::at(&self.addr)
    }
}

/// A browser with a cookie jar.
#[derive(Clone)]
pub(crate) struct Browser {
    addr: String,
    pub(crate) cookies: BTreeMap<String, String>,
    /// Further headers of each request, each a line.
    pub(crate) headers: String,
}

pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn headers(&self, name: &str) -> impl Iterator<Item = &str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let found = lines.filter(move |(found, _)| found.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers(name).next()
    }

    /// A redirect, as after a form.
    #[track_caller]
    pub(crate) fn leads_to(&self, path: &str) {
        let found = (self.status, self.header("location"));
        assert_eq!(found, (303, Some(path)), "{}", self.head);
    }

    #[track_caller]
    pub(crate) fn shows(&self, text: &str) {
        assert_eq!(self.status, 200, "{}\n{}", self.head, self.body);
        assert!(self.body.contains(text), "no {text} in {}", self.body);
    }
}

impl Browser {
    pub(crate) fn at(addr: &str) -> Self {
        Self {
            addr: addr.to_owned(),
            cookies: BTreeMap::new(),
            headers: String::new(),
        }
    }

    /// Goes on at another site, or at the same one after it was started again.
    pub(crate) fn go_to(&mut self, site: &Site) {
        self.addr.clone_from(&site.addr);
    }

    /// The session's cookie.
    pub(crate) fn session(&self) -> Option<&str> {
        let cookie = self.cookies.get("__Host-session");
        cookie.map(String::as_str)
    }

    pub(crate) fn get(&mut self, path: &str) -> Reply {
        self.send("GET", path, "")
    }

    /// Sends a form, by its pairs.
    pub(crate) fn post(&mut self, path: &str, form: &str) -> Reply {
        let form_type = "Content-Type: application/x-www-form-urlencoded\r\n";
        self.send_with("POST", path, form_type, form)
    }

    pub(crate) fn send(&mut self, method: &str, path: &str, body: &str) -> Reply {
        self.send_with(method, path, "", body)
    }

    fn send_with(&mut self, method: &str, path: &str, headers: &str, body: &str) -> Reply {
        let mut connection = self.begin(method, path, headers, body);
        let mut text = String::new();
        connection.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let reply = Reply {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            head: head.to_owned(),
            body: body.to_owned(),
        };
        for set in reply.headers("set-cookie") {
            let (pair, attributes) = set.split_once(';').unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            if attributes.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        reply
    }

    /// Sends a request, and leaves its response to be read.
    pub(crate) fn begin(&self, method: &str, path: &str, headers: &str, body: &str) -> TcpStream {
        let mut connection = self.connect();
        let cookies = self.cookie_header();
        let (more, length) = (&self.headers, body.len());
        write!(
            connection,
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Length: {length}\r\n{cookies}{headers}{more}\r\n{body}"
        )
        .unwrap();
        connection
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let connection = TcpStream::connect(&self.addr).unwrap();
        connection.set_read_timeout(Some(PATIENCE)).unwrap();
        connection
    }

    /// The header with the cookies, a line; nothing where there are none.
    pub(crate) fn cookie_header(&self) -> String {
        let pairs = self.cookies.iter();
        let pairs: Vec<_> = pairs
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        match &*pairs {
            [] => String::new(),
            pairs => format!("Cookie: {}\r\n", pairs.join("; ")),
        }
    }
}

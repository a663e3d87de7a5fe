//! A site that runs as a process of its own.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, Once};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use cloakroom_servers::free_port;

const START_MAX: Duration = Duration::from_secs(60);
const ANSWER_MAX: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, PartialEq)]
pub enum Program {
    Tower,
    Actix,
    Express,
    Django,
    Ours,
}

pub struct Site {
    program: Program,
    arguments: Vec<String>,
    port: u16,
    child: Mutex<Option<Child>>,
}

/// What a site has answered.
pub struct Answer {
    pub status: u16,
    pub set_cookies: Vec<String>,
    pub body: String,
}

impl Site {
    /// Starts one, with these arguments behind its port.
    pub fn new(program: Program, arguments: &[&str]) -> Self {
        let site = Self {
            program,
            arguments: arguments.iter().map(|&text| text.to_owned()).collect(),
            port: free_port(),
            child: Mutex::new(None),
        };
        site.start();
        site
    }

    /// Starts it again, and waits until it answers.
    pub fn start(&self) {
        let mut command = match self.program {
            Program::Tower => Command::new(env!("CARGO_BIN_EXE_tower_site")),
            Program::Actix => Command::new(env!("CARGO_BIN_EXE_actix_site")),
            Program::Ours => Command::new(env!("CARGO_BIN_EXE_our_site")),
            Program::Express => {
                let mut command = Command::new("node");
                command.arg(express().join("site.js"));
                command
            }
            Program::Django => {
                let folder = django();
                let mut command = Command::new(folder.join("bin/python"));
                command.arg(folder.join("site.py"));
                command
            }
        };
        command.arg(self.port.to_string()).args(&self.arguments);
        command.stdin(Stdio::null());
        let child = command.spawn().expect("the site starts");
        *self.child.lock().expect("nothing panics under the lock") = Some(child);
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(begun.elapsed() < START_MAX, "a site does not start");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// SIGKILL.
    pub fn kill(&self) {
        let child = self
            .child
            .lock()
            .expect("nothing panics under the lock")
            .take();
        if let Some(mut child) = child {
            child.kill().expect("it runs");
            child.wait().expect("it was killed");
        }
    }

    /// `None` where the site was killed before the whole answer came.
    pub fn get(&self, path: &str, cookies: &str) -> Option<Answer> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(ANSWER_MAX)).ok()?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nCookie: {cookies}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).ok()?;
        let mut text = Vec::new();
        stream.read_to_end(&mut text).ok()?;
        let text = String::from_utf8(text).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        let mut lines = head.lines();
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let mut set_cookies = Vec::new();
        let mut length = None;
        for line in lines {
            let (name, value) = line.split_once(':')?;
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "set-cookie" => set_cookies.push(value.to_owned()),
                "content-length" => length = value.parse().ok(),
                _ => {}
            }
        }
        let is_whole = length == Some(body.len());
        is_whole.then(|| Answer {
            status,
            set_cookies,
            body: body.to_owned(),
        })
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Whether Node is there; says so loudly where it is not.
pub fn has_node() -> bool {
    has("node", &["--version"], "Node to run a site of Express with")
}

/// Whether Python is there, with its virtual environments; says so loudly where it is not.
pub fn has_python() -> bool {
    let modules = ["-c", "import ensurepip, venv"];
    has("python3", &modules, "Python to run a site of Django with")
}

fn has(program: &str, arguments: &[&str], what: &str) -> bool {
    let output = Command::new(program).args(arguments).output();
    let is_there = output.is_ok_and(|output| output.status.success());
    if !is_there {
        let text = format!("SKIPPED: there is no {what}");
        assert!(env::var_os("CI").is_none(), "{text}");
        println!("{text}");
    }
    is_there
}

/// The folder of the site of Express, with its packages.
fn express() -> PathBuf {
    static INSTALLED: Once = Once::new();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("express");
    INSTALLED.call_once(|| {
        fs::create_dir_all(&folder).expect("a folder for the packages");
        for file in ["package.json", "package-lock.json", "site.js"] {
            let from = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("express")
                .join(file);
            fs::copy(from, folder.join(file)).expect("a file of the site");
        }
        if !folder.join("node_modules").exists() {
            let mut npm = Command::new("npm");
            npm.args(["ci", "--silent"]).current_dir(&folder);
            assert!(npm.status().expect("npm runs").success(), "npm ci failed");
        }
    });
    folder
}

/// The virtual environment of the site of Django, with its packages.
fn django() -> PathBuf {
    static INSTALLED: Once = Once::new();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("django");
    INSTALLED.call_once(|| {
        let succeeds = |command: &mut Command| {
            let status = command.status().expect("Python runs");
            assert!(status.success(), "{command:?} failed");
        };
        succeeds(Command::new("python3").args(["-m", "venv"]).arg(&folder));
        for file in ["requirements.txt", "site.py"] {
            let from = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("django")
                .join(file);
            fs::copy(from, folder.join(file)).expect("a file of the site");
        }
        let mut pip = Command::new(folder.join("bin/python"));
        pip.args(["-m", "pip", "install", "--quiet", "--require-hashes"]);
        pip.args(["--no-deps", "--only-binary", ":all:", "--requirement"]);
        succeeds(pip.arg(folder.join("requirements.txt")));
    });
    folder
}

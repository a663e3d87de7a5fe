//! The command from outside: what it prints, how it ends, what it survives.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

fn cloakroom(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cloakroom"));
    command.args(arguments).env_remove("RUST_LOG");
    command
}

/// A demo on a free port, over redb in the folder.
struct Demo {
    child: Child,
    addr: SocketAddr,
    cookie: String,
    /// What it printed at start.
    said: String,
}

impl Demo {
    fn start(folder: &Path) -> Self {
        let mut child = demo(folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
        let said: Vec<String> = lines.by_ref().take(3).map(Result::unwrap).collect();
        let addr = said.first().and_then(|line| {
            let (_, addr) = line.split_once("http://")?;
            addr.trim_end_matches('/').parse().ok()
        });
        Self {
            addr: addr.unwrap_or_else(|| panic!("no address in {said:?}")),
            child,
            cookie: String::new(),
            said: said.join("\n"),
        }
    }

    fn ask(&mut self, method: &str, path: &str, form: &str) -> String {
        let mut stream = TcpStream::connect(self.addr).unwrap();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncookie: {}\r\n\
             content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{form}",
            self.addr,
            self.cookie,
            form.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        if let Some((_, rest)) = answer.split_once("set-cookie: ") {
            self.cookie = rest.split(';').next().unwrap().to_owned();
        }
        answer
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn demo(folder: &Path) -> Command {
    let mut command = cloakroom(&["demo", "--listen", "127.0.0.1:0", "--folder"]);
    command.arg(folder);
    command
}

fn failure_with(code: i32, output: &Output) -> String {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    failure(output)
}

fn failure(output: &Output) -> String {
    assert!(!output.status.success(), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    let said: Vec<&str> = text.lines().filter(|line| !line.contains("WARN")).collect();
    assert_eq!(said.len(), 1, "{text}");
    assert!(said[0].starts_with("cloakroom: "), "{text}");
    said[0].to_owned()
}

#[test]
fn a_login_survives_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = Demo::start(folder.path());
    assert!(demo.said.contains("redb:") && demo.said.contains("sessions.redb"));
    let answer = demo.ask(
        "POST",
        "/register",
        "name=ada&password=correct+horse&remember=yes",
    );
    assert!(answer.starts_with("HTTP/1.1 303"), "{answer}");
    let cookie = demo.cookie.clone();
    // On Unix this is SIGKILL: nothing is flushed, nothing is closed.
    drop(demo);

    let mut demo = Demo::start(folder.path());
    demo.cookie = cookie;
    let home = demo.ask("GET", "/", "");
    assert!(home.contains("<b>ada</b>"), "{home}");
}

#[cfg(unix)]
#[test]
fn sigterm_and_ctrl_c_end_it_cleanly_and_release_the_store() {
    let folder = tempfile::tempdir().unwrap();
    for signal in ["-TERM", "-INT"] {
        let mut demo = Demo::start(folder.path());
        demo.ask("POST", "/count", "");
        // A connection that is open and idle must not hold it up.
        let _idle = TcpStream::connect(demo.addr).unwrap();
        let pid = demo.child.id().to_string();
        let sent = Command::new("sh")
            .args(["-c", &format!("kill {signal} {pid}")])
            .status()
            .unwrap();
        assert!(sent.success());
        let status = demo.child.wait().unwrap();
        assert_eq!(status.code(), Some(0), "{signal}");
    }
}

#[test]
fn what_keeps_it_from_starting_is_one_line_and_a_code() {
    let folder = tempfile::tempdir().unwrap();
    let first = Demo::start(folder.path());

    let locked = failure_with(5, &demo(folder.path()).output().unwrap());
    assert!(locked.contains("locked by another process"), "{locked}");

    let other = tempfile::tempdir().unwrap();
    let addr = first.addr.to_string();
    let mut command = cloakroom(&["demo", "--listen", &addr, "--folder"]);
    let in_use = failure_with(1, &command.arg(other.path()).output().unwrap());
    assert!(in_use.contains("port is in use"), "{in_use}");

    let output = demo(other.path()).args(["--store", "memori:"]).output();
    let bad_url = failure_with(2, &output.unwrap());
    assert!(bad_url.contains("did you mean memory:?"), "{bad_url}");

    let output = cloakroom(&["demo", "--listen", "0.0.0.0:0"]).output();
    let public = failure_with(2, &output.unwrap());
    assert!(public.contains("--allow-public-http"), "{public}");

    std::fs::write(other.path().join("accounts.json"), "not json").unwrap();
    let damaged = failure_with(1, &demo(other.path()).output().unwrap());
    assert!(damaged.contains("accounts.json"), "{damaged}");
}

#[test]
fn an_error_says_each_cause_once_and_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let not_redb = folder.path().join("text");
    std::fs::write(&not_redb, "not a database").unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let owners = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&not_redb, owners).unwrap();
    }
    let no_ring = folder.path().join("ring");
    let in_a_file = not_redb.join("folder");
    let failed = |store: &str| {
        let output = demo(folder.path()).args(["--store", store]).output();
        failure(&output.unwrap())
    };
    for (store, cause) in [
        (
            format!("redb:{}", not_redb.display()),
            "Not a redb database",
        ),
        (
            format!("cookie:?key_file={}", no_ring.display()),
            "there is none",
        ),
        (format!("file:{}", in_a_file.display()), "not a directory"),
    ] {
        let said = failed(&store);
        assert_eq!(said.matches(cause).count(), 1, "{said}");
        assert!(!said.contains("::"), "{said}");
    }
    let output = demo(&not_redb).output().unwrap();
    let said = failure(&output);
    assert_eq!(said.matches("the folder").count(), 1, "{said}");

    for arguments in [
        &["demo", "redis://:hunter2@host"][..],
        &["redis://:hunter2@host"],
        &["ada:hunter2@host"],
    ] {
        let output = cloakroom(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("--store URL"), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
    for store in [
        "ada:hunter2@host/db",
        "hunter2:@host/db",
        "hunter2@host/db",
        "postgres:ada:hunter2@host/db",
        "postgres://ada:1/hunter2@host/db",
        "redis://:a?hunter2@[host",
        "cookie:hunter2",
        "cookie:?key=hunter2",
        "memory:?hunter2",
    ] {
        let said = failed(store);
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[test]
fn a_slip_is_answered_with_what_may_have_been_meant() {
    for (arguments, meant) in [
        (&["demmo"][..], "'demo'"),
        (&["demo", "--stor", "memory:"], "'--store'"),
    ] {
        let output = cloakroom(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("similar") && said.contains(meant), "{said}");
    }
}

#[test]
fn the_version_is_of_cloakroom() {
    let output = cloakroom(&["--version"]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said, format!("cloakroom {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn usage_errors_are_code_2_and_help_names_every_option() {
    for arguments in [
        &["demo", "--listen", "nonsense"][..],
        &["demo", "--no-such-option"],
        &["no-such-command"],
        &[],
    ] {
        let output = cloakroom(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
    let output = cloakroom(&["demo", "--help"]).output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    for option in [
        "--listen",
        "--store",
        "--folder",
        "--allow-public-http",
        "--tls",
    ] {
        assert!(help.contains(option), "{help}");
    }
}

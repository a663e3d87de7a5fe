//! The README and the first pages of the book, followed to the letter: their blocks make
//! programs, which are visited.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use cargo_metadata::MetadataCommand;
use tempfile::TempDir;

/// For cargo to download and build everything on a slow machine.
const BUILD_MAX: Duration = Duration::from_secs(600);
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// The text under a heading, to the next one.
fn section<'readme>(readme: &'readme str, heading: &str) -> &'readme str {
    let (_, section) = readme.split_once(heading).expect("the section");
    let ends = ["\n## ", "\n### "].into_iter();
    let end = ends.filter_map(|next| section.find(next)).min();
    &section[..end.expect("it is not the last")]
}

/// The one code block of this language in a section.
fn block<'readme>(section: &'readme str, language: &str) -> &'readme str {
    let mut fences = section.split("\n```").skip(1).step_by(2);
    let is_meant = |fence: &&str| fence.split(['\n', ',']).next() == Some(language);
    let found = fences.find(is_meant).expect("a block of this language");
    assert!(fences.find(is_meant).is_none(), "one block of {language}");
    found.split_once('\n').expect("a line of its own").1
}

/// `text` with the one `old` in it replaced.
fn replaced(text: &str, old: &str, new: &str) -> String {
    assert_eq!(text.matches(old).count(), 1, "{old} in {text}");
    text.replace(old, new)
}

fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    root.canonicalize().unwrap()
}

struct Project {
    folder: TempDir,
    port: u16,
    target: PathBuf,
}

impl Project {
    fn of_readme(heading: &str) -> Self {
        let readme = fs::read_to_string(root().join("README.md")).unwrap();
        let section = section(&readme, heading);
        let lines = block(section, "rust").lines().count();
        assert!(lines <= 30, "a quickstart is short");
        Self::of(section)
    }

    fn of_page(name: &str) -> Self {
        Self::of(&fs::read_to_string(root().join("docs").join(name)).unwrap())
    }

    /// The project that the blocks of a text make.
    fn of(text: &str) -> Self {
        let root = root();
        let mut metadata = MetadataCommand::new();
        metadata.manifest_path(root.join("Cargo.toml")).no_deps();
        let target = metadata.exec().unwrap().target_directory;
        let port = cloakroom_servers::free_port();

        let dependencies = block(text, "toml");
        let dependencies = replaced(dependencies, "../cloakroom", root.to_str().unwrap());
        let bound = format!("bind(\"127.0.0.1:{port}\")");
        let main = replaced(block(text, "rust"), "bind(\"127.0.0.1:3000\")", &bound);
        // As `cargo new shop` begins it.
        let package = "[package]\nname = \"shop\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n";
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("src")).unwrap();
        fs::write(at("src/main.rs"), main).unwrap();
        fs::write(at("Cargo.toml"), format!("{package}{dependencies}")).unwrap();
        // The versions that the workspace is tested with; cargo drops what is not needed.
        fs::copy(root.join("Cargo.lock"), at("Cargo.lock")).unwrap();
        Self {
            folder,
            port,
            target: target.into(),
        }
    }

    fn run(&self) -> Running<'_> {
        let log = File::create(self.folder.path().join("log")).unwrap();
        let child = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()))
            .arg("run")
            .current_dir(self.folder.path())
            // What the workspace has compiled in the same way is not compiled again.
            .env("CARGO_TARGET_DIR", &self.target)
            .env("CARGO_PROFILE_DEV_DEBUG", "false")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut running = Running {
            project: self,
            child,
        };
        running.wait();
        running
    }
}

/// Cargo, until it has built the program, then the program in its place.
struct Running<'project> {
    project: &'project Project,
    child: Child,
}

impl Running<'_> {
    fn log(&self) -> String {
        let log = fs::read(self.project.folder.path().join("log")).unwrap();
        String::from_utf8_lossy(&log).into_owned()
    }

    fn wait(&mut self) {
        let deadline = Instant::now() + BUILD_MAX;
        while TcpStream::connect(("127.0.0.1", self.project.port)).is_err() {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?}:\n{}", self.log());
            let in_time = Instant::now() < deadline;
            assert!(in_time, "no answer in {BUILD_MAX:?}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The head and the body of the answer to a GET.
    fn get(&self, cookie: Option<&str>) -> (String, String) {
        let (head, body) = self.send("GET /", cookie, "");
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}\n{}", self.log());
        (head, body)
    }

    /// The head and the body of the answer to a request, such as `POST /login`, with a form.
    fn send(&self, begin: &str, cookie: Option<&str>, form: &str) -> (String, String) {
        let (port, length) = (self.project.port, form.len());
        let mut request = format!(
            "{begin} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n"
        );
        if let Some(cookie) = cookie {
            write!(request, "Cookie: {cookie}\r\n").unwrap();
        }
        write!(request, "\r\n{form}").unwrap();
        let mut connection = TcpStream::connect(("127.0.0.1", port)).unwrap();
        connection.set_read_timeout(Some(ANSWER_MAX)).unwrap();
        connection.set_write_timeout(Some(ANSWER_MAX)).unwrap();
        connection.write_all(request.as_bytes()).unwrap();
        let mut response = String::new();
        connection.read_to_string(&mut response).unwrap();
        let (head, body) = response.split_once("\r\n\r\n").expect("a head");
        (head.to_owned(), body.to_owned())
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The name and value of the one cookie that is set.
fn set_cookie(head: &str) -> &str {
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    let is_cookie = |(name, _): &(&str, &str)| name.eq_ignore_ascii_case("set-cookie");
    let (_, cookie) = lines.find(is_cookie).expect("a cookie");
    assert!(lines.find(is_cookie).is_none(), "one cookie: {head}");
    cookie.split(';').next().expect("a part")
}

#[test]
fn the_readme_makes_a_program_that_counts_also_after_a_restart() {
    counts_also_after_a_restart(&Project::of_readme("\n## Add it\n"));
}

#[test]
fn the_readme_makes_a_program_on_actix_web_too() {
    counts_also_after_a_restart(&Project::of_readme("\n### With actix-web\n"));
}

/// Cargo builds one program after the other, and whoever waits for it has a deadline.
static BUILDS: Mutex<()> = Mutex::new(());

fn counts_also_after_a_restart(project: &Project) {
    let _turn = BUILDS.lock().unwrap_or_else(PoisonError::into_inner);
    let running = project.run();
    let (head, body) = running.get(None);
    assert_eq!(body, "You have been here 1 times.\n");
    let cookie = set_cookie(&head);
    assert!(cookie.starts_with("__Host-session="), "{head}");
    let (_, body) = running.get(Some(cookie));
    assert_eq!(body, "You have been here 2 times.\n");

    drop(running);
    let (_, body) = project.run().get(Some(cookie));
    assert_eq!(body, "You have been here 3 times.\n");
}

#[test]
fn the_book_makes_a_site_with_logins_on_axum() {
    logs_in_and_out(&Project::of_page("start-axum.md"));
}

#[test]
fn the_book_makes_a_site_with_logins_on_actix_web() {
    logs_in_and_out(&Project::of_page("start-actix.md"));
}

fn logs_in_and_out(project: &Project) {
    let _turn = BUILDS.lock().unwrap_or_else(PoisonError::into_inner);
    let running = project.run();
    let status = |head: &str| head.split(' ').nth(1).unwrap().to_owned();
    let leads_to = |(head, _): &(String, String), path: &str| {
        let location = format!("location: {path}\r\n");
        let is_there = format!("{}\r\n", head.to_lowercase()).contains(&location);
        assert!(
            status(head) == "303" && is_there,
            "{head}\n{}",
            running.log()
        );
    };
    let log_in = |more: &str| {
        let form = format!("name=ada&password=engine{more}");
        let answer = running.send("POST /login", None, &form);
        leads_to(&answer, "/");
        answer.0
    };
    leads_to(&running.send("GET /", None, ""), "/login?next=/");
    let (head, _) = running.send("POST /login", None, "name=ada&password=wrong");
    assert_eq!(status(&head), "401", "{head}");

    let (remembered, short) = (log_in("&remember=on"), log_in(""));
    assert!(remembered.contains("Max-Age=15552000"), "{remembered}");
    assert!(!short.contains("Max-Age"), "{short}");
    let (remembered, short) = (set_cookie(&remembered), set_cookie(&short));
    let page = running.get(Some(short)).1;
    assert!(
        page.contains("You are user 1815") && page.contains("(here)"),
        "{page}"
    );
    assert_eq!(page.matches("name=id").count(), 2, "{page}");

    // The second of the list is not the one that asks.
    let id = page.rsplit_once("name=id value=").unwrap().1;
    let form = format!("id={}", id.split('>').next().unwrap());
    leads_to(&running.send("POST /devices/end", Some(short), &form), "/");
    leads_to(
        &running.send("GET /", Some(remembered), ""),
        "/login?next=/",
    );
    let (_, page) = running.send("GET /login?next=/", Some(remembered), "");
    let is_told = page.contains("logged out from another device");
    assert!(is_told, "{page}");
    let third = log_in("");
    let third = set_cookie(&third);
    leads_to(
        &running.send("POST /devices/end-all", Some(third), ""),
        "/login",
    );
    for ended in [short, third] {
        leads_to(&running.send("GET /", Some(ended), ""), "/login?next=/");
    }

    let cookie = log_in("");
    leads_to(
        &running.send("POST /logout", Some(set_cookie(&cookie)), ""),
        "/login",
    );
    leads_to(
        &running.send("GET /", Some(set_cookie(&cookie)), ""),
        "/login?next=/",
    );

    // The way back, which leads to no other site.
    for (next, path) in [("/%3Fpage%3D2", "/?page=2"), ("//example.com", "/")] {
        let begin = format!("POST /login?next={next}");
        let answer = running.send(&begin, None, "name=ada&password=engine");
        leads_to(&answer, path);
    }
}

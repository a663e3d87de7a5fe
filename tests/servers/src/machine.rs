//! What this machine has: programs, users, folders, ports.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// A user of this machine, by number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// Who runs a server: the first of `names` that there is, or `nobody`, where
/// this process is root's; else this process's own user.
pub(crate) fn user(names: &[&str]) -> Option<User> {
    let root = std::process::Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|output| output.stdout.trim_ascii() == b"0");
    if !root {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let find = |name: &str| {
        let line = users
            .lines()
            .find(|line| line.split(':').next() == Some(name))?;
        let mut numbers = line.split(':').skip(2).map(str::parse);
        Some(User {
            uid: numbers.next()?.ok()?,
            gid: numbers.next()?.ok()?,
        })
    };
    names.iter().chain(&["nobody"]).find_map(|name| find(name))
}

/// A folder that every user may pass, with a name short enough for a socket.
pub(crate) fn temp_folder() -> PathBuf {
    let folder = std::env::temp_dir();
    let short = folder.as_os_str().len() <= 60;
    if short && folder.ancestors().all(|part| open_to(part, 0o001)) && open_to(&folder, 0o002) {
        return folder;
    }
    PathBuf::from("/tmp")
}

/// What the templates of all servers take, several times over.
const QUICK_KIB_MIN: u64 = 512 * 1024;

/// Where files are made without a disk and there is room, or else the folder for
/// temporary files.
pub(crate) fn quick_folder() -> PathBuf {
    let folder = PathBuf::from("/dev/shm");
    if open_to(&folder, 0o003) && kib_free(&folder).is_some_and(|free| free >= QUICK_KIB_MIN) {
        return folder;
    }
    temp_folder()
}

fn kib_free(folder: &Path) -> Option<u64> {
    let said = std::process::Command::new("df")
        .arg("-Pk")
        .arg(folder)
        .output()
        .ok()?;
    let said = String::from_utf8(said.stdout).ok()?;
    // The device, all blocks, those in use, those that are free.
    said.lines().nth(1)?.split_whitespace().nth(3)?.parse().ok()
}

fn open_to(folder: &Path, everybody: u32) -> bool {
    fs::metadata(folder).is_ok_and(|metadata| metadata.mode() & everybody == everybody)
}

/// A program in `PATH` or where distributions put servers.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.extend(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    folders.extend(postgres_folders());
    folders
        .into_iter()
        .map(|folder| folder.join(name))
        .find(|file| {
            fs::metadata(file).is_ok_and(|metadata| {
                metadata.is_file() && metadata.permissions().mode() & 0o111 != 0
            })
        })
}

/// `/usr/lib/postgresql/*/bin`, newest first.
fn postgres_folders() -> Vec<PathBuf> {
    let Ok(versions) = fs::read_dir("/usr/lib/postgresql") else {
        return Vec::new();
    };
    let mut found: Vec<PathBuf> = versions.flatten().map(|entry| entry.path()).collect();
    let number = |folder: &PathBuf| -> Option<u32> { folder.file_name()?.to_str()?.parse().ok() };
    found.sort_by_key(|folder| std::cmp::Reverse(number(folder)));
    found.into_iter().map(|folder| folder.join("bin")).collect()
}

/// How far above a server's port its second one lies: Redis's own choice for
/// the bus of a cluster.
pub(crate) const SECOND_PORT: u16 = 10_000;

/// A port of 127.0.0.1 that is free at this moment, and its second one too.
///
/// It lies below the range that most machines give to outgoing connections:
/// a server that was killed must find its port free when it is started again.
///
/// # Panics
/// Where there is none.
pub fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    const FIRST: u16 = 10_240;
    const COUNT: u16 = 12_000;
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    // Processes begin far apart, so that they rarely want the same port.
    let begin = std::process::id().wrapping_mul(2_654_435_761) >> 8;
    let begin = u16::try_from(begin % u32::from(COUNT)).expect("less than the count");
    let port = (0..COUNT)
        .map(|step| FIRST + (begin + step) % COUNT)
        .find(|&port| !given.contains(&port) && is_free(port) && is_free(port + SECOND_PORT))
        .expect("a free port");
    given.insert(port);
    port
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}

/// Says that a server is absent, so that what needs it is not tested.
///
/// # Panics
/// Where `CI` is set, with what to install.
pub(crate) fn absent(programs: &[&str], package: &str) {
    let ci = std::env::var("CI").unwrap_or_default();
    let checked = !ci.is_empty() && ci != "false";
    let missing = programs.join(", ");
    assert!(
        !checked,
        "{missing}: not found, and CI is set; install it: apt-get install {package}"
    );
    // Past the harness, which shows the output of failing tests alone.
    let place = std::thread::current().name().unwrap_or("a test").to_owned();
    let text = format!(
        "\nSKIPPED: {place}: what needs {missing} is NOT tested here, since it is not \
         installed (apt-get install {package})\n"
    );
    let _ = std::io::stderr().write_all(text.as_bytes());
}

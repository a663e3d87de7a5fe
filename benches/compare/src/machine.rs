//! What was measured, on what, and when.

use std::fs;
use std::process::Command;

use time::OffsetDateTime;

/// The date, by the system.
pub fn today() -> String {
    OffsetDateTime::now_utc().date().to_string()
}

/// The load average of the last minute.
pub fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").expect("a Linux system");
    text.split(' ').next().unwrap().parse().unwrap()
}

pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Processor, memory, kernel and compiler.
pub fn described() -> String {
    let cpu = field("/proc/cpuinfo", "model name");
    let kib: f64 = field("/proc/meminfo", "MemTotal")
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    let kernel = said("uname", &["-sr"]);
    let rustc = said("rustc", &["--version"]);
    let rustc = rustc.split(" (").next().unwrap_or_default();
    format!(
        "{} cores of {cpu}, {:.0} GiB, {kernel}, {rustc}",
        cores(),
        kib / 1024.0 / 1024.0
    )
}

fn field(file: &str, name: &str) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let value = line.and_then(|line| line.split_once(':'));
    value
        .map_or("unknown", |(_, value)| value.trim())
        .to_owned()
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.unwrap_or_else(|_| format!("{program} unknown"))
}

/// The versions of what is compared, from the lock file.
pub fn versions(lock: &str) -> String {
    let packages = lock.split("[[package]]").filter_map(|package| {
        let value = |name: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(name))?;
            line.strip_prefix(" = \"")?.strip_suffix('"')
        };
        Some((value("name")?, value("version")?))
    });
    let compared = packages.filter(|(name, _)| COMPARED.contains(name));
    let named: Vec<_> = compared
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    named.join(", ")
}

const COMPARED: [&str; 11] = [
    "async-session",
    "axum",
    "axum_session",
    "cookie",
    "redb",
    "redis",
    "rusqlite",
    "sled",
    "tower-sessions",
    "tower-sessions-redis-store",
    "tower-sessions-sqlx-store",
];

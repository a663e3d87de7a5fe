//! Rounds over all contenders, each work of each in a process of its own.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::contender::Entry;
use crate::redis::Server;
use crate::results::{MACHINE, line};
use crate::{GROWTH, RESULTS, Settings, machine};

/// Takes part in W8 alone, or also.
const DURABLE: [&str; 6] = [
    "cloakroom redb",
    "cloakroom sled",
    "cloakroom sqlite",
    "raw: redb, batches of 64",
    "raw: sled, batches of 64",
    "raw: sqlite, batches of 64",
];

/// Whose growth is measured, and by how many sessions at most without being asked.
const GROWING: [(&str, usize); 3] = [
    ("cloakroom memory", usize::MAX),
    ("cloakroom redb", usize::MAX),
    // 5 KB each.
    ("tower-sessions 0.15 memory", 1_000_000),
];

/// Interleaved rounds: what the machine does meanwhile falls on all alike.
pub fn measure(entries: &[Entry], settings: &Settings) -> io::Result<()> {
    let mut results = create(RESULTS, settings.has("append"))?;
    let server = Server::start();
    if server.is_none() {
        eprintln!("No redis-server in the PATH: the works over Redis are left out.");
    }
    let rounds = settings.number("rounds", 3);
    let works = settings.list("works", "w1 w2 w3 w4 w5 w6 durable");
    let (together, apart): (Vec<_>, Vec<_>) = works
        .into_iter()
        .partition(|work| !["w6", "durable"].contains(&work.as_str()));
    writeln!(
        results,
        "{}",
        line(MACHINE, "measured", &machine::today(), 0.0, "")
    )?;
    for round in 1..=rounds {
        for (name, _) in entries {
            let is_asked = name.contains(settings.text("only", ""));
            if !is_asked || (name.contains("redis") && server.is_none()) {
                continue;
            }
            eprintln!(
                "round {round} of {rounds}, load {:.1}: {name}",
                machine::load()
            );
            let mut run = |works: &[String]| one(&mut results, server.as_ref(), name, works);
            if !together.is_empty() {
                run(&together)?;
            }
            for work in &apart {
                let takes_part = match work.as_str() {
                    "durable" => DURABLE.contains(name),
                    _ => name.ends_with("memory"),
                };
                if takes_part {
                    run(std::slice::from_ref(work))?;
                }
            }
        }
    }
    Ok(())
}

/// Each store among ever more sessions.
pub fn grow(settings: &Settings) -> io::Result<()> {
    let mut results = create(GROWTH, settings.has("append"))?;
    writeln!(
        results,
        "{}",
        line(MACHINE, "grown", &machine::today(), 0.0, "")
    )?;
    for population in settings.list("sessions", "1000 10000 100000 1000000") {
        let sessions: usize = population.parse().expect("sessions are numbers");
        for (name, max) in GROWING {
            if sessions <= max && name.contains(settings.text("only", "")) {
                eprintln!("{sessions} sessions, load {:.1}: {name}", machine::load());
                one(&mut results, None, name, &[format!("growth:{population}")])?;
            }
        }
    }
    Ok(())
}

fn create(path: &str, keeps: bool) -> io::Result<File> {
    let path = Path::new(path);
    fs::create_dir_all(path.parent().expect("it lies in a folder"))?;
    OpenOptions::new()
        .create(true)
        .write(true)
        .append(keeps)
        .truncate(!keeps)
        .open(path)
}

fn one(
    results: &mut File,
    server: Option<&Server>,
    name: &str,
    works: &[String],
) -> io::Result<()> {
    let mut child = Command::new(std::env::current_exe()?);
    child
        .arg("one")
        .arg(name)
        .args(works)
        .stderr(Stdio::inherit());
    if let Some(server) = server {
        server.tell(&mut child);
    }
    let output = child.output()?;
    if !output.status.success() {
        return Err(io::Error::other(format!("{name} failed at {works:?}")));
    }
    results.write_all(&output.stdout)?;
    let load = line(
        MACHINE,
        "load average",
        works.first().map_or("", String::as_str),
        machine::load(),
        "",
    );
    writeln!(results, "{load}")
}

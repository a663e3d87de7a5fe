//! Each server starts, answers, keeps its data over a kill, and is gone with
//! its value or with the process that started it.
#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cloakroom_servers::{Mariadb, Postgres, Redis, RedisCluster, Server};

/// Says which part of this very binary a child process is to play.
const PART: &str = "CLOAKROOM_SERVERS_PART";

fn runs(pid: u32) -> bool {
    // A zombie has no command line.
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

/// Every process that names the folder or works in it.
fn processes_of(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let process = entry.path();
        let line = std::fs::read(process.join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let inside =
            std::fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd.starts_with(folder));
        if inside || line.contains(folder.to_str().unwrap()) {
            found.push(format!("{} {line}", process.display()));
        }
    }
    found
}

fn stat(pid: u32) -> Option<(char, u32)> {
    let line = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold anything, even a bracket.
    let mut words = line[line.rfind(')')? + 2..].split(' ');
    let state = words.next()?.chars().next()?;
    Some((state, words.next()?.parse().ok()?))
}

fn state(pid: u32) -> char {
    stat(pid).unwrap().0
}

/// A process and its children.
fn family(pid: u32) -> Vec<u32> {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let all = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let children = all.filter(|&one| stat(one).is_some_and(|(_, parent)| parent == pid));
    std::iter::once(pid).chain(children).collect()
}

fn assert_gone(folder: &Path, pid: u32) {
    assert!(!runs(pid), "the server runs");
    assert_eq!(processes_of(folder), [""; 0]);
    assert!(!folder.exists(), "{} is there", folder.display());
}

fn eventually(what: &str, sign: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !sign() {
        assert!(Instant::now() < until, "not within 60 s: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Kills, restarts, stops and pauses a server that keeps what it was given.
fn survives(server: &Server, write: impl Fn(&str), read: impl Fn() -> Option<String>) {
    let port = server.port();
    write("coat");
    assert_eq!(read().as_deref(), Some("coat"));

    let first = server.pid();
    assert!(runs(first));
    server.kill();
    assert!(!runs(first), "killed");
    assert_eq!(read(), None, "a killed server does not answer");
    assert!(server.folder().exists(), "a kill leaves the folder");
    server.restart();
    assert_ne!(server.pid(), first);
    assert_eq!(server.port(), port);
    assert_eq!(read().as_deref(), Some("coat"), "kept over a kill");

    write("hat");
    server.stop();
    assert_eq!(read(), None, "a stopped server does not answer");
    server.restart();
    assert_eq!(read().as_deref(), Some("hat"), "kept over a stop");

    server.pause();
    for process in family(server.pid()) {
        // One that ended just before stays a zombie while its parent is stopped.
        eventually("it is stopped", || ['T', 'Z'].contains(&state(process)));
    }
    assert_eq!(read(), None, "a paused server does not answer");
    server.resume();
    assert_eq!(read().as_deref(), Some("hat"), "kept over a pause");
    assert!(!server.log().is_empty());
}

#[test]
fn redis_survives_and_leaves_nothing_behind() {
    let Some(redis) = Redis::start() else { return };
    survives(
        &redis,
        |value| assert_eq!(redis.command(&["SET", "key", value]).unwrap(), "OK"),
        || redis.command(&["GET", "key"]).ok(),
    );
    let (folder, pid) = (redis.folder().to_owned(), redis.pid());
    drop(redis);
    assert_gone(&folder, pid);
}

#[test]
fn a_redis_that_restarts_has_loaded_its_data() {
    let Some(redis) = Redis::start() else { return };
    let fill = "for i = 1, 100000 do redis.call('SET', 'key ' .. i, i) end";
    redis.command(&["EVAL", fill, "0"]).unwrap();
    redis.kill();
    redis.restart();
    assert_eq!(redis.command(&["GET", "key 100000"]).unwrap(), "100000");
}

#[test]
fn postgres_survives_and_leaves_nothing_behind() {
    let Some(postgres) = Postgres::start() else {
        return;
    };
    postgres.query("CREATE TABLE t (v TEXT)").unwrap();
    survives(
        &postgres,
        |value| {
            let write = format!("DELETE FROM t; INSERT INTO t VALUES ('{value}')");
            postgres.query(&write).unwrap();
        },
        || Some(postgres.query("SELECT v FROM t").ok()?.remove(0).remove(0)),
    );
    assert_eq!(postgres.query("SHOW fsync").unwrap(), [["on"]]);
    let (folder, pid) = (postgres.folder().to_owned(), postgres.pid());
    drop(postgres);
    assert_gone(&folder, pid);
}

#[test]
fn mariadb_survives_and_leaves_nothing_behind() {
    let Some(mariadb) = Mariadb::start() else {
        return;
    };
    mariadb
        .query("CREATE TABLE t (k INT PRIMARY KEY, v TEXT)")
        .unwrap();
    survives(
        &mariadb,
        |value| {
            let write = format!("REPLACE INTO t VALUES (1, '{value}')");
            mariadb.query(&write).unwrap();
        },
        || Some(mariadb.query("SELECT v FROM t").ok()?.remove(0).remove(0)),
    );
    let (folder, pid) = (mariadb.folder().to_owned(), mariadb.pid());
    drop(mariadb);
    assert_gone(&folder, pid);
}

#[test]
fn a_cluster_serves_every_slot_and_leaves_nothing_behind() {
    let Some(cluster) = RedisCluster::start() else {
        return;
    };
    assert_eq!(cluster.urls().len(), 3);
    let set = |key: &str| {
        let answers = cluster
            .nodes()
            .iter()
            .map(|node| node.command(&["SET", key, "1"]));
        let served = answers.filter(|answer| answer.as_ref().is_ok_and(|text| text == "OK"));
        served.count()
    };
    for number in 0..50 {
        assert_eq!(
            set(&format!("key {number}")),
            1,
            "one node serves key {number}"
        );
    }
    let node = &cluster.nodes()[1];
    node.kill();
    node.restart();
    cluster.wait();
    assert_eq!(set("key 0"), 1);
    let left: Vec<(PathBuf, u32)> = cluster
        .nodes()
        .iter()
        .map(|node| (node.folder().to_owned(), node.pid()))
        .collect();
    drop(cluster);
    for (folder, pid) in left {
        assert_gone(&folder, pid);
    }
}

#[test]
fn redis_speaks_tls_under_the_certificate_it_names() {
    let Some(redis) = Redis::start_tls() else {
        return;
    };
    let address = redis.url().replace("rediss://", "");
    let output = Command::new("openssl")
        .args(["s_client", "-connect", &address, "-verify_return_error"])
        .args(["-verify_ip", "127.0.0.1", "-CAfile"])
        .arg(redis.ca().unwrap())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("Verify return code: 0 (ok)"), "{output:?}");
}

#[test]
fn arguments_reach_the_servers() {
    if let Some(redis) = Redis::start_with(&["--appendfsync", "always"]) {
        let answer = redis.command(&["CONFIG", "GET", "appendfsync"]).unwrap();
        assert_eq!(answer, "appendfsync\nalways");
    }
    if let Some(postgres) = Postgres::start_with(&["-c", "application_name=it's"]) {
        let rows = postgres.query("SHOW application_name").unwrap();
        assert_eq!(rows, [["it's"]]);
    }
    if let Some(mariadb) = Mariadb::start_with(&["--max-connections=11"]) {
        let rows = mariadb.query("SELECT @@max_connections").unwrap();
        assert_eq!(rows, [["11"]]);
    }
}

/// Runs a part of this binary; gives what it says of its server, and itself.
fn child(test: &str, part: &str) -> (Child, Vec<(PathBuf, u32)>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(PART, part)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = Vec::new();
    let mut output = BufReader::new(child.stdout.as_mut().unwrap());
    loop {
        let mut line = String::new();
        assert_ne!(output.read_line(&mut line).unwrap(), 0, "it gets ready");
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["SERVER", pid, folder] => said.push((PathBuf::from(folder), pid.parse().unwrap())),
            ["READY"] => break,
            _ => {}
        }
    }
    (child, said)
}

fn say(server: Option<&Server>) {
    if let Some(server) = server {
        println!("\nSERVER {} {}", server.pid(), server.folder().display());
    }
}

/// Starts one of each, shared and never dropped.
fn start_all() {
    say(cloakroom_servers::redis().map(|server| &**server));
    say(cloakroom_servers::postgres().map(|server| &**server));
    say(cloakroom_servers::mariadb().map(|server| &**server));
    println!("\nREADY");
}

#[test]
fn no_server_survives_a_process_that_is_killed() {
    if std::env::var_os(PART).is_some_and(|part| part == "killed") {
        let paused = Redis::start();
        say(paused.as_deref());
        paused.as_ref().inspect(|redis| redis.pause());
        start_all();
        std::thread::sleep(Duration::from_secs(60));
        return;
    }
    let (mut child, said) = child("no_server_survives_a_process_that_is_killed", "killed");
    for (folder, pid) in &said {
        assert!(runs(*pid) && folder.exists());
    }
    // SIGKILL.
    child.kill().unwrap();
    child.wait().unwrap();
    for (folder, pid) in said {
        eventually("the folder goes", || !folder.exists());
        eventually("the shell ends", || processes_of(&folder).is_empty());
        assert_gone(&folder, pid);
    }
}

#[test]
fn no_server_survives_a_process_that_ends() {
    if std::env::var_os(PART).is_some_and(|part| part == "ends") {
        start_all();
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).unwrap();
        return;
    }
    let (mut child, said) = child("no_server_survives_a_process_that_ends", "ends");
    for (folder, pid) in &said {
        assert!(runs(*pid) && folder.exists());
    }
    drop(child.stdin.take());
    child.wait().unwrap();
    for (folder, pid) in said {
        eventually("the folder goes", || !folder.exists());
        eventually("the shell ends", || processes_of(&folder).is_empty());
        assert_gone(&folder, pid);
    }
}

#[test]
fn a_restart_waits_for_a_port_that_another_holds() {
    let redis = Redis::start();
    let postgres = Postgres::start();
    let mariadb = Mariadb::start();
    let servers: [Option<&Server>; 3] = [redis.as_deref(), postgres.as_deref(), mariadb.as_deref()];
    for server in servers.into_iter().flatten() {
        server.kill();
        let stranger = TcpListener::bind(("127.0.0.1", server.port())).unwrap();
        let held = Duration::from_millis(500);
        let start = Instant::now();
        std::thread::spawn(move || {
            std::thread::sleep(held);
            drop(stranger);
        });
        server.restart();
        assert!(start.elapsed() >= held);
    }
}

#[test]
fn an_absent_server_is_said_loudly_and_is_a_failure_where_changes_are_checked() {
    let name = "an_absent_server_is_said_loudly_and_is_a_failure_where_changes_are_checked";
    if std::env::var_os(PART).is_some_and(|part| part == "absent") {
        assert!(Redis::start().is_none());
        return;
    }
    for (ci, fails) in [("", false), ("false", false), ("true", true)] {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name])
            .env(PART, "absent")
            .env("PATH", "/nowhere")
            .env("CI", ci)
            .output()
            .unwrap();
        assert_eq!(output.status.success(), !fails, "CI={ci}: {output:?}");
        // The harness shows a panic on its stdout, and a skip is written past it.
        let said = if fails {
            &output.stdout
        } else {
            &output.stderr
        };
        let said = String::from_utf8_lossy(said);
        assert!(said.contains("apt-get install redis-server"), "{said}");
        assert_eq!(said.contains("SKIPPED"), !fails, "{said}");
    }
}

#[test]
fn the_tests_of_a_process_share_a_server() {
    let Some(redis) = cloakroom_servers::redis() else {
        return;
    };
    assert_eq!(cloakroom_servers::redis().unwrap().port(), redis.port());
}

#[test]
fn servers_that_start_at_once_get_ports_of_their_own() {
    let starts: Vec<_> = (0..6).map(|_| std::thread::spawn(Redis::start)).collect();
    let servers: Vec<Redis> = starts
        .into_iter()
        .filter_map(|start| start.join().unwrap())
        .collect();
    for (place, redis) in servers.iter().enumerate() {
        let place = place.to_string();
        assert_eq!(redis.command(&["SET", "place", &place]).unwrap(), "OK");
    }
    for (place, redis) in servers.iter().enumerate() {
        assert_eq!(redis.command(&["GET", "place"]).unwrap(), place.to_string());
    }
}

//! What reaches the disk before a write is acknowledged, and in which order:
//! what the first page of each crate says of it, asked of the system by strace.
//!
//! A kill does not show it, since the system keeps what it has been given; only
//! a machine that loses power would.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use cloakroom::Timestamp;
use cloakroom::engine::{SessionKey, TokenStore as _};
use cloakroom::store::{Data, EndReason, Ending, KeyDigest, Record, Revision};
use cloakroom_tests::embedded::Embedded;
use tempfile::TempDir;

const ORDER: &str = "CLOAKROOM_SYSCALLS_ORDER";
const CHILD: &str = "syscalls::the_child_makes_each_write_once";

fn keys() -> [SessionKey; 2] {
    [1, 2].map(|byte| SessionKey::from_bytes([byte; 32]))
}

fn record(revision: u64, bytes: usize) -> Record {
    let mut record = Record::new(Timestamp::from_millis(1), Timestamp::from_millis(1_000));
    record.revision = Revision::from_u64(revision);
    record.data = Data::from_bytes(vec![b'x'; bytes]);
    record
}

/// Too large for sled's log.
const LARGE_BYTES: usize = 200_000;

/// One write after the other, with a mark before each; without an order, nothing.
#[tokio::test]
async fn the_child_makes_each_write_once() {
    let Ok(order) = std::env::var(ORDER) else {
        return;
    };
    let (kind, folder) = order.split_once(' ').unwrap();
    let folder = Path::new(folder);
    let marks = folder.ancestors().nth(2).unwrap().join("marks");
    let mut marks = OpenOptions::new()
        .append(true)
        .create(true)
        .open(marks)
        .unwrap();
    let mut mark = |text: &str| marks.write_all(format!("[{text}]").as_bytes()).unwrap();
    let [old, new] = keys();
    let (old_token, new_token) = (old.to_token(), new.to_token());
    mark("open");
    let store = Embedded::of_scheme(kind).open(folder).await;
    mark("create");
    store.create_token(&old, &record(0, 100)).await.unwrap();
    mark("update");
    store
        .update_token(&old_token, &record(1, 101))
        .await
        .unwrap();
    mark("update large");
    store
        .update_token(&old_token, &record(2, LARGE_BYTES))
        .await
        .unwrap();
    mark("rotate");
    let (moved, until) = (record(3, 102), Timestamp::from_millis(900));
    store
        .rotate_token(&old_token, &new, &moved, until)
        .await
        .unwrap();
    mark("touch");
    let mut later = record(4, 0);
    later.expires_at = Timestamp::from_millis(2_000);
    store.touch_token(&new_token, &later).await.unwrap();
    mark("end");
    let ending = Ending::new(EndReason::LoggedOut, until);
    store.end_token(&new_token, Some(&ending)).await.unwrap();
    mark("delete");
    store.delete_token(&new_token).await.unwrap();
    mark("over");
}

/// A call of the system, from the line of the log where it began to the one
/// where it ended.
#[derive(Clone, Debug)]
struct Call {
    name: String,
    arguments: String,
    begun: usize,
    ended: usize,
}

/// What a child has asked of the system.
struct Trace {
    calls: Vec<Call>,
    /// Where the store's folder or file lies, with no link on the way.
    store_path: PathBuf,
    _folder: TempDir,
}

const TRACED: &str = "trace=openat,mkdir,mkdirat,write,pwrite64,pwritev,writev,fsync,fdatasync,\
                      sync_file_range,ftruncate,flock,rename,renameat,renameat2,link,linkat,\
                      unlink,unlinkat";

fn can_trace() -> bool {
    let traced = Command::new("strace")
        .args(["-qq", "-o", "/dev/null", "true"])
        .status();
    if traced.is_ok_and(|status| status.success()) {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "strace does not run here");
    eprintln!("SKIPPED: the order of system calls can only be seen where strace runs");
    false
}

fn trace(kind: Embedded) -> Option<Trace> {
    if !can_trace() {
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    // Two folders that are not there yet, so that their names must be synced.
    let home = root.join("one/two");
    let log = root.join("strace.log");
    let status = Command::new("strace")
        .args([
            "-f",
            "-y",
            "-qq",
            "-s",
            "32",
            "-e",
            "signal=none",
            "-e",
            TRACED,
            "-o",
        ])
        .arg(&log)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", CHILD, "--nocapture"])
        .env(ORDER, format!("{kind} {}", home.display()))
        .stdout(std::process::Stdio::null())
        .status();
    assert!(status.unwrap().success(), "the child does all it is asked");
    let calls = parse(&std::fs::read_to_string(log).unwrap());
    Some(Trace {
        calls,
        store_path: kind.path_in(&home),
        _folder: folder,
    })
}

fn parse(log: &str) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    let mut unfinished = HashMap::new();
    for (number, line) in log.lines().enumerate() {
        let (thread, rest) = line.split_once(char::is_whitespace).unwrap();
        let rest = rest.trim_start();
        if let Some(resumed) = rest.strip_prefix("<... ") {
            let at: usize = unfinished.remove(thread).unwrap();
            calls[at].ended = number;
            let (_, rest) = resumed.split_once("resumed>").unwrap();
            calls[at].arguments.push_str(rest);
            continue;
        }
        let Some((name, arguments)) = rest.split_once('(') else {
            continue;
        };
        if arguments.ends_with("<unfinished ...>") {
            unfinished.insert(thread, calls.len());
        }
        calls.push(Call {
            name: name.to_owned(),
            arguments: arguments.trim_end_matches("<unfinished ...>").to_owned(),
            begun: number,
            // Until it is seen to have ended.
            ended: match arguments.ends_with("<unfinished ...>") {
                true => usize::MAX,
                false => number,
            },
        });
    }
    calls
}

impl Trace {
    /// The calls between a mark and the next: what the write consisted of when
    /// it was acknowledged.
    fn step(&self, name: &str) -> Vec<Call> {
        let is_mark = |call: &&Call| call.name == "write" && call.arguments.contains("/marks>");
        let mut marks = self.calls.iter().filter(is_mark);
        let quoted = format!("\"[{name}]\"");
        let begin = marks.find(|mark| mark.arguments.contains(&quoted)).unwrap();
        let end = marks.next().unwrap();
        let within = |call: &&Call| call.begun > begin.begun && call.begun < end.begun;
        let calls: Vec<Call> = self.calls.iter().filter(within).cloned().collect();
        calls
            .into_iter()
            // What failed (a name that is not there) has done nothing.
            .filter(|call| call.ended < end.begun && !call.arguments.contains(") = -1 "))
            .collect()
    }

    /// A step in words, one for each call that has to do with the store.
    fn words(&self, step: &str, word: impl Fn(&Call, &str) -> Option<String>) -> Vec<String> {
        let store_path = self.store_path.display().to_string();
        let mut words: Vec<String> = Vec::new();
        let mut last: Option<Call> = None;
        for call in self.step(step) {
            let Some((_, path)) = call.arguments.split_once(&store_path) else {
                continue;
            };
            let Some(word) = word(&call, path) else {
                continue;
            };
            if words.last() != Some(&word) {
                if let Some(last) = &last {
                    let in_turn = last.ended < call.begun;
                    assert!(in_turn, "{step}: {last:?} has not ended at {call:?}");
                }
                words.push(word);
            }
            // Of several that are told as one, the last to end.
            last = last.into_iter().chain([call]).max_by_key(|call| call.ended);
        }
        words
    }

    /// That a folder's entries are synced after a name was made in it.
    fn assert_named(&self, made: &Path) {
        let open = self.step("open");
        let folder = made.parent().unwrap().display();
        let name = format!("\"{}\"", made.display());
        let is_made = |call: &&Call| {
            let makes = call.name.starts_with("mkdir") || call.arguments.contains("O_CREAT");
            makes && call.arguments.contains(&name)
        };
        let made = open
            .iter()
            .find(is_made)
            .unwrap_or_else(|| panic!("{name} is made"));
        let synced = format!("<{folder}>");
        let synced = open.iter().any(|call| {
            let syncs = call.name == "fsync" && call.arguments.contains(&synced);
            syncs && call.begun > made.ended
        });
        assert!(synced, "the name {name} is synced before the store is open");
    }
}

/// The words of the file store: what is done, and to which session's files.
fn file_word(call: &Call, path: &str) -> Option<String> {
    let [old, new] = keys().map(|key| key.digest().to_hex());
    let whose = match path {
        _ if path.starts_with("/v1/locks/") => "lock",
        _ if path.starts_with(&format!("/v1/{}", &old[..2])) => "old",
        _ if path.starts_with(&format!("/v1/{}", &new[..2])) => "new",
        _ => return None,
    };
    let is_staged = path[3..].contains("/.new-");
    let what = match call.name.as_str() {
        "openat" if call.arguments.contains("O_CREAT") => "make",
        "write" => "write",
        "fsync" if is_staged => "sync",
        "fsync" => "sync the folder of",
        "rename" | "renameat" | "renameat2" => "rename over",
        "link" | "linkat" => "link",
        "unlink" | "unlinkat" if is_staged => "unlink the made",
        "unlink" | "unlinkat" => "remove",
        "flock" if call.arguments.contains("LOCK_UN") => "un",
        "flock" => "take",
        _ => return None,
    };
    Some(format!("{what} {whose}"))
}

#[test]
fn a_file_is_synced_before_it_is_named_and_its_folder_before_the_answer() {
    let Some(trace) = trace(Embedded::File) else {
        return;
    };
    let step = |name| trace.words(name, file_word);
    assert_eq!(
        step("create"),
        [
            "make old",
            "write old",
            "sync old",
            "link old",
            "unlink the made old",
            "sync the folder of old",
        ]
    );
    for update in ["update", "update large"] {
        assert_eq!(
            step(update),
            [
                "make old",
                "write old",
                "sync old",
                "take lock",
                "take old",
                "rename over old",
                "un old",
                "un lock",
                "sync the folder of old",
            ]
        );
    }
    assert_eq!(
        step("rotate"),
        [
            "make new",
            "write new",
            "sync new",
            "make old",
            "write old",
            "sync old",
            "take lock",
            "take old",
            "link new",
            "unlink the made new",
            "sync the folder of new",
            "rename over old",
            "un old",
            "un lock",
            "sync the folder of old",
        ]
    );
    assert_eq!(
        step("touch"),
        [
            "make new",
            "write new",
            "sync new",
            "take lock",
            "take new",
            "rename over new",
            "un new",
            "un lock"
        ],
        "its name may be lost, and is not waited for"
    );
    assert_eq!(
        step("end"),
        [
            "take lock",
            "take new",
            "make new",
            "write new",
            "rename over new",
            "un new",
            "un lock",
            "sync the folder of new"
        ],
        "what a tombstone says may be lost, and is not waited for; the end is"
    );
    assert_eq!(
        step("delete"),
        [
            "take lock",
            "take new",
            "remove new",
            "un new",
            "un lock",
            "sync the folder of new"
        ]
    );
    trace.assert_named(&trace.store_path.join("v1/ff"));
    trace.assert_named(&trace.store_path.join("v1"));
    assert_home_is_named(&trace);
}

/// The folders that were made on the way to the store.
fn assert_home_is_named(trace: &Trace) {
    let two = trace.store_path.parent().unwrap();
    trace.assert_named(&trace.store_path);
    trace.assert_named(two);
    trace.assert_named(two.parent().unwrap());
}

fn sled_word(call: &Call, path: &str) -> Option<String> {
    let blob = path.starts_with("/blobs/");
    let word = match call.name.as_str() {
        "write" if blob => "write blob",
        "fsync" if blob => "sync blob",
        "fsync" if path.starts_with("/blobs>") => "sync the folder of blobs",
        "pwrite64" if path.starts_with("/db>") => "write log",
        "fdatasync" if path.starts_with("/db>") => "sync log",
        _ => return None,
    };
    Some(word.to_owned())
}

#[test]
fn sled_s_log_and_blobs_are_synced_before_the_answer() {
    let Some(trace) = trace(Embedded::Sled) else {
        return;
    };
    let step = |name| trace.words(name, sled_word);
    for small in ["create", "update", "rotate", "end", "delete"] {
        assert_eq!(step(small), ["write log", "sync log"], "{small}");
    }
    assert_eq!(
        step("update large"),
        [
            "write blob",
            "write log",
            "sync blob",
            "sync the folder of blobs",
            "sync log",
        ]
    );
    let touch = step("touch");
    assert!(!touch.contains(&"sync log".to_owned()), "{touch:?}");
    let opening = trace.step("open");
    let settings = format!("<{}>", trace.store_path.join("conf").display());
    let syncs = |call: &Call| call.name == "fsync" && call.arguments.contains(&settings);
    assert!(opening.iter().any(syncs), "the settings are synced");
    for name in ["conf", "db", "blobs"] {
        trace.assert_named(&trace.store_path.join(name));
    }
    assert_home_is_named(&trace);
}

fn redb_word(call: &Call, _: &str) -> Option<String> {
    let word = match call.name.as_str() {
        "pwrite64" => "write",
        "fdatasync" | "fsync" => "sync",
        "ftruncate" => "resize",
        _ => return None,
    };
    Some(word.to_owned())
}

#[test]
fn redb_writes_then_syncs_once_before_the_answer() {
    let Some(trace) = trace(Embedded::Redb) else {
        return;
    };
    for name in [
        "create",
        "update",
        "update large",
        "rotate",
        "touch",
        "end",
        "delete",
    ] {
        let words = trace.words(name, redb_word);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        // It may grow before, which is synced too, and may shrink after.
        let words = words.strip_prefix(&["resize", "sync"]).unwrap_or(&words);
        let words = words.strip_suffix(&["resize"]).unwrap_or(words);
        assert_eq!(words, ["write", "sync"], "{name}");
    }
    assert_home_is_named(&trace);
}

fn sqlite_word(call: &Call, path: &str) -> Option<String> {
    let word = match call.name.as_str() {
        "pwrite64" if path.starts_with("-wal>") => "write log",
        "fdatasync" | "fsync" if path.starts_with("-wal>") => "sync log",
        "fdatasync" | "fsync" => "sync another",
        _ => return None,
    };
    Some(word.to_owned())
}

#[test]
fn sqlite_s_log_is_synced_once_before_the_answer() {
    let Some(trace) = trace(Embedded::Sqlite) else {
        return;
    };
    for name in [
        "create",
        "update",
        "update large",
        "rotate",
        "touch",
        "end",
        "delete",
    ] {
        let words = trace.words(name, sqlite_word);
        assert_eq!(words, ["write log", "sync log"], "{name}");
    }
    assert_home_is_named(&trace);
}

#[test]
fn the_two_sessions_of_these_tests_lie_in_different_folders() {
    let [old, new] = keys().map(|key| KeyDigest::as_bytes(&key.digest())[0]);
    assert_ne!(old, new);
}

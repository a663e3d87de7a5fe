//! What is synced before a write is answered, and in which order: asked of the system by
//! strace, since only a machine that loses power would show it.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod common;

use std::collections::HashMap;
use std::path::Path;
use std::process::{Command, Stdio};

use cloakroom_core::Timestamp;
use cloakroom_core::store::{EndReason, Ending, KeyDigest, Record, Revision, SessionStore as _};
use cloakroom_file::FileStore;
use cloakroom_testkit::touch_until;
use common::folder;

const FOLDER: &str = "CLOAKROOM_FILE_SYNCS";
const CHILD: &str = "the_child_makes_each_write_once";
const OLD: KeyDigest = KeyDigest::from_bytes([0xaa; 32]);
const NEW: KeyDigest = KeyDigest::from_bytes([0xbb; 32]);

fn record(revision: u64) -> Record {
    let mut record = Record::new(Timestamp::from_millis(1), Timestamp::from_millis(1_000));
    record.revision = Revision::from_u64(revision);
    record
}

/// Each step ends with a file of its name; without a folder, nothing is done.
#[tokio::test]
async fn the_child_makes_each_write_once() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let folder = Path::new(&folder);
    let store = FileStore::open(folder.join("store")).unwrap();
    let end_of = |step: &str| drop(std::fs::File::create_new(folder.join(step)).unwrap());
    end_of("open");
    store.create(&OLD, &record(0)).await.unwrap();
    end_of("create");
    store.update(&OLD, &record(1)).await.unwrap();
    end_of("update");
    let until = Timestamp::from_millis(900);
    store.rotate(&OLD, &NEW, &record(2), until).await.unwrap();
    end_of("rotate");
    let touch = touch_until(Timestamp::from_millis(2_000));
    store
        .touch(&NEW, Revision::from_u64(3), touch)
        .await
        .unwrap();
    end_of("touch");
    let ending = Ending::new(EndReason::LoggedOut, Timestamp::from_millis(3));
    store.end(&NEW, Some(&ending)).await.unwrap();
    end_of("end");
    store.delete(&NEW).await.unwrap();
    end_of("delete");
}

/// The calls of strace's log, each where it ended. One that another thread interrupted is
/// told in two lines.
fn calls(log: &str) -> Vec<String> {
    let mut begun = HashMap::new();
    let calls = log.lines().filter_map(|line| {
        let (thread, call) = line.split_once(char::is_whitespace)?;
        if let Some((call, _)) = call.split_once("<unfinished") {
            begun.insert(thread, call);
            return None;
        }
        Some(match call.split_once(" resumed>") {
            Some((_, rest)) => format!("{}{rest}", begun.remove(thread)?),
            None => call.to_owned(),
        })
    });
    calls.collect()
}

/// What a call does to a session's file or folder.
fn word(call: &str) -> Option<String> {
    let (name, rest) = call.trim_start().split_once('(')?;
    if rest.contains(") = -1 ") {
        return None;
    }
    let of = |text: &str| match text {
        _ if text.contains("/v1/aa") => Some("old"),
        _ if text.contains("/v1/bb") => Some("new"),
        _ => None,
    };
    let whose = of(rest)?;
    let is_new_file = rest.contains("/.new-");
    let what = match name {
        "fsync" | "fdatasync" if is_new_file => "sync",
        "fsync" | "fdatasync" => "sync the folder of",
        "link" | "linkat" => "link",
        "rename" | "renameat" | "renameat2" => "rename over",
        "unlink" | "unlinkat" if !is_new_file => "remove",
        _ => return None,
    };
    Some(format!("{what} {whose}"))
}

#[test]
fn each_write_is_synced_in_this_order_before_it_is_answered() {
    let folder = folder();
    let log = folder.path().join("strace.log");
    let traced_calls =
        "trace=openat,fsync,fdatasync,rename,renameat,renameat2,link,linkat,unlink,unlinkat";
    let traced = Command::new("strace")
        .args([
            "-f",
            "-y",
            "-qq",
            "-e",
            "signal=none",
            "-e",
            traced_calls,
            "-o",
        ])
        .arg(&log)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", CHILD])
        .env(FOLDER, folder.path())
        .stdout(Stdio::null())
        .status();
    if !traced.is_ok_and(|status| status.success()) {
        assert!(std::env::var_os("CI").is_none(), "strace runs in CI");
        eprintln!("SKIPPED: the order of system calls can only be seen where strace runs");
        return;
    }
    let mut rest = calls(&std::fs::read_to_string(log).unwrap()).into_iter();
    let mut words_of = |step: &str| -> Vec<String> {
        let end = format!("{}/{step}\"", folder.path().display());
        let step = rest.by_ref().take_while(|line| !line.contains(&end));
        step.filter_map(|call| word(&call)).collect()
    };
    words_of("open");
    assert_eq!(
        words_of("create"),
        ["sync old", "link old", "sync the folder of old"]
    );
    assert_eq!(
        words_of("update"),
        ["sync old", "rename over old", "sync the folder of old"]
    );
    assert_eq!(
        words_of("rotate"),
        [
            "sync new",
            "sync old",
            "link new",
            "sync the folder of new",
            "rename over old",
            "sync the folder of old",
        ]
    );
    assert_eq!(words_of("touch"), ["sync new", "rename over new"]);
    // As many syncs as a delete.
    assert_eq!(
        words_of("end"),
        ["rename over new", "sync the folder of new"]
    );
    assert_eq!(words_of("delete"), ["remove new", "sync the folder of new"]);
}

//! A disk that hangs: strace holds up the calls that open two sessions' files.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod common;

use std::path::Path;
use std::process::Command;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use cloakroom_core::ErrorKind;
use cloakroom_core::store::{KeyDigest, SessionStore as _};
use cloakroom_file::FileStore;
use cloakroom_testkit::{key, sample};
use common::{folder, session_path};

const FOLDER: &str = "CLOAKROOM_FILE_SLOW_DISK";
const CHILD: &str = "the_child_loads_from_a_disk_that_hangs";
const HANGING: [KeyDigest; 2] = [
    KeyDigest::from_bytes([0xaa; 32]),
    KeyDigest::from_bytes([0xbb; 32]),
];

/// Longer than a load waits: 10 s.
const HANGS_SECS: u64 = 16;

/// Run under strace by the test below; on its own it does nothing.
#[test]
fn the_child_loads_from_a_disk_that_hangs() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_time().build().unwrap();
    let store = FileStore::open(Path::new(&folder)).unwrap();
    let fast = key().digest();
    runtime.block_on(async {
        for digest in HANGING.iter().chain([&fast]) {
            store.create(digest, &sample("")).await.unwrap();
        }
    });
    let (tell, failed) = channel();
    for digest in HANGING {
        let (store, tell) = (store.clone(), tell.clone());
        runtime.spawn(async move {
            if let Err(error) = store.load(&digest).await {
                let _ = tell.send(error);
            }
        });
    }
    thread::sleep(Duration::from_millis(500));
    let (tell, loaded) = channel();
    let other = store.clone();
    runtime.spawn(async move {
        let _ = tell.send(other.load(&fast).await.unwrap().is_some());
    });
    let is_loaded = loaded.recv_timeout(Duration::from_secs(6));
    assert_eq!(is_loaded, Ok(true), "a thread of the runtime is left");
    let failed = failed.recv_timeout(Duration::from_secs(20));
    let failed = failed.expect("the load that left the runtime has a deadline");
    assert_eq!(failed.kind(), ErrorKind::Unavailable);
    let text = failed.to_string();
    assert!(text.contains("the disk has not answered"), "{text}");
    println!("loaded from a disk that hangs");
}

#[test]
fn loads_that_hang_hold_one_runtime_thread_and_the_others_fail_in_time() {
    let folder = folder();
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=openat"]);
    let delay = format!("inject=openat:delay_enter={}", HANGS_SECS * 1_000_000);
    strace.args(["-e", "signal=none", "-e", &delay]);
    for digest in &HANGING {
        strace.arg("-P").arg(session_path(folder.path(), digest));
    }
    strace.arg(std::env::current_exe().unwrap());
    strace.args(["--exact", CHILD, "--nocapture"]);
    let output = match strace.env(FOLDER, folder.path()).output() {
        Ok(output) => output,
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "strace runs in CI");
            eprintln!("SKIPPED: a disk hangs only where strace runs: {error}");
            return;
        }
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    assert!(text.contains("loaded from a disk that hangs"), "{text}");
}

//! A disk that hangs: files that are named pipes, which open when somebody writes.

#![cfg(unix)]
#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use cloakroom_core::ErrorKind;
use cloakroom_core::store::{KeyDigest, SessionStore as _};
use cloakroom_file::FileStore;
use cloakroom_testkit::{key, sample};
use common::{folder, session_path};

/// A session whose file opens only once it is released.
async fn hanging(store: &FileStore, folder: &Path) -> (KeyDigest, PathBuf) {
    let digest = key().digest();
    store.create(&digest, &sample("")).await.unwrap();
    let path = session_path(folder, &digest);
    fs::remove_file(&path).unwrap();
    let made = Command::new("mkfifo").arg(&path).status();
    assert!(made.unwrap().success());
    (digest, path)
}

#[test]
fn loads_that_hang_hold_one_runtime_thread_and_the_others_fail_in_time() {
    let folder = folder();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_time().build().unwrap();
    let store = FileStore::open(folder.path()).unwrap();
    let fast = key().digest();
    let hanging = runtime.block_on(async {
        store.create(&fast, &sample("fast")).await.unwrap();
        [
            hanging(&store, folder.path()).await,
            hanging(&store, folder.path()).await,
        ]
    });
    let (tell, failed) = channel();
    for (digest, _) in &hanging {
        let (store, digest, tell) = (store.clone(), *digest, tell.clone());
        runtime.spawn(async move {
            let _ = tell.send(store.load(&digest).await.unwrap_err());
        });
    }
    thread::sleep(Duration::from_millis(500));
    let (tell, loaded) = channel();
    let other = store.clone();
    runtime.spawn(async move {
        let _ = tell.send(other.load(&fast).await.unwrap().is_some());
    });
    let is_loaded = loaded.recv_timeout(Duration::from_secs(6));
    let failed = failed.recv_timeout(Duration::from_secs(20));
    for (_, path) in &hanging {
        // Now it opens for whoever waits for it, as an empty file.
        drop(fs::File::options().read(true).write(true).open(path));
    }
    assert_eq!(is_loaded, Ok(true), "a thread of the runtime is left");
    let failed = failed.expect("the load that left the runtime has a deadline");
    assert_eq!(failed.kind(), ErrorKind::Unavailable);
    assert!(
        failed.to_string().contains("the disk has not answered"),
        "{failed}"
    );
}

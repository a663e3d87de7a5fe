//! A process that has no file descriptor left for a moment. A binary of its own, since the
//! limit is the whole process's.

#![cfg(unix)]
#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

use std::fs::File;

use cloakroom_core::ErrorKind;
use cloakroom_core::store::{Close as _, SessionStore as _};
use cloakroom_sled::SledStore;
use cloakroom_testkit::{key, sample};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

fn limit_descriptors(current: Option<u64>) {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current, maximum }).unwrap();
}

/// The disk has not failed, so the next write after that is answered, without a pause.
#[tokio::test]
async fn too_many_open_files_for_a_moment_refuse_the_writes_of_that_moment_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sessions");
    let store = SledStore::open(&path).unwrap();
    let before = key().digest();
    store.create(&before, &sample("")).await.unwrap();

    let usual = getrlimit(Resource::Nofile).current;
    // Descriptors below the limit that are free are used up.
    limit_descriptors(Some(64));
    let mut used = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        used.push(file);
    }
    let error = store.create(&key().digest(), &sample("")).await;
    limit_descriptors(usual);
    drop(used);
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("Too many open files"), "{error}");

    let after = key().digest();
    store.create(&after, &sample("")).await.unwrap();
    store.close().await.unwrap();
    let store = SledStore::open(&path).unwrap();
    for digest in [before, after] {
        assert!(store.load(&digest).await.unwrap().is_some());
    }
}

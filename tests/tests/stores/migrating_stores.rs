//! Moving from one kind of store to another: the contract while it goes on, and an order
//! that explains all answers. `CLOAKROOM_TRIALS` says how often it is tried.

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;

use cloakroom::ErrorKind;
use cloakroom::store::SessionStore;
use cloakroom::stores::{Durability, FileStore, MemoryStore, Migrating, RedbStore};
use cloakroom_testkit::{Profile, Sample, Trial, conformance};
use futures_executor::block_on;

/// What is told to the former store alone, and then to two nodes while each of them copies.
fn tried<A: SessionStore, B: SessionStore>(from: A, to: B, share: u64) {
    let trials = std::env::var("CLOAKROOM_TRIALS").ok();
    let trials: u64 = trials.map_or(400, |text| text.parse().unwrap());
    let (from, to) = (Arc::new(from), Arc::new(to));
    for seed in 0..(trials / share).max(1) {
        let trial = &Trial::new(seed);
        block_on(trial.client(&*from, 12));
        std::thread::scope(|scope| {
            for _ in 0..2 {
                let node = Arc::new(Migrating::new(from.clone(), to.clone()).unwrap());
                for _ in 0..3 {
                    let node = node.clone();
                    scope.spawn(move || block_on(trial.client(&*node, 7)));
                }
                scope.spawn(move || block_on(node.copy(NonZeroU32::MAX)).unwrap());
            }
        });
        trial.check();
    }
}

fn file(folder: &Path) -> FileStore {
    FileStore::open_with(folder.join("f"), Durability::Lazy).unwrap()
}

fn redb(folder: &Path) -> RedbStore {
    RedbStore::open(folder.join("r")).unwrap()
}

#[tokio::test]
async fn the_contract_holds_while_sessions_move() {
    let folder = tempfile::tempdir().unwrap();
    let store = Migrating::new(file(folder.path()), redb(folder.path())).unwrap();
    conformance(&store, &Profile::DURABLE).await;
    let store = Migrating::new(MemoryStore::default(), MemoryStore::default()).unwrap();
    conformance(&store, &Profile::SERVER_SIDE).await;
}

#[test]
fn moving_from_files_to_redb_is_linearizable() {
    let folder = tempfile::tempdir().unwrap();
    tried(file(folder.path()), redb(folder.path()), 8);
}

#[test]
fn moving_from_redb_to_files_is_linearizable() {
    let folder = tempfile::tempdir().unwrap();
    tried(redb(folder.path()), file(folder.path()), 8);
}

#[test]
fn moving_from_memory_to_memory_is_linearizable() {
    tried(MemoryStore::default(), MemoryStore::default(), 1);
}

/// What cannot be read cannot be moved. It stops nothing else, is counted, and is ended
/// where it is ended.
#[tokio::test]
async fn a_damaged_session_is_counted_and_can_be_ended() {
    let folder = tempfile::tempdir().unwrap();
    let from = file(folder.path());
    let [damaged, whole] = [
        Sample::create(&from, "damaged").await,
        Sample::create(&from, "whole").await,
    ];
    let digest = cloakroom::engine::TokenStore::digest_of(&from, &damaged.token).unwrap();
    let name = digest.to_hex();
    let path = folder.path().join("f/v1").join(&name[..2]).join(&name);
    std::fs::write(path, "no frame").unwrap();
    let store = Migrating::new(from, redb(folder.path())).unwrap();
    let copied = store.copy(NonZeroU32::MAX).await.unwrap();
    assert_eq!((copied.moved, copied.unreadable), (1, 1));
    whole.assert_stands(store.to()).await;
    let refused = store.load(&digest).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Corrupt);
    let refused = store.create(&digest, &damaged.record).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Exists);
    store.delete(&digest).await.unwrap();
    assert_eq!(store.load(&digest).await.unwrap(), None);
    assert_eq!(store.copy(NonZeroU32::MAX).await.unwrap().unreadable, 0);
}

//! Eight clients at once on each store that needs no server: some order of their calls
//! explains every answer. `CLOAKROOM_TRIALS` says how often it is tried.

use std::time::Duration;

use cloakroom::AnyStore;
use cloakroom::engine::TokenStore;
use cloakroom::stores::{Cached, Durability, FileStore, MemoryStore, RedbStore, Sealed, SledStore};
use cloakroom_testkit::linearizable;

fn tried<T: TokenStore>(store: &T, share: u64) {
    let trials = std::env::var("CLOAKROOM_TRIALS").ok();
    let trials = trials.map_or(400, |text| text.parse().unwrap());
    linearizable(store, (trials / share).max(1));
}

const HOUR: Duration = Duration::from_secs(3_600);

#[test]
fn memory_is_linearizable() {
    tried(&MemoryStore::default(), 1);
    tried(&AnyStore::new(MemoryStore::default()), 1);
}

#[test]
fn sled_is_linearizable() {
    let folder = tempfile::tempdir().unwrap();
    tried(&SledStore::open(folder.path().join("s")).unwrap(), 8);
}

#[test]
fn redb_is_linearizable() {
    let folder = tempfile::tempdir().unwrap();
    tried(&RedbStore::open(folder.path().join("r")).unwrap(), 8);
}

#[test]
fn files_are_linearizable() {
    let folder = tempfile::tempdir().unwrap();
    let open = |name: &str, durability| {
        FileStore::open_with(folder.path().join(name), durability).unwrap()
    };
    tried(&open("lazy", Durability::Lazy), 4);
    tried(&open("synced", Durability::Synced), 20);
}

#[test]
fn two_stores_on_one_folder_of_files_are_linearizable_together() {
    let folder = tempfile::tempdir().unwrap();
    let open = || FileStore::open_with(folder.path().join("f"), Durability::Lazy).unwrap();
    let stores = [open(), open()];
    for seed in 0..50 {
        let trial = &cloakroom_testkit::Trial::new(seed);
        std::thread::scope(|scope| {
            for client in 0..8 {
                let store = &stores[client % 2];
                scope.spawn(move || futures_executor::block_on(trial.client(store, 6)));
            }
        });
        trial.check();
    }
}

#[test]
fn a_cache_and_a_seal_are_linearizable() {
    tried(&Cached::with_staleness_max(MemoryStore::default(), HOUR), 1);
    let folder = tempfile::tempdir().unwrap();
    let sled = SledStore::open(folder.path().join("s")).unwrap();
    let cached = Cached::with_staleness_max(sled, HOUR);
    tried(&Sealed::new(Cached::with_staleness_max(cached, HOUR)), 8);
}

//! `Sealed` over the stores of this house, and behind the engine.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

use std::path::Path;
use std::sync::Arc;

use cloakroom::{AnyStore, Engine, MemoryStore, Sealed, SledStore, Subject, TokenStore as _};
use cloakroom_testkit::{MapStore, Profile, conformance, key, sample, survives_reopening};
use cloakroom_tests::desk::Desk;

#[tokio::test]
async fn over_memory_it_conforms() {
    let store = || Sealed::new(MemoryStore::default());
    conformance(&store(), &Profile::SERVER_SIDE).await;
    conformance(&AnyStore::new(store()), &Profile::SERVER_SIDE).await;
}

#[tokio::test]
async fn over_sled_it_conforms_and_is_durable() {
    let folder = tempfile::tempdir().unwrap();
    let open = |name: &str| Sealed::new(SledStore::open(folder.path().join(name)).unwrap());
    conformance(&open("one"), &Profile::DURABLE).await;
    conformance(&AnyStore::new(open("two")), &Profile::DURABLE).await;
    survives_reopening(&Profile::DURABLE, async || open("three")).await;
}

fn bytes_below(folder: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => all.extend(bytes_below(&path)),
            false => all.extend(std::fs::read(path).unwrap()),
        }
    }
    all
}

#[tokio::test]
async fn a_byte_search_over_sealed_sled_finds_no_planted_value_and_no_key() {
    let folder = tempfile::tempdir().unwrap();
    let mut keys = Vec::new();
    {
        let store = Sealed::new(SledStore::open(folder.path()).unwrap());
        for _ in 0..200 {
            let key = key();
            let planted = sample("planted: neither clear nor encoded");
            store.create_token(&key, &planted).await.unwrap();
            keys.push(key);
        }
    }
    let all = bytes_below(folder.path());
    let contains = |needle: &[u8]| {
        // Most positions are settled by their first byte.
        let (first, rest) = needle.split_first().unwrap();
        let starts = |at: usize| all.get(at + 1..).is_some_and(|tail| tail.starts_with(rest));
        (0..all.len()).any(|at| all[at] == *first && starts(at))
    };
    assert!(contains(keys[0].digest().as_bytes()), "the search finds");
    assert!(!contains(b"planted:"));
    for key in keys.iter().step_by(20) {
        assert!(!contains(key.expose_bytes()));
        assert!(!contains(key.to_token().expose().as_bytes()));
    }
}

#[tokio::test]
async fn a_sealed_store_serves_the_engine_and_keeps_no_data_in_the_clear() {
    let map = Arc::new(MapStore::default());
    let desk = Desk::with(|_| Engine::builder(Sealed::new(map.clone())));
    desk.visit(async |s| s.insert("n", "planted plaintext").unwrap())
        .await;
    desk.visit(async |s| s.set_subject(Subject::new("7").unwrap()).unwrap())
        .await;
    let mut found: Option<String> = None;
    desk.visit(async |s| found = s.get("n").unwrap()).await;
    assert_eq!(found.as_deref(), Some("planted plaintext"));
    let planted = b"planted plaintext";
    for (_, slot) in map.snapshot() {
        let frame = slot.encode().unwrap();
        assert!(!frame.windows(planted.len()).any(|window| window == planted));
    }
    desk.visit(async |s| s.flush().unwrap()).await;
    assert!(desk.token().is_none());
}

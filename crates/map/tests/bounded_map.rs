//! The map beside a list that does the same plainly, its bounds, and its locks.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

use std::collections::BTreeMap;

use cloakroom_map::{BoundedMap, Digest, Shard};

/// A digest of uniform bytes, as a hash would be.
fn digest(number: u64) -> Digest {
    let mut state = number;
    let mut digest = [0; 32];
    for bytes in digest.chunks_exact_mut(8) {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bytes.copy_from_slice(&(mixed ^ (mixed >> 27)).to_le_bytes());
    }
    digest
}

fn map(capacity_bytes: u64) -> BoundedMap<String> {
    BoundedMap::new(capacity_bytes, |text: &String| {
        size_of::<String>() + text.len()
    })
}

/// What a map must do, from the one unused longest to the one used last.
#[derive(Default)]
struct Model(Vec<(Digest, String)>);

impl Model {
    fn take(&mut self, digest: &Digest) -> Option<String> {
        let at = self.0.iter().position(|(held, _)| held == digest)?;
        Some(self.0.remove(at).1)
    }

    fn get(&mut self, digest: &Digest) -> Option<String> {
        let value = self.take(digest)?;
        self.0.push((*digest, value.clone()));
        Some(value)
    }

    fn bytes(&self, shard: &Shard<String>) -> usize {
        self.0.iter().map(|(_, value)| shard.bytes_of(value)).sum()
    }
}

#[test]
fn it_does_what_a_list_by_last_use_does() {
    let map = map(10_000);
    let mut model = Model::default();
    assert_eq!(map.shards(), 1);
    for step in 0..50_000_u64 {
        let random = u64::from_le_bytes(digest(step)[..8].try_into().unwrap());
        let digest = digest(random % 150);
        let shard = &mut *map.lock(&digest);
        match random >> 60 {
            0..5 => {
                let value = "x".repeat((random >> 32) as usize % 300);
                let inserted = shard.insert(&digest, value.clone());
                assert_eq!(inserted.replaced, model.take(&digest));
                model.0.push((digest, value));
                let mut evicted = Vec::new();
                while model.bytes(shard) > 10_000 {
                    evicted.push(model.0.remove(0));
                }
                assert_eq!(inserted.evicted, evicted);
            }
            5..11 => assert_eq!(shard.get(&digest).cloned(), model.get(&digest)),
            11..13 => assert_eq!(shard.remove(&digest), model.take(&digest)),
            13 => {
                for (digest, value) in shard.remove_some(5, |text| text.len() % 3 == 0) {
                    assert_eq!(value.len() % 3, 0);
                    assert_eq!(model.take(&digest), Some(value));
                }
            }
            14 if random % 500 == 0 => {
                drop(shard.take());
                model.0.clear();
            }
            _ => {
                let held = model.0.iter().find(|(held, _)| *held == digest);
                assert_eq!(shard.peek(&digest), held.map(|(_, value)| value));
            }
        }
        assert_eq!(
            (shard.len(), shard.bytes()),
            (model.0.len(), model.bytes(shard))
        );
    }
    let held = map
        .lock_nth(0)
        .chunk(0)
        .0
        .map(|(digest, value)| (*digest, value.clone()))
        .collect();
    assert_eq!(BTreeMap::from_iter(model.0), held);
}

#[test]
fn a_value_larger_than_all_the_bytes_is_evicted_alone() {
    let map = map(1_000);
    let (large, other) = (digest(1), digest(2));
    let mut shard = map.lock(&large);
    shard.insert(&other, "stays".to_owned());
    shard.insert(&large, "small".to_owned());
    let inserted = shard.insert(&large, "x".repeat(1_000));
    assert_eq!(inserted.replaced.as_deref(), Some("small"));
    assert_eq!(inserted.evicted, [(large, "x".repeat(1_000))]);
    assert_eq!((shard.peek(&large), shard.len()), (None, 1));
}

#[test]
fn shards_hold_equal_parts_of_the_bytes_and_follow_each_other_by_digest() {
    for (mebibytes, shards) in [
        (0, 1),
        (7, 1),
        (8, 2),
        (64, 16),
        (100, 16),
        (1_024, 256),
        (9_999, 256),
    ] {
        let map = map(mebibytes * 1024 * 1024);
        assert_eq!(map.shards(), shards);
        let total = map.lock_nth(0).capacity_bytes() * shards;
        assert_eq!(
            total as u64,
            mebibytes * 1024 * 1024 / shards as u64 * shards as u64
        );
        for number in 0..1_000 {
            let (one, other) = (digest(number), digest(number + 1));
            assert!(map.shard_of(&one) < shards);
            assert!(one > other || map.shard_of(&one) <= map.shard_of(&other));
        }
    }
}

#[test]
fn a_digest_is_found_in_the_same_shard_however_it_is_locked() {
    let map = map(64 * 1024 * 1024);
    for number in 0..1_000 {
        let [one, other] = [digest(2 * number), digest(2 * number + 1)];
        {
            let mut both = map.lock_both(&one, &other);
            both.of(&other).insert(&other, "other".to_owned());
            both.of(&one).insert(&one, "one".to_owned());
        }
        assert_eq!(map.lock(&one).get(&one).unwrap(), "one");
        assert_eq!(map.lock(&other).get(&other).unwrap(), "other");
    }
    assert_eq!(map.len(), 2_000);
    assert_eq!(
        (0..map.shards())
            .map(|n| map.lock_nth(n).len())
            .sum::<usize>(),
        2_000
    );
}

/// What stands from the first chunk to the last is in one of them.
#[test]
fn chunks_hold_all_that_stands_though_others_come_and_go() {
    let map = map(4_000_000);
    let shard = &mut *map.lock_nth(0);
    for number in 0..5_000 {
        shard.insert(&digest(number), number.to_string());
    }
    let (mut found, mut from, mut round) = (Vec::new(), Some(0), 0);
    while let Some(begin) = from {
        let (chunk, next) = shard.chunk(begin);
        found.extend(chunk.filter_map(|(_, value)| value.parse::<u64>().ok()));
        from = next;
        round += 1;
        for number in 0..1_000 {
            // Even ones go and come back, in other nodes.
            shard.remove(&digest(2 * number));
            shard.insert(&digest(2 * number + 1_000_000 * round), "new".to_owned());
        }
    }
    assert!(round > 3, "{round} chunks");
    let standing = (0..5_000).filter(|number| number % 2 == 1 || *number >= 2_000);
    assert!(standing.into_iter().all(|number| found.contains(&number)));
}

/// Threads that move a value to and fro between two digests lose none and do not deadlock.
#[test]
fn threads_that_lock_two_shards_at_once_take_turns() {
    let map = map(64 * 1024 * 1024);
    let digests = [0, 1, 2, 3].map(digest);
    map.lock(&digests[0])
        .insert(&digests[0], "moved".to_owned());
    std::thread::scope(|scope| {
        for thread in 0..4_usize {
            let (map, digests) = (&map, &digests);
            scope.spawn(move || {
                for step in 0..20_000 {
                    let [from, to] = [step + thread, step * 3 + 1].map(|at| digests[at % 4]);
                    let mut both = map.lock_both(&from, &to);
                    if let Some(moved) = both.of(&from).remove(&from) {
                        assert!(both.of(&to).insert(&to, moved).replaced.is_none());
                    }
                }
            });
        }
    });
    assert_eq!(map.len(), 1);
}

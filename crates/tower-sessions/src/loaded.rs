//! The reserved entry: what a session was when it was handed out.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hasher as _};

use cloakroom_core::session::Entries;
use cloakroom_core::store::{Data, KeyDigest, Record, Revision};
use cloakroom_core::{Error, Timestamp};
use foldhash::quality::FixedState;
use serde_json::Value as Json;

/// The name of the entry that a loaded record carries beside the application's. It is
/// neither stored nor sent to a client, so nobody outside the process can make one up.
pub(crate) const RESERVED: &str = "cloakroom/loaded";

/// The numbers before the hashes: nonce, revision, creation, two of the id, and four of its
/// digest.
const HEAD: usize = 9;

/// What the reserved entry of a record says.
#[derive(Debug)]
pub(crate) enum Origin<'a> {
    /// There was a session, and this is what it was.
    Loaded(Loaded<'a>),
    /// The session had moved or just ended: nothing was handed out, and nothing is saved.
    Moved,
}

/// A session as it was when a request loaded or created it.
#[derive(Debug)]
pub(crate) struct Loaded<'a> {
    /// Another one for each record handed out.
    pub(crate) nonce: u64,
    pub(crate) revision: Revision,
    pub(crate) created_at: Timestamp,
    pub(crate) id: i128,
    pub(crate) digest: KeyDigest,
    hashes: &'a [Json],
}

impl<'a> Origin<'a> {
    /// Reads the reserved entry; `None` where a record has none, or one that is none.
    pub(crate) fn read(data: &'a HashMap<String, Json>) -> Option<Self> {
        let numbers = match data.get(RESERVED)? {
            Json::Null => return Some(Self::Moved),
            reserved => reserved.as_array()?,
        };
        let (head, hashes) = numbers.split_at_checked(HEAD)?;
        let id = bytes_of(&head[3..5])?;
        Some(Self::Loaded(Loaded {
            nonce: head[0].as_u64()?,
            revision: Revision::from_u64(head[1].as_u64()?),
            created_at: Timestamp::from_millis(head[2].as_u64()?),
            id: i128::from_le_bytes(id),
            digest: KeyDigest::from_bytes(bytes_of(&head[5..])?),
            hashes,
        }))
    }
}

impl Loaded<'_> {
    /// The entries that were handed out.
    pub(crate) fn hashes(&self) -> Hashes {
        let numbers = self.hashes.iter().filter_map(Json::as_u64);
        Hashes(numbers.map(halves).collect())
    }
}

/// The reserved entry of a record, made while its entries are read.
pub(crate) struct Reserved(Vec<Json>);

impl Reserved {
    pub(crate) fn new(
        nonce: u64,
        (id, digest): (i128, &KeyDigest),
        record: &Record,
        entries: usize,
    ) -> Self {
        let mut numbers = Vec::with_capacity(HEAD + entries);
        let head = [
            nonce,
            record.revision.as_u64(),
            record.created_at.as_millis(),
        ];
        numbers.extend(head.map(Json::from));
        numbers.extend(numbers_of(&id.to_le_bytes()));
        numbers.extend(numbers_of(digest.as_bytes()));
        Self(numbers)
    }

    pub(crate) fn push(&mut self, name: &str, value: &[u8]) {
        let both = u64::from(hash(name.as_bytes())) << 32 | u64::from(hash(value));
        self.0.push(Json::from(both));
    }

    pub(crate) fn put_into(self, data: &mut HashMap<String, Json>) {
        data.insert(RESERVED.to_owned(), Json::Array(self.0));
    }
}

/// The entries that a request has seen, by the hashes of their names and encoded values.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hashes(HashMap<u32, u32>);

impl Hashes {
    pub(crate) fn of(entries: &Entries) -> Self {
        let pairs = entries.iter();
        Self(
            pairs
                .map(|(name, value)| (hash(name.as_bytes()), hash(value)))
                .collect(),
        )
    }

    /// What a request has done to the entries that it saw, where `now` is what it wants
    /// saved.
    pub(crate) fn difference(self, now: Data) -> Result<Difference, Error> {
        let now = Entries::open(now)?;
        let seen = |name: &str| self.0.get(&hash(name.as_bytes()));
        let changed = now.iter();
        let changed = changed.filter(|(name, value)| seen(name) != Some(&hash(value)));
        Ok(Difference {
            set: changed.map(|(name, _)| name.to_owned()).collect(),
            seen: self,
        })
    }
}

/// The entries that a request has set or removed.
#[derive(Debug)]
pub(crate) struct Difference {
    set: Vec<String>,
    seen: Hashes,
}

impl Difference {
    /// Does the same to other entries. `wanted` is what the request wants saved.
    pub(crate) fn replay(
        &self,
        wanted: &HashMap<String, Json>,
        mut onto: HashMap<String, Json>,
    ) -> HashMap<String, Json> {
        let was_removed = |name: &str| {
            !wanted.contains_key(name) && self.seen.0.contains_key(&hash(name.as_bytes()))
        };
        onto.retain(|name, _| !was_removed(name));
        for name in &self.set {
            if let Some(value) = wanted.get(name) {
                onto.insert(name.clone(), value.clone());
            }
        }
        onto
    }
}

/// A client who makes two values collide gains nothing but a change of their own that is
/// lost, where another request of theirs was faster.
fn hash(bytes: &[u8]) -> u32 {
    let mut hasher = FixedState::default().build_hasher();
    hasher.write(bytes);
    low(hasher.finish())
}

/// Bytes as numbers of eight each.
fn numbers_of(bytes: &[u8]) -> impl Iterator<Item = Json> {
    bytes.chunks_exact(8).map(|chunk| {
        let mut number = [0; 8];
        number.copy_from_slice(chunk);
        Json::from(u64::from_le_bytes(number))
    })
}

fn bytes_of<const N: usize>(numbers: &[Json]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    for (chunk, number) in bytes.chunks_exact_mut(8).zip(numbers) {
        chunk.copy_from_slice(&number.as_u64()?.to_le_bytes());
    }
    Some(bytes)
}

/// The hashes of a name and of a value.
fn halves(both: u64) -> (u32, u32) {
    (low(both >> 32), low(both))
}

fn low(number: u64) -> u32 {
    u32::try_from(number & u64::from(u32::MAX)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use cloakroom_core::session::Limits;
    use serde_json::json;

    use super::*;

    fn entries(data: &Json) -> (Data, HashMap<String, Json>) {
        let map = data.as_object().unwrap().clone();
        let laid = Data::from_values(&map, &Limits::default()).unwrap();
        (laid, map.into_iter().collect())
    }

    #[test]
    fn the_reserved_entry_reads_back_and_nothing_else_does() {
        let (data, mut map) = entries(&json!({"a": 1, "b": [true]}));
        let mut record = Record::new(Timestamp::from_millis(5), Timestamp::MAX);
        record.revision = Revision::from_u64(u64::MAX);
        let digest = KeyDigest::from_bytes(std::array::from_fn(|i| u8::try_from(i).unwrap()));
        for id in [0, 7, -1, i128::MIN, 1 << 64] {
            let mut reserved = Reserved::new(9, (id, &digest), &record, 2);
            for (name, value) in Entries::open(data.clone()).unwrap().iter() {
                reserved.push(name, value);
            }
            reserved.put_into(&mut map);
            let Some(Origin::Loaded(loaded)) = Origin::read(&map) else {
                panic!("{map:?}");
            };
            assert_eq!((loaded.nonce, loaded.id, loaded.digest), (9, id, digest));
            assert_eq!(loaded.revision, record.revision);
            assert_eq!(loaded.created_at, record.created_at);
            let unchanged = loaded.hashes().difference(data.clone()).unwrap();
            assert!(unchanged.set.is_empty());
        }
        map.insert(RESERVED.into(), json!(null));
        assert!(matches!(Origin::read(&map), Some(Origin::Moved)));
        for other in [json!(1), json!("x"), json!([1, 2, 3]), json!(vec![-1; 9])] {
            map.insert(RESERVED.into(), other);
            assert!(Origin::read(&map).is_none());
        }
    }

    #[test]
    fn a_difference_sets_and_removes_what_was_changed_and_no_more() {
        let (loaded, _) = entries(&json!({"kept": 1, "changed": 1, "removed": 1, "same": 1}));
        let (wanted, wanted_map) =
            entries(&json!({"kept": 1, "changed": 2, "added": 1, "same": 1}));
        let (_, theirs) = entries(&json!({"kept": 9, "changed": 9, "removed": 9, "new": 9}));
        let hashes = Hashes::of(&Entries::open(loaded).unwrap());
        let replayed = hashes
            .difference(wanted)
            .unwrap()
            .replay(&wanted_map, theirs);
        let (_, expected) = entries(&json!({"kept": 9, "changed": 2, "added": 1, "new": 9}));
        assert_eq!(replayed, expected);
    }
}

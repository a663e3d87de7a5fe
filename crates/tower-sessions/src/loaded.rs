//! The reserved entry: what a session was when it was handed out.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use cloakroom_core::Timestamp;
use cloakroom_core::session::Entries;
use cloakroom_core::store::{Data, KeyDigest, Record, Revision};
use serde_json::Value as Json;

/// The name of the entry that a loaded record carries beside the application's. It is
/// neither stored nor sent to a client, so nobody outside the process can make one up.
pub(crate) const RESERVED: &str = "cloakroom/loaded";

/// The numbers before the hashes: nonce, revision, creation, and four of the digest.
const HEAD: usize = 7;

/// What the reserved entry of a record says.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    /// There was a session, and this is what it was.
    Loaded(Loaded),
    /// The session had moved or just ended: nothing was handed out, and nothing is saved.
    Moved,
}

/// A session as it was when a request loaded, created or last saved it.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    /// Another one for each record handed out.
    pub(crate) nonce: u64,
    pub(crate) revision: Revision,
    pub(crate) created_at: Timestamp,
    pub(crate) digest: KeyDigest,
    pub(crate) hashes: Hashes,
}

impl Origin {
    /// Reads the reserved entry; `None` where a record has none, or one that is none.
    pub(crate) fn read(data: &HashMap<String, Json>) -> Option<Self> {
        let numbers = match data.get(RESERVED)? {
            Json::Null => return Some(Self::Moved),
            reserved => reserved.as_array()?,
        };
        let (head, hashes) = numbers.split_at_checked(HEAD)?;
        let mut digest = [0; KeyDigest::BYTES];
        for (bytes, number) in digest.chunks_exact_mut(8).zip(&head[3..]) {
            bytes.copy_from_slice(&number.as_u64()?.to_le_bytes());
        }
        let pairs = hashes.chunks_exact(2);
        let pairs = pairs.map(|pair| Some((pair[0].as_u64()?, pair[1].as_u64()?)));
        Some(Self::Loaded(Loaded {
            nonce: head[0].as_u64()?,
            revision: Revision::from_u64(head[1].as_u64()?),
            created_at: Timestamp::from_millis(head[2].as_u64()?),
            digest: KeyDigest::from_bytes(digest),
            hashes: Hashes(pairs.collect::<Option<_>>()?),
        }))
    }

    /// The reserved entry of a record that stands at a digest.
    pub(crate) fn entry(nonce: u64, digest: &KeyDigest, record: &Record, of: &Entries) -> Json {
        let mut numbers = Vec::with_capacity(HEAD + 2 * of.len());
        let head = [
            nonce,
            record.revision.as_u64(),
            record.created_at.as_millis(),
        ];
        numbers.extend(head.map(Json::from));
        for bytes in digest.as_bytes().chunks_exact(8) {
            let mut number = [0; 8];
            number.copy_from_slice(bytes);
            numbers.push(Json::from(u64::from_le_bytes(number)));
        }
        for (name, value) in of.iter() {
            numbers.push(Json::from(hash(name.as_bytes())));
            numbers.push(Json::from(hash(value)));
        }
        Json::Array(numbers)
    }
}

/// The entries that a request has seen, by the hashes of their names and encoded values.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hashes(HashMap<u64, u64>);

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
    /// saved: the names to set, and a judge of those to remove.
    pub(crate) fn difference(&self, now: Data) -> Result<Difference, cloakroom_core::Error> {
        let now = Entries::open(now)?;
        let seen = |name: &str| self.0.get(&hash(name.as_bytes()));
        let changed = now.iter();
        let changed = changed.filter(|(name, value)| seen(name) != Some(&hash(value)));
        Ok(Difference {
            set: changed.map(|(name, _)| name.to_owned()).collect(),
            seen: self.clone(),
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

/// Two values of one hash are taken for one value: 64 bits are enough where a client who
/// makes two collide gains nothing but a change of their own that is lost.
fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
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
        let digest = KeyDigest::from_bytes(std::array::from_fn(|i| u8::try_from(i).unwrap()));
        let mut record = Record::new(Timestamp::from_millis(5), Timestamp::MAX);
        record.revision = Revision::from_u64(u64::MAX);
        let opened = Entries::open(data.clone()).unwrap();
        map.insert(RESERVED.into(), Origin::entry(9, &digest, &record, &opened));
        let Some(Origin::Loaded(loaded)) = Origin::read(&map) else {
            panic!("{map:?}");
        };
        assert_eq!((loaded.nonce, loaded.digest), (9, digest));
        assert_eq!(loaded.revision, record.revision);
        assert_eq!(loaded.created_at, record.created_at);
        assert!(loaded.hashes.difference(data).unwrap().set.is_empty());
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

//! One shard: a hash index into nodes, and the order of their last use.

use std::fmt;

use hashbrown::HashTable;
use slab::Slab;

use crate::Digest;
use crate::order::{self, Order};

/// What the index takes for each value: a position of 4 bytes and a byte of control, in a
/// table that is some six tenths full.
const INDEX_BYTES: usize = 8;

/// How many nodes [`Shard::chunk`] looks at: some 10 µs.
const CHUNK_NODES: usize = 1_024;

/// A part of a map. It is reached through its lock.
pub struct Shard<V> {
    /// Positions of nodes.
    index: HashTable<u32>,
    nodes: Slab<Node<V>>,
    order: Order,
    bytes: usize,
    capacity: usize,
    value_bytes: fn(&V) -> usize,
    /// The position that [`remove_some`](Self::remove_some) looks at next.
    cursor: usize,
}

struct Node<V> {
    digest: Digest,
    value: V,
}

/// What has left a shard because of an insert.
#[derive(Debug)]
pub struct Inserted<V> {
    /// What stood at the digest before.
    pub replaced: Option<V>,
    /// What was evicted to make room, those unused longest.
    pub evicted: Vec<(Digest, V)>,
}

impl<V> fmt::Debug for Shard<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shard")
            .field("values", &self.len())
            .field("bytes", &self.bytes)
            .field("capacity_bytes", &self.capacity)
            .finish_non_exhaustive()
    }
}

/// A digest is uniform, so any of its bytes will do; the first choose the shard.
fn hash(digest: &Digest) -> u64 {
    let [.., a, b, c, d, e, f, g, h] = *digest;
    u64::from_ne_bytes([a, b, c, d, e, f, g, h])
}

impl<V> Shard<V> {
    pub(crate) fn new(capacity: usize, value_bytes: fn(&V) -> usize) -> Self {
        Self {
            index: HashTable::new(),
            nodes: Slab::new(),
            order: Order::new(),
            bytes: 0,
            capacity,
            value_bytes,
            cursor: 0,
        }
    }

    /// How many values it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Bytes in use, bookkeeping included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes that it may use.
    #[must_use]
    pub fn capacity_bytes(&self) -> usize {
        self.capacity
    }

    /// Bytes that a value takes here, bookkeeping included.
    #[must_use]
    pub fn bytes_of(&self, value: &V) -> usize {
        let own = size_of::<Node<V>>() - size_of::<V>() + INDEX_BYTES + order::BYTES;
        own + (self.value_bytes)(value)
    }

    /// The value at a digest. This is a use of it.
    pub fn get(&mut self, digest: &Digest) -> Option<&V> {
        let position = self.position(digest)?;
        self.order.renew(position);
        Some(&self.nodes[position as usize].value)
    }

    /// The value at a digest. This is no use of it.
    #[must_use]
    pub fn peek(&self, digest: &Digest) -> Option<&V> {
        Some(&self.nodes[self.position(digest)? as usize].value)
    }

    /// Puts a value at a digest of this shard, and evicts others where there is no room.
    ///
    /// A value that is larger than [all its bytes](Self::capacity_bytes) is evicted itself,
    /// alone and at once.
    pub fn insert(&mut self, digest: &Digest, value: V) -> Inserted<V> {
        let bytes = self.bytes_of(&value);
        let Some(room) = self.capacity.checked_sub(bytes) else {
            return Inserted {
                replaced: self.remove(digest),
                evicted: vec![(*digest, value)],
            };
        };
        let replaced = match self.position(digest) {
            Some(position) => {
                self.order.renew(position);
                let node = &mut self.nodes[position as usize];
                Some(std::mem::replace(&mut node.value, value))
            }
            None => {
                self.insert_new(digest, value);
                None
            }
        };
        self.bytes -= replaced
            .as_ref()
            .map_or(0, |replaced| self.bytes_of(replaced));
        let mut evicted = Vec::new();
        // What was inserted is the last in order, and its bytes do not count yet.
        while self.bytes > room
            && let Some(position) = self.order.first()
        {
            evicted.push(self.remove_at(position));
        }
        self.bytes += bytes;
        Inserted { replaced, evicted }
    }

    /// Makes the value at a digest the one that is evicted next, however lately it was used.
    pub fn evict_next(&mut self, digest: &Digest) {
        if let Some(position) = self.position(digest) {
            self.order.make_first(position);
        }
    }

    /// Takes the value at a digest out.
    pub fn remove(&mut self, digest: &Digest) -> Option<V> {
        let position = self.position(digest)?;
        let (_, value) = self.remove_at(position);
        Some(value)
    }

    /// Takes all values out. To drop what it answers frees them, and what was allocated for
    /// them: do so without the lock, since there may be many.
    #[must_use = "it is freed where it is dropped"]
    pub fn take(&mut self) -> Self {
        let empty = Self::new(self.capacity, self.value_bytes);
        std::mem::replace(self, empty)
    }

    /// Looks at the next few values in turn, and takes out those of which this is true. Who
    /// calls it for each value that is added need not go through all of them.
    pub fn remove_some(
        &mut self,
        looks: usize,
        mut is_removed: impl FnMut(&V) -> bool,
    ) -> Vec<(Digest, V)> {
        let mut removed = Vec::new();
        for _ in 0..looks {
            let position = self.cursor;
            self.cursor = match position + 1 {
                next if next < self.order.positions() => next,
                _ => 0,
            };
            let node = self.nodes.get(position);
            if node.is_some_and(|node| is_removed(&node.value)) {
                removed.push(self.remove_at(position as u32));
            }
        }
        removed
    }

    /// Some of the values, and where the next ones are; what stands from the first call to
    /// the last is among them, though others come and go between the calls. This is no use
    /// of them. Begin at 0.
    pub fn chunk(&self, from: usize) -> (impl Iterator<Item = (&Digest, &V)>, Option<usize>) {
        let end = from.saturating_add(CHUNK_NODES);
        let positions = self.order.positions();
        let nodes = (from..end.min(positions)).filter_map(|at| self.nodes.get(at));
        let values = nodes.map(|node| (&node.digest, &node.value));
        (values, (end < positions).then_some(end))
    }

    fn position(&self, digest: &Digest) -> Option<u32> {
        let is_meant = |position: &u32| self.nodes[*position as usize].digest == *digest;
        self.index.find(hash(digest), is_meant).copied()
    }

    fn insert_new(&mut self, digest: &Digest, value: V) {
        let digest = *digest;
        let position = self.nodes.insert(Node { digest, value });
        let position = u32::try_from(position).expect("2^32 nodes do not fit into memory");
        let nodes = &self.nodes;
        let hash_at = |position: &u32| hash(&nodes[*position as usize].digest);
        self.index.insert_unique(hash(&digest), position, hash_at);
        self.order.insert(position);
    }

    fn remove_at(&mut self, position: u32) -> (Digest, V) {
        let Node { digest, value } = self.nodes.remove(position as usize);
        let indexed = self.index.find_entry(hash(&digest), |at| *at == position);
        if let Ok(indexed) = indexed {
            indexed.remove();
        }
        self.order.remove(position);
        self.bytes -= self.bytes_of(&value);
        (digest, value)
    }
}

//! Removing what is due before the store forgets it by itself.

use cloakroom_core::store::{BoxFuture, KeyDigest, Stored, Sweep, Swept};
use cloakroom_core::{Error, Timestamp};

use crate::MemoryStore;

/// Entries that a step of a sweep looks at, of each shard of the index.
const LOOKS_PER_SWEEP: usize = 256;

impl Sweep for MemoryStore {
    /// Walks over all sessions; the store forgets expired ones by itself, so
    /// nothing depends on this being called.
    fn sweep(&self, now: Timestamp, max: usize) -> BoxFuture<'_, Result<Swept, Error>> {
        Box::pin(async move {
            let map = &self.inner.map;
            let is_due = |stored: &Stored| stored.expires_at() <= now;
            let due: Vec<KeyDigest> = map
                .iter()
                .filter(|(_, stored)| is_due(stored))
                .take(max.saturating_add(1))
                .map(|(digest, _)| *digest)
                .collect();
            let mut swept = Swept::new(0, due.len() > max);
            for digest in due.iter().take(max) {
                let _turn = self.inner.lock(digest);
                if let Some(stored) = map.get(digest).filter(|stored| is_due(stored)) {
                    self.inner.remove(digest, &stored);
                    swept.removed += 1;
                }
            }
            self.inner
                .tidy(&self.inner.index.next_of_all(LOOKS_PER_SWEEP));
            Ok(swept)
        })
    }
}

//! Sweeping what is due, and the orphans of the index.

use cloakroom_core::store::{BoxFuture, Stored, Sweep, Swept};
use cloakroom_core::{Error, Timestamp};

use crate::MemoryStore;
use crate::yields::{LOOKS_PER_TURN, yield_now};

/// Entries of each shard of the index that one step of a sweep checks.
const CHECKS_PER_SWEEP: usize = 256;

impl Sweep for MemoryStore {
    /// Reads all sessions. Expired ones are dropped without it too, so nothing depends on
    /// its being called.
    fn sweep(&self, now: Timestamp, max: usize) -> BoxFuture<'_, Result<Swept, Error>> {
        Box::pin(async move {
            let map = &self.inner.map;
            let is_due = |stored: &Stored| stored.expires_at() <= now;
            let mut swept = Swept::default();
            for (looks, (digest, stored)) in map.iter().enumerate() {
                if looks % LOOKS_PER_TURN == LOOKS_PER_TURN - 1 {
                    yield_now().await;
                }
                if !is_due(&stored) {
                    continue;
                }
                if swept.removed == max {
                    swept.more = true;
                    break;
                }
                let digest = *digest;
                let _turn = self.inner.lock(&digest);
                if let Some(stored) = map.get(&digest).filter(|stored| is_due(stored)) {
                    self.inner.remove(&digest, &stored);
                    swept.removed += 1;
                }
            }
            let entries = self.inner.index.next_to_check_of_all(CHECKS_PER_SWEEP);
            self.inner.remove_orphans(&entries);
            Ok(swept)
        })
    }
}

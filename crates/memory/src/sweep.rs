//! Sweeping what is due.

use cloakroom_core::Error;
use cloakroom_core::Timestamp;
use cloakroom_core::store::{BoxFuture, KeyDigest, Sweep, Swept};

use crate::MemoryStore;
use crate::yields::yield_now;

impl Sweep for MemoryStore {
    /// Looks at all sessions. Expired ones become tombstones without it too, so nothing
    /// depends on its being called.
    fn sweep(&self, now: Timestamp, max: usize) -> BoxFuture<'_, Result<Swept, Error>> {
        Box::pin(async move {
            let mut swept = Swept::default();
            for number in 0..self.inner.map.shards() {
                let mut from = Some(0);
                while let Some(begin) = from {
                    from = {
                        let shard = &mut *self.inner.map.lock_nth(number);
                        let (chunk, next) = shard.chunk(begin);
                        let due = chunk.filter(|(_, stored)| stored.expires_at() <= now);
                        // One more than may go says that there are more.
                        let due = due.take((max - swept.removed).saturating_add(1));
                        let due = due.map(|(digest, stored)| {
                            let digest = KeyDigest::from_bytes(*digest);
                            (digest, stored.swept(now))
                        });
                        for (digest, left) in due.collect::<Vec<_>>() {
                            if swept.removed == max {
                                swept.more = true;
                                return Ok(swept);
                            }
                            self.inner.remove(shard, &digest);
                            self.inner.remember(shard, digest.as_bytes(), left);
                            swept.removed += 1;
                        }
                        next
                    };
                    yield_now().await;
                }
            }
            Ok(swept)
        })
    }
}

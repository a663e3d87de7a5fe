//! A scan of all sessions, in the order of digests.

use std::collections::BTreeMap;

use cloakroom_core::Error;
use cloakroom_core::store::{
    BoxFuture, KeyDigest, SCAN_PAGE_ITEMS_MAX, Scan, ScanCursor, ScanPage, Scanned,
};

use crate::yields::yield_now;
use crate::{MemoryStore, NAME};

impl Scan for MemoryStore {
    /// Goes through the shards from the cursor's on, whose sessions are in no order, until
    /// one of them has completed the page.
    fn scan<'a>(
        &'a self,
        from: Option<&'a ScanCursor>,
        max: usize,
    ) -> BoxFuture<'a, Result<ScanPage, Error>> {
        Box::pin(async move {
            let from = from.map(ScanCursor::digest).transpose();
            let from = from.map_err(|error| error.in_store(NAME))?;
            let max = max.clamp(1, SCAN_PAGE_ITEMS_MAX);
            let begin = from.map_or(0, |from| self.inner.map.shard_of(from.as_bytes()));
            let mut first = BTreeMap::new();
            for number in begin..self.inner.map.shards() {
                if first.len() == max {
                    break;
                }
                let mut chunk_at = Some(0);
                while let Some(at) = chunk_at {
                    chunk_at = {
                        let shard = self.inner.map.lock_nth(number);
                        let (chunk, next) = shard.chunk(at);
                        for (digest, stored) in chunk {
                            let digest = KeyDigest::from_bytes(*digest);
                            if Some(digest) > from {
                                first.insert(digest, stored.clone());
                                if first.len() > max {
                                    first.pop_last();
                                }
                            }
                        }
                        next
                    };
                    yield_now().await;
                }
            }
            let found = first
                .into_iter()
                .map(|(digest, stored)| Ok(Scanned::new(digest, Ok(stored))));
            ScanPage::fill(found, max)
        })
    }
}

//! A scan of all sessions, in the order of digests.

use std::collections::BTreeMap;

use cloakroom_core::Error;
use cloakroom_core::store::{BoxFuture, SCAN_PAGE_ITEMS_MAX, Scan, ScanCursor, ScanPage, Scanned};

use crate::yields::{LOOKS_PER_TURN, yield_now};
use crate::{MemoryStore, NAME};

impl Scan for MemoryStore {
    /// Walks over all sessions for each page, and keeps the first that follow the
    /// cursor.
    fn scan<'a>(
        &'a self,
        from: Option<&'a ScanCursor>,
        max: usize,
    ) -> BoxFuture<'a, Result<ScanPage, Error>> {
        Box::pin(async move {
            let from = from.map(ScanCursor::digest).transpose();
            let from = from.map_err(|error| error.in_store(NAME))?;
            let max = max.clamp(1, SCAN_PAGE_ITEMS_MAX);
            let mut first = BTreeMap::new();
            for (looks, (digest, stored)) in self.inner.map.iter().enumerate() {
                if looks % LOOKS_PER_TURN == LOOKS_PER_TURN - 1 {
                    yield_now().await;
                }
                if Some(*digest) > from {
                    first.insert(*digest, stored);
                    if first.len() > max {
                        first.pop_last();
                    }
                }
            }
            let found = first
                .into_iter()
                .map(|(digest, stored)| Ok(Scanned::new(digest, Ok((*stored).clone()))));
            ScanPage::fill(found, max)
        })
    }
}

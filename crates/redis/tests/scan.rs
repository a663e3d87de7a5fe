//! Walking over many sessions, and over large ones.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod common;

use std::collections::BTreeSet;

use cloakroom_core::store::{Data, SCAN_PAGE_BYTES_MAX, Scan as _, SessionStore as _, Stored};
use cloakroom_testkit::{key, sample};

const RECORD_BYTES: usize = 60 * 1024;

#[tokio::test]
async fn a_page_of_large_sessions_ends_by_its_bytes_and_none_is_missed() {
    for setup in common::both().await {
        let store = &setup.store;
        let mut kept = BTreeSet::new();
        for number in 0..300 {
            let mut record = sample("text");
            record.subject = None;
            if number % 3 > 0 {
                record.data = Data::from_bytes(vec![7; RECORD_BYTES]);
            }
            let digest = key().digest();
            store.create(&digest, &record).await.unwrap();
            kept.insert(digest);
        }
        let (mut found, mut from) = (BTreeSet::new(), None);
        loop {
            let page = store.scan(from.as_ref(), 1_000).await.unwrap();
            let mut bytes = 0;
            for item in page.items {
                bytes += item.stored.as_ref().map_or(0, Stored::memory_bytes);
                found.insert(item.digest);
            }
            assert!(bytes < 2 * SCAN_PAGE_BYTES_MAX, "{bytes} bytes");
            from = page.next;
            if from.is_none() {
                break;
            }
        }
        assert_eq!(found, kept);
    }
}

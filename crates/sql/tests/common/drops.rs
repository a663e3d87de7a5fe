//! Futures that are dropped half way.

use cloakroom_core::store::{Revision, SessionStore as _};
use cloakroom_sql::SqlStore;
use cloakroom_testkit::{key, sample};

use super::later;

/// Drops a future after so many polls.
async fn abandon(future: impl Future, polls: u64) {
    let mut future = std::pin::pin!(future);
    for _ in 0..polls {
        let is_done = std::future::poll_fn(|context| {
            std::task::Poll::Ready(future.as_mut().poll(context).is_ready())
        });
        if is_done.await {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// Futures dropped at every moment of their statements: whoever comes next on that
/// connection gets the answer to what it asked.
pub(crate) async fn answers_what_was_asked_after_a_drop(store: &SqlStore) {
    let mut records = Vec::new();
    for number in 0..4 {
        let digest = key().digest();
        let mut record = sample(&format!("session {number}"));
        record.revision = store.create(&digest, &record).await.unwrap();
        records.push((digest, record));
    }
    for round in 0..60_u64 {
        let polls = round % 12;
        let (digest, record) = &records[(round % 3) as usize];
        let new = key().digest();
        abandon(store.load(digest), polls).await;
        let stale = record.at_revision(Revision::from_u64(99));
        abandon(store.rotate(digest, &new, &stale, later(60)), polls).await;
        abandon(store.update(digest, &stale), polls).await;
        abandon(store.create(&new, record), polls).await;
        for (digest, record) in &records {
            let found = store.load(digest).await.unwrap().unwrap();
            assert_eq!(found.into_record().as_ref(), Some(record));
        }
        assert!(store.load(&key().digest()).await.unwrap().is_none());
    }
}

/// The same in the middle of preparing a statement, on a connection that is new.
pub(crate) async fn answers_what_was_asked_after_a_drop_at_first(open: impl AsyncFn() -> SqlStore) {
    let (digest, mut record) = (key().digest(), sample("stands"));
    record.revision = open().await.create(&digest, &record).await.unwrap();
    for round in 0..40_u64 {
        let store = open().await;
        let polls = round % 12;
        abandon(store.load(&digest), polls).await;
        for _ in 0..3 {
            let found = store.load(&digest).await.unwrap().unwrap();
            assert_eq!(found.into_record().as_ref(), Some(&record));
        }
    }
}

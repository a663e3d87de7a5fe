//! The clauses of [`Sweep`](cloakroom_core::store::Sweep), one function each.
//!
//! Each takes a store that offers the capability. Deadlines lie in the future of the
//! real clock, and the sweep is told a later time: so stores that expire records by the
//! clock hold them until then.
//!
//! # Panics
//! Every function panics where its clause does not hold.

use cloakroom_core::engine::TokenStore;
use cloakroom_core::store::Swept;
use cloakroom_core::{ErrorKind, Timestamp};

use crate::sample::{Sample, after, key, load, stored};

/// A minute after a sample expires.
fn later(sample: &Sample) -> Timestamp {
    after(sample.record.expires_at, 60)
}

async fn sweep<T: TokenStore>(store: &T, now: Timestamp, max: usize) -> Swept {
    let capabilities = store.token_capabilities();
    let sweep = capabilities.sweep.expect("asked only of stores that sweep");
    sweep.sweep(now, max).await.expect("the store answers")
}

async fn sweep_all<T: TokenStore>(store: &T, now: Timestamp) {
    while sweep(store, now, 100).await.more {}
}

/// A sweep removes a session whose deadline is past, the deadline itself included, and
/// no other.
pub async fn a_sweep_removes_what_is_due_and_nothing_else<T: TokenStore>(store: &T) {
    let due = Sample::create(store, "due").await;
    let mut live = Sample::create(store, "live").await;
    live.record.expires_at = after(due.record.expires_at, 600);
    store
        .touch_token(&live.token, &live.record)
        .await
        .expect("touched");
    sweep_all(store, due.record.created_at).await;
    due.assert_stands(store).await;
    // The deadline itself is past.
    sweep_all(store, due.record.expires_at).await;
    assert!(load(store, &due.token).await.is_none());
    live.assert_stands(store).await;
    store.delete_token(&live.token).await.expect("deleted");
}

/// Rotation marks are swept like records, at their own deadline.
pub async fn a_sweep_takes_marks_as_well<T: TokenStore>(store: &T) {
    let old = Sample::create(store, "moved").await;
    let mark_until = after(old.record.created_at, 60);
    let written = store
        .rotate_token(&old.token, &key(), &old.record, mark_until)
        .await
        .expect("rotated");
    sweep_all(store, mark_until).await;
    assert!(load(store, &old.token).await.is_none());
    let new = written.token.expect("a rotation comes with the new token");
    assert!(stored(store, &new).await.is_some());
    sweep_all(store, later(&old)).await;
}

/// No step removes more than it was told to, and `more` says whether another
/// would find anything.
pub async fn a_sweep_stops_at_its_limit_and_says_so<T: TokenStore>(store: &T) {
    let mut samples = Vec::new();
    for _ in 0..5 {
        samples.push(Sample::create(store, "due").await);
    }
    let now = later(&samples[4]);
    let mut removed = 0;
    loop {
        let swept = sweep(store, now, 2).await;
        assert!(swept.removed <= 2);
        removed += swept.removed;
        if !swept.more {
            break;
        }
    }
    assert!(removed >= 5, "removed {removed} of 5");
    for sample in samples {
        assert!(load(store, &sample.token).await.is_none());
    }
    assert_eq!(sweep(store, now, 2).await, Swept::default());
}

/// A session whose deadline a touch has moved on survives: the deadline is judged when
/// the record is removed.
pub async fn a_sweep_spares_what_was_touched_meanwhile<T: TokenStore>(store: &T) {
    let mut sample = Sample::create(store, "touched").await;
    let now = later(&sample);
    sample.record.expires_at = after(now, 600);
    store
        .touch_token(&sample.token, &sample.record)
        .await
        .expect("touched");
    sweep_all(store, now).await;
    sample.assert_stands(store).await;
    sweep_all(store, after(now, 600)).await;
    assert!(load(store, &sample.token).await.is_none());
}

/// A session whose deadline an update has moved on survives.
pub async fn a_sweep_spares_what_was_updated_meanwhile<T: TokenStore>(store: &T) {
    let mut sample = Sample::create(store, "updated").await;
    let now = later(&sample);
    sample.record.expires_at = after(now, 600);
    let written = store
        .update_token(&sample.token, &sample.record)
        .await
        .expect("updated");
    sample.record.revision = written.revision;
    sweep_all(store, now).await;
    sample.assert_stands(store).await;
    sweep_all(store, after(now, 600)).await;
    assert!(load(store, &sample.token).await.is_none());
}

/// A session whose deadline an update has brought nearer is swept at that one.
pub async fn a_sweep_takes_a_deadline_that_was_moved_forward<T: TokenStore>(store: &T) {
    let sample = Sample::create(store, "shortened").await;
    let mut record = sample.record.clone();
    record.expires_at = after(record.created_at, 600);
    store
        .update_token(&sample.token, &record)
        .await
        .expect("updated");
    sweep_all(store, record.expires_at).await;
    assert!(load(store, &sample.token).await.is_none());
}

/// An update or a touch of a swept session fails with [`Gone`](ErrorKind::Gone).
pub async fn what_was_swept_is_gone<T: TokenStore>(store: &T) {
    let sample = Sample::create(store, "due").await;
    sweep_all(store, later(&sample)).await;
    let update = store.update_token(&sample.token, &sample.record).await;
    assert_eq!(update.map_err(|e| e.kind()).err(), Some(ErrorKind::Gone));
    let touch = store.touch_token(&sample.token, &sample.record).await;
    assert_eq!(touch.map_err(|e| e.kind()).err(), Some(ErrorKind::Gone));
}

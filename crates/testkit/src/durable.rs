//! For stores that keep their sessions when the process ends.

use std::future::Future;

use cloakroom_core::ErrorKind;
use cloakroom_core::engine::TokenStore;

use crate::Profile;
use crate::sample::{Sample, after, key, load, stored};

/// Finds every acknowledged write again after the store was closed and reopened. A store
/// that can be closed is, and is there yet when it is opened again: it must hold nothing any
/// more that keeps another from opening, and answer nothing.
///
/// # Panics
/// Where it is not.
pub async fn survives_reopening<T, F>(profile: &Profile, mut open: impl FnMut() -> F)
where
    T: TokenStore,
    F: Future<Output = T>,
{
    let store = open().await;
    let created = Sample::create(&store, "created").await;
    let mut updated = Sample::create(&store, "to update").await;
    updated.record = updated.saying("updated");
    let written = store
        .update_token(&updated.token, &updated.record)
        .await
        .expect("an update on the stored revision is written");
    updated.record.revision = written.revision;
    updated.token = written.token.unwrap_or(updated.token);
    let rotated = Sample::create(&store, "to rotate").await;
    let until = after(rotated.record.created_at, 60);
    let moved = store
        .rotate_token(&rotated.token, &key(), &rotated.record, until)
        .await
        .expect("a rotation on the stored revision is written");
    let deleted = Sample::create(&store, "to delete").await;
    store.delete_token(&deleted.token).await.expect("deleted");
    let is_closed = close(&store).await;
    let closed = is_closed.then_some(store);

    let store = open().await;
    if let Some(closed) = closed {
        assert_closed(&closed, &created).await;
    }
    created.assert_stands(&store).await;
    updated.assert_stands(&store).await;
    let new = moved.token.expect("a rotation comes with the new token");
    let found = stored(&store, &new).await.expect("the new key opens");
    assert_eq!(found.data, rotated.record.data);
    assert_eq!(found.revision, moved.revision);
    if !profile.revocable {
        return;
    }
    assert!(stored(&store, &rotated.token).await.is_none());
    assert!(
        load(&store, &rotated.token).await.is_some(),
        "the mark stands"
    );
    assert!(load(&store, &deleted.token).await.is_none());
}

/// Closes a store that can be, and answers whether it can.
async fn close(store: &impl TokenStore) -> bool {
    let close = store.token_capabilities().close;
    if let Some(close) = close {
        close.close().await.expect("it is closed");
        close.close().await.expect("closing it again is success");
    }
    close.is_some()
}

/// Each call is unavailable: neither a logout, nor a success.
async fn assert_closed(store: &impl TokenStore, session: &Sample) {
    let record = session.record.clone();
    let until = after(record.created_at, 60);
    let mut answers = vec![
        store.load_token(&session.token).await.map(drop),
        store.create_token(&key(), &record).await.map(drop),
        store.update_token(&session.token, &record).await.map(drop),
        store.touch_token(&session.token, &record).await.map(drop),
        store
            .rotate_token(&session.token, &key(), &record, until)
            .await
            .map(drop),
        store.delete_token(&session.token).await,
    ];
    let can = store.token_capabilities();
    if let Some(sweep) = can.sweep {
        answers.push(sweep.sweep(until, 1).await.map(drop));
    }
    if let Some(scan) = can.scan {
        answers.push(scan.scan(None, 1).await.map(drop));
    }
    for (number, answer) in answers.into_iter().enumerate() {
        let error = answer.expect_err("a closed store answers nothing");
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{number}: {error}");
    }
}

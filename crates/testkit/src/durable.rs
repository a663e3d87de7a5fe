//! For stores that keep their sessions when the process ends.

use std::future::Future;

use cloakroom_core::engine::TokenStore;

use crate::Profile;
use crate::sample::{Sample, after, key, load, stored};

/// Finds every acknowledged write again after the store was closed and reopened.
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
    drop(store);

    let store = open().await;
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

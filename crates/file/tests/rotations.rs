//! Ending sessions where rotation marks are damaged or lead too far. What holds of sound
//! marks, the conformance suite tests.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod common;

use std::fs;

use cloakroom_core::store::{
    Import as _, KeyDigest, ROTATION_HOPS_MAX, Revoke, SessionStore as _, Stored, SubjectDigest,
    Subjects as _,
};
use cloakroom_core::{ErrorKind, Timestamp};
use cloakroom_file::{Durability, FileStore};
use cloakroom_testkit::{key, listed_as, sample};
use common::{entry_path, folder, session_path};

fn subject() -> SubjectDigest {
    listed_as(&sample("x").subject.unwrap())
}

async fn session(store: &FileStore) -> KeyDigest {
    let digest = key().digest();
    store.create(&digest, &sample("x")).await.unwrap();
    digest
}

/// So many marks, each of which leads to the next, and the last one to a session.
async fn marks_to_session(store: &FileStore, marks: usize) -> Vec<KeyDigest> {
    let mut path = vec![session(store).await];
    for _ in 0..marks {
        let digest = key().digest();
        let mark = Stored::Rotated {
            to: path[0],
            until: Timestamp::MAX,
        };
        assert!(store.import(&digest, &mark).await.unwrap());
        path.insert(0, digest);
    }
    path
}

async fn stands(store: &FileStore, digest: &KeyDigest) -> bool {
    store.load(digest).await.unwrap().is_some()
}

#[tokio::test]
async fn nothing_is_ended_where_a_mark_to_the_spared_session_cannot_be_read() {
    let folder = folder();
    let store = FileStore::open_with(folder.path(), Durability::Lazy).unwrap();
    let path = marks_to_session(&store, 3).await;
    session(&store).await;
    fs::write(session_path(folder.path(), &path[1]), [1, 2, 3]).unwrap();
    let ended = store.revoke(&subject(), Revoke::AllBut(path[0])).await;
    let error = ended.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("spared"), "{error}");
    assert_eq!(
        store
            .sessions_of(&subject(), usize::MAX)
            .await
            .unwrap()
            .len(),
        2
    );
    // From behind it, the session is found.
    let ended = store.revoke(&subject(), Revoke::AllBut(path[2])).await;
    assert_eq!(ended.unwrap().len(), 1);
    assert!(stands(&store, &path[3]).await);
}

#[tokio::test]
async fn a_session_behind_a_mark_that_cannot_be_read_is_not_answered_to_have_ended() {
    let folder = folder();
    let store = FileStore::open_with(folder.path(), Durability::Lazy).unwrap();
    let path = marks_to_session(&store, 2).await;
    let file = session_path(folder.path(), &path[1]);
    let mut mark = fs::read(&file).unwrap();
    *mark.last_mut().unwrap() ^= 1;
    fs::write(&file, mark).unwrap();
    let error = store.delete(&path[0]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(stands(&store, &path[2]).await);
    store.delete(&path[2]).await.unwrap();
    assert!(!stands(&store, &path[2]).await);
}

#[tokio::test]
async fn an_orphan_whose_marks_lead_past_the_bound_does_not_fail_a_revocation_of_all() {
    let folder = folder();
    let store = FileStore::open_with(folder.path(), Durability::Lazy).unwrap();
    let path = marks_to_session(&store, ROTATION_HOPS_MAX + 1).await;
    let orphan = entry_path(folder.path(), &sample("x").subject.unwrap(), &path[0]);
    fs::write(orphan, "").unwrap();
    let ended = store.revoke(&subject(), Revoke::All).await;
    assert_eq!(ended.unwrap(), [path[ROTATION_HOPS_MAX + 1]]);
}

//! Ending sessions where rotation marks are damaged or lead too far. What holds of sound
//! marks, the conformance suite tests.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod common;

use cloakroom_core::store::{
    Import as _, KeyDigest, Revoke, SessionStore as _, Stored, SubjectDigest, Subjects as _,
};
use cloakroom_core::{ErrorKind, Timestamp};
use cloakroom_sled::SledStore;
use cloakroom_testkit::{key, listed_as, sample};
use common::{folder, with_trees};

fn subject() -> SubjectDigest {
    listed_as(&sample("x").subject.unwrap())
}

async fn session(store: &SledStore) -> KeyDigest {
    let digest = key().digest();
    store.create(&digest, &sample("x")).await.unwrap();
    digest
}

/// So many marks, each of which leads to the next, and the last one to a session.
async fn marks_to_session(store: &SledStore, marks: usize) -> Vec<KeyDigest> {
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

async fn stands(store: &SledStore, digest: &KeyDigest) -> bool {
    store.load(digest).await.unwrap().is_some()
}

#[tokio::test]
async fn a_session_behind_a_mark_that_cannot_be_read_is_not_answered_to_have_ended() {
    let folder = folder();
    let path = {
        let store = SledStore::open(folder.path()).unwrap();
        marks_to_session(&store, 2).await
    };
    with_trees(&folder, |[records, ..]| {
        let mut mark = records.get(path[1].as_bytes()).unwrap().unwrap().to_vec();
        *mark.last_mut().unwrap() ^= 1;
        records.insert(path[1].as_bytes(), mark).unwrap();
    });
    let store = SledStore::open(folder.path()).unwrap();
    let error = store.delete(&path[0]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(stands(&store, &path[2]).await);
    store.delete(&path[2]).await.unwrap();
    assert!(!stands(&store, &path[2]).await);
}

#[tokio::test]
async fn nothing_is_ended_where_a_mark_to_the_spared_session_cannot_be_read() {
    let folder = folder();
    let path = {
        let store = SledStore::open(folder.path()).unwrap();
        session(&store).await;
        marks_to_session(&store, 4).await
    };
    with_trees(&folder, |[records, ..]| {
        // One is no row, and of the other the CRC is wrong.
        records.insert(path[0].as_bytes(), &[1, 2, 3]).unwrap();
        let mut flipped = records.get(path[2].as_bytes()).unwrap().unwrap().to_vec();
        *flipped.last_mut().unwrap() ^= 1;
        records.insert(path[2].as_bytes(), flipped).unwrap();
    });
    let store = SledStore::open(folder.path()).unwrap();
    for mark in &path[..3] {
        let ended = store.revoke(&subject(), Revoke::AllBut(*mark)).await;
        let error = ended.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("spared"), "{error}");
    }
    assert_eq!(
        store
            .sessions_of(&subject(), usize::MAX)
            .await
            .unwrap()
            .len(),
        2
    );
    // From behind them, the session is found.
    let ended = store.revoke(&subject(), Revoke::AllBut(path[3])).await;
    assert_eq!(ended.unwrap().len(), 1);
    assert!(stands(&store, &path[4]).await);
}

//! The jobs of the background thread: work that grows with what is stored keeps neither
//! its caller's thread nor other callers waiting.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod common;

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Waker};

use cloakroom_core::store::{
    KeyDigest, Listed, Revision, Revoke, Scan as _, SessionStore as _, Subjects as _, Sweep as _,
};
use cloakroom_core::{ErrorKind, Timestamp};
use cloakroom_sled::SledStore;
use cloakroom_testkit::{key, listed_as, sample};

use common::folder;

const SESSIONS: usize = 3_000;

/// Creates `SESSIONS` of one subject; their digests, sorted.
async fn filled(store: &SledStore) -> Vec<KeyDigest> {
    let creates = (0..SESSIONS).map(|_| {
        let (store, digest) = (store.clone(), key().digest());
        tokio::spawn(async move {
            store.create(&digest, &sample("x")).await.unwrap();
            digest
        })
    });
    let mut digests = Vec::new();
    for create in Vec::from_iter(creates) {
        digests.push(create.await.unwrap());
    }
    digests.sort();
    digests
}

fn is_answered_at_once<T>(answer: impl Future<Output = T>) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    pin!(answer).poll(&mut context).is_ready()
}

/// Whether the first session was seen to have ended while the last one stood.
async fn is_seen_half_done(store: &SledStore, digests: &[KeyDigest]) -> bool {
    loop {
        let first = store.load(&digests[0]).await.unwrap();
        let last = store.load(&digests[SESSIONS - 1]).await.unwrap();
        match (first, last) {
            (None, Some(_)) => return true,
            (_, None) => return false,
            _ => {}
        }
    }
}

#[tokio::test]
async fn lists_scans_sweeps_and_revocations_are_not_done_on_the_callers_thread() {
    let folder = folder();
    let store = SledStore::open(folder.path()).unwrap();
    let digests = filled(&store).await;
    let whose = sample("x").subject.unwrap();
    assert!(!is_answered_at_once(
        store.sessions_of(&listed_as(&whose), usize::MAX)
    ));
    assert!(!is_answered_at_once(store.scan(None, 1_000)));
    assert!(!is_answered_at_once(store.sweep(Timestamp::EPOCH, 1_000)));
    // The jobs above are done before this one: one thread does them all.
    let listed = store
        .sessions_of(&listed_as(&whose), usize::MAX)
        .await
        .unwrap();
    let mut listed: Vec<_> = listed.iter().map(|Listed { digest, .. }| *digest).collect();
    listed.sort();
    assert_eq!(listed, digests);
    assert!(!is_answered_at_once(
        store.revoke(&listed_as(&whose), Revoke::All)
    ));
    let standing = store.load(&digests[SESSIONS - 1]).await.unwrap();
    assert!(standing.is_some(), "it was done in the first poll");
}

#[tokio::test]
async fn others_read_and_write_while_many_sessions_are_ended() {
    let folder = folder();
    let store = SledStore::open(folder.path()).unwrap();
    let whose = sample("x").subject.unwrap();
    let mut attempts = 0;
    let (digests, revocation) = loop {
        let digests = filled(&store).await;
        let revocation = {
            let (store, whose) = (store.clone(), whose.clone());
            let which = Revoke::AllBut(key().digest());
            tokio::spawn(async move { store.revoke(&listed_as(&whose), which).await })
        };
        tokio::task::yield_now().await;
        if is_seen_half_done(&store, &digests).await {
            break (digests, revocation);
        }
        // This thread may have stood still all the while.
        attempts += 1;
        assert!(attempts < 5, "nobody reads meanwhile");
        revocation.await.unwrap().unwrap();
    };
    let (late, mut record) = (key().digest(), sample("y"));
    record.subject = None;
    store.create(&late, &record).await.unwrap();
    let mut ended = revocation.await.unwrap().unwrap();
    ended.sort();
    assert_eq!(ended, digests);
    assert!(
        store
            .sessions_of(&listed_as(&whose), usize::MAX)
            .await
            .unwrap()
            .is_empty()
    );
    assert!(store.load(&late).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_moves_on_while_many_are_ended_is_listed_and_ended_too() {
    let folder = folder();
    let store = SledStore::open(folder.path()).unwrap();
    let whose = sample("x").subject.unwrap();
    let resting = filled(&store).await;
    let is_revoked = Arc::new(AtomicBool::new(false));
    let moves = Arc::new(AtomicUsize::new(0));
    let mut at = key().digest();
    let mut record = sample("x").at_revision(Revision::FIRST);
    store.create(&at, &record).await.unwrap();
    let mover = {
        let (store, is_revoked) = (store.clone(), is_revoked.clone());
        let moves = moves.clone();
        tokio::spawn(async move {
            loop {
                let was_revoked = is_revoked.load(Ordering::SeqCst);
                let new = key().digest();
                let moved = store.rotate(&at, &new, &record, Timestamp::EPOCH).await;
                match moved {
                    Ok(revision) => record.revision = revision,
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Gone);
                        return;
                    }
                }
                assert!(!was_revoked, "a session stands that was revoked");
                at = new;
                moves.fetch_add(1, Ordering::SeqCst);
            }
        })
    };
    let mut lists = 0;
    while lists < 10 || moves.load(Ordering::SeqCst) <= 10 {
        lists += 1;
        let listed = store
            .sessions_of(&listed_as(&whose), usize::MAX)
            .await
            .unwrap();
        let listed: BTreeSet<_> = listed.iter().map(|listed| listed.digest).collect();
        // The one that moves is missed where it moves from a page to come to one before.
        assert!(resting.iter().all(|digest| listed.contains(digest)));
    }
    let ended = store.revoke(&listed_as(&whose), Revoke::All).await.unwrap();
    is_revoked.store(true, Ordering::SeqCst);
    assert_eq!(ended.len(), SESSIONS + 1);
    mover.await.unwrap();
}

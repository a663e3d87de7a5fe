//! What other nodes hear, and how soon they hear that they hear nothing.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod common;

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use cloakroom_core::store::{
    EndReason, Ending, Invalidation, Invalidations as _, KeyDigest, Listener, Revision, Revoke,
    SessionStore as _, Subjects as _, Touch,
};
use cloakroom_core::{ErrorKind, Subject};
use cloakroom_redis::{HEARTBEAT, PROOF_AGE_MAX, PROOF_EVERY, RedisStore};
use cloakroom_servers::Redis;
use cloakroom_testkit::{key, listed_as, sample};
use tokio::time::timeout;

use crate::common::proxy::Proxy;

/// So many, and all that is heard after them until nothing comes for a while.
async fn heard(listener: &mut dyn Listener, count: usize) -> BTreeSet<(KeyDigest, u64)> {
    let mut heard = BTreeSet::new();
    let patience = |heard: &BTreeSet<_>| match heard.len() < count {
        true => common::LISTEN_MAX,
        false => Duration::from_millis(300),
    };
    while let Ok(told) = timeout(patience(&heard), listener.next()).await {
        let Invalidation { digest, revision } = told.unwrap();
        heard.insert((digest, revision.as_u64()));
    }
    heard
}

#[tokio::test]
async fn every_write_but_a_create_and_a_touch_is_heard() {
    for setup in common::both().await {
        let store = &setup.store;
        let mut listener = store.listen().await.unwrap();
        let subject = Subject::new(key().digest().to_hex()).unwrap();
        let mut record = sample("text");
        record.subject = Some(subject.clone());
        let (old, new, other) = (key().digest(), key().digest(), key().digest());
        let last = Revision::LAST.as_u64();
        record.revision = store.create(&old, &record).await.unwrap();
        let touch = Touch {
            expires_at: record.expires_at.saturating_add(Duration::from_secs(9)),
            ..Touch::from(&record)
        };
        store.touch(&old, record.revision, touch).await.unwrap();
        assert_eq!(heard(&mut *listener, 0).await, BTreeSet::new());
        record.revision = store.update(&old, &record).await.unwrap();
        let expected = BTreeSet::from([(old, 2)]);
        assert_eq!(heard(&mut *listener, 1).await, expected);
        let until = record.expires_at;
        record.revision = store.rotate(&old, &new, &record, until).await.unwrap();
        let expected = BTreeSet::from([(old, last), (new, 3)]);
        assert_eq!(heard(&mut *listener, 2).await, expected);
        store.delete(&old).await.unwrap();
        let expected = BTreeSet::from([(new, last)]);
        assert_eq!(heard(&mut *listener, 1).await, expected);
        store.create(&other, &record).await.unwrap();
        store
            .revoke(&listed_as(&subject), Revoke::All)
            .await
            .unwrap();
        let expected = BTreeSet::from([(other, last)]);
        assert_eq!(heard(&mut *listener, 1).await, expected);
        let ending = Ending::new(EndReason::LoggedOut, record.created_at);
        let (one, other) = (key().digest(), key().digest());
        for digest in [&one, &other] {
            store.create(digest, &record).await.unwrap();
        }
        store.end(&one, Some(&ending)).await.unwrap();
        let subject = listed_as(&subject);
        let ended = store.end_sessions(&subject, Revoke::All, Some(&ending));
        assert_eq!(ended.await.unwrap(), [other]);
        let expected = BTreeSet::from([(one, last), (other, last)]);
        assert_eq!(heard(&mut *listener, 2).await, expected);
        // What has ended does not end again.
        store.end(&one, Some(&ending)).await.unwrap();
        assert_eq!(heard(&mut *listener, 0).await, BTreeSet::new());
    }
}

#[tokio::test]
async fn a_message_is_there_when_the_write_is_answered_or_soon_after() {
    for setup in common::both().await {
        let store = &setup.store;
        let mut listener = store.listen().await.unwrap();
        let (digest, mut record) = (key().digest(), sample("text"));
        record.revision = store.create(&digest, &record).await.unwrap();
        let mut waits = Vec::new();
        for _ in 0..100 {
            record.revision = store.update(&digest, &record).await.unwrap();
            let answered = Instant::now();
            while common::next(&mut *listener).await.unwrap().revision != record.revision {}
            waits.push(answered.elapsed());
        }
        waits.sort();
        println!("heard {:?} after the answer, median of 100", waits[50]);
        assert!(waits[50] < Duration::from_millis(50));
    }
}

#[tokio::test]
async fn a_server_that_ends_is_noticed_at_once_and_can_be_listened_to_again() {
    let Some(server) = Redis::start() else { return };
    let store = RedisStore::connect(&server.url()).await.unwrap();
    // A heartbeat takes most of a second each time to notice it.
    let mut soonest = HEARTBEAT;
    for _ in 0..3 {
        let mut listener = store.listen().await.unwrap();
        server.kill();
        let begun = Instant::now();
        for _ in 0..2 {
            let error = common::next(&mut *listener).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable);
        }
        soonest = soonest.min(begun.elapsed());
        let error = store.listen().await.map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        server.restart();
        let mut listener = store.listen().await.unwrap();
        let (digest, mut record) = (key().digest(), sample("text"));
        record.revision = store.create(&digest, &record).await.unwrap();
        store.update(&digest, &record).await.unwrap();
        assert_eq!(common::next(&mut *listener).await.unwrap().digest, digest);
    }
    assert!(soonest < Duration::from_millis(500), "{soonest:?}");
}

#[tokio::test]
async fn a_channel_that_falls_silent_is_noticed_within_a_heartbeat_and_the_time_out() {
    let Some(server) = Redis::start() else { return };
    let proxy = Proxy::start(server.port()).await;
    let limit = Duration::from_secs(2);
    let store = RedisStore::builder(proxy.url()).timeout(limit);
    let store = store.connect().await.unwrap();
    let mut listener = store.listen().await.unwrap();
    let patience = HEARTBEAT * 2;
    assert!(
        timeout(patience, listener.next()).await.is_err(),
        "it is well"
    );
    proxy.mute.store(true, Ordering::SeqCst);
    let begun = Instant::now();
    let error = common::next(&mut *listener).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(begun.elapsed() < HEARTBEAT + limit + limit);
}

/// The connection stands, and ROLE is answered on it: only its own messages tell.
#[tokio::test]
async fn a_channel_whose_messages_do_not_come_is_deaf_though_its_connection_stands() {
    let Some(server) = Redis::start() else { return };
    let proxy = Proxy::start(server.port()).await;
    let store = RedisStore::connect(&proxy.url()).await.unwrap();
    let mut listener = store.listen().await.unwrap();
    let hearing = RedisStore::connect(&server.url()).await.unwrap();
    let mut hearing = hearing.listen().await.unwrap();
    let patience = PROOF_AGE_MAX + PROOF_EVERY;
    proxy.swallow.store(true, Ordering::SeqCst);
    let begun = Instant::now();
    let (lost, well) = tokio::join!(
        timeout(patience + PROOF_AGE_MAX, listener.next()),
        timeout(patience, hearing.next()),
    );
    assert!(well.is_err(), "the other is well");
    let error = lost.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("hears nothing"), "{error}");
    assert!(begun.elapsed() > PROOF_EVERY, "{:?}", begun.elapsed());
    // What cannot prove itself is not begun.
    let error = store.listen().await.map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("hears nothing"), "{error}");
    proxy.swallow.store(false, Ordering::SeqCst);
    store.listen().await.unwrap();
}

/// As behind a proxy that deals connections out to servers that know nothing of each other.
#[tokio::test]
async fn a_channel_of_another_server_than_the_one_of_the_writes_is_deaf() {
    let (Some(server), Some(other)) = (Redis::start(), Redis::start()) else {
        return;
    };
    let proxy = Proxy::start(server.port()).await;
    let store = RedisStore::connect(&proxy.url()).await.unwrap();
    store.listen().await.unwrap();
    proxy.to.store(other.port(), Ordering::SeqCst);
    let error = store.listen().await.map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("hears nothing"), "{error}");
}

/// The writes of the others go to whoever replaced it.
#[tokio::test]
async fn a_server_that_becomes_a_replica_is_listened_to_no_longer() {
    let (Some(server), Some(other)) = (Redis::start(), Redis::start()) else {
        return;
    };
    let rules = "ACL SETUSER app on >pw ~* &* +@all -role";
    let rules: Vec<&str> = rules.split(' ').collect();
    server.command(&rules).unwrap();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let unasked = format!("redis://app:pw@127.0.0.1:{}", server.port());
    let unasked = RedisStore::connect(&unasked).await.unwrap();
    let mut listener = store.listen().await.unwrap();
    let mut without_role = unasked.listen().await.unwrap();
    let port = other.port().to_string();
    server.command(&["REPLICAOF", "127.0.0.1", &port]).unwrap();
    let patience = HEARTBEAT + Duration::from_secs(3);
    let error = timeout(patience, listener.next()).await.unwrap();
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Unavailable);
    let error = store.listen().await.map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("is a replica"), "{error}");
    // Who may not ask is no worse off than before.
    assert!(timeout(patience, without_role.next()).await.is_err());
    unasked.listen().await.unwrap();
}

#[tokio::test]
async fn stores_of_other_prefixes_hear_nothing() {
    let Some(server) = cloakroom_servers::redis() else {
        return;
    };
    let store = async || {
        let store = RedisStore::builder(server.url()).prefix(common::prefix());
        store.connect().await.unwrap()
    };
    let (one, other) = (store().await, store().await);
    let mut listener = other.listen().await.unwrap();
    let (digest, mut record) = (key().digest(), sample("text"));
    record.revision = one.create(&digest, &record).await.unwrap();
    one.update(&digest, &record).await.unwrap();
    // Nor is a listener told of the messages by which another one proves that it hears.
    let _of_one = one.listen().await.unwrap();
    let _of_the_same = other.listen().await.unwrap();
    assert_eq!(heard(&mut *listener, 0).await, BTreeSet::new());
}

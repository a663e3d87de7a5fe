//! What near caches on other nodes hear over PostgreSQL.

#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod common;

use std::time::{Duration, Instant};

use cloakroom_core::store::{
    Announced, Invalidation, Listener, Revision, Revoke, SessionStore as _,
};
use cloakroom_core::{ErrorKind, Subject};
use cloakroom_servers::Postgres;
use cloakroom_sql::SqlStore;
use cloakroom_testkit::{key, listed_as, sample, touch_until};

use common::{ending, kind, later, proxy::Proxy, table};

async fn open(server: &Postgres, table: &str) -> SqlStore {
    let builder = SqlStore::builder().table(table).notifying(true);
    let store = builder.connect(&server.url()).await.unwrap();
    store.migrate().await.unwrap();
    store
}

async fn listen(store: &SqlStore) -> Box<dyn Listener> {
    let invalidations = store.capabilities().invalidations.unwrap();
    invalidations.listen().await.unwrap()
}

async fn hear(listener: &mut Box<dyn Listener>) -> Invalidation {
    let next = tokio::time::timeout(Duration::from_secs(5), listener.next());
    next.await.expect("within five seconds").unwrap()
}

#[tokio::test]
async fn what_takes_something_away_is_heard_on_every_node_and_nothing_else() {
    let Some(server) = cloakroom_servers::postgres() else {
        return;
    };
    let table = table();
    let (writer, other) = (open(server, &table).await, open(server, &table).await);
    let mut listeners = [listen(&writer).await, listen(&other).await];
    let [old, new, third, fourth] = [(); 4].map(|()| key().digest());
    let mut record = sample("x");
    record.revision = writer.create(&old, &record).await.unwrap();
    let touch = touch_until(later(9_000));
    writer.touch(&old, record.revision, touch).await.unwrap();
    record.revision = writer.update(&old, &record).await.unwrap();
    let stale = record.at_revision(Revision::FIRST);
    assert_eq!(kind(writer.update(&old, &stale).await), ErrorKind::Conflict);
    writer.rotate(&old, &new, &record, later(60)).await.unwrap();
    // Followed to where it has moved.
    writer.delete(&old).await.unwrap();
    for digest in [third, fourth] {
        other.create(&digest, &sample("x")).await.unwrap();
    }
    let subjects = other.capabilities().subjects.unwrap();
    let subject = Subject::new("user-42").unwrap();
    let one = subjects
        .revoke(&listed_as(&subject), Revoke::One(third))
        .await
        .unwrap();
    assert_eq!(one, [third]);
    let rest = subjects
        .revoke(&listed_as(&subject), Revoke::All)
        .await
        .unwrap();
    assert_eq!(rest, [fourth]);
    // An end that leaves a tombstone is heard as one that leaves nothing.
    let [fifth, sixth] = [(); 2].map(|()| key().digest());
    for digest in [fifth, sixth] {
        other.create(&digest, &sample("x")).await.unwrap();
    }
    let ending = ending();
    other.end(&fifth, Some(&ending)).await.unwrap();
    let whose = listed_as(&subject);
    let rest = subjects.end_sessions(&whose, Revoke::All, Some(&ending));
    assert_eq!(rest.await.unwrap(), [sixth]);
    let heard = |digest, revision| Invalidation { digest, revision };
    let expected = [
        heard(old, Revision::FIRST.next()),
        heard(old, Revision::LAST),
        heard(new, Revision::LAST),
        heard(third, Revision::LAST),
        heard(fourth, Revision::LAST),
        heard(fifth, Revision::LAST),
        heard(sixth, Revision::LAST),
    ];
    for listener in &mut listeners {
        for expected in expected {
            assert_eq!(hear(listener).await, expected);
        }
    }
}

/// For those who wait for the end of a session, also where nobody has a near cache.
#[tokio::test]
async fn a_store_that_does_not_notify_of_updates_announces_ends_and_moves() {
    let Some(server) = cloakroom_servers::postgres() else {
        return;
    };
    let name = table();
    let builder = SqlStore::builder().table(name.clone());
    let silent = builder.connect(&server.url()).await.unwrap();
    silent.migrate().await.unwrap();
    assert_eq!(announced(&silent), Announced::Ends);
    let other = open(server, &name).await;
    assert_eq!(announced(&other), Announced::Writes);
    let mut listeners = [listen(&other).await, listen(&silent).await];

    let (digest, new) = (key().digest(), key().digest());
    let mut record = sample("x");
    record.revision = silent.create(&digest, &record).await.unwrap();
    record.revision = silent.update(&digest, &record).await.unwrap();
    let mark_until = record.expires_at;
    silent
        .rotate(&digest, &new, &record, mark_until)
        .await
        .unwrap();
    silent.end(&new, None).await.unwrap();
    for listener in &mut listeners {
        for ended in [digest, new] {
            let revision = Revision::LAST;
            let expected = Invalidation {
                digest: ended,
                revision,
            };
            assert_eq!(hear(listener).await, expected, "and no update");
        }
    }
}

fn announced(store: &SqlStore) -> Announced {
    store.capabilities().invalidations.unwrap().announced()
}

#[tokio::test]
async fn two_tables_have_two_channels() {
    let Some(server) = cloakroom_servers::postgres() else {
        return;
    };
    let (one, other) = (open(server, &table()).await, open(server, &table()).await);
    let mut listener = listen(&one).await;
    for store in [&other, &one] {
        let digest = key().digest();
        let mut record = sample("x");
        record.revision = store.create(&digest, &record).await.unwrap();
        store.update(&digest, &record).await.unwrap();
        if std::ptr::eq(store, &one) {
            assert_eq!(hear(&mut listener).await.digest, digest);
        }
    }
}

/// `next` is dropped again and again, as a loop does that has other things to do.
#[tokio::test]
async fn a_dropped_wait_loses_nothing() {
    let Some(server) = cloakroom_servers::postgres() else {
        return;
    };
    let store = open(server, &table()).await;
    let mut listener = listen(&store).await;
    let digest = key().digest();
    let mut record = sample("x");
    record.revision = store.create(&digest, &record).await.unwrap();
    for round in 2..60 {
        let write = store.update(&digest, &record);
        let wait = tokio::time::timeout(Duration::from_micros(round * 20), listener.next());
        let (written, heard) = tokio::join!(write, wait);
        record.revision = written.unwrap();
        let heard = match heard {
            Ok(heard) => heard.unwrap(),
            Err(_) => hear(&mut listener).await,
        };
        assert_eq!(
            heard,
            Invalidation {
                digest,
                revision: record.revision
            }
        );
    }
}

#[tokio::test]
async fn an_invalidation_takes_milliseconds() {
    let Some(server) = cloakroom_servers::postgres() else {
        return;
    };
    let table = table();
    let (store, other) = (open(server, &table).await, open(server, &table).await);
    let mut listener = listen(&other).await;
    let digest = key().digest();
    let mut record = sample("x");
    record.revision = store.create(&digest, &record).await.unwrap();
    let mut times = Vec::new();
    for _ in 0..100 {
        record.revision = store.update(&digest, &record).await.unwrap();
        let answered = Instant::now();
        assert_eq!(hear(&mut listener).await.revision, record.revision);
        times.push(answered.elapsed());
    }
    times.sort();
    println!(
        "answer to heard: median {:?}, worst {:?}",
        times[50], times[99]
    );
    assert!(times[50] < Duration::from_millis(100), "{:?}", times[50]);
}

#[tokio::test]
async fn a_channel_that_is_cut_fails_at_once_and_for_good() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let store = open(&server, "sessions").await;
    let mut listener = listen(&store).await;
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'";
    assert_eq!(server.query(cut).unwrap().len(), 1);
    let begun = Instant::now();
    assert_eq!(kind(listener.next().await), ErrorKind::Unavailable);
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
    // It has missed this, and must not go on as though it had not.
    let digest = key().digest();
    store.create(&digest, &sample("x")).await.unwrap();
    assert_eq!(kind(listener.next().await), ErrorKind::Unavailable);
    let mut listener = listen(&store).await;
    store.delete(&digest).await.unwrap();
    assert_eq!(hear(&mut listener).await.digest, digest);
}

/// Both ends stay open and nothing passes: it is noticed within 15 s.
#[tokio::test]
async fn a_channel_that_is_silently_dead_fails_within_fifteen_seconds() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let store = open(&server, "sessions").await;
    let mut listener = listen(&store).await;
    server.pause();
    let begun = Instant::now();
    // Waits that are dropped put nothing off.
    let error = loop {
        let wait = tokio::time::timeout(Duration::from_secs(6), listener.next());
        if let Ok(heard) = wait.await {
            break heard.unwrap_err();
        }
        assert!(begun.elapsed() < Duration::from_secs(17), "unnoticed");
    };
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(
        begun.elapsed() < Duration::from_secs(16),
        "{:?}",
        begun.elapsed()
    );
    server.resume();
}

/// The server is there for everybody but the one connection that listens.
#[tokio::test]
async fn a_channel_that_no_longer_hears_itself_fails_within_fifteen_seconds() {
    let Some(server) = cloakroom_servers::postgres() else {
        return;
    };
    let proxy = Proxy::start(server.port());
    let url = proxy.url(&server.url(), server.port());
    let builder = SqlStore::builder().table(table()).notifying(true);
    let store = builder.connect(&url).await.unwrap();
    store.migrate().await.unwrap();
    let mut listener = listen(&store).await;
    let hearing = open(server, &table()).await;
    let mut hearing = listen(&hearing).await;
    proxy.go_dark();
    let begun = Instant::now();
    // Its own notifications keep the other alive, and are nobody else's business.
    let (lost, quiet) = tokio::join!(
        tokio::time::timeout(Duration::from_secs(25), listener.next()),
        tokio::time::timeout(Duration::from_secs(17), hearing.next()),
    );
    assert!(quiet.is_err(), "nothing was written");
    let error = lost.expect("unnoticed").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("nothing is heard"), "{error}");
    println!("lost after {:?}", begun.elapsed());
    let mut listener = listen(&store).await;
    let digest = key().digest();
    store.create(&digest, &sample("x")).await.unwrap();
    store.delete(&digest).await.unwrap();
    assert_eq!(hear(&mut listener).await.digest, digest);
}

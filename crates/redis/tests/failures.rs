//! What goes wrong at the other end: closed and broken connections, a server
//! that is killed, silent or unwilling, answers that get lost.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod common;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use cloakroom_core::store::{
    EndReason, Ending, Invalidations as _, Record, Revision, Revoke, SessionStore as _, Stored,
    Subjects as _, Touch,
};
use cloakroom_core::{Error, ErrorKind, Subject};
use cloakroom_redis::RedisStore;
use cloakroom_servers::Redis;
use cloakroom_testkit::{Profile, conformance, key, listed_as, sample, touch_until};
use tokio::time::sleep;

use crate::common::proxy::Proxy;

async fn create(store: &RedisStore) -> (cloakroom_core::store::KeyDigest, Record) {
    let (digest, record) = (key().digest(), sample("text"));
    let revision = store.create(&digest, &record).await.unwrap();
    (digest, record.at_revision(revision))
}

fn kind<T: std::fmt::Debug>(result: Result<T, Error>) -> ErrorKind {
    result.expect_err("it must be refused").kind()
}

/// Defect 25 of other libraries: the server closes what is idle, and the next
/// request gets the error.
#[tokio::test]
async fn a_connection_closed_while_idle_fails_neither_a_read_nor_a_write() {
    let Some(server) = Redis::start() else { return };
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let (digest, mut record) = create(&store).await;
    server.command(&["CONFIG", "SET", "timeout", "1"]).unwrap();
    let connections = || {
        let stats = server.command(&["INFO", "stats"]).unwrap();
        let line = stats.lines().find(|l| l.starts_with("total_connections"));
        line.unwrap().to_owned()
    };
    for round in 0..4 {
        let before = connections();
        // The server looks for idle connections now and then.
        let closed = async {
            while store_connections(&server) > 0 {
                sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), closed)
            .await
            .unwrap();
        // In a task, as a request is: one that yields goes on behind those that the
        // runtime wakes by what has come, such as the end of a connection.
        let (store, known) = (store.clone(), record.clone());
        let call = tokio::spawn(async move {
            match round % 2 {
                0 => {
                    let found = store.load(&digest).await.unwrap();
                    found.and_then(Stored::into_record).unwrap().revision
                }
                _ => store.update(&digest, &known).await.unwrap(),
            }
        });
        record.revision = call.await.unwrap();
        assert_ne!(before, connections(), "it was closed, and opened again");
    }
}

/// Clients but the one that asks.
fn store_connections(server: &Redis) -> usize {
    let list = server.command(&["CLIENT", "LIST"]).unwrap();
    list.lines().filter(|l| !l.contains("cmd=client")).count()
}

#[tokio::test]
async fn a_killed_server_is_unavailable_and_found_again_with_all_it_acknowledged() {
    let Some(server) = Redis::start_with(&["--appendfsync", "always"]) else {
        return;
    };
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let mut kept = Vec::new();
    for round in 0..3 {
        for _ in 0..20 {
            kept.push(create(&store).await);
        }
        for (digest, record) in &mut kept {
            record.revision = store.update(digest, record).await.unwrap();
        }
        server.kill();
        let (digest, record) = &kept[round];
        let begun = Instant::now();
        assert_eq!(kind(store.load(digest).await), ErrorKind::Unavailable);
        assert_eq!(
            kind(store.update(digest, record).await),
            ErrorKind::Unavailable
        );
        assert!(begun.elapsed() < Duration::from_secs(1), "told at once");
        server.restart();
        // The scripts are forgotten, the connection is gone: no one notices.
        for (digest, record) in &mut kept {
            let found = store.load(digest).await.unwrap().unwrap();
            assert_eq!(found.into_record().as_ref(), Some(&*record));
            record.revision = store.update(digest, record).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_silent_server_is_unavailable_within_the_time_out() {
    let Some(server) = Redis::start() else { return };
    let timeout = Duration::from_secs(2);
    let store = RedisStore::builder(server.url()).timeout(timeout);
    let store = store.connect().await.unwrap();
    let (digest, record) = create(&store).await;
    server.pause();
    for _ in 0..2 {
        let begun = Instant::now();
        let error = store.load(&digest).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("within 2s"), "{error}");
        let error = store.update(&digest, &record).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(begun.elapsed() >= 2 * timeout && begun.elapsed() < 4 * timeout);
    }
    server.resume();
    assert!(store.load(&digest).await.unwrap().is_some());
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_unavailable_and_not_sent_again() {
    let Some(server) = Redis::start() else { return };
    let proxy = Proxy::start(server.port()).await;
    let store = RedisStore::connect(&proxy.url()).await.unwrap();
    let (digest, record) = create(&store).await;
    // Once before, so that the server knows the script.
    let revision = store.update(&digest, &record).await.unwrap();
    let sent = proxy.requests.load(Ordering::SeqCst);
    proxy.cut.store(true, Ordering::SeqCst);
    let error = store.update(&digest, &record.at_revision(revision)).await;
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("is not known"), "{error}");
    assert_eq!(proxy.requests.load(Ordering::SeqCst), sent + 1);
    let found = store.load(&digest).await.unwrap().unwrap().into_record();
    assert_eq!(found.unwrap().revision, revision.next(), "made, once");
}

#[tokio::test]
async fn a_read_whose_answer_is_lost_is_tried_once_more() {
    let Some(server) = Redis::start() else { return };
    let proxy = Proxy::start(server.port()).await;
    let store = RedisStore::connect(&proxy.url()).await.unwrap();
    let (digest, _) = create(&store).await;
    proxy.cut.store(true, Ordering::SeqCst);
    assert!(store.load(&digest).await.unwrap().is_some());
}

/// A firewall that forgets a connection tells nobody.
#[tokio::test]
async fn a_connection_that_is_silent_is_given_up_after_one_time_out() {
    let Some(server) = Redis::start() else { return };
    let proxy = Proxy::start(server.port()).await;
    let timeout = Duration::from_secs(2);
    let store = RedisStore::builder(proxy.url()).timeout(timeout);
    let store = store.connect().await.unwrap();
    let (digest, _) = create(&store).await;
    proxy.mute.store(true, Ordering::SeqCst);
    assert_eq!(kind(store.load(&digest).await), ErrorKind::Unavailable);
    proxy.mute.store(false, Ordering::SeqCst);
    // What was said on the old connection is lost for good: only another one helps.
    assert!(store.load(&digest).await.unwrap().is_some());
}

#[tokio::test]
async fn what_cannot_be_is_misconfigured_and_no_error_quotes_the_password() {
    let Some(server) = Redis::start() else { return };
    let port = server.port();
    server
        .command(&["CONFIG", "SET", "requirepass", "open sesame"])
        .unwrap();
    let good = format!("redis://:open%20sesame@127.0.0.1:{port}");
    let store = RedisStore::connect(&good).await.unwrap();
    assert!(!format!("{store:?}").contains("sesame"));
    let builder = RedisStore::builder(good.clone());
    assert!(!format!("{builder:?}").contains("sesame"));
    for (url, part) in [
        (
            format!("redis://:s3same@127.0.0.1:{port}"),
            "password is wrong",
        ),
        (
            format!("redis://you:s3same@127.0.0.1:{port}"),
            "password is wrong",
        ),
        (format!("redis://127.0.0.1:{port}"), "asks for a password"),
        (format!("{good}/99"), "no database of that number"),
        (format!("{good}/s3same"), "Invalid database number"),
        (format!("{good}#insecure"), "fragment"),
        ("http://s3same".into(), "reads redis://"),
        ("s3same".into(), "reads redis://"),
        (String::new(), "reads redis://"),
    ] {
        let error = RedisStore::connect(&url).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured, "{url}: {error}");
        let text = format!("{error} {error:?}");
        assert!(text.contains(part), "{url}: {text}");
        assert!(
            !text.contains("sesame") && !text.contains("s3same"),
            "{text}"
        );
    }
    for prefix in ["", "a b", "{tag}:", "x*", "é", &"x".repeat(65)] {
        let error = RedisStore::builder(good.clone()).prefix(prefix);
        let error = error.connect().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
        assert!(error.to_string().contains("prefix"), "{error}");
    }
    let zero = RedisStore::builder(good.clone()).timeout(Duration::ZERO);
    assert_eq!(kind(zero.connect().await), ErrorKind::Misconfigured);
    let none = RedisStore::cluster(Vec::<String>::new()).connect().await;
    assert_eq!(kind(none), ErrorKind::Misconfigured);
    let error = RedisStore::cluster([good]).connect().await.unwrap_err();
    assert!(error.to_string().contains("is no cluster"), "{error}");
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    let nobody = RedisStore::connect("redis://127.0.0.1:1").await;
    assert_eq!(kind(nobody), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_node_of_a_cluster_is_no_single_server() {
    let Some(servers) = cloakroom_servers::redis_cluster() else {
        return;
    };
    let error = RedisStore::connect(&servers.urls()[0]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert!(error.to_string().contains("open it as one"), "{error}");
}

#[tokio::test]
async fn a_replica_is_refused_at_first_and_unavailable_later() {
    let Some(server) = Redis::start() else { return };
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let (digest, record) = create(&store).await;
    // Of nobody, so that it keeps what it holds.
    server.command(&["REPLICAOF", "127.0.0.1", "1"]).unwrap();
    let error = RedisStore::connect(&server.url()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error}");
    let error = store.update(&digest, &record).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    server.command(&["REPLICAOF", "NO", "ONE"]).unwrap();
    let touch = touch_until(record.expires_at);
    store.touch(&digest, record.revision, touch).await.unwrap();
}

#[tokio::test]
async fn a_full_server_is_unavailable_and_changes_nothing() {
    let Some(server) = Redis::start() else { return };
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let (digest, record) = create(&store).await;
    server
        .command(&["CONFIG", "SET", "maxmemory", "1"])
        .unwrap();
    for error in [
        store.create(&key().digest(), &record).await.unwrap_err(),
        store.update(&digest, &record).await.unwrap_err(),
        store
            .rotate(&digest, &key().digest(), &record, record.expires_at)
            .await
            .unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("OOM"), "{error}");
    }
    let found = store.load(&digest).await.unwrap().unwrap();
    assert_eq!(found.into_record(), Some(record));
    store.delete(&digest).await.unwrap();
    assert!(store.load(&digest).await.unwrap().is_none());
}

/// Nobody is kept logged in because there is no room to remember why they are not.
#[tokio::test]
async fn a_session_ends_on_a_full_server_too() {
    let Some(server) = Redis::start() else { return };
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let room = |bytes: &str| {
        let set = ["CONFIG", "SET", "maxmemory", bytes];
        assert_eq!(server.command(&set).unwrap(), "OK");
    };
    let mut anonymous = sample("text");
    anonymous.subject = None;
    for record in [sample("text"), anonymous] {
        let (one, another) = (key().digest(), key().digest());
        let ending = Ending::new(EndReason::LoggedOut, record.created_at);
        for digest in [&one, &another] {
            store.create(digest, &record).await.unwrap();
        }
        room("1");
        store.end(&one, Some(&ending)).await.unwrap();
        if let Some(subject) = &record.subject {
            let subject = listed_as(subject);
            let all = store.end_sessions(&subject, Revoke::All, Some(&ending));
            assert_eq!(all.await.unwrap(), [another]);
        }
        room("0");
        let left = store.load(&one).await.unwrap();
        assert!(!matches!(left, Some(Stored::Record(_))), "{left:?}");
    }
}

/// Such a server evicts the index of a subject before its sessions as well, and a logout
/// everywhere would then answer that there is nothing to end.
#[tokio::test]
async fn a_server_that_evicts_is_refused_unless_that_is_allowed() {
    for policy in ["allkeys-lru", "volatile-ttl"] {
        let server = Redis::start_with(&["--maxmemory-policy", policy]);
        let Some(server) = server else { return };
        let error = RedisStore::connect(&server.url()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
        let text = error.to_string();
        assert!(
            text.contains(policy) && text.contains("noeviction"),
            "{text}"
        );
        let builder = RedisStore::builder(server.url()).allow_eviction(true);
        create(&builder.connect().await.unwrap()).await;
        let change = ["CONFIG", "SET", "maxmemory-policy", "noeviction"];
        server.command(&change).unwrap();
        create(&RedisStore::connect(&server.url()).await.unwrap()).await;
    }
}

#[tokio::test]
async fn somebody_elses_keys_are_corrupt_and_stay() {
    let Some(server) = Redis::start() else { return };
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let (digest, mut record) = (key().digest(), sample("text"));
    record.revision = Revision::FIRST;
    let name = format!("cloakroom:s:{}", digest.to_hex());
    server.command(&["RPUSH", &name, "theirs"]).unwrap();
    assert_eq!(kind(store.load(&digest).await), ErrorKind::Corrupt);
    assert_eq!(
        kind(store.update(&digest, &record).await),
        ErrorKind::Corrupt
    );
    let touch = Touch::from(&record);
    let touched = store.touch(&digest, Revision::FIRST, touch).await;
    assert_eq!(kind(touched), ErrorKind::Corrupt);
    assert_eq!(kind(store.delete(&digest).await), ErrorKind::Corrupt);
    assert_eq!(
        kind(store.create(&digest, &record).await),
        ErrorKind::Exists
    );
    assert_eq!(server.command(&["LLEN", &name]).unwrap(), "1");
    // A text of theirs: nothing writes to it, and a delete takes it.
    server.command(&["DEL", &name]).unwrap();
    server.command(&["SET", &name, "theirs"]).unwrap();
    assert_eq!(kind(store.load(&digest).await), ErrorKind::Corrupt);
    assert_eq!(
        kind(store.update(&digest, &record).await),
        ErrorKind::Corrupt
    );
    store.delete(&digest).await.unwrap();
    assert!(store.load(&digest).await.unwrap().is_none());
}

#[tokio::test]
async fn a_record_of_a_newer_build_takes_no_write_of_this_one() {
    let Some(server) = Redis::start() else { return };
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let (digest, record) = create(&store).await;
    let name = format!("cloakroom:s:{}", digest.to_hex());
    server.command(&["SETRANGE", &name, "2", "2"]).unwrap();
    let touch = touch_until(record.expires_at);
    let new = key().digest();
    for result in [
        store.update(&digest, &record).await.map(|_| ()),
        store.touch(&digest, record.revision, touch).await,
        store
            .rotate(&digest, &new, &record, record.expires_at)
            .await
            .map(|_| ()),
    ] {
        assert_eq!(kind(result), ErrorKind::Unsupported);
    }
    assert!(store.load(&new).await.unwrap().is_none());
}

/// The head of a record has a byte that is no text, where it names its subject.
#[tokio::test]
async fn a_write_over_damage_in_the_subject_of_the_head_is_done_and_answered() {
    for setup in common::both().await {
        let store = &setup.store;
        let (digest, mut record) = create(store).await;
        let name = format!("{}s:{}", setup.prefix, digest.to_hex());
        let damage = || {
            let script = "redis.call('SETRANGE', KEYS[1], 80, string.char(255)) return 'OK'";
            assert_eq!(setup.ask(&["EVAL", script, "1", &name]), "OK");
        };
        damage();
        let touch = touch_until(record.expires_at.saturating_add(Duration::from_secs(60)));
        store.touch(&digest, record.revision, touch).await.unwrap();
        assert_eq!(kind(store.load(&digest).await), ErrorKind::Corrupt);
        record.revision = store.update(&digest, &record).await.unwrap();
        let found = store.load(&digest).await.unwrap().unwrap();
        assert_eq!(found.into_record().as_ref(), Some(&record));
        damage();
        let subject = record.subject.as_ref().unwrap();
        let ended = store
            .revoke(&listed_as(subject), Revoke::All)
            .await
            .unwrap();
        assert!(ended.contains(&digest), "the list says whose it is");
        store.create(&digest, &record).await.unwrap();
        damage();
        store.delete(&digest).await.unwrap();
        assert!(store.load(&digest).await.unwrap().is_none());
    }
}

/// What a mark that was cut leads to is not known, so that a logout through it must not
/// pass for done; and a mark is no session, whatever is left of it.
#[tokio::test]
async fn a_rotation_mark_that_was_cut_is_corrupt_and_counts_as_no_session() {
    for setup in common::both().await {
        let store = &setup.store;
        for length in [5, 60, 133] {
            let mut record = sample("text");
            record.subject = Some(Subject::new(key().digest().to_hex()).unwrap());
            let subject = listed_as(record.subject.as_ref().unwrap());
            let (old, new) = (key().digest(), key().digest());
            record.revision = store.create(&old, &record).await.unwrap();
            let until = record.expires_at;
            store.rotate(&old, &new, &record, until).await.unwrap();
            let name = format!("{}s:{}", setup.prefix, old.to_hex());
            let cut = format!(
                "redis.call('SET', KEYS[1], redis.call('GET', KEYS[1]):sub(1, {length})) return 'OK'"
            );
            assert_eq!(setup.ask(&["EVAL", &cut, "1", &name]), "OK");
            // As a rotation may leave it that a crash has cut.
            let index = format!("{}u:{}", setup.prefix, subject.to_hex());
            setup.ask(&["ZADD", &index, "9999999999999", &old.to_hex()]);
            assert_eq!(kind(store.load(&old).await), ErrorKind::Corrupt);
            assert_eq!(kind(store.update(&old, &record).await), ErrorKind::Corrupt);
            let touch = Touch::from(&record);
            let touched = store.touch(&old, record.revision, touch).await;
            assert_eq!(kind(touched), ErrorKind::Corrupt);
            assert_eq!(kind(store.delete(&old).await), ErrorKind::Corrupt);
            for which in [Revoke::One(old), Revoke::AllBut(old)] {
                let ended = store.revoke(&subject, which).await;
                assert_eq!(kind(ended), ErrorKind::Corrupt, "{which:?}");
            }
            assert!(store.load(&new).await.unwrap().is_some(), "no logout yet");
            let listed = store.sessions_of(&subject, 10).await.unwrap();
            assert_eq!(listed.len(), 1);
            let ended = store.revoke(&subject, Revoke::All).await.unwrap();
            assert_eq!(ended, [new], "cut at {length}");
            assert_eq!(kind(store.load(&old).await), ErrorKind::Corrupt);
        }
    }
}

/// A right that is missing is told before anything is written.
#[tokio::test]
async fn a_user_without_the_channel_is_refused_whole() {
    let Some(server) = Redis::start() else { return };
    let rules = [
        "ACL",
        "SETUSER",
        "app",
        "on",
        ">pw",
        "~cloakroom:*",
        "+@all",
    ];
    server.command(&rules).unwrap();
    server
        .command(&["ACL", "SETUSER", "app", "resetchannels"])
        .unwrap();
    let url = format!("redis://app:pw@127.0.0.1:{}", server.port());
    let store = RedisStore::connect(&url).await.unwrap();
    let (digest, record) = create(&store).await;
    let error = store.update(&digest, &record).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert!(error.to_string().contains("lacks a right"), "{error}");
    let found = store.load(&digest).await.unwrap().unwrap();
    assert_eq!(found.into_record(), Some(record));
}

#[tokio::test]
async fn a_user_who_may_not_look_at_the_server_may_use_it() {
    let Some(server) = Redis::start() else { return };
    let rules = "ACL SETUSER app on >pw ~cloakroom:* resetchannels &cloakroom:* -@all +get +mget +scan +zscan +ping \
                 +subscribe +publish +eval +evalsha +exists +getrange +setrange +set +del \
                 +pexpire +pttl +zadd +zrem +zrange +zrangebyscore +zscore";
    let rules: Vec<&str> = rules.split_whitespace().collect();
    server.command(&rules).unwrap();
    let url = format!("redis://app:pw@127.0.0.1:{}", server.port());
    let store = RedisStore::connect(&url).await.unwrap();
    conformance(&store, &Profile::SHARED).await;
    store.listen().await.unwrap();
}

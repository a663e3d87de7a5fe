//! What only a cluster does: steps that may be cut, slots that move, nodes that end.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod common;

use std::time::{Duration, Instant};

use cloakroom_core::store::{
    EndReason, Ending, Import as _, KeyDigest, Record, Revoke, Scan as _, SessionStore as _,
    Stored, Subjects as _, Tombstone,
};
use cloakroom_core::{Error, ErrorKind, Subject};
use cloakroom_redis::RedisStore;
use cloakroom_servers::{Redis, RedisCluster};
use cloakroom_testkit::{key, listed_as, sample};
use tokio::time::timeout;

async fn create(store: &RedisStore) -> (KeyDigest, Record) {
    let (digest, record) = (key().digest(), sample("text"));
    let revision = store.create(&digest, &record).await.unwrap();
    (digest, record.at_revision(revision))
}

async fn stored(store: &RedisStore, digest: &KeyDigest) -> Option<Record> {
    store
        .load(digest)
        .await
        .unwrap()
        .and_then(Stored::into_record)
}

/// A process that ends, or a request that is given up, in the middle of a
/// rotation: at every moment exactly one of the two keys opens.
#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_cut_anywhere_leaves_exactly_one_key_that_opens() {
    let Some(store) = common::cluster().await else {
        return;
    };
    let (mut before, mut after) = (0, 0);
    let (mut whole, mut rotated) = create(&store).await;
    for round in 0..400 {
        let (old, record) = create(&store).await;
        let (new, until) = (key().digest(), record.expires_at);
        // Up to twice the time that one takes now which nobody cuts.
        let (begun, moved) = (Instant::now(), key().digest());
        let next = store.rotate(&whole, &moved, &rotated, until).await;
        (whole, rotated.revision) = (moved, next.unwrap());
        let cut = begun.elapsed() * round / 200;
        let rotation = store.rotate(&old, &new, &record, until);
        let _ = timeout(cut, rotation).await;
        let (under_old, under_new) = (stored(&store, &old).await, stored(&store, &new).await);
        // What was on its way when it was cut may have arrived between the looks.
        let (under_old, under_new) = match (under_old, under_new) {
            (Some(_), Some(new)) => (stored(&store, &old).await, Some(new)),
            looks => looks,
        };
        match (under_old, under_new) {
            (Some(found), None) => {
                assert_eq!(found, record);
                before += 1;
            }
            (None, Some(found)) => {
                assert_eq!(found, record.at_revision(record.revision.next()));
                after += 1;
            }
            other => panic!("cut after {cut:?}: {other:?}"),
        }
        let ending = Ending::new(EndReason::LoggedOut, record.created_at);
        store.end(&old, Some(&ending)).await.unwrap();
        assert_eq!(stored(&store, &old).await, None);
        assert_eq!(stored(&store, &new).await, None, "ended under both");
        let tombstone = Stored::Ended(Tombstone::new(&ending, record.subject_digest()));
        let left = [
            store.load(&old).await.unwrap(),
            store.load(&new).await.unwrap(),
        ];
        let left = left.iter().filter(|left| left.as_ref() == Some(&tombstone));
        assert_eq!(left.count(), 1, "it is remembered where it was last");
    }
    assert!(before > 0 && after > 0, "{before} before, {after} after");
}

#[tokio::test]
async fn a_refused_rotation_leaves_nothing_at_the_new_key() {
    let Some(store) = common::cluster().await else {
        return;
    };
    let (old, record) = create(&store).await;
    store.update(&old, &record).await.unwrap();
    let (new, until) = (key().digest(), record.expires_at);
    let stale = store.rotate(&old, &new, &record, until).await.unwrap_err();
    assert_eq!(stale.kind(), ErrorKind::Conflict);
    store.create(&new, &record).await.unwrap();
}

/// What a rotation leaves that ended between its first step and the one that
/// counts, and between that one and its last.
#[tokio::test]
async fn what_is_moving_opens_once_the_mark_stands_and_not_before() {
    for setup in common::both().await {
        let store = &setup.store;
        let (from, mut record) = create(store).await;
        let to = key().digest();
        let name = |digest: &KeyDigest| format!("{}s:{}", setup.prefix, digest.to_hex());
        // Only a single server lets a test write bytes that are no text; it reads
        // what is moving just as a cluster does.
        let script = "local v = redis.call('GET', KEYS[1])\n\
             redis.call('SET', KEYS[2], v:sub(1, 4) .. 'p' .. v:sub(6, 134) .. ARGV[1] .. v:sub(135))\n\
             return 'OK'";
        let moving = [
            "EVAL",
            script,
            "2",
            &name(&from),
            &name(&to),
            &from.to_hex(),
        ];
        let Some("OK") = setup.try_ask(&moving).as_deref() else {
            continue; // the two lie on different servers
        };
        assert_eq!(stored(store, &to).await, None);
        assert_eq!(stored(store, &from).await.as_ref(), Some(&record));
        let over = store.create(&to, &record).await.unwrap_err();
        assert_eq!(over.kind(), ErrorKind::Exists);
        let update = store.update(&to, &record).await.unwrap_err();
        assert_eq!(update.kind(), ErrorKind::Gone);
        let page = store.scan(None, 1_000).await.unwrap();
        assert!(page.items.iter().all(|item| item.digest != to));
        // It is said to come from where a mark leads here: so it has arrived.
        let marked = key().digest();
        let until = record.expires_at;
        let mark = Stored::Rotated { to, until };
        assert!(store.import(&marked, &mark).await.unwrap());
        let rename = [
            "EVAL",
            "local v = redis.call('GET', KEYS[1])\n\
             redis.call('SET', KEYS[1], (v:gsub(ARGV[1], ARGV[2])))\n\
             return 'OK'",
            "1",
            &name(&to),
            &from.to_hex(),
            &marked.to_hex(),
        ];
        assert_eq!(setup.ask(&rename), "OK");
        assert_eq!(stored(store, &to).await.as_ref(), Some(&record));
        record.revision = store.update(&to, &record).await.unwrap();
        assert_eq!(stored(store, &to).await, Some(record));
    }
}

/// The rights of a user at every node, with their URLs.
fn user(cluster: &RedisCluster, rule: &str) -> Vec<String> {
    let rules = ["on", ">pw", "~cloakroom:*", "&*", "+@all", rule];
    let set = [&["ACL", "SETUSER", "app", "reset"], &rules[..]].concat();
    let url = |node: &Redis| {
        assert_eq!(node.command(&set).unwrap(), "OK");
        format!("redis://app:pw@127.0.0.1:{}", node.port())
    };
    cluster.nodes().iter().map(url).collect()
}

/// Who is told "not written" keeps the cookie that has just stopped to open.
#[tokio::test]
async fn what_fails_after_the_step_that_counts_is_not_said_to_be_unwritten() {
    let Some(cluster) = RedisCluster::start() else {
        return;
    };
    let store = RedisStore::cluster(user(&cluster, "+get"));
    let store = store.connect().await.unwrap();
    let is_unknown = |error: Error| {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains("lacks a right"), "{source}");
    };
    let (old, mut record) = create(&store).await;
    let (new, until) = (key().digest(), record.expires_at);
    user(&cluster, "-zadd");
    let later = record.expires_at.saturating_add(Duration::from_secs(60));
    record.expires_at = later;
    is_unknown(store.update(&old, &record).await.unwrap_err());
    record.revision = record.revision.next();
    assert_eq!(stored(&store, &old).await.as_ref(), Some(&record));
    record.expires_at = later.saturating_add(Duration::from_secs(60));
    let touch = cloakroom_core::store::Touch::from(&record);
    is_unknown(store.touch(&old, record.revision, touch).await.unwrap_err());
    assert_eq!(stored(&store, &old).await.as_ref(), Some(&record));
    // A step before the one that counts may say so.
    let early = store.rotate(&old, &new, &record, until).await.unwrap_err();
    assert_eq!(early.kind(), ErrorKind::Misconfigured);
    // The last step of a rotation alone reads the value whole.
    user(&cluster, "-get");
    is_unknown(store.rotate(&old, &new, &record, until).await.unwrap_err());
    user(&cluster, "+get");
    assert_eq!(stored(&store, &old).await, None);
    let moved = record.at_revision(record.revision.next());
    assert_eq!(stored(&store, &new).await, Some(moved));
}

#[tokio::test]
async fn nodes_that_send_a_call_round_in_circles_are_unavailable() {
    let Some(cluster) = RedisCluster::start() else {
        return;
    };
    let store = RedisStore::cluster(cluster.urls()).connect().await.unwrap();
    let (digest, record) = create(&store).await;
    let name = format!("cloakroom:s:{}", digest.to_hex());
    let (from, to, slot) = holder(&cluster, &name);
    let to_id = to.command(&["CLUSTER", "MYID"]).unwrap();
    from.command(&["DEL", &name]).unwrap();
    let set = ["CLUSTER", "SETSLOT", &slot, "NODE", &to_id];
    assert_eq!(from.command(&set).unwrap(), "OK");
    for error in [
        store.load(&digest).await.unwrap_err(),
        store.update(&digest, &record).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.to_string().contains("MOVED"), "{error}");
    }
}

#[tokio::test]
async fn a_mark_that_cannot_be_read_spares_no_session_from_a_revocation() {
    let Some(setup) = common::both().await.into_iter().find(|s| s.servers() > 1) else {
        return;
    };
    let store = &setup.store;
    let subject = Subject::new(key().digest().to_hex()).unwrap();
    let mut record = sample("text");
    record.subject = Some(subject.clone());
    let mut digests = [(); 4].map(|()| key().digest());
    digests.sort();
    for digest in &digests {
        store.create(digest, &record).await.unwrap();
    }
    let new = key().digest();
    let old = record.at_revision(cloakroom_core::store::Revision::FIRST);
    store
        .rotate(&digests[0], &new, &old, record.expires_at)
        .await
        .unwrap();
    let index = format!("{}u:{}", setup.prefix, listed_as(&subject).to_hex());
    setup.ask(&["ZADD", &index, "1", &digests[0].to_hex()]);
    let mark = format!("{}s:{}", setup.prefix, digests[0].to_hex());
    setup.ask(&["SETRANGE", &mark, "2", "2"]);
    let error = store
        .revoke(&listed_as(&subject), Revoke::All)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    digests[0] = new;
    for digest in &digests {
        assert_eq!(stored(store, digest).await, None);
    }
}

/// The node that has the slot of a key, and another.
fn holder<'c>(cluster: &'c RedisCluster, key: &str) -> (&'c Redis, &'c Redis, String) {
    let slot = cluster.nodes()[0]
        .command(&["CLUSTER", "KEYSLOT", key])
        .unwrap();
    let has = |node: &&Redis| {
        let asked = node.command(&["EXISTS", key]);
        asked.is_ok()
    };
    let holder = cluster.nodes().iter().find(has).unwrap();
    let other = cluster.nodes().iter().find(|node| !has(node)).unwrap();
    (holder, other, slot)
}

#[tokio::test]
async fn a_slot_that_moves_to_another_node_is_followed() {
    let Some(cluster) = RedisCluster::start() else {
        return;
    };
    let store = RedisStore::cluster(cluster.urls()).connect().await.unwrap();
    let (digest, mut record) = create(&store).await;
    let name = format!("cloakroom:s:{}", digest.to_hex());
    let (from, to, slot) = holder(&cluster, &name);
    let id = |node: &Redis| node.command(&["CLUSTER", "MYID"]).unwrap();
    let (from_id, to_id) = (id(from), id(to));
    let step = |node: &Redis, parts: &[&str]| {
        assert_eq!(node.command(parts).unwrap(), "OK", "{parts:?}");
    };
    step(to, &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]);
    step(from, &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]);
    // It is still here.
    record.revision = store.update(&digest, &record).await.unwrap();
    let port = to.port().to_string();
    step(from, &["MIGRATE", "127.0.0.1", &port, &name, "0", "2000"]);
    // It is there, for who asks.
    assert_eq!(stored(&store, &digest).await.as_ref(), Some(&record));
    record.revision = store.update(&digest, &record).await.unwrap();
    for node in [to, from] {
        step(node, &["CLUSTER", "SETSLOT", &slot, "NODE", &to_id]);
    }
    // It has moved.
    record.revision = store.update(&digest, &record).await.unwrap();
    assert_eq!(stored(&store, &digest).await, Some(record));
    store.delete(&digest).await.unwrap();
    assert_eq!(stored(&store, &digest).await, None);
}

#[tokio::test]
async fn a_node_that_ends_takes_its_own_slots_alone_and_is_found_again() {
    let Some(cluster) = RedisCluster::start() else {
        return;
    };
    // So that the others serve what is theirs, and nothing that was answered is
    // lost: synced each second, a log may lack what was answered just before.
    for node in cluster.nodes() {
        let settings = [
            "cluster-require-full-coverage",
            "no",
            "appendfsync",
            "always",
        ];
        for setting in settings.chunks(2) {
            node.command(&["CONFIG", "SET", setting[0], setting[1]])
                .unwrap();
        }
    }
    let store = RedisStore::cluster(cluster.urls()).connect().await.unwrap();
    let mut anonymous = sample("text");
    anonymous.subject = None;
    let mut kept = Vec::new();
    for _ in 0..30 {
        let digest = key().digest();
        let revision = store.create(&digest, &anonymous).await.unwrap();
        kept.push((digest, anonymous.at_revision(revision)));
    }
    let ended = &cluster.nodes()[0];
    ended.kill();
    let (mut there, mut away) = (0, 0);
    for (digest, record) in &kept {
        let begun = Instant::now();
        match store.load(digest).await {
            Ok(found) => {
                assert_eq!(found.and_then(Stored::into_record).as_ref(), Some(record));
                there += 1;
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
                away += 1;
            }
        }
        assert!(begun.elapsed() < Duration::from_secs(2));
    }
    assert!(there > 0 && away > 0, "{there} there, {away} away");
    ended.restart();
    cluster.wait();
    for (digest, record) in &kept {
        assert_eq!(stored(&store, digest).await.as_ref(), Some(record));
        store.update(digest, record).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_node_delays_no_call_to_the_others() {
    let Some(cluster) = RedisCluster::start() else {
        return;
    };
    for node in cluster.nodes() {
        let set = ["CONFIG", "SET", "cluster-require-full-coverage", "no"];
        node.command(&set).unwrap();
    }
    let limit = Duration::from_secs(4);
    let store = RedisStore::cluster(cluster.urls()).timeout(limit);
    let store = store.connect().await.unwrap();
    let mut kept = Vec::new();
    for _ in 0..24 {
        kept.push(create(&store).await.0);
    }
    // The one that would be asked first for the map, were they asked in their order.
    let silent = cluster
        .nodes()
        .iter()
        .min_by_key(|node| node.url())
        .unwrap();
    silent.pause();
    let is_theirs = |digest: &KeyDigest| {
        let name = format!("cloakroom:s:{}", digest.to_hex());
        let other = cluster
            .nodes()
            .iter()
            .find(|node| node.url() != silent.url());
        let asked = other.unwrap().command(&["CLUSTER", "KEYSLOT", &name]);
        let slot: u32 = asked.unwrap().parse().unwrap();
        let index = cluster.nodes().iter().position(|n| n.url() == silent.url());
        let index = u32::try_from(index.unwrap()).unwrap();
        (16_384 * index / 3..16_384 * (index + 1) / 3).contains(&slot)
    };
    let (dead, well): (Vec<_>, Vec<_>) = kept.into_iter().partition(is_theirs);
    assert!(!dead.is_empty() && !well.is_empty());
    let until = Instant::now() + limit * 2;
    let calls = dead.into_iter().map(|digest| {
        let store = store.clone();
        tokio::spawn(async move {
            while Instant::now() < until {
                let error = store.load(&digest).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
            }
        })
    });
    let calls: Vec<_> = calls.collect();
    let mut longest = Duration::ZERO;
    while Instant::now() < until {
        for digest in &well {
            let begun = Instant::now();
            assert!(store.load(digest).await.unwrap().is_some());
            longest = longest.max(begun.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for call in calls {
        call.await.unwrap();
    }
    println!("the longest call to a node that is well took {longest:?}");
    assert!(longest < limit / 4, "{longest:?}");
    silent.resume();
}

/// So many round trips at the nodes: the first page of the crate says these.
#[tokio::test]
async fn the_round_trips_are_those_that_the_first_page_says() {
    let Some(cluster) = RedisCluster::start() else {
        return;
    };
    let store = RedisStore::cluster(cluster.urls()).connect().await.unwrap();
    let trips = || -> u64 {
        let commands = ["evalsha", "get", "set", "zrem"];
        let nodes = cluster.nodes().iter();
        nodes
            .flat_map(|node| commands.map(|command| common::calls(node, command)))
            .sum()
    };
    // Every node has seen every script.
    for _ in 0..40 {
        let (digest, mut record) = create(&store).await;
        record.revision = store.update(&digest, &record).await.unwrap();
        let touch = cloakroom_core::store::Touch::from(&record);
        store.touch(&digest, record.revision, touch).await.unwrap();
        let (new, until) = (key().digest(), record.expires_at);
        store.rotate(&digest, &new, &record, until).await.unwrap();
        store.delete(&new).await.unwrap();
    }
    let ending = Ending::new(EndReason::LoggedOut, sample("text").created_at);
    for (subject, costs) in [
        (false, [1, 1, 1, 1, 1, 3, 1, 1]),
        (true, [2, 1, 1, 2, 3, 5, 2, 2]),
    ] {
        let mut record = sample("text");
        if !subject {
            record.subject = None;
        }
        let (digest, new) = (key().digest(), key().digest());
        let mut last = trips();
        let mut cost = |operation: &str, expected: u64| {
            // A script that writes the record calls SET, and `rotate_finish.lua` reads the
            // moving session by a GET.
            let now = trips();
            let inner = match operation {
                "update" | "end" => 1,
                "rotate" => 3,
                _ => 0,
            };
            assert_eq!(
                now - last - inner,
                expected,
                "{operation}, subject: {subject}"
            );
            last = now;
        };
        record.revision = store.create(&digest, &record).await.unwrap();
        cost("create", costs[0]);
        store.load(&digest).await.unwrap();
        cost("load", costs[1]);
        record.revision = store.update(&digest, &record).await.unwrap();
        cost("update", costs[2]);
        record.expires_at = record.expires_at.saturating_add(Duration::from_secs(60));
        let touch = cloakroom_core::store::Touch::from(&record);
        store.touch(&digest, record.revision, touch).await.unwrap();
        cost("touch", costs[3]);
        // So far on that a crash after it must not find the list ended before.
        record.expires_at = record
            .expires_at
            .saturating_add(Duration::from_secs(1 << 20));
        let touch = cloakroom_core::store::Touch::from(&record);
        store.touch(&digest, record.revision, touch).await.unwrap();
        cost("a touch far on", costs[4]);
        let until = record.expires_at;
        record.revision = store.rotate(&digest, &new, &record, until).await.unwrap();
        cost("rotate", costs[5]);
        store.delete(&new).await.unwrap();
        cost("delete", costs[6]);
        // What is remembered of an end costs nothing more.
        let other = key().digest();
        store.create(&other, &record).await.unwrap();
        cost("create", costs[0]);
        store.end(&other, Some(&ending)).await.unwrap();
        cost("end", costs[7]);
    }
}

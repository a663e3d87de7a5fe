//! What a server does not allow: it is said, and not done.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod common;

use std::time::Duration;

use cloakroom_core::store::{
    EndReason, Ending, Invalidations as _, KeyDigest, Record, Revoke, SessionStore as _, Stored,
    Subjects as _, Touch,
};
use cloakroom_core::{Error, ErrorKind};
use cloakroom_redis::RedisStore;
use cloakroom_servers::{Redis, RedisCluster};
use cloakroom_testkit::{Profile, conformance, key, listed_as, sample};

async fn create(store: &RedisStore, record: &Record) -> (KeyDigest, Record) {
    let digest = key().digest();
    let revision = store.create(&digest, record).await.unwrap();
    (digest, record.at_revision(revision))
}

/// What the scripts call.
const COMMANDS: [&str; 12] = [
    "exists",
    "getrange",
    "setrange",
    "set",
    "del",
    "pexpire",
    "pttl",
    "zadd",
    "zrem",
    "zrange",
    "zrangebyscore",
    "publish",
];

/// A record of somebody, one of nobody, and what may be done to them.
struct Bench<'s> {
    theirs: (KeyDigest, Record),
    nobodys: (KeyDigest, Record),
    new: KeyDigest,
    store: &'s RedisStore,
}

/// How many there are to [`act`](Bench::act) by.
const OPERATIONS: usize = 16;

impl Bench<'_> {
    async fn act(&self, operation: usize) -> Result<(), Error> {
        let (store, new) = (self.store, &self.new);
        let (digest, record) = match operation % 2 {
            0 => (&self.theirs.0, self.theirs.1.clone()),
            _ => (&self.nobodys.0, self.nobodys.1.clone()),
        };
        let far = record
            .expires_at
            .saturating_add(Duration::from_secs(1 << 22));
        let ending = Ending::new(EndReason::LoggedOut, record.created_at);
        match operation / 2 {
            0 => store.create(new, &record).await.map(drop),
            1 => store.update(digest, &record).await.map(drop),
            2 => {
                // Nobody's becomes theirs, and theirs nobody's.
                let mut record = record;
                record.subject = record.subject.xor(self.theirs.1.subject.clone());
                store.update(digest, &record).await.map(drop)
            }
            3 => {
                let touch = Touch {
                    expires_at: far,
                    ..Touch::from(&record)
                };
                store.touch(digest, record.revision, touch).await
            }
            4 => store.rotate(digest, new, &record, far).await.map(drop),
            5 => store.delete(digest).await,
            6 => store.end(digest, Some(&ending)).await,
            _ => {
                let subject = listed_as(self.theirs.1.subject.as_ref().unwrap());
                let ending = operation.is_multiple_of(2).then_some(&ending);
                let ended = store.end_sessions(&subject, Revoke::All, ending);
                ended.await.map(drop)
            }
        }
    }
}

/// All that stands, and all that is listed.
async fn look(store: &RedisStore, bench: &Bench<'_>) -> (Vec<Option<Stored>>, Vec<KeyDigest>) {
    let mut stands = Vec::new();
    for digest in [&bench.theirs.0, &bench.nobodys.0, &bench.new] {
        stands.push(store.load(digest).await.unwrap());
    }
    let subject = bench.theirs.1.subject.as_ref().unwrap();
    let listed = store
        .sessions_of(&listed_as(subject), usize::MAX)
        .await
        .unwrap();
    (stands, listed.iter().map(|listed| listed.digest).collect())
}

#[tokio::test]
async fn whatever_right_is_missing_what_is_refused_is_not_done_and_nothing_stays_for_ever() {
    let Some(server) = Redis::start() else { return };
    let owner = RedisStore::connect(&server.url()).await.unwrap();
    let user = |rule: &str| {
        let rules = ["on", ">pw", "~cloakroom:*", "&*", "+@all", rule];
        let set = [&["ACL", "SETUSER", "app", "reset"], &rules[..]].concat();
        assert_eq!(server.command(&set).unwrap(), "OK");
    };
    user("+get");
    let url = format!("redis://app:pw@127.0.0.1:{}", server.port());
    let store = RedisStore::connect(&url).await.unwrap();
    for command in COMMANDS {
        let mut refused = 0;
        for operation in 0..OPERATIONS {
            server.command(&["FLUSHALL"]).unwrap();
            let mut nobodys = sample("text");
            nobodys.subject = None;
            let bench = Bench {
                theirs: create(&owner, &sample("text")).await,
                nobodys: create(&owner, &nobodys).await,
                new: key().digest(),
                store: &store,
            };
            let before = look(&owner, &bench).await;
            user(&format!("-{command}"));
            let done = bench.act(operation).await;
            user("+get");
            let keys = server.command(&["KEYS", "*"]).unwrap();
            for key in keys.lines().filter(|key| !key.is_empty()) {
                let left = server.command(&["PTTL", key]).unwrap();
                assert!(!left.starts_with('-'), "{operation} without {command}");
            }
            if let Err(error) = done {
                let text = format!("{operation} without {command}: {error}");
                assert_eq!(error.kind(), ErrorKind::Misconfigured, "{text}");
                assert_eq!(look(&owner, &bench).await, before, "{text}");
                refused += 1;
            }
        }
        assert!(refused > 0, "nothing needs {command}");
    }
}

/// The commands in capitals that an error asks for.
fn named(error: &Error) -> Vec<String> {
    let text = error.to_string();
    let words = text.split(|letter: char| !letter.is_ascii_uppercase());
    let words = words.filter(|word| word.len() > 2 && *word != "NOPERM" && *word != "URL");
    words
        .map(|word| format!("+{}", word.to_lowercase()))
        .collect()
}

#[tokio::test]
async fn the_rights_that_a_refusal_names_are_all_that_is_needed() {
    let Some(server) = Redis::start() else { return };
    let Some(cluster) = RedisCluster::start() else {
        return;
    };
    let user = |rules: &[String]| {
        let base = "ACL SETUSER app reset on >pw ~cloakroom:* resetchannels &cloakroom:* -@all";
        let rules = base.split(' ').chain(rules.iter().map(String::as_str));
        let rules: Vec<&str> = rules.collect();
        for node in cluster.nodes().iter().chain([&server]) {
            assert_eq!(node.command(&rules).unwrap(), "OK");
        }
    };
    let url = |node: &Redis| format!("redis://app:pw@127.0.0.1:{}", node.port());
    user(&["+info".to_owned()]);
    let single = RedisStore::connect(&url(&server)).await.unwrap();
    let error = single.load(&key().digest()).await.unwrap_err();
    user(&named(&error));
    for store in [
        RedisStore::builder(url(&server)),
        RedisStore::cluster(cluster.nodes().iter().map(url)),
    ] {
        let store = store.connect().await.unwrap();
        conformance(&store, &Profile::SHARED).await;
        store.listen().await.unwrap();
    }
}

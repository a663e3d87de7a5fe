//! What the operations cost, counted at the server.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod common;

use cloakroom_core::store::{EndReason, Ending, Revoke, SessionStore as _, Subjects as _, Touch};
use cloakroom_redis::RedisStore;
use cloakroom_servers::Redis;
use cloakroom_testkit::{key, listed_as, sample};

/// What the store has sent: none of these is called by a script of a single server.
fn trips(server: &Redis) -> u64 {
    let commands = ["evalsha", "eval", "get", "mget", "scan"];
    commands.iter().map(|c| common::calls(server, c)).sum()
}

#[tokio::test]
async fn every_operation_on_a_single_server_is_one_round_trip() {
    let Some(server) = Redis::start() else { return };
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let mut record = sample("text");
    let (old, new, other) = (key().digest(), key().digest(), key().digest());
    let until = record.expires_at;
    for is_warm in [false, true] {
        let (old, new) = match is_warm {
            false => (key().digest(), key().digest()),
            true => (old, new),
        };
        let mut last = trips(&server);
        let mut cost = |operation: &str| {
            let now = trips(&server);
            // A server that has not seen a script is given it, once.
            if is_warm {
                assert_eq!(now - last, 1, "{operation}");
            }
            last = now;
        };
        record.revision = store.create(&old, &record).await.unwrap();
        cost("create");
        store.load(&old).await.unwrap();
        cost("load");
        store.load(&other).await.unwrap();
        cost("load of nothing");
        record.revision = store.update(&old, &record).await.unwrap();
        cost("update");
        let stale = record.at_revision(record.revision.next());
        store.update(&old, &stale).await.unwrap_err();
        cost("a conflict");
        let touch = Touch::from(&record);
        store.touch(&old, record.revision, touch).await.unwrap();
        cost("touch");
        record.revision = store.rotate(&old, &new, &record, until).await.unwrap();
        cost("rotate");
        store.delete(&old).await.unwrap();
        cost("delete through a mark");
        let subject = record.subject.as_ref().unwrap();
        store
            .revoke(&listed_as(subject), Revoke::All)
            .await
            .unwrap();
        cost("revoke");
        // What is remembered of an end costs nothing more.
        let ending = Ending::new(EndReason::LoggedOut, record.created_at);
        let (old, new) = (key().digest(), key().digest());
        record.revision = store.create(&old, &record).await.unwrap();
        cost("create");
        record.revision = store.rotate(&old, &new, &record, until).await.unwrap();
        cost("rotate");
        store.end(&old, Some(&ending)).await.unwrap();
        cost("end through a mark");
        store.end(&new, Some(&ending)).await.unwrap();
        cost("end again");
        store.create(&other, &record).await.unwrap();
        cost("create");
        let subject = listed_as(subject);
        let ended = store.end_sessions(&subject, Revoke::All, Some(&ending));
        assert_eq!(ended.await.unwrap(), [other]);
        cost("end all");
        store.delete(&other).await.unwrap();
        cost("delete of a tombstone");
    }
    // A session of nobody is made by a command, without a script.
    record.subject = None;
    let before = (trips(&server), common::calls(&server, "set"));
    store.create(&key().digest(), &record).await.unwrap();
    let after = (trips(&server), common::calls(&server, "set"));
    assert_eq!((after.0 - before.0, after.1 - before.1), (0, 1));
}

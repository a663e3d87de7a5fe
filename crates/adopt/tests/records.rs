//! Where former records lie: what is there, what is not, and a server that is down.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

use std::time::{Duration, Instant};

use cloakroom_adopt::{Records, RedisKeys, SqliteTable};
use cloakroom_core::ErrorKind;
use cloakroom_servers::Redis;

async fn found(records: &impl Records, key: &str) -> Option<(Vec<u8>, Option<Duration>)> {
    let found = records.get(key).await.unwrap()?;
    Some((found.bytes, found.lives_for))
}

#[tokio::test]
async fn keys_of_redis_are_found_again_after_the_server_was_down() {
    let Some(redis) = Redis::start() else { return };
    let keys = RedisKeys::new(&redis.url()).unwrap();
    redis.command(&["SET", "for ever", "1"]).unwrap();
    redis.command(&["SET", "short", "2", "EX", "100"]).unwrap();
    assert_eq!(found(&keys, "for ever").await, Some((b"1".to_vec(), None)));
    let (bytes, lives_for) = found(&keys, "short").await.unwrap();
    assert_eq!(bytes, b"2");
    let lives_for = lives_for.unwrap().as_secs();
    assert!((90..=100).contains(&lives_for), "{lives_for}");
    assert_eq!(found(&keys, "nothing").await, None);
    for _ in 0..2 {
        keys.delete("short").await.unwrap();
    }
    assert_eq!(found(&keys, "short").await, None);

    redis.kill();
    let error = keys.get("for ever").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(!format!("{error} {error:?}").contains("for ever"));
    redis.restart();
    assert_eq!(found(&keys, "for ever").await, Some((b"1".to_vec(), None)));

    // One that hangs holds nobody up for long, however many wait.
    redis.pause();
    let begun = Instant::now();
    let (first, second) = tokio::join!(keys.get("for ever"), keys.delete("short"));
    assert_eq!(first.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(second.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(begun.elapsed() < Duration::from_secs(8), "{begun:?}");
    redis.resume();
    assert!(found(&keys, "for ever").await.is_some());
}

/// Who listens there speaks no TLS; what counts is that no step towards it panics.
#[tokio::test]
async fn a_redis_over_tls_is_asked_like_any_other() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("rediss://{}", listener.local_addr().unwrap());
    // A build of this crate alone has no TLS.
    let Ok(keys) = RedisKeys::new(&url) else {
        return;
    };
    let accept = async {
        for _ in 0..2 {
            drop(listener.accept().await.unwrap());
        }
    };
    let (found, ()) = tokio::join!(keys.get("a"), accept);
    assert_eq!(found.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_file_that_is_no_former_database_is_refused_and_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("no.db");
    for name in ["tower_sessions", "a\"; drop table b", ""] {
        let error = SqliteTable::open_table(&path, name).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured, "{name}");
    }
    assert!(!path.exists());
    std::fs::write(&path, "no database at all").unwrap();
    let error = SqliteTable::open(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert!(RedisKeys::new("no url").is_err());
}

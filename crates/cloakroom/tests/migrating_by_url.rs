//! Sessions move from one store to another, and back, by a change of the URL.

#![cfg(all(
    feature = "cached",
    feature = "memory",
    feature = "migrating",
    feature = "redb",
    feature = "sealed",
    feature = "sqlite"
))]
#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

use std::time::Duration;

use cloakroom::engine::{OsEntropy, SessionKey, TokenStore as _};
use cloakroom::store::{SessionStore as _, Stored};
use cloakroom::{Clock as _, ErrorKind, Expiry, SystemClock, open, open_session_store};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn url(&self, scheme: &str) -> String {
        format!("{scheme}:{}", self.0.path().join(scheme).display())
    }
}

/// Begins so many sessions.
async fn begin(url: &str, count: usize) -> Vec<SessionKey> {
    let store = open(url).await.unwrap();
    let record = Expiry::default().begin(SystemClock.now());
    let mut keys = Vec::new();
    for _ in 0..count {
        let key = SessionKey::generate(&OsEntropy).unwrap();
        store.create_token(&key, &record).await.unwrap();
        keys.push(key);
    }
    store.close().await.unwrap();
    keys
}

/// How many of these are found.
async fn found(url: &str, keys: &[SessionKey]) -> usize {
    let store = open(url).await.unwrap();
    let mut found = 0;
    for key in keys {
        let loaded = store.load_token(&key.to_token()).await.unwrap();
        found += usize::from(matches!(
            loaded.map(|loaded| loaded.stored),
            Some(Stored::Record(_))
        ));
    }
    store.close().await.unwrap();
    found
}

/// Lets a store copy until nothing is left in the former one.
async fn moved(url: &str) {
    let store = open(url).await.unwrap();
    let scan = store.token_capabilities().scan.unwrap();
    for _ in 0..600 {
        let mut in_former = 0;
        let mut next = None;
        loop {
            let page = scan.scan(next.as_ref(), 1_000).await.unwrap();
            let is_former = page
                .next
                .as_ref()
                .is_some_and(|next| next.as_str() == "new ");
            in_former += page.items.len();
            next = page.next;
            if is_former || next.is_none() {
                break;
            }
        }
        if in_former == 0 {
            store.close().await.unwrap();
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the sessions do not move in a minute");
}

#[tokio::test]
async fn sessions_move_by_a_change_of_the_url_and_back() {
    let folder = Folder::new();
    let (redb, sqlite) = (folder.url("redb"), folder.url("sqlite"));
    let keys = begin(&redb, 70).await;

    let there = format!("{sqlite}?table=t&migrating_from={redb}");
    assert_eq!(
        found(&there, &keys[..10]).await,
        10,
        "what a request meets is found"
    );
    moved(&there).await;
    let new = format!("{sqlite}?table=t");
    assert_eq!(found(&new, &keys).await, 70);
    assert_eq!(found(&redb, &keys).await, 0);

    let back = format!("{redb}?migrating_from={new}");
    moved(&back).await;
    assert_eq!(found(&redb, &keys).await, 70);
    assert_eq!(found(&new, &keys).await, 0);
}

/// The cache and the seal are those of the new store's options.
#[tokio::test]
async fn sealed_sessions_move_behind_their_seal() {
    let folder = Folder::new();
    let (redb, sqlite) = (folder.url("redb"), folder.url("sqlite"));
    let keys = begin(&format!("{redb}?sealed=true"), 20).await;
    let there = format!("{sqlite}?sealed=true&cache=1MiB&stale=5s&migrating_from={redb}");
    let store = open(&there).await.unwrap();
    let layers = format!("{store:?}");
    let order = ["Sealed", "Cached", "Migrating"].map(|name| layers.find(name).unwrap());
    assert!(order.is_sorted(), "{layers}");
    store.close().await.unwrap();
    moved(&there).await;
    assert_eq!(found(&format!("{sqlite}?sealed=true"), &keys).await, 20);
}

#[tokio::test]
async fn a_prepared_store_leaves_sessions_where_they_are() {
    let folder = Folder::new();
    let (redb, sqlite) = (folder.url("redb"), folder.url("sqlite"));
    let keys = begin(&redb, 20).await;
    let prepared = format!("{sqlite}?prepared_from={redb}");
    assert_eq!(found(&prepared, &keys).await, 20);
    let begun = begin(&prepared, 5).await;
    assert_eq!(found(&redb, &keys).await, 20);
    assert_eq!(found(&redb, &begun).await, 5);
}

#[tokio::test]
async fn a_store_on_digests_moves_too() {
    let folder = Folder::new();
    let redb = folder.url("redb");
    let keys = begin(&redb, 1).await;
    let there = format!("memory:?migrating_from={redb}");
    let store = open_session_store(&there).await.unwrap();
    assert!(store.load(&keys[0].digest()).await.unwrap().is_some());
    store.capabilities().close.unwrap().close().await.unwrap();
    let sealed = format!("memory:?sealed=true&migrating_from={redb}");
    let error = open_session_store(&sealed).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
}

#[tokio::test]
async fn an_error_says_which_of_the_two_stores_it_is_of() {
    let folder = Folder::new();
    let redb = folder.url("redb");
    begin(&redb, 1).await;
    for (url, kind, parts) in [
        (
            format!("memory:?migrating_from={redb}?sealed=true"),
            ErrorKind::Misconfigured,
            ["the store of migrating_from=", "options of the new one"],
        ),
        (
            format!("memory:?prepared_from={redb}?cache=1MiB&stale=5s"),
            ErrorKind::Misconfigured,
            ["the store of prepared_from=", "options of the new one"],
        ),
        (
            format!("memory:?migrating_from={redb}?prefix=hunter2"),
            ErrorKind::Misconfigured,
            [
                "the store of migrating_from=: there is no such option",
                "options of redb:",
            ],
        ),
        (
            "memory:?migrating_from=rodis://hunter2@host".to_owned(),
            ErrorKind::Misconfigured,
            ["the store of migrating_from=: no such scheme", "redis:?"],
        ),
        (
            "memory:?migrating_from=redis://:hunter2@127.0.0.1:1".to_owned(),
            ErrorKind::Unavailable,
            ["the store of migrating_from=", "127.0.0.1:1"],
        ),
        (
            format!("redis://:hunter2@127.0.0.1:1?migrating_from={redb}"),
            ErrorKind::Unavailable,
            ["Redis", "127.0.0.1:1"],
        ),
        (
            format!("memory:?migrating_frm={redb}"),
            ErrorKind::Misconfigured,
            ["did you mean migrating_from=?", "memory:"],
        ),
        (
            format!("cookie:?key_file=x&revocation=sqlite:e?migrating_from={redb}"),
            ErrorKind::Misconfigured,
            ["the store of revocation=", "epochs stay in one store"],
        ),
    ] {
        let error = open(&url).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{url}: {error}");
        let text = format!("{error} {error:?}");
        for part in parts {
            assert!(text.contains(part), "{url}: {text}");
        }
        assert!(!text.contains("hunter2"), "{text}");
    }
}

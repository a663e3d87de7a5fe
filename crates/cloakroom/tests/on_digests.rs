//! A store on digests, by its URL.

#![cfg(all(
    feature = "cached",
    feature = "cookie",
    feature = "file",
    feature = "memory",
    feature = "postgres",
    feature = "redb",
    feature = "redis",
    feature = "sealed",
    feature = "sled",
    feature = "sqlite"
))]
#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

use cloakroom::engine::{OsEntropy, SessionKey, TokenStore as _};
use cloakroom::store::SessionStore as _;
use cloakroom::{AnyStore, Clock as _, ErrorKind, Expiry, SystemClock, open_session_store};

#[tokio::test]
async fn a_store_on_digests_is_opened_by_each_url_but_a_cookies_and_a_sealed_one() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    for (url, name) in [
        ("memory:".to_owned(), "MemoryStore"),
        ("Memory:?sealed=false".to_owned(), "MemoryStore"),
        (
            "memory:?cache=1MiB&stale=5s".to_owned(),
            "Cached<cloakroom_memory::MemoryStore>",
        ),
        (format!("file:{}", at("file")), "FileStore"),
        (format!("sled:{}", at("sled")), "SledStore"),
        (format!("redb:{}", at("redb")), "RedbStore"),
        (format!("sqlite:{}", at("sqlite")), "SqliteStore"),
    ] {
        let store = open_session_store(&url).await.unwrap();
        assert!(format!("{store:?}").contains(name), "{url}: {store:?}");
        let key = SessionKey::generate(&OsEntropy).unwrap();
        let record = Expiry::default().begin(SystemClock.now());
        store.create(&key.digest(), &record).await.unwrap();
        // What an engine finds under the key is what stands under its digest.
        let engines = AnyStore::new(store.clone());
        let found = engines.load_token(&key.to_token()).await.unwrap();
        assert!(found.is_some(), "{url}");
        assert!(store.capabilities().subjects.is_some(), "{url}");
    }
    for (url, part) in [
        ("cookie:?key_file=hunter2".to_owned(), "by digests"),
        ("Cookie:".to_owned(), "by digests"),
        ("memory:?sealed=true".to_owned(), "take sealed="),
        (
            format!("redb:{}?sealed=true&seal_key_file=hunter2", at("not made")),
            "take sealed=",
        ),
        (
            "postgres://ada:hunter2@127.0.0.1:1/db?sealed=true&cache=1MiB&stale=5s".to_owned(),
            "take sealed=",
        ),
        (
            "redis://:hunter2@127.0.0.1:1?sealed=true".to_owned(),
            "take sealed=",
        ),
        (
            "memori:".to_owned(),
            "no such scheme, did you mean memory:?",
        ),
    ] {
        let error = open_session_store(&url).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured, "{url}: {error}");
        let text = format!("{error} {error:?}");
        assert!(text.contains(part), "{url}: {text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
    assert!(
        !folder.path().join("not made").exists(),
        "nothing was opened"
    );
}

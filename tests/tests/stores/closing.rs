//! A store that is closed, and opened again in the same process.

use std::time::Duration;

use cloakroom::engine::TokenStore as _;
use cloakroom::{ErrorKind, Sweeper};
use cloakroom_testkit::{key, listed_as, sample};

#[tokio::test]
async fn every_embedded_store_is_closed_through_its_layers_and_opened_again_at_once() {
    for scheme in ["redb", "sled", "file", "sqlite"] {
        for options in [
            "",
            "?cache=1MiB&stale=60s",
            "?sealed=true",
            "?cache=1MiB&stale=60s&sealed=true",
        ] {
            let folder = tempfile::tempdir().unwrap();
            let url = format!(
                "{scheme}:{}{options}",
                folder.path().join("sessions").display()
            );
            let store = cloakroom::open(&url).await.unwrap();
            let sweeper = Sweeper::spawn(store.clone(), Duration::from_secs(1));
            let key = key();
            store.create_token(&key, &sample("")).await.unwrap();
            assert!(store.load_token(&key.to_token()).await.unwrap().is_some());

            sweeper.stop().await;
            store.close().await.unwrap();
            // A folder of files is shared anyway: there is nothing to close.
            if scheme != "file" {
                let error = store.load_token(&key.to_token()).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{url}");
                assert!(error.to_string().contains("was closed"), "{url}: {error}");
            }
            let again = cloakroom::open(&url).await;
            let again = again.unwrap_or_else(|error| panic!("{url}: {error}"));
            assert!(again.load_token(&key.to_token()).await.unwrap().is_some());
        }
    }
}

/// Its task holds a clone of the store, and would keep the file locked for a moment more.
#[tokio::test(flavor = "multi_thread")]
async fn a_sweeper_that_was_stopped_holds_the_store_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("redb:{}", folder.path().join("sessions.redb").display());
    for _ in 0..20 {
        let store = cloakroom::open(&url).await.unwrap();
        for _ in 0..10 {
            store.create_token(&key(), &sample("")).await.unwrap();
        }
        let sweeper = Sweeper::spawn(store, Duration::from_secs(1));
        tokio::task::yield_now().await;
        sweeper.stop().await;
    }
}

/// Pages are read on a thread of their own, which must let go of the database, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_is_closed_while_its_sessions_are_listed_and_opened_again_at_once() {
    let subject = sample("").subject.unwrap();
    for scheme in ["redb", "sled", "sqlite"] {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("{scheme}:{}", folder.path().join("sessions").display());
        for _ in 0..10 {
            let store = cloakroom::open(&url).await.unwrap();
            for _ in 0..10 {
                store.create_token(&key(), &sample("")).await.unwrap();
            }
            let lists = [(); 4].map(|()| {
                let (store, subject) = (store.clone(), listed_as(&subject));
                tokio::spawn(async move {
                    let subjects = store.token_capabilities().subjects.unwrap();
                    loop {
                        if let Err(error) = subjects.list_sessions(&subject, None).await {
                            return error;
                        }
                    }
                })
            });
            tokio::task::yield_now().await;
            store.close().await.unwrap();
            let again = cloakroom::open(&url).await;
            drop(again.unwrap_or_else(|error| panic!("{url}: {error}")));
            for list in lists {
                let error = list.await.unwrap();
                assert!(error.to_string().contains("was closed"), "{url}: {error}");
            }
        }
    }
}

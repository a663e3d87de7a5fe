//! What is said where sessions may travel in plaintext. A binary of its own, with one test:
//! a subscriber of one thread may miss an event that another thread was the first to send.

#![cfg(all(feature = "mysql", feature = "postgres"))]
#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

use std::time::Duration;

use cloakroom_sql::SqlStore;
use cloakroom_testkit::CollectedEvents;
use tracing::Level;

#[tokio::test]
async fn plaintext_to_another_machine_is_an_event_that_says_what_to_set() {
    let events = CollectedEvents::begin();
    let said = async |url: &str| {
        let builder = SqlStore::builder().acquire_timeout(Duration::from_millis(100));
        // Nobody is there: an address for documentation.
        let _ = builder.connect(url).await;
        events.take_text(Level::WARN)
    };
    for (url, advice) in [
        ("postgres://u:hunter2@192.0.2.1/x", "sslmode=verify-full"),
        (
            "postgres://u:hunter2@192.0.2.1/x?sslmode=prefer",
            "sslmode=verify-full",
        ),
        (
            "postgres://u:hunter2@192.0.2.1/x?sslmode=allow",
            "sslmode=verify-full",
        ),
        ("mysql://u:hunter2@192.0.2.1/x", "ssl-mode=VERIFY_IDENTITY"),
        (
            "mysql://u:hunter2@192.0.2.1/x?ssl-mode=PREFERRED",
            "ssl-mode=VERIFY_IDENTITY",
        ),
    ] {
        let said = said(url).await;
        assert!(said.contains("plaintext"), "{url}: {said}");
        for part in ["192.0.2.1", advice] {
            assert!(said.contains(part), "{url}: {said}");
        }
        assert!(!said.contains("hunter2"), "{said}");
    }
    for url in [
        "postgres://u@192.0.2.1/x?sslmode=disable",
        "postgres://u@192.0.2.1/x?sslmode=verify-full",
        "postgres://u@127.0.0.1:1/x",
        "postgres://u@localhost:1/x",
        "postgres://u@[::1]:1/x",
        "postgres://u@%2Fnowhere/x",
        "mysql://u@192.0.2.1/x?ssl-mode=DISABLED",
        "mysql://u@192.0.2.1/x?ssl-mode=REQUIRED",
        "mysql://u@127.0.0.1:1/x",
        "mysql://u@localhost/x?socket=/nowhere",
    ] {
        let said = said(url).await;
        assert!(!said.contains("plaintext"), "{url}: {said}");
    }
}

//! What is asked of the store over each database.

#![allow(dead_code, unused_imports, unused_macros)] // Each binary uses a part of it.

pub(crate) mod cases;
pub(crate) mod drops;
pub(crate) mod moves;
pub(crate) mod proxy;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use cloakroom_core::engine::AnyStore;
use cloakroom_core::store::{
    EndReason, Ending, KeyDigest, Record, Revision, Revoke, SCAN_PAGE_BYTES_MAX, SessionStore,
    Stored, Touch,
};
use cloakroom_core::{Error, ErrorKind, Label, Subject, Timestamp};
use cloakroom_sql::SqlStore;
use cloakroom_testkit::{
    Profile, conformance, key, listed_as, races, sample, survives_reopening, touch_until,
};
use futures_util::future::join_all;
use tokio::runtime::Handle;

/// The name of a table that no other test uses.
pub(crate) fn table() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("t{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

pub(crate) fn later(seconds: u64) -> Timestamp {
    sample("")
        .created_at
        .saturating_add(Duration::from_secs(seconds))
}

/// For how long an end is remembered.
pub(crate) const DAY_MILLIS: u64 = 24 * 60 * 60 * 1_000;

/// An end that leaves a tombstone.
pub(crate) fn ending() -> Ending {
    let note = Label::new("Firefox on Linux").unwrap();
    Ending::new(EndReason::LoggedOutElsewhere, later(0)).with_note(Some(note))
}

/// Asks again and again until it is so.
pub(crate) async fn eventually(what: &str, sign: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(10);
    while !sign() {
        assert!(Instant::now() < until, "not within 10 s: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) async fn conforms(store: &SqlStore) {
    conformance(store, &Profile::SHARED).await;
    conformance(&AnyStore::new(store.clone()), &Profile::SHARED).await;
}

pub(crate) async fn keeps_what_it_acknowledged(open: impl AsyncFn() -> SqlStore) {
    survives_reopening(&Profile::SHARED, || open()).await;
}

/// In a table of which one column is of another type: no session is taken for a
/// damaged one.
pub(crate) async fn tells_a_wrong_table(store: &SqlStore, digest: &KeyDigest) {
    assert_eq!(kind(store.load(digest).await), ErrorKind::Misconfigured);
    let subjects = store.capabilities().subjects.unwrap();
    let subject = Subject::new("user-42").unwrap();
    let listed = subjects.sessions_of(&listed_as(&subject), usize::MAX).await;
    assert_eq!(kind(listed), ErrorKind::Misconfigured);
    let scan = store.capabilities().scan.unwrap();
    assert_eq!(kind(scan.scan(None, 10).await), ErrorKind::Misconfigured);
}

/// The longest timeouts that there are, which nobody can add to a time of day.
pub(crate) async fn serves_who_waits_for_ever(
    open: impl AsyncFn(cloakroom_sql::SqlStoreBuilder) -> SqlStore,
) {
    for timeout in [Duration::MAX, Duration::MAX / 4, cloakroom_sql::TIMEOUT_MAX] {
        let builder = SqlStore::builder().table(table());
        let builder = builder.acquire_timeout(timeout).statement_timeout(timeout);
        let store = open(builder.trusted_idle(timeout)).await;
        store.migrate().await.unwrap();
        store.create(&key().digest(), &sample("x")).await.unwrap();
    }
}

/// Records of a MiB each, and how many of them a page holds.
pub(crate) async fn scans_large_records_in_small_pages(store: &SqlStore) {
    let mut all = Vec::new();
    let mut record = sample("large");
    record.data = cloakroom_core::store::Data::from_bytes(vec![7; 1024 * 1024]);
    for _ in 0..10 {
        let digest = key().digest();
        store.create(&digest, &record).await.unwrap();
        all.push(digest);
    }
    all.sort_unstable_by_key(|digest| *digest.as_bytes());
    let scan = store.capabilities().scan.unwrap();
    let (mut found, mut pages, mut from) = (Vec::new(), Vec::new(), None);
    loop {
        let page = scan.scan(from.as_ref(), 1_000).await.unwrap();
        pages.push(page.items.len());
        for item in page.items {
            let stored = item.stored.unwrap().into_record().unwrap();
            assert_eq!(stored.data.as_bytes().len(), 1024 * 1024);
            found.push(item.digest);
        }
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    assert_eq!(SCAN_PAGE_BYTES_MAX, 4 * 1024 * 1024);
    assert_eq!(pages, [4, 4, 2]);
    assert_eq!(found, all);
}

/// Names that a statement might use for something else: of its parts, its columns and
/// its aliases, and words of SQL.
pub(crate) async fn serves_in_a_table_of_any_name(open: impl AsyncFn(&str) -> SqlStore) {
    let mut failed = Vec::new();
    for name in [
        "hops", "hop", "h", "t", "p", "path", "marked", "made", "created", "written", "digest",
        "moved_to", "subject", "select",
    ] {
        let store = open(name).await;
        store.migrate().await.unwrap();
        let serves = async || -> Result<(), Error> {
            let subjects = store.capabilities().subjects.unwrap();
            let (old, new) = (key().digest(), key().digest());
            let mut record = sample("x");
            record.revision = store.create(&old, &record).await?;
            record.revision = store.update(&old, &record).await?;
            store.rotate(&old, &new, &record, later(60)).await?;
            store.delete(&old).await?;
            assert!(store.load(&new).await?.is_none(), "{name}");
            store.create(&new, &record).await?;
            let subject = record.subject.clone().unwrap();
            let spared = key().digest();
            let ended = subjects
                .revoke(&listed_as(&subject), Revoke::AllBut(spared))
                .await?;
            assert_eq!(ended, [new], "{name}");
            let ending = ending();
            for digest in [key().digest(), key().digest()] {
                store.create(&digest, &record).await?;
                store.end(&new, Some(&ending)).await?;
                let whose = listed_as(&subject);
                let ended = subjects.end_sessions(&whose, Revoke::All, Some(&ending));
                assert_eq!(ended.await?, [digest], "{name}");
            }
            let sweep = store.capabilities().sweep.unwrap();
            for (now, swept) in [(later(120), 1), (later(100_000), 3)] {
                assert_eq!(sweep.sweep(now, 10).await?.removed, swept, "{name}");
            }
            Ok(())
        };
        if let Err(error) = serves().await {
            failed.push(format!("{name}: {error}"));
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}

/// The store as threads without a runtime can use it.
pub(crate) struct Anywhere(SqlStore, Handle);

impl Anywhere {
    async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        self.1.spawn(work).await.unwrap()
    }
}

impl SessionStore for Anywhere {
    async fn load(&self, digest: &KeyDigest) -> Result<Option<Stored>, Error> {
        let (store, digest) = (self.0.clone(), *digest);
        self.run(async move { store.load(&digest).await }).await
    }

    async fn create(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        let (store, digest, record) = (self.0.clone(), *digest, record.clone());
        self.run(async move { store.create(&digest, &record).await })
            .await
    }

    async fn update(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        let (store, digest, record) = (self.0.clone(), *digest, record.clone());
        self.run(async move { store.update(&digest, &record).await })
            .await
    }

    async fn touch(
        &self,
        digest: &KeyDigest,
        revision: Revision,
        touch: Touch,
    ) -> Result<(), Error> {
        let (store, digest) = (self.0.clone(), *digest);
        self.run(async move { store.touch(&digest, revision, touch).await })
            .await
    }

    async fn rotate(
        &self,
        old: &KeyDigest,
        new: &KeyDigest,
        record: &Record,
        mark_until: Timestamp,
    ) -> Result<Revision, Error> {
        let (store, old, new, record) = (self.0.clone(), *old, *new, record.clone());
        self.run(async move { store.rotate(&old, &new, &record, mark_until).await })
            .await
    }

    async fn end(&self, digest: &KeyDigest, ending: Option<&Ending>) -> Result<(), Error> {
        let (store, digest, ending) = (self.0.clone(), *digest, ending.cloned());
        self.run(async move { store.end(&digest, ending.as_ref()).await })
            .await
    }
}

/// Runs inside a runtime of several threads.
pub(crate) async fn settles_races(store: SqlStore, rounds: usize) {
    let store = Anywhere(store, Handle::current());
    let threads = tokio::task::spawn_blocking(move || races(&store, rounds));
    threads.await.unwrap();
}

/// Eight that begin at once, on connections of their own.
pub(crate) async fn migrates_in_a_race(open: impl AsyncFn() -> SqlStore) {
    let stores = join_all((0..8).map(|_| open())).await;
    for result in join_all(stores.iter().map(SqlStore::migrate)).await {
        result.unwrap();
    }
    for store in &stores {
        store.migrate().await.unwrap();
        store.create(&key().digest(), &sample("x")).await.unwrap();
    }
}

pub(crate) fn kind<T: std::fmt::Debug>(result: Result<T, Error>) -> ErrorKind {
    result.unwrap_err().kind()
}

/// A row of 17 MiB, which `long` makes, is damage alone. MySQL's own limit on a packet
/// keeps such rows from being sent.
pub(crate) async fn tells_a_row_longer_than_any_record(
    store: &SqlStore,
    table: &str,
    long: &str,
    run: impl AsyncFn(String),
) {
    let digest = key().digest();
    store.create(&digest, &sample("x")).await.unwrap();
    run(format!("UPDATE {table} SET data = {long}")).await;
    let error = store.load(&digest).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(
        error.to_string().contains("longer than a record"),
        "{error}"
    );
    let scan = store.capabilities().scan.unwrap();
    let page = scan.scan(None, 10).await.unwrap();
    let scanned: Vec<_> = page
        .items
        .into_iter()
        .map(|item| kind(item.stored))
        .collect();
    assert_eq!(scanned, [ErrorKind::Corrupt]);
    store.delete(&digest).await.unwrap();
    assert!(store.load(&digest).await.unwrap().is_none());
}

/// `run` carries out SQL on the side.
pub(crate) async fn tells_unreadable_rows_apart(
    store: &SqlStore,
    table: &str,
    invalid: &str,
    run: impl AsyncFn(String),
) {
    let [newer, older, text, whole] = [(); 4].map(|()| key().digest());
    for digest in [newer, older, text, whole] {
        store.create(&digest, &sample("x")).await.unwrap();
    }
    let at = |digest: &KeyDigest, set: &str| {
        let hex = digest.to_hex();
        let digest = invalid.replace("ff", &hex);
        format!("UPDATE {table} SET {set} WHERE digest = {digest}")
    };
    run(at(&newer, "format = 2")).await;
    run(at(&older, "format = 0")).await;
    run(at(&text, &format!("label = {invalid}"))).await;
    for (digest, expected) in [
        (&newer, ErrorKind::Unsupported),
        (&older, ErrorKind::Corrupt),
    ] {
        let record = sample("y").at_revision(Revision::FIRST);
        let touch = touch_until(later(9_000));
        assert_eq!(kind(store.load(digest).await), expected);
        assert_eq!(kind(store.update(digest, &record).await), expected);
        assert_eq!(
            kind(store.touch(digest, Revision::FIRST, touch).await),
            expected
        );
        let new = key().digest();
        let rotated = store.rotate(digest, &new, &record, later(60)).await;
        assert_eq!(kind(rotated), expected);
        assert!(store.load(&new).await.unwrap().is_none());
        assert_eq!(kind(store.create(digest, &record).await), ErrorKind::Exists);
    }
    assert_eq!(kind(store.load(&text).await), ErrorKind::Corrupt);
    assert!(store.load(&whole).await.unwrap().is_some());

    let subjects = store.capabilities().subjects.unwrap();
    let subject = Subject::new("user-42").unwrap();
    let listed = subjects
        .sessions_of(&listed_as(&subject), usize::MAX)
        .await
        .unwrap();
    assert_eq!(listed.len(), 1, "what cannot be read is not listed");
    let scan = store.capabilities().scan.unwrap();
    let page = scan.scan(None, 100).await.unwrap();
    let unreadable = page.items.iter().filter(|item| item.stored.is_err());
    assert_eq!((page.items.len(), unreadable.count()), (4, 3));

    store.delete(&newer).await.unwrap();
    assert!(store.load(&newer).await.unwrap().is_none());
    store.end(&older, Some(&ending())).await.unwrap();
    let stored = store.load(&older).await.unwrap();
    assert!(matches!(stored, Some(Stored::Ended(_))), "{stored:?}");
    let ended = subjects
        .revoke(&listed_as(&subject), Revoke::All)
        .await
        .unwrap();
    assert_eq!(ended.len(), 2, "what cannot be read is ended as well");
    // A tombstone that cannot be read is one all the same.
    run(at(&older, &format!("data = {invalid}"))).await;
    assert_eq!(kind(store.load(&older).await), ErrorKind::Corrupt);
    let record = sample("y").at_revision(Revision::FIRST);
    assert_eq!(kind(store.update(&older, &record).await), ErrorKind::Gone);
    store.delete(&older).await.unwrap();
    assert!(store.load(&older).await.unwrap().is_none());
}

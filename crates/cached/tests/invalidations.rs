//! A cache that watches invalidations drops what other nodes write; while its
//! subscription is broken, it does what `on_disconnect` says.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cloakroom_cached::{CacheStats, Cached, OnDisconnect};
use cloakroom_core::store::{
    Announced, BoxFuture, Capabilities, Ending, Invalidation, Invalidations, KeyDigest, Listener,
    Record, Revision, Revoke, SessionStore, Stored, Touch,
};
use cloakroom_core::{Error, ErrorKind, Timestamp};
use cloakroom_testkit::{MapStore, key, listed_as, sample};

/// A store that several nodes share, and that announces what is written to it.
#[derive(Clone, Debug, Default)]
struct Shared {
    store: Arc<MapStore>,
    channels: Arc<Mutex<Vec<Channel>>>,
    is_cut: Arc<AtomicBool>,
    /// A test that holds this delays the answers of updates.
    answers: Arc<tokio::sync::Mutex<()>>,
    /// A test that holds this delays the answers of loads.
    loads: Arc<tokio::sync::Mutex<()>>,
}

type Channel = Arc<Mutex<VecDeque<Result<Invalidation, Error>>>>;

impl Shared {
    fn announce(&self, digest: &KeyDigest, revision: Revision) {
        if self.is_cut.load(Ordering::SeqCst) {
            return;
        }
        for channel in self.channels.lock().unwrap().iter() {
            let invalidation = Invalidation {
                digest: *digest,
                revision,
            };
            channel.lock().unwrap().push_back(Ok(invalidation));
        }
    }

    fn cut(&self) {
        self.is_cut.store(true, Ordering::SeqCst);
        for channel in self.channels.lock().unwrap().drain(..) {
            let broken = Err(ErrorKind::Unavailable.into());
            channel.lock().unwrap().push_back(broken);
        }
    }

    fn restore(&self) {
        self.is_cut.store(false, Ordering::SeqCst);
    }
}

impl SessionStore for Shared {
    async fn load(&self, digest: &KeyDigest) -> Result<Option<Stored>, Error> {
        let loaded = self.store.load(digest).await;
        let _turn = self.loads.lock().await;
        loaded
    }

    async fn create(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        self.store.create(digest, record).await
    }

    async fn update(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        let revision = self.store.update(digest, record).await?;
        self.announce(digest, revision);
        let _turn = self.answers.lock().await;
        Ok(revision)
    }

    async fn touch(
        &self,
        digest: &KeyDigest,
        revision: Revision,
        touch: Touch,
    ) -> Result<(), Error> {
        self.store.touch(digest, revision, touch).await
    }

    async fn rotate(
        &self,
        old: &KeyDigest,
        new: &KeyDigest,
        record: &Record,
        mark_until: Timestamp,
    ) -> Result<Revision, Error> {
        let revision = self.store.rotate(old, new, record, mark_until).await?;
        self.announce(old, Revision::LAST);
        Ok(revision)
    }

    async fn end(&self, digest: &KeyDigest, ending: Option<&Ending>) -> Result<(), Error> {
        self.store.end(digest, ending).await?;
        self.announce(digest, Revision::LAST);
        Ok(())
    }

    fn capabilities(&self) -> Capabilities<'_> {
        self.store.capabilities().with_invalidations(self)
    }
}

impl Invalidations for Shared {
    fn listen(&self) -> BoxFuture<'_, Result<Box<dyn Listener>, Error>> {
        Box::pin(async {
            if self.is_cut.load(Ordering::SeqCst) {
                return Err(ErrorKind::Unavailable.into());
            }
            let channel = Channel::default();
            self.channels.lock().unwrap().push(channel.clone());
            Ok(Box::new(Subscription(channel)) as Box<dyn Listener>)
        })
    }
}

struct Subscription(Channel);

impl Listener for Subscription {
    fn next(&mut self) -> BoxFuture<'_, Result<Invalidation, Error>> {
        Box::pin(async {
            loop {
                if let Some(next) = self.0.lock().unwrap().pop_front() {
                    return next;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
    }
}

const HOUR: Duration = Duration::from_secs(3_600);

async fn until<S: SessionStore>(cached: &Cached<S>, holds: impl Fn(&CacheStats) -> bool) {
    for _ in 0..5_000 {
        if holds(&cached.stats()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("not within 5 s: {:?}", cached.stats());
}

/// A cache whose subscription is open, with a session in it.
async fn watching(on_disconnect: OnDisconnect) -> (Shared, Cached<Shared>, KeyDigest, Record) {
    let shared = Shared::default();
    let cached = Cached::builder(shared.clone(), HOUR)
        .on_disconnect(on_disconnect)
        .build();
    cached.watch_invalidations().unwrap();
    until(&cached, |stats| !stats.is_disconnected).await;
    let (digest, mut record) = (key().digest(), sample("here"));
    record.revision = cached.create(&digest, &record).await.unwrap();
    cached.load(&digest).await.unwrap().unwrap();
    assert_eq!(cached.stats().misses, 0);
    (shared, cached, digest, record)
}

#[tokio::test]
async fn what_another_node_ends_or_writes_is_dropped() {
    let (shared, cached, digest, record) = watching(OnDisconnect::ServeStale).await;
    let mut theirs = sample("there");
    theirs.revision = record.revision;
    let revision = shared.update(&digest, &theirs).await.unwrap();
    until(&cached, |stats| stats.invalidated == 1).await;
    let loaded = cached.load(&digest).await.unwrap();
    assert_eq!(loaded, Some(Stored::Record(theirs.at_revision(revision))));
    shared.delete(&digest).await.unwrap();
    until(&cached, |stats| stats.invalidated == 2).await;
    assert_eq!(cached.load(&digest).await.unwrap(), None);
}

/// A store that announces the ends of sessions, and no update.
#[derive(Debug)]
struct EndsAlone(Shared);

impl SessionStore for EndsAlone {
    async fn load(&self, digest: &KeyDigest) -> Result<Option<Stored>, Error> {
        self.0.load(digest).await
    }

    async fn create(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        self.0.create(digest, record).await
    }

    async fn update(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        self.0.store.update(digest, record).await
    }

    async fn touch(
        &self,
        digest: &KeyDigest,
        revision: Revision,
        touch: Touch,
    ) -> Result<(), Error> {
        self.0.touch(digest, revision, touch).await
    }

    async fn rotate(
        &self,
        old: &KeyDigest,
        new: &KeyDigest,
        record: &Record,
        mark_until: Timestamp,
    ) -> Result<Revision, Error> {
        self.0.rotate(old, new, record, mark_until).await
    }

    async fn end(&self, digest: &KeyDigest, ending: Option<&Ending>) -> Result<(), Error> {
        self.0.end(digest, ending).await
    }

    fn capabilities(&self) -> Capabilities<'_> {
        self.0.capabilities().with_invalidations(self)
    }
}

impl Invalidations for EndsAlone {
    fn announced(&self) -> Announced {
        Announced::Ends
    }

    fn listen(&self) -> BoxFuture<'_, Result<Box<dyn Listener>, Error>> {
        self.0.listen()
    }
}

/// Who listens through the cache for the ends of sessions still hears of them, and the cache
/// does not take that for a subscription of its own.
#[tokio::test]
async fn a_cache_does_not_rely_on_a_store_that_announces_ends_alone() {
    let store = EndsAlone(Shared::default());
    let cached = Cached::builder(store, HOUR)
        .on_disconnect(OnDisconnect::Bypass)
        .build();
    let refused = cached.watch_invalidations().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Misconfigured);
    assert!(refused.to_string().contains("notify=true"), "{refused}");
    let invalidations = cached.capabilities().invalidations.unwrap();
    assert_eq!(invalidations.announced(), Announced::Ends);
    let before = cached.stats();
    let mut listener = invalidations.listen().await.unwrap();
    assert_eq!(cached.stats(), before);
    let digest = key().digest();
    cached.create(&digest, &sample("x")).await.unwrap();
    cached.end(&digest, None).await.unwrap();
    assert_eq!(listener.next().await.unwrap().digest, digest);
}

#[tokio::test]
async fn a_nodes_own_writes_cost_it_nothing() {
    let (_shared, cached, digest, mut record) = watching(OnDisconnect::ServeStale).await;
    for _ in 0..5 {
        record.revision = cached.update(&digest, &record).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        cached.load(&digest).await.unwrap().unwrap();
    }
    assert_eq!((cached.stats().misses, cached.stats().invalidated), (0, 0));
}

#[tokio::test]
async fn a_disconnected_cache_says_so_and_serves_within_its_bound() {
    let (shared, cached, digest, _) = watching(OnDisconnect::ServeStale).await;
    shared.cut();
    until(&cached, |stats| {
        stats.is_disconnected && stats.disconnects == 1
    })
    .await;
    shared.delete(&digest).await.unwrap();
    assert!(
        cached.load(&digest).await.unwrap().is_some(),
        "within its bound"
    );
    shared.restore();
    until(&cached, |stats| !stats.is_disconnected).await;
    let loaded = cached.load(&digest).await.unwrap();
    assert_eq!(loaded, None, "what was missed is not answered with");
}

#[tokio::test]
async fn a_write_that_ends_after_a_reconnect_fills_the_cache_with_nothing_old() {
    let (shared, cached, digest, record) = watching(OnDisconnect::ServeStale).await;
    let cached = Arc::new(cached);
    shared.cut();
    until(&cached, |stats| stats.is_disconnected).await;
    let held = shared.answers.clone().lock_owned().await;
    let writes = cached.clone();
    let write = tokio::spawn(async move { writes.update(&digest, &record).await });
    let is_written = |stored: Option<Stored>| {
        let record = stored.and_then(Stored::into_record);
        record.is_some_and(|record| record.revision > Revision::FIRST)
    };
    while !is_written(shared.load(&digest).await.unwrap()) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    shared.delete(&digest).await.unwrap();
    shared.restore();
    until(&cached, |stats| !stats.is_disconnected).await;
    drop(held);
    write.await.unwrap().unwrap();
    assert_eq!(cached.load(&digest).await.unwrap(), None);
}

#[tokio::test]
async fn a_cache_may_ask_the_store_while_it_is_disconnected() {
    let (shared, cached, digest, _) = watching(OnDisconnect::Bypass).await;
    shared.cut();
    until(&cached, |stats| stats.is_disconnected).await;
    shared.delete(&digest).await.unwrap();
    assert_eq!(cached.load(&digest).await.unwrap(), None);
}

#[tokio::test]
async fn a_disconnected_cache_that_asks_the_store_coalesces_no_loads() {
    let (shared, cached, digest, _) = watching(OnDisconnect::Bypass).await;
    let cached = Arc::new(cached);
    shared.cut();
    until(&cached, |stats| stats.is_disconnected).await;
    let held = shared.loads.clone().lock_owned().await;
    let loads = cached.clone();
    let early = tokio::spawn(async move { loads.load(&digest).await });
    until(&cached, |stats| stats.misses == 1).await;
    shared.delete(&digest).await.unwrap();
    let loads = cached.clone();
    let late = tokio::spawn(async move { loads.load(&digest).await });
    until(&cached, |stats| stats.misses + stats.coalesced == 2).await;
    drop(held);
    assert_eq!(late.await.unwrap().unwrap(), None);
    early.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_cache_that_is_told_to_watch_again_is_subscribed_again() {
    let (shared, cached, digest, _) = watching(OnDisconnect::ServeStale).await;
    for _ in 0..5 {
        cached.watch_invalidations().unwrap();
        until(&cached, |stats| !stats.is_disconnected).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert!(!cached.stats().is_disconnected);
    }
    cached.load(&digest).await.unwrap();
    let before = cached.stats().invalidated;
    shared.delete(&digest).await.unwrap();
    until(&cached, |stats| stats.invalidated > before).await;
    assert_eq!(cached.load(&digest).await.unwrap(), None);
}

#[tokio::test]
async fn caches_in_a_row_are_subscribed_through_the_outermost() {
    let shared = Shared::default();
    let inner = Cached::with_staleness_max(shared.clone(), HOUR);
    let outer = Cached::with_staleness_max(inner, HOUR);
    outer.watch_invalidations().unwrap();
    until(&outer, |stats| !stats.is_disconnected).await;
    let (digest, record) = (key().digest(), sample("here"));
    outer.create(&digest, &record).await.unwrap();
    shared.delete(&digest).await.unwrap();
    until(&outer, |stats| stats.invalidated == 1).await;
    assert_eq!(outer.load(&digest).await.unwrap(), None);
    assert_eq!(outer.inner().stats().invalidated, 1);
}

/// An engine listens through the cache as long as sockets wait, beside the cache itself.
#[tokio::test]
async fn who_listens_through_a_cache_and_leaves_takes_nothing_from_it() {
    let (shared, cached, digest, _) = watching(OnDisconnect::Bypass).await;
    let listener = cached.listen().await.unwrap();
    drop(listener);
    let stats = cached.stats();
    assert_eq!((stats.is_disconnected, stats.disconnects), (false, 0));
    cached.load(&digest).await.unwrap().unwrap();
    shared.delete(&digest).await.unwrap();
    until(&cached, |stats| stats.invalidated == 1).await;
    shared.cut();
    until(&cached, |stats| {
        stats.is_disconnected && stats.disconnects == 1
    })
    .await;
}

#[tokio::test]
async fn a_store_that_announces_nothing_cannot_be_watched() {
    let cached = Cached::with_staleness_max(MapStore::default(), HOUR);
    let error = cached.watch_invalidations().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
}

#[tokio::test]
async fn the_subscription_ends_with_the_cache() {
    let (shared, cached, ..) = watching(OnDisconnect::ServeStale).await;
    let count = || Arc::strong_count(&shared.store);
    assert_eq!(count(), 2);
    drop(cached);
    for _ in 0..1_000 {
        if count() == 1 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("the task still holds the store");
}

#[tokio::test]
async fn what_is_revoked_is_dropped_from_the_cache() {
    let shared = MapStore::default();
    let cached = Cached::with_staleness_max(shared, HOUR);
    let record = sample("here");
    let subject = record.subject.clone().unwrap();
    let digests = [key().digest(), key().digest(), key().digest()];
    for digest in &digests {
        cached.create(digest, &record).await.unwrap();
    }
    let subjects = cached.capabilities().subjects.unwrap();
    let mut ended = subjects
        .revoke(&listed_as(&subject), Revoke::AllBut(digests[0]))
        .await
        .unwrap();
    ended.sort();
    let mut expected = digests[1..].to_vec();
    expected.sort();
    assert_eq!(ended, expected);
    assert!(cached.load(&digests[0]).await.unwrap().is_some());
    assert_eq!(cached.stats().hits, 1);
    for digest in &digests[1..] {
        assert_eq!(cached.load(digest).await.unwrap(), None);
    }
}

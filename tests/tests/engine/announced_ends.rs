//! A store that announces what other nodes do: who waits for ends asks it no more than it must.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cloakroom::store::{
    BoxFuture, Capabilities, EndReason, Ending, Invalidation, Invalidations, KeyDigest, Listener,
    Record, Revision, SessionStore, Stored, Touch,
};
use cloakroom::{Engine, Error, ErrorKind, Expiry, SessionExpiry, Timestamp};
use cloakroom_testkit::{ManualClock, MapStore};
use cloakroom_tests::waiting::{Visitor, goes_on, soon};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

const RHYTHM: Duration = Duration::from_secs(10);

const HOUR: Duration = Duration::from_secs(3_600);

/// A store that tells its listeners of ends and moves, until their channels are cut.
#[derive(Clone, Default)]
struct Announcing {
    store: Arc<MapStore>,
    listeners: Arc<Mutex<Vec<mpsc::UnboundedSender<Invalidation>>>>,
    loads: Arc<AtomicUsize>,
    is_down: Arc<AtomicBool>,
}

impl Announcing {
    fn announce(&self, digest: &KeyDigest, revision: Revision) {
        let digest = *digest;
        let invalidation = Invalidation { digest, revision };
        for listener in &*self.listeners.lock().unwrap() {
            let _ = listener.send(invalidation);
        }
    }

    fn cut(&self) {
        self.listeners.lock().unwrap().clear();
    }

    fn subscriptions(&self) -> usize {
        let listeners = self.listeners.lock().unwrap();
        listeners.iter().filter(|one| !one.is_closed()).count()
    }

    fn loads(&self) -> usize {
        self.loads.load(Ordering::SeqCst)
    }
}

impl SessionStore for Announcing {
    async fn load(&self, digest: &KeyDigest) -> Result<Option<Stored>, Error> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        self.store.load(digest).await
    }

    async fn create(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        self.store.create(digest, record).await
    }

    async fn update(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        let revision = self.store.update(digest, record).await?;
        self.announce(digest, revision);
        Ok(revision)
    }

    async fn touch(&self, at: &KeyDigest, revision: Revision, touch: Touch) -> Result<(), Error> {
        self.store.touch(at, revision, touch).await
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

impl Invalidations for Announcing {
    fn listen(&self) -> BoxFuture<'_, Result<Box<dyn Listener>, Error>> {
        if self.is_down.load(Ordering::SeqCst) {
            return Box::pin(async { Err(ErrorKind::Unavailable.into()) });
        }
        let (sender, receiver) = mpsc::unbounded_channel();
        self.listeners.lock().unwrap().push(sender);
        Box::pin(async { Ok(Box::new(Channel(receiver)) as Box<dyn Listener>) })
    }
}

struct Channel(mpsc::UnboundedReceiver<Invalidation>);

impl Listener for Channel {
    fn next(&mut self) -> BoxFuture<'_, Result<Invalidation, Error>> {
        Box::pin(async {
            let next = self.0.recv().await;
            next.ok_or_else(|| ErrorKind::Unavailable.into())
        })
    }
}

fn node(store: &Announcing) -> Engine {
    node_at(store, &Arc::new(ManualClock::default()))
}

/// A node whose sessions live unused for an hour.
fn node_at(store: &Announcing, clock: &Arc<ManualClock>) -> Engine {
    Engine::builder(store.clone())
        .check_ended_every(RHYTHM)
        .expiry(Expiry::new(HOUR, None).unwrap())
        .clock(clock.clone())
        .build()
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn one_subscription_serves_all_who_wait_and_ends_after_them() {
    let store = Announcing::default();
    let [here, there] = [node(&store), node(&store)];
    let mut waiting = Vec::new();
    for _ in 0..50 {
        let mut visitor = Visitor::log_in(&here, "ada").await;
        let mut ended = visitor.wait().await;
        assert!(goes_on(&mut ended, Duration::from_millis(1)).await);
        waiting.push(ended);
    }
    assert_eq!(store.subscriptions(), 1);
    drop(waiting);
    sleep(Duration::from_secs(30)).await;
    assert_eq!(store.subscriptions(), 1, "the next may come soon");
    sleep(Duration::from_secs(60)).await;
    assert_eq!(store.subscriptions(), 0);

    let mut ada = Visitor::log_in(&here, "ada").await;
    let mut ended = ada.wait().await;
    assert!(goes_on(&mut ended, Duration::from_millis(1)).await);
    assert_eq!(store.subscriptions(), 1);
    ada.at(&there).log_out().await;
    assert_eq!(soon(ended).await.because, EndReason::LoggedOut);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_announces_is_asked_once_for_each_and_after_writes() {
    let store = Announcing::default();
    let [here, there] = [node(&store), node(&store)];
    let mut ada = Visitor::log_in(&here, "ada").await;
    let mut ended = ada.wait().await;
    assert!(goes_on(&mut ended, 2 * RHYTHM).await);
    let asked = store.loads();
    assert!(goes_on(&mut ended, 100 * RHYTHM).await);
    assert_eq!(store.loads(), asked, "nothing has happened");
    // A write may have moved the deadline, so it is asked about once for several.
    let mut writes = 0;
    for number in 0..10 {
        let before = store.loads();
        ada.at(&there)
            .visit(async |session| session.insert("n", number).unwrap())
            .await;
        writes += store.loads() - before;
    }
    assert!(goes_on(&mut ended, 2 * RHYTHM).await);
    assert_eq!(store.loads(), asked + writes + 1);
    ada.at(&there).log_out().await;
    let told = Instant::now();
    assert_eq!(soon(ended).await.because, EndReason::LoggedOut);
    assert!(told.elapsed() < RHYTHM / 100, "at once");
}

#[tokio::test(start_paused = true)]
async fn what_a_cut_channel_missed_is_asked_about_when_it_is_back() {
    let store = Announcing::default();
    let [here, there] = [node(&store), node(&store)];
    let mut ada = Visitor::log_in(&here, "ada").await;
    let mut ended = ada.wait().await;
    assert!(goes_on(&mut ended, 2 * RHYTHM).await);
    let cut = Instant::now();
    store.cut();
    ada.at(&there).log_out().await;
    // The channel is back long before the store would be asked for want of it.
    assert!(goes_on(&mut ended, Duration::from_secs(1)).await);
    assert_eq!(store.subscriptions(), 1);
    assert_eq!(soon(ended).await.because, EndReason::LoggedOut);
    assert!(cut.elapsed() < RHYTHM + RHYTHM / 4);
}

#[tokio::test(start_paused = true)]
async fn while_the_channel_is_down_the_store_is_asked_in_the_rhythm() {
    let store = Announcing::default();
    let [here, there] = [node(&store), node(&store)];
    let mut ada = Visitor::log_in(&here, "ada").await;
    let mut ended = ada.wait().await;
    assert!(goes_on(&mut ended, 2 * RHYTHM).await);
    store.is_down.store(true, Ordering::SeqCst);
    store.cut();
    assert!(goes_on(&mut ended, 2 * RHYTHM).await);
    ada.at(&there).log_out().await;
    let begun = Instant::now();
    assert_eq!(soon(ended).await.because, EndReason::LoggedOut);
    assert!(begun.elapsed() < RHYTHM + RHYTHM / 4);
}

/// It ended when the request had loaded it, and nobody waited yet.
#[tokio::test(start_paused = true)]
async fn an_end_that_was_announced_before_the_wait_is_not_missed() {
    let store = Announcing::default();
    let [here, there] = [node(&store), node(&store)];
    let mut bob = Visitor::log_in(&here, "bob").await;
    let mut bobs = bob.wait().await;
    assert!(goes_on(&mut bobs, 2 * RHYTHM).await);
    let ada = Visitor::log_in(&here, "ada").await;
    let (_exchange, session) = ada.open().await;
    ada.at(&there).log_out().await;
    assert!(goes_on(&mut bobs, Duration::from_millis(10)).await);
    assert_eq!(soon(session.ended()).await.because, EndReason::LoggedOut);
}

#[tokio::test(start_paused = true)]
async fn the_store_is_asked_at_the_deadline_which_a_use_elsewhere_may_have_moved() {
    let store = Announcing::default();
    let clock = Arc::new(ManualClock::default());
    let [here, there] = [(), ()].map(|()| node_at(&store, &clock));
    let mut ada = Visitor::log_in(&here, "ada").await;
    let mut ended = ada.wait().await;
    let mut ada = ada.at(&there);
    assert!(goes_on(&mut ended, 2 * RHYTHM).await);
    clock.advance(HOUR / 2);
    // A touch, which is not announced.
    ada.visit(async |session| assert!(session.exists())).await;
    let asked = store.loads();
    assert!(goes_on(&mut ended, 2 * RHYTHM).await);
    clock.advance(HOUR / 2);
    assert!(goes_on(&mut ended, 2 * RHYTHM).await);
    assert_eq!(store.loads(), asked + 1, "once, at the deadline of before");
    clock.advance(HOUR / 2);
    assert_eq!(soon(ended).await.because, EndReason::Idle);

    // A write elsewhere brings the deadline forward.
    let mut ada = Visitor::log_in(&here, "ada").await;
    let mut ended = ada.wait().await;
    assert!(goes_on(&mut ended, 2 * RHYTHM).await);
    ada.at(&there)
        .visit(async |session| session.set_expiry(SessionExpiry::Idle(HOUR / 60)).unwrap())
        .await;
    assert!(goes_on(&mut ended, 2 * RHYTHM).await);
    clock.advance(HOUR / 60);
    assert_eq!(soon(ended).await.because, EndReason::Idle);
}

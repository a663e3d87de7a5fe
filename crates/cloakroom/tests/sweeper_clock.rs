//! A sweep cannot be taken back, so the sweeper does not believe a clock that jumps ahead.

#![cfg(feature = "sweeper")]
#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

use std::sync::Arc;
use std::time::Duration;

use cloakroom::store::{
    BoxFuture, Capabilities, Ending, KeyDigest, Record, Revision, SessionStore, Stored, Sweep,
    Swept, Touch,
};
use cloakroom::{AnyStore, Clock as _, Error, Sweeper, SystemClock, Timestamp};
use cloakroom_testkit::{ManualClock, MapStore, key, sample};
use tokio::time::sleep;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

/// Time as it passes: both the clock's and the time itself, which is paused.
async fn pass(clock: &ManualClock, by: Duration) {
    for _ in 0..by.as_secs() / 60 {
        clock.advance(MINUTE);
        sleep(MINUTE).await;
    }
}

/// Sessions that expire within an hour and within a day, and when.
async fn fill<S: SessionStore>(store: &S) -> (Timestamp, [KeyDigest; 2]) {
    let now = SystemClock.now();
    let digests = [HOUR, 24 * HOUR].map(|idle| (key().digest(), now.saturating_add(idle)));
    for (digest, expires_at) in digests {
        let mut record = sample("text");
        record.expires_at = expires_at;
        store.create(&digest, &record).await.unwrap();
    }
    (now, digests.map(|(digest, _)| digest))
}

async fn stand<S: SessionStore>(store: &S, digests: &[KeyDigest]) -> usize {
    let mut stand = 0;
    for digest in digests {
        stand += usize::from(
            store
                .load(digest)
                .await
                .unwrap()
                .is_some_and(|stored| stored.into_record().is_some()),
        );
    }
    stand
}

#[tokio::test(start_paused = true)]
async fn what_has_just_expired_is_left_for_five_minutes() {
    let store = Arc::new(MapStore::default());
    let (now, digests) = fill(&store).await;
    let clock = Arc::new(ManualClock::at(now));
    let any = AnyStore::new(store.clone());
    let _sweeper = Sweeper::spawn_with(any, MINUTE, clock.clone());
    pass(&clock, HOUR + 3 * MINUTE).await;
    assert_eq!(stand(&store, &digests).await, 2);
    pass(&clock, 5 * MINUTE).await;
    assert_eq!(stand(&store, &digests).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumped_ahead_removes_nobody_until_it_has_stood_for_a_day() {
    let store = Arc::new(MapStore::default());
    let (now, digests) = fill(&store).await;
    let clock = Arc::new(ManualClock::at(now));
    let any = AnyStore::new(store.clone());
    let sweeper = Sweeper::spawn_with(any, MINUTE, clock.clone());
    pass(&clock, 10 * MINUTE).await;
    clock.advance(1_000 * HOUR);
    pass(&clock, 40 * MINUTE).await;
    assert_eq!(stand(&store, &digests).await, 2);
    // What is due by the time that has passed is swept all the same.
    pass(&clock, 20 * MINUTE).await;
    assert_eq!(stand(&store, &digests).await, 1);
    let passes = sweeper.report().passes;
    assert!(passes > 60, "{passes}");
    // Set right again, and ahead once more: it is a jump of its own.
    clock.set(now.saturating_add(70 * MINUTE));
    pass(&clock, 10 * MINUTE).await;
    clock.advance(1_000 * HOUR);
    pass(&clock, 22 * HOUR).await;
    assert_eq!(stand(&store, &digests).await, 1);
    // A clock that was behind when the process began is put right by a jump, too.
    let mut record = sample("text");
    record.expires_at = clock.now();
    let due = key().digest();
    store.create(&due, &record).await.unwrap();
    pass(&clock, HOUR).await;
    assert_eq!(stand(&store, &[due]).await, 1);
    pass(&clock, 2 * HOUR).await;
    assert_eq!(stand(&store, &[due]).await, 0);
}

/// A small jump that has nearly stood for its day says nothing about a large one.
#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_further_is_not_believed_for_another_day() {
    let store = Arc::new(MapStore::default());
    let (now, digests) = fill(&store).await;
    let clock = Arc::new(ManualClock::at(now));
    let any = AnyStore::new(store.clone());
    let _sweeper = Sweeper::spawn_with(any, MINUTE, clock.clone());
    clock.advance(10 * MINUTE);
    pass(&clock, 23 * HOUR).await;
    assert_eq!(stand(&store, &digests).await, 1);
    clock.advance(1_000 * HOUR);
    let mut record = sample("text");
    record.expires_at = clock.now();
    let alive = key().digest();
    store.create(&alive, &record).await.unwrap();
    pass(&clock, 20 * HOUR).await;
    assert_eq!(stand(&store, &[alive]).await, 1);
}

/// A store on a server, whose clock is another.
struct OnServer {
    map: MapStore,
    clock: Arc<ManualClock>,
}

impl Sweep for OnServer {
    fn sweep(&self, now: Timestamp, max: usize) -> BoxFuture<'_, Result<Swept, Error>> {
        self.map.sweep(now, max)
    }

    fn own_time(&self) -> BoxFuture<'_, Result<Option<Timestamp>, Error>> {
        Box::pin(async { Ok(Some(self.clock.now())) })
    }
}

impl SessionStore for OnServer {
    async fn load(&self, digest: &KeyDigest) -> Result<Option<Stored>, Error> {
        self.map.load(digest).await
    }

    async fn create(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        self.map.create(digest, record).await
    }

    async fn update(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        self.map.update(digest, record).await
    }

    async fn touch(
        &self,
        digest: &KeyDigest,
        revision: Revision,
        touch: Touch,
    ) -> Result<(), Error> {
        self.map.touch(digest, revision, touch).await
    }

    async fn rotate(
        &self,
        old: &KeyDigest,
        new: &KeyDigest,
        record: &Record,
        mark_until: Timestamp,
    ) -> Result<Revision, Error> {
        self.map.rotate(old, new, record, mark_until).await
    }

    async fn end(&self, digest: &KeyDigest, ending: Option<&Ending>) -> Result<(), Error> {
        self.map.end(digest, ending).await
    }

    fn capabilities(&self) -> Capabilities<'_> {
        Capabilities::NONE.with_sweep(self)
    }
}

#[cfg(feature = "cached")]
#[tokio::test(start_paused = true)]
async fn a_node_that_starts_with_a_clock_ahead_of_the_stores_sweeps_by_the_stores() {
    use cloakroom::stores::Cached;

    let map = MapStore::default();
    let (now, digests) = fill(&map).await;
    let theirs = Arc::new(ManualClock::at(now));
    let store = OnServer {
        map,
        clock: theirs.clone(),
    };
    // A layer passes the store's time on.
    let store = Arc::new(Cached::with_staleness_max(store, Duration::ZERO));
    let ours = Arc::new(ManualClock::at(now.saturating_add(1_000 * HOUR)));
    let any = AnyStore::new(store.clone());
    let sweeper = Sweeper::spawn_with(any, MINUTE, ours);
    pass(&theirs, 30 * MINUTE).await;
    assert_eq!(sweeper.report().removed, 0);
    pass(&theirs, HOUR).await;
    assert_eq!(sweeper.report().removed, 1);
    assert_eq!(stand(&*store, &digests).await, 1);
}

//! Loads and writes that race a logout, over thousands of schedules: none of them
//! brings the ended session back.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use cloakroom_cached::Cached;
use cloakroom_core::store::{
    BoxFuture, Capabilities, Ending, Invalidation, Invalidations, KeyDigest, ListPage, Listener,
    Record, Revision, Revoke, ScanCursor, SessionStore, Stored, SubjectDigest, Subjects, Touch,
};
use cloakroom_core::{Error, Timestamp};
use cloakroom_testkit::{MapStore, Trial, key, listed_as, sample};
use shuttle::future::{block_on, spawn, yield_now};

/// A store that lets others run before it does its work and before it answers.
#[derive(Debug, Default)]
struct Slow(MapStore, Announcement);

impl SessionStore for Slow {
    async fn load(&self, digest: &KeyDigest) -> Result<Option<Stored>, Error> {
        yield_now().await;
        let done = self.0.load(digest).await;
        yield_now().await;
        done
    }

    async fn create(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        self.0.create(digest, record).await
    }

    async fn update(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        yield_now().await;
        let done = self.0.update(digest, record).await;
        yield_now().await;
        done
    }

    async fn touch(
        &self,
        digest: &KeyDigest,
        revision: Revision,
        touch: Touch,
    ) -> Result<(), Error> {
        yield_now().await;
        let done = self.0.touch(digest, revision, touch).await;
        yield_now().await;
        done
    }

    async fn rotate(
        &self,
        old: &KeyDigest,
        new: &KeyDigest,
        record: &Record,
        mark_until: Timestamp,
    ) -> Result<Revision, Error> {
        yield_now().await;
        let done = self.0.rotate(old, new, record, mark_until).await;
        yield_now().await;
        done
    }

    async fn end(&self, digest: &KeyDigest, ending: Option<&Ending>) -> Result<(), Error> {
        yield_now().await;
        let done = self.0.end(digest, ending).await;
        yield_now().await;
        done
    }

    fn capabilities(&self) -> Capabilities<'_> {
        Capabilities::NONE
            .with_subjects(self)
            .with_invalidations(self)
    }
}

impl Subjects for Slow {
    fn list_sessions<'a>(
        &'a self,
        subject: &'a SubjectDigest,
        from: Option<&'a ScanCursor>,
    ) -> BoxFuture<'a, Result<ListPage, Error>> {
        self.0.list_sessions(subject, from)
    }

    fn end_sessions<'a>(
        &'a self,
        subject: &'a SubjectDigest,
        which: Revoke,
        ending: Option<&'a Ending>,
    ) -> BoxFuture<'a, Result<Vec<KeyDigest>, Error>> {
        Box::pin(async move {
            yield_now().await;
            let done = self.0.end_sessions(subject, which, ending).await;
            yield_now().await;
            done
        })
    }
}

/// Announces the invalidation that the test itself has put in.
impl Invalidations for Slow {
    fn listen(&self) -> BoxFuture<'_, Result<Box<dyn Listener>, Error>> {
        Box::pin(async { Ok(Box::new(OneAnnouncement(self.1.clone())) as Box<dyn Listener>) })
    }
}

type Announcement = Arc<Mutex<Option<Invalidation>>>;

struct OneAnnouncement(Announcement);

impl Listener for OneAnnouncement {
    fn next(&mut self) -> BoxFuture<'_, Result<Invalidation, Error>> {
        Box::pin(async {
            yield_now().await;
            Ok(self
                .0
                .lock()
                .unwrap()
                .take()
                .expect("the test has announced one"))
        })
    }
}

const SCHEDULES: usize = 5_000;

type Store = Arc<Cached<Slow>>;

async fn store() -> (Store, KeyDigest, Record) {
    let store = Cached::with_staleness_max(Slow::default(), Duration::from_secs(3_600));
    let digest = key().digest();
    let mut record = sample("alive");
    record.revision = store.inner().create(&digest, &record).await.unwrap();
    (Arc::new(store), digest, record)
}

fn check(rivals: fn(Store, KeyDigest, Record) -> Vec<shuttle::future::JoinHandle<()>>) {
    shuttle::check_random(
        move || {
            block_on(async move {
                let (store, digest, record) = store().await;
                let rivals = rivals(store.clone(), digest, record);
                store.delete(&digest).await.unwrap();
                // From here on the session is ended, whoever is still in flight.
                assert!(store.load(&digest).await.unwrap().is_none());
                for rival in rivals {
                    rival.await.unwrap();
                }
                assert!(store.load(&digest).await.unwrap().is_none());
            });
        },
        SCHEDULES,
    );
}

#[test]
fn loads_that_race_a_logout_never_bring_the_session_back() {
    check(|store, digest, _| {
        (0..3)
            .map(|_| {
                let store = store.clone();
                spawn(async move {
                    for _ in 0..2 {
                        store.load(&digest).await.unwrap();
                    }
                })
            })
            .collect()
    });
}

#[test]
fn writes_that_race_a_logout_never_bring_the_session_back() {
    check(|store, digest, record| {
        let (updates, touches, loads) = (store.clone(), store.clone(), store);
        let written = record.clone();
        vec![
            spawn(async move {
                let _ = updates.update(&digest, &written).await;
            }),
            spawn(async move {
                let _ = touches
                    .touch(&digest, record.revision, (&record).into())
                    .await;
            }),
            spawn(async move {
                loads.load(&digest).await.unwrap();
            }),
        ]
    });
}

#[test]
fn loads_and_writes_that_race_a_revocation_never_bring_the_session_back() {
    shuttle::check_random(
        || {
            block_on(async {
                let (store, digest, record) = store().await;
                let subject = record.subject.clone().unwrap();
                let rivals = rivals(&store, digest, record);
                let subjects = store.capabilities().subjects.unwrap();
                subjects
                    .revoke(&listed_as(&subject), Revoke::All)
                    .await
                    .unwrap();
                assert!(store.load(&digest).await.unwrap().is_none());
                for rival in rivals {
                    rival.await.unwrap();
                }
                assert!(store.load(&digest).await.unwrap().is_none());
            });
        },
        SCHEDULES,
    );
}

#[test]
fn what_another_node_has_ended_is_ended_here_once_it_is_announced() {
    shuttle::check_random(
        || {
            block_on(async {
                let (store, digest, record) = store().await;
                let invalidations = store.capabilities().invalidations.unwrap();
                let mut channel = invalidations.listen().await.unwrap();
                let rivals = rivals(&store, digest, record);
                // This is what the other node does.
                store.inner().delete(&digest).await.unwrap();
                *store.inner().1.lock().unwrap() = Some(Invalidation {
                    digest,
                    revision: Revision::LAST,
                });
                channel.next().await.unwrap();
                assert!(store.load(&digest).await.unwrap().is_none());
                for rival in rivals {
                    rival.await.unwrap();
                }
                assert!(store.load(&digest).await.unwrap().is_none());
            });
        },
        SCHEDULES,
    );
}

/// Loads and writes that race the test's own.
fn rivals(
    store: &Store,
    digest: KeyDigest,
    record: Record,
) -> Vec<shuttle::future::JoinHandle<()>> {
    let (loads, updates, touches) = (store.clone(), store.clone(), store.clone());
    let written = record.clone();
    vec![
        spawn(async move {
            for _ in 0..2 {
                loads.load(&digest).await.unwrap();
            }
        }),
        spawn(async move {
            let _ = updates.update(&digest, &written).await;
        }),
        spawn(async move {
            let touch = (&record).into();
            let _ = touches.touch(&digest, record.revision, touch).await;
        }),
    ]
}

#[test]
fn a_rotation_that_races_a_logout_leaves_no_key_that_opens() {
    shuttle::check_random(
        || {
            block_on(async {
                let (store, old, record) = store().await;
                let new = key().digest();
                let rotates = store.clone();
                let rotation = spawn(async move {
                    let _ = rotates.rotate(&old, &new, &record, record.expires_at).await;
                });
                let loads = store.clone();
                let load = spawn(async move {
                    loads.load(&new).await.unwrap();
                    loads.load(&old).await.unwrap();
                });
                store.delete(&old).await.unwrap();
                rotation.await.unwrap();
                load.await.unwrap();
                for digest in [old, new] {
                    let stored = store.load(&digest).await.unwrap();
                    assert!(stored.and_then(Stored::into_record).is_none());
                }
            });
        },
        SCHEDULES,
    );
}

#[test]
fn after_any_schedule_the_cache_says_what_the_store_says() {
    shuttle::check_random(
        || {
            block_on(async {
                let (store, digest, record) = store().await;
                let rivals: Vec<_> = (0..3)
                    .map(|rival| {
                        let (store, record) = (store.clone(), record.clone());
                        spawn(async move {
                            if rival > 0 {
                                let _ = store.update(&digest, &record).await;
                            }
                            store.load(&digest).await.unwrap();
                        })
                    })
                    .collect();
                for rival in rivals {
                    rival.await.unwrap();
                }
                let truth = store.inner().load(&digest).await.unwrap();
                assert_eq!(store.load(&digest).await.unwrap(), truth);
            });
        },
        SCHEDULES,
    );
}

/// This holds for writes that are not answered yet, too: what one load has seen, the
/// next one sees.
#[test]
fn whatever_clients_do_some_order_explains_their_answers() {
    check_trials(|| Cached::with_staleness_max(Slow::default(), Duration::from_secs(3_600)));
}

#[test]
fn whatever_clients_do_on_caches_in_a_row_some_order_explains_their_answers() {
    check_trials(|| {
        let inner = Cached::with_staleness_max(Slow::default(), Duration::from_secs(3_600));
        Cached::with_staleness_max(inner, Duration::from_secs(3_600))
    });
}

fn check_trials<S: SessionStore>(store: fn() -> S) {
    use std::sync::atomic::{AtomicU64, Ordering};
    static SEED: AtomicU64 = AtomicU64::new(0);
    shuttle::check_random(
        move || {
            block_on(async move {
                let store = Arc::new(store());
                let trial = Arc::new(Trial::new(SEED.fetch_add(1, Ordering::Relaxed)));
                let clients: Vec<_> = (0..5)
                    .map(|_| {
                        let (store, trial) = (store.clone(), trial.clone());
                        spawn(async move { trial.client(&*store, 6).await })
                    })
                    .collect();
                for client in clients {
                    client.await.unwrap();
                }
                trial.check();
            });
        },
        SCHEDULES,
    );
}

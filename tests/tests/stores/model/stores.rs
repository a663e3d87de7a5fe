//! Stores against `MapStore`.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cloakroom::store::{
    Capabilities, Data, EndReason, Ending, Import as _, KeyDigest, Record, Revision, Revoke,
    SessionStore, Stored, Subjects as _, TOMBSTONE_AGE_MAX,
};
use cloakroom::stores::{
    Cached, Durability, FileStore, MemoryStore, RedbStore, SledStore, SqliteStore, Synchronous,
};
use cloakroom::{Clock as _, Subject, Timestamp};
use cloakroom_testkit::{ManualClock, MapStore, key, listed_as};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::TestRunner;

use super::{config, runtime};

/// A call on one of four digests. Deadlines are seconds from a fixed instant;
/// subjects one of three, or nobody.
#[derive(Clone, Debug)]
enum StoreOp {
    Load(Index),
    Create(Index, u64, u8, u8),
    Update(Index, bool, u64, u8, u8),
    Touch(Index, bool, u64),
    Rotate(Index, Index, bool, u64, u8),
    End(Index, Option<u64>),
    Sweep(u64, usize),
    EndSessions(u8, Option<(bool, Index)>, Option<u64>),
    Import(Index, u64, u8),
    ImportMark(Index, Index, u64),
}

fn store_op() -> impl Strategy<Value = StoreOp> {
    let at = any::<Index>;
    let deadline = 1_000..2_000_u64;
    let ended_at = prop::option::of(deadline.clone());
    let fresh = prop::bool::weighted(0.8);
    // A day later, tombstones are due.
    let day_over = |now| now + TOMBSTONE_AGE_MAX.as_secs();
    let now = prop_oneof![
        2 => deadline.clone(),
        1 => deadline.clone().prop_map(day_over),
    ];
    prop_oneof![
        2 => at().prop_map(StoreOp::Load),
        4 => (at(), deadline.clone(), any::<u8>(), 0..4_u8)
            .prop_map(|(at, deadline, data, of)| StoreOp::Create(at, deadline, data, of)),
        4 => (at(), fresh, deadline.clone(), any::<u8>(), 0..4_u8).prop_map(
            |(at, fresh, deadline, data, of)| StoreOp::Update(at, fresh, deadline, data, of)
        ),
        2 => (at(), fresh, deadline.clone())
            .prop_map(|(at, fresh, deadline)| StoreOp::Touch(at, fresh, deadline)),
        3 => (at(), at(), fresh, deadline.clone(), 0..4_u8)
            .prop_map(|(old, new, fresh, until, of)| StoreOp::Rotate(old, new, fresh, until, of)),
        3 => (at(), ended_at.clone()).prop_map(|(at, ended_at)| StoreOp::End(at, ended_at)),
        2 => (now, 0..5_usize).prop_map(|(now, max)| StoreOp::Sweep(now, max)),
        2 => (0..3_u8, prop::option::of((any::<bool>(), at())), ended_at)
            .prop_map(|(of, one, ended_at)| StoreOp::EndSessions(of, one, ended_at)),
        2 => (at(), deadline.clone(), 0..4_u8)
            .prop_map(|(at, deadline, of)| StoreOp::Import(at, deadline, of)),
        1 => (at(), at(), deadline).prop_map(|(at, to, until)| StoreOp::ImportMark(at, to, until)),
    ]
}

/// The store under test and the model, asked the same things.
struct Pair<'s, S> {
    store: &'s S,
    model: MapStore,
    base: Timestamp,
    digests: Vec<KeyDigest>,
    /// Each the beginning of the next.
    subjects: [Subject; 3],
}

impl<S: SessionStore> Pair<'_, S> {
    fn at(&self, seconds: u64) -> Timestamp {
        self.base.saturating_add(Duration::from_secs(seconds))
    }

    async fn record(
        &self,
        digest: &KeyDigest,
        fresh: bool,
        deadline: u64,
        data: u8,
        of: u8,
    ) -> Record {
        let there = self
            .model
            .load(digest)
            .await
            .unwrap()
            .and_then(Stored::into_record);
        let mut record = Record::new(self.base, self.at(deadline));
        record.revision = there.map_or(Revision::FIRST, |there| there.revision);
        if !fresh {
            record.revision = record.revision.next();
        }
        record.data = Data::from_bytes(vec![data; usize::from(data)]);
        record.subject = self.subjects.get(usize::from(of)).cloned();
        record
    }

    async fn run(&self, op: &StoreOp) -> Result<(), TestCaseError> {
        macro_rules! same {
            ($method:ident($($argument:expr),*)) => {{
                let ours = self.store.$method($($argument),*).await;
                let models = self.model.$method($($argument),*).await;
                prop_assert_eq!(
                    ours.map_err(|error| error.kind()),
                    models.map_err(|error| error.kind())
                );
            }};
        }
        let digest = |at: &Index| *at.get(&self.digests);
        match op {
            StoreOp::Load(at) => same!(load(&digest(at))),
            StoreOp::Create(at, deadline, data, of) => {
                let record = self.record(&digest(at), true, *deadline, *data, *of).await;
                same!(create(&digest(at), &record));
            }
            StoreOp::Update(at, fresh, deadline, data, of) => {
                let record = self
                    .record(&digest(at), *fresh, *deadline, *data, *of)
                    .await;
                same!(update(&digest(at), &record));
            }
            StoreOp::Touch(at, fresh, deadline) => {
                let record = self.record(&digest(at), *fresh, *deadline, 0, 3).await;
                same!(touch(&digest(at), record.revision, (&record).into()));
            }
            StoreOp::Rotate(old, new, fresh, until, of) => {
                let (old, new) = (digest(old), digest(new));
                if old != new {
                    let record = self.record(&old, *fresh, *until, 9, *of).await;
                    same!(rotate(&old, &new, &record, self.at(*until / 2)));
                }
            }
            StoreOp::End(at, ended_at) => {
                let ending = ended_at.map(|at| self.ending(at));
                same!(end(&digest(at), ending.as_ref()));
            }
            StoreOp::Sweep(now, max) => self.sweep(self.at(*now), *max).await?,
            StoreOp::EndSessions(of, one, ended_at) => {
                let ending = ended_at.map(|at| self.ending(at));
                let which = one.map_or(Revoke::All, |(spared, at)| match spared {
                    true => Revoke::AllBut(digest(&at)),
                    false => Revoke::One(digest(&at)),
                });
                let subject = &self.subjects[usize::from(*of)];
                self.end_sessions(subject, which, ending.as_ref()).await?;
            }
            StoreOp::Import(at, deadline, of) => {
                let record = self.record(&digest(at), false, *deadline, 5, *of).await;
                self.import(&digest(at), &Stored::Record(record)).await?;
            }
            StoreOp::ImportMark(at, to, until) => {
                let (at, to, until) = (digest(at), digest(to), self.at(*until));
                // Never round in circles: no rotation leaves such marks.
                let leads_on =
                    matches!(self.model.snapshot().get(&to), Some(Stored::Rotated { .. }));
                if at != to && !leads_on {
                    self.import(&at, &Stored::Rotated { to, until }).await?;
                }
            }
        }
        for digest in &self.digests {
            let there = self.model.load(digest).await.unwrap();
            prop_assert_eq!(
                self.store.load(digest).await.unwrap(),
                there,
                "after {:?}",
                op
            );
        }
        self.lists_agree(op).await?;
        self.scans_agree(op).await
    }

    fn ending(&self, seconds: u64) -> Ending {
        Ending::new(EndReason::LoggedOut, self.at(seconds))
    }

    async fn end_sessions(
        &self,
        subject: &Subject,
        which: Revoke,
        ending: Option<&Ending>,
    ) -> Result<(), TestCaseError> {
        let Some(subjects) = self.store.capabilities().subjects else {
            return Ok(());
        };
        let subject = listed_as(subject);
        let ours = subjects.end_sessions(&subject, which, ending).await;
        let models = self.model.end_sessions(&subject, which, ending).await;
        let (mut ours, mut models) = (ours.unwrap(), models.unwrap());
        ours.sort();
        models.sort();
        prop_assert_eq!(ours, models);
        Ok(())
    }

    async fn import(&self, digest: &KeyDigest, stored: &Stored) -> Result<(), TestCaseError> {
        let Some(import) = self.store.capabilities().import else {
            return Ok(());
        };
        let ours = import.import(digest, stored).await.unwrap();
        prop_assert_eq!(ours, self.model.import(digest, stored).await.unwrap());
        Ok(())
    }

    async fn lists_agree(&self, op: &StoreOp) -> Result<(), TestCaseError> {
        let Some(subjects) = self.store.capabilities().subjects else {
            return Ok(());
        };
        for subject in &self.subjects {
            let mut ours = subjects
                .sessions_of(&listed_as(subject), usize::MAX)
                .await
                .unwrap();
            let mut models = self
                .model
                .sessions_of(&listed_as(subject), usize::MAX)
                .await
                .unwrap();
            ours.sort_by_key(|listed| listed.digest);
            models.sort_by_key(|listed| listed.digest);
            prop_assert_eq!(ours, models, "after {:?}", op);
        }
        Ok(())
    }

    async fn scans_agree(&self, op: &StoreOp) -> Result<(), TestCaseError> {
        let Some(scan) = self.store.capabilities().scan else {
            return Ok(());
        };
        let mut found = BTreeMap::new();
        let mut cursor = None;
        loop {
            let page = scan.scan(cursor.as_ref(), 2).await.unwrap();
            found.extend(
                page.items
                    .into_iter()
                    .map(|i| (i.digest, i.stored.unwrap())),
            );
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        found.retain(|digest, _| self.digests.contains(digest));
        prop_assert_eq!(found, self.model.snapshot(), "after {:?}", op);
        Ok(())
    }

    /// Which of several due records go first is a store's own affair: a bounded
    /// step is compared by its number, and followed by a whole sweep of both.
    async fn sweep(&self, now: Timestamp, max: usize) -> Result<(), TestCaseError> {
        let due = self
            .model
            .snapshot()
            .values()
            .filter(|stored| stored.expires_at() <= now)
            .count();
        let sweep = |capabilities: Capabilities<'_>| capabilities.sweep.is_some();
        prop_assert!(sweep(self.store.capabilities()));
        let ours = self.store.capabilities().sweep.unwrap();
        let step = ours.sweep(now, max).await.unwrap();
        prop_assert_eq!(step.removed, due.min(max));
        while ours.sweep(now, 100).await.unwrap().more {}
        let models = self.model.capabilities().sweep.unwrap();
        while models.sweep(now, 100).await.unwrap().more {}
        Ok(())
    }
}

fn compare<S: SessionStore>(store: S, base: Timestamp) {
    let store = Arc::new(store);
    compare_each(|| store.clone(), base);
}

/// With the store that each case is given.
fn compare_each<S: SessionStore>(store: impl Fn() -> Arc<S>, base: Timestamp) {
    let runtime = runtime();
    let ops = prop::collection::vec(store_op(), 1..12);
    TestRunner::new(config())
        .run(&ops, |ops| {
            let whose = key().digest();
            let store = store();
            let pair = Pair {
                store: &*store,
                model: MapStore::default(),
                base,
                digests: (0..4).map(|_| key().digest()).collect(),
                subjects: ["", " ", " \0"].map(|end| {
                    // Of this case alone.
                    Subject::new(format!("{}{end}", whose.to_hex())).unwrap()
                }),
            };
            runtime.block_on(async {
                let mut done = Ok(());
                for op in &ops {
                    if done.is_ok() {
                        done = pair.run(op).await;
                    }
                }
                // Also after a failure: what is left must not weigh on later cases.
                done.and(pair.sweep(pair.at(999_999), 100).await)
            })
        })
        .unwrap();
}

#[test]
fn the_memory_store_does_what_the_model_does() {
    let clock = Arc::new(ManualClock::default());
    let store = MemoryStore::builder().clock(clock.clone()).build();
    compare(store, clock.now());
}

#[test]
fn the_sled_store_does_what_the_model_does() {
    let folder = tempfile::tempdir().unwrap();
    let store = SledStore::open(folder.path().join("sessions")).unwrap();
    compare(store, ManualClock::default().now());
}

#[test]
fn the_redb_store_does_what_the_model_does() {
    let folder = tempfile::tempdir().unwrap();
    let store = RedbStore::open(folder.path().join("sessions")).unwrap();
    compare(store, ManualClock::default().now());
}

#[test]
fn the_file_store_does_what_the_model_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sessions");
    let store = FileStore::open_with(path, Durability::Lazy).unwrap();
    compare(store, ManualClock::default().now());
}

#[test]
fn the_sqlite_store_does_what_the_model_does() {
    let folder = tempfile::tempdir().unwrap();
    let builder = SqliteStore::builder().synchronous(Synchronous::Normal);
    let store = builder.open(folder.path().join("sessions")).unwrap();
    compare(store, ManualClock::default().now());
}

#[test]
fn a_cached_store_does_what_the_model_does() {
    // On the clock of the deadlines, and a new one for each case: from a cache whose
    // store was swept late nothing is answered that was due by then.
    let clock = Arc::new(ManualClock::default());
    let hits = Cell::new(0);
    let last: RefCell<Arc<Cached<MapStore>>> = RefCell::new(Arc::new(cached(&clock)));
    compare_each(
        || {
            let next = Arc::new(cached(&clock));
            let last = last.replace(next.clone());
            hits.set(hits.get() + last.stats().hits);
            next
        },
        clock.now(),
    );
    assert!(hits.get() > 0, "the cache has answered");
}

fn cached(clock: &Arc<ManualClock>) -> Cached<MapStore> {
    Cached::builder(MapStore::default(), Duration::from_secs(3_600))
        .clock(clock.clone())
        .build()
}

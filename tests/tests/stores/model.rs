//! Random operations against models, with virtual time: sessions against a
//! plain map, stores against `MapStore`.
//!
//! 1,000 cases by default; `CLOAKROOM_CASES` sets another number.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cloakroom::session::Session;
use cloakroom::store::{
    Capabilities, Data, Import as _, KeyDigest, Record, Revision, Revoke, SessionStore, Stored,
    Subjects as _,
};
use cloakroom::stores::Durability;
use cloakroom::stores::{Cached, FileStore, MemoryStore, RedbStore, SledStore};
use cloakroom::{Clock as _, Expiry, Subject, Timestamp};
use cloakroom_testkit::{ManualClock, MapStore, key, listed_as};
use cloakroom_tests::in_process::TestApp;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};

fn config() -> Config {
    let cases = std::env::var("CLOAKROOM_CASES").ok();
    Config {
        cases: cases.map_or(1_000, |cases| cases.parse().expect("a number of cases")),
        failure_persistence: None,
        ..Config::default()
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
}

// Sessions.

/// What a handler does, over three names.
#[derive(Clone, Debug, PartialEq)]
enum Op {
    Insert(u8, u64),
    Remove(u8),
    Pop(u8),
    Update(u8, u64),
    GetOrInsert(u8, u64),
    Clear,
    Flush,
    CycleKey,
    Login(u8),
    Save,
}

fn op() -> impl Strategy<Value = Op> {
    let name = 0..3_u8;
    prop_oneof![
        4 => (name.clone(), 0..9_u64).prop_map(|(name, value)| Op::Insert(name, value)),
        2 => name.clone().prop_map(Op::Remove),
        1 => name.clone().prop_map(Op::Pop),
        4 => (name.clone(), 1..9_u64).prop_map(|(name, more)| Op::Update(name, more)),
        2 => (name, 0..9_u64).prop_map(|(name, value)| Op::GetOrInsert(name, value)),
        1 => Just(Op::Clear),
        1 => Just(Op::Flush),
        1 => Just(Op::CycleKey),
        1 => (0..2_u8).prop_map(Op::Login),
        1 => Just(Op::Save),
    ]
}

#[derive(Clone, Debug)]
enum Step {
    Request(Vec<Op>),
    /// A handler that fails after its operations.
    Fail(Vec<Op>),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let ops = || prop::collection::vec(op(), 0..5);
    prop_oneof![
        8 => ops().prop_map(Step::Request),
        1 => ops().prop_map(Step::Fail),
        2 => (1..2_000_u64).prop_map(Step::Wait),
    ]
}

const NAMES: [&str; 3] = ["a", "b", "c"];
const IDLE: Duration = Duration::from_secs(1_000);

/// What a client should find: the entries and the subject of its session.
#[derive(Clone, Debug, Default, PartialEq)]
struct Seen {
    entries: BTreeMap<&'static str, u64>,
    subject: Option<String>,
}

impl Seen {
    fn apply(&mut self, op: &Op) {
        let entries = &mut self.entries;
        match *op {
            Op::Insert(name, value) => drop(entries.insert(NAMES[usize::from(name)], value)),
            Op::Remove(name) | Op::Pop(name) => drop(entries.remove(NAMES[usize::from(name)])),
            Op::Update(name, more) => *entries.entry(NAMES[usize::from(name)]).or_default() += more,
            Op::GetOrInsert(name, value) => {
                entries.entry(NAMES[usize::from(name)]).or_insert(value);
            }
            Op::Clear => entries.clear(),
            Op::Flush => *self = Self::default(),
            Op::Login(who) => {
                let who = who.to_string();
                if self.subject.as_ref().is_some_and(|there| *there != who) {
                    *self = Self::default();
                }
                self.subject = Some(who);
            }
            Op::CycleKey | Op::Save => {}
        }
    }
}

impl Seen {
    /// Applies what a request recorded that had loaded `base`: removing what it
    /// did not see, and setting by default what it did see, is no change.
    fn follow(&mut self, base: &Self, ops: &[Op]) {
        let mut local = base.clone();
        let mut pending = false;
        for op in ops {
            let sees = |name: u8| local.entries.contains_key(NAMES[usize::from(name)]);
            let recorded = match *op {
                Op::Remove(name) | Op::Pop(name) => sees(name),
                Op::GetOrInsert(name, _) => !sees(name),
                _ => true,
            };
            if recorded {
                local.apply(op);
                self.apply(op);
            }
            // A save with something to write sees what the other has written.
            if matches!(op, Op::Save) && pending {
                local = self.clone();
                pending = false;
            } else if !matches!(op, Op::Save) {
                pending |= recorded;
            }
        }
    }
}

async fn perform(session: &Session, ops: &[Op]) {
    for op in ops {
        match *op {
            Op::Insert(name, value) => session.insert(NAMES[usize::from(name)], value).unwrap(),
            Op::Remove(name) => drop(session.remove(NAMES[usize::from(name)]).unwrap()),
            Op::Pop(name) => drop(session.pop::<u64>(NAMES[usize::from(name)]).unwrap()),
            Op::Update(name, more) => session
                .update(NAMES[usize::from(name)], move |n: &mut u64| *n += more)
                .unwrap(),
            Op::GetOrInsert(name, value) => {
                session
                    .get_or_insert(NAMES[usize::from(name)], value)
                    .unwrap();
            }
            Op::Clear => session.clear().unwrap(),
            Op::Flush => session.flush().unwrap(),
            Op::CycleKey => session.cycle_key().unwrap(),
            Op::Login(who) => {
                let subject = Subject::new(who.to_string()).unwrap();
                session.set_subject(subject).unwrap();
            }
            // Gone, where another request has ended the session.
            Op::Save => drop(session.save().await),
        }
    }
}

async fn look(app: &TestApp) -> Seen {
    let mut seen = Seen::default();
    app.visit(async |session| {
        for name in NAMES {
            if let Some(value) = session.get(name).unwrap() {
                seen.entries.insert(name, value);
            }
        }
        seen.subject = session.subject().map(|subject| subject.as_str().to_owned());
    })
    .await;
    seen
}

fn app() -> TestApp {
    // Every use moves the deadline, so that the model need not know the share.
    let expiry = Expiry::new(IDLE, None).unwrap();
    TestApp::with(|builder| builder.expiry(expiry).touch_share_percent(0))
}

#[test]
fn a_session_is_what_a_map_would_be_through_any_sequence_of_requests() {
    let runtime = runtime();
    let steps = prop::collection::vec(step(), 1..10);
    TestRunner::new(config())
        .run(&steps, |steps| {
            runtime.block_on(async {
                let app = app();
                let mut model = Seen::default();
                for step in &steps {
                    match step {
                        Step::Request(ops) => {
                            let mut here = model.clone();
                            ops.iter().for_each(|op| here.apply(op));
                            let answer = app
                                .visit(async |session| {
                                    perform(&session, ops).await;
                                    let n: Option<u64> = session.get("a").unwrap();
                                    assert_eq!(n.as_ref(), here.entries.get("a"));
                                })
                                .await;
                            prop_assert_eq!(answer.status, 200);
                            model = here;
                        }
                        Step::Fail(ops) => {
                            // What was saved early stays; what followed is
                            // dropped, but for a flush.
                            let saved = ops.iter().rposition(|op| matches!(op, Op::Save));
                            let (kept, dropped) = ops.split_at(saved.map_or(0, |at| at + 1));
                            kept.iter().for_each(|op| model.apply(op));
                            let mut here = model.clone();
                            for op in dropped {
                                let ended = matches!(op, Op::Flush)
                                    || matches!(op, Op::Login(who) if here
                                        .subject
                                        .as_ref()
                                        .is_some_and(|there| *there != who.to_string()));
                                if ended {
                                    model = Seen::default();
                                }
                                here.apply(op);
                            }
                            let failing = async |session: Session| perform(&session, ops).await;
                            app.visit_with(500, failing).await;
                        }
                        Step::Wait(seconds) => {
                            app.clock.advance(Duration::from_secs(*seconds));
                            if Duration::from_secs(*seconds) >= IDLE {
                                model = Seen::default();
                            }
                        }
                    }
                    prop_assert_eq!(look(&app).await, model.clone(), "after {:?}", step);
                    // A visit more, so that waiting is counted from here.
                    look(&app).await;
                }
                Ok(())
            })
        })
        .unwrap();
}

/// Operations that do not end or move the session.
fn plain(ops: &[Op]) -> bool {
    ops.iter()
        .all(|op| !matches!(op, Op::Flush | Op::CycleKey | Op::Login(_)))
}

/// Whether the session's data comes along through these operations.
fn keeps_data(base: &Seen, ops: &[Op]) -> bool {
    let mut seen = base.clone();
    ops.iter().all(|op| {
        let leaves = match op {
            Op::Flush => true,
            Op::Login(who) => seen.subject != Some(who.to_string()),
            _ => false,
        };
        seen.apply(op);
        !leaves
    })
}

#[test]
fn of_two_overlapping_requests_both_survive_as_if_one_had_followed_the_other() {
    let runtime = runtime();
    let ops = || prop::collection::vec(op(), 0..5);
    TestRunner::new(config())
        .run(&(ops(), ops(), ops()), |(before, fast, slow)| {
            runtime.block_on(async {
                let app = app();
                app.visit(async |session| {
                    session.insert("a", 1).unwrap();
                    perform(&session, &before).await;
                })
                .await;
                let base = look(&app).await;
                let stored = app.token().is_some();
                let token = app.token();
                let answer = app
                    .visit(async |session| {
                        app.visit(async |session| perform(&session, &fast).await)
                            .await;
                        perform(&session, &slow).await;
                    })
                    .await;
                let mut model = base.clone();
                fast.iter().for_each(|op| model.apply(op));
                if stored && plain(&slow) {
                    if keeps_data(&base, &fast) {
                        // The late changes follow the session to where it is.
                        prop_assert_eq!(answer.status, 200);
                        model.follow(&base, &slow);
                    } else if slow.iter().any(|op| matches!(op, Op::Update(..)))
                        && !slow.contains(&Op::Save)
                    {
                        prop_assert_eq!(answer.status, 409);
                    }
                    // The browser keeps what it was told.
                    if !plain(&fast) {
                        prop_assert_eq!(answer.set_cookie, None);
                    }
                    prop_assert_eq!(look(&app).await, model);
                    if app.token() != token {
                        app.set_token(token.as_deref());
                        prop_assert_eq!(look(&app).await, Seen::default());
                    }
                }
                Ok(())
            })
        })
        .unwrap();
}

// Stores.

/// A call on one of four digests. Deadlines are seconds from a fixed instant;
/// subjects one of three, or nobody.
#[derive(Clone, Debug)]
enum StoreOp {
    Load(Index),
    Create(Index, u64, u8, u8),
    Update(Index, bool, u64, u8, u8),
    Touch(Index, bool, u64),
    Rotate(Index, Index, bool, u64, u8),
    Delete(Index),
    Sweep(u64, usize),
    Revoke(u8, Option<(bool, Index)>),
    Import(Index, u64, u8),
    ImportMark(Index, Index, u64),
}

fn store_op() -> impl Strategy<Value = StoreOp> {
    let at = any::<Index>;
    let deadline = 1_000..2_000_u64;
    let fresh = prop::bool::weighted(0.8);
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
        2 => at().prop_map(StoreOp::Delete),
        1 => (deadline.clone(), 0..5_usize).prop_map(|(now, max)| StoreOp::Sweep(now, max)),
        2 => (0..3_u8, prop::option::of((any::<bool>(), at())))
            .prop_map(|(of, one)| StoreOp::Revoke(of, one)),
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
            StoreOp::Delete(at) => same!(delete(&digest(at))),
            StoreOp::Sweep(now, max) => self.sweep(self.at(*now), *max).await?,
            StoreOp::Revoke(of, one) => {
                let which = one.map_or(Revoke::All, |(spared, at)| match spared {
                    true => Revoke::AllBut(digest(&at)),
                    false => Revoke::One(digest(&at)),
                });
                self.revoke(&self.subjects[usize::from(*of)], which).await?;
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

    async fn revoke(&self, subject: &Subject, which: Revoke) -> Result<(), TestCaseError> {
        let Some(subjects) = self.store.capabilities().subjects else {
            return Ok(());
        };
        let mut ours = subjects.revoke(&listed_as(subject), which).await.unwrap();
        let mut models = self.model.revoke(&listed_as(subject), which).await.unwrap();
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
                done.and(pair.sweep(pair.at(9_999), 100).await)
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

//! Sessions against a plain map.

use std::collections::BTreeMap;
use std::time::Duration;

use cloakroom::session::Session;
use cloakroom::{Expiry, Subject};
use cloakroom_tests::in_process::TestApp;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::{config, runtime};

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
    /// did not see, and setting by default what it did see, is no change. Whoever follows a
    /// session that has `moved` writes there and reads nothing of it.
    fn follow(&mut self, base: &Self, ops: &[Op], moved: bool) {
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
                if !moved {
                    local = self.clone();
                }
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
                        model.follow(&base, &slow, !plain(&fast));
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

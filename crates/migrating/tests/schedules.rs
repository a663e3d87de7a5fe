//! Random schedules of two nodes and a copy over one session, each of which may be killed
//! between any two of its steps. Every schedule is checked against what was answered.

use std::future::{Future, poll_fn};
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use cloakroom_core::store::{
    Data, KeyDigest, Record, Revision, Revoke, SessionStore, Stored, SubjectDigest,
};
use cloakroom_core::{Error, ErrorKind};
use cloakroom_migrating::Migrating;
use cloakroom_testkit::{Intercept, InterceptedStore, MapStore, Operation, Work, sample};

const SCHEDULES: u64 = 30_000;

/// Yields before and after each step of a store, so that a schedule can run others, or
/// kill the caller, before a step and between a step and its answer.
struct Stepwise;

async fn step() {
    let mut has_yielded = false;
    poll_fn(|_| match std::mem::replace(&mut has_yielded, true) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    })
    .await;
}

impl Intercept for Stepwise {
    fn intercept<'a>(&'a self, _: Operation, work: Work<'a>) -> Work<'a> {
        Box::pin(async move {
            step().await;
            let answer = work.await;
            step().await;
            answer
        })
    }
}

type Store = Arc<InterceptedStore<MapStore, Stepwise>>;
type Node = Migrating<Store, Store>;

fn store() -> Store {
    Arc::new(InterceptedStore::with(MapStore::default(), Stepwise))
}

/// Random numbers that a seed repeats: splitmix64 (Steele, Lea, Flood 2014).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// What was asked and answered until now. An operation that was begun and not answered may
/// have been done or not.
#[derive(Debug, Default)]
struct Told {
    /// Where the session has been, as far as anybody was told, and where it may be.
    digests: Vec<KeyDigest>,
    increments_begun: u64,
    increments: u64,
    rotations_begun: u64,
    ends_begun: u64,
    ends: u64,
    story: Vec<String>,
}

type Shared = Arc<Mutex<Told>>;

fn told<T>(shared: &Shared, note: impl FnOnce(&mut Told) -> T) -> T {
    note(&mut shared.lock().expect("no test panics while it holds this"))
}

fn digest(number: u64) -> KeyDigest {
    let mut bytes = [7; 32];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    KeyDigest::from_bytes(bytes)
}

fn value_of(record: &Record) -> u64 {
    let bytes = record.data.as_bytes().try_into();
    u64::from_le_bytes(bytes.expect("8 bytes, as written"))
}

fn holding(record: &Record, value: u64) -> Record {
    let mut record = record.clone();
    record.data = Data::from_bytes(value.to_le_bytes());
    record
}

/// Loads, and checks what is found against all that had been answered before.
async fn load(node: &Node, shared: &Shared, at: KeyDigest) -> Result<Option<Record>, Error> {
    let (least, is_ended, first) = told(shared, |told| {
        (told.increments, told.ends > 0, told.digests[0])
    });
    let found = node.load(&at).await?.and_then(Stored::into_record);
    told(shared, |told| {
        told.story.push(format!("load {at:?}: {found:?}"));
        if let Some(found) = &found {
            assert!(!is_ended, "an ended session opens: {told:#?}");
            assert!(value_of(found) >= least, "an increment is lost: {told:#?}");
        } else if at == first {
            let may_have_gone = told.ends_begun + told.rotations_begun > 0;
            assert!(may_have_gone, "the session is missing: {told:#?}");
        }
    });
    Ok(found)
}

async fn increment(node: Node, shared: Shared, at: KeyDigest) -> Result<(), Error> {
    told(&shared, |told| told.increments_begun += 1);
    while let Some(record) = load(&node, &shared, at).await? {
        match node
            .update(&at, &holding(&record, value_of(&record) + 1))
            .await
        {
            Err(error) if error.kind() == ErrorKind::Conflict => {}
            Err(error) if error.kind() == ErrorKind::Gone => break,
            Err(error) => return Err(error),
            Ok(revision) => {
                assert_eq!(revision, record.revision.next());
                told(&shared, |told| {
                    told.increments += 1;
                    told.story.push(format!("incremented at {revision:?}"));
                });
                return Ok(());
            }
        }
    }
    told(&shared, |told| told.increments_begun -= 1);
    Ok(())
}

async fn rotate(node: Node, shared: Shared, at: KeyDigest, to: KeyDigest) -> Result<(), Error> {
    let Some(record) = load(&node, &shared, at).await? else {
        return Ok(());
    };
    told(&shared, |told| {
        told.rotations_begun += 1;
        told.digests.push(to);
    });
    let until = record.expires_at;
    match node.rotate(&at, &to, &record, until).await {
        Ok(_) => told(&shared, |told| {
            told.story.push(format!("rotated to {to:?}"))
        }),
        Err(error) if [ErrorKind::Conflict, ErrorKind::Gone].contains(&error.kind()) => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

async fn end(node: Node, shared: Shared, at: KeyDigest, by_subject: bool) -> Result<(), Error> {
    told(&shared, |told| told.ends_begun += 1);
    if by_subject {
        let subjects = node.capabilities().required_subjects()?;
        subjects.revoke(&subject(), Revoke::All).await?;
    } else {
        node.delete(&at).await?;
    }
    told(&shared, |told| {
        told.ends += 1;
        told.story.push("ended".to_owned());
    });
    Ok(())
}

fn begun() -> Record {
    let mut record = holding(&sample(""), 0);
    record.revision = Revision::FIRST;
    record
}

fn subject() -> SubjectDigest {
    begun().subject_digest().expect("the sample has a subject")
}

fn fast() -> NonZeroU32 {
    NonZeroU32::MAX
}

type Task = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// Polls the tasks in random order, and kills some, until none is left.
fn run(chance: &mut Chance, mut tasks: Vec<Task>, kills: bool, shared: &Shared) {
    let mut context = Context::from_waker(Waker::noop());
    while !tasks.is_empty() {
        let count = tasks.len() as u64;
        let at = usize::try_from(chance.below(count)).expect("few");
        if kills && chance.below(60) == 0 {
            drop(tasks.swap_remove(at));
            told(shared, |told| told.story.push(format!("killed {at}")));
            continue;
        }
        if let Poll::Ready(done) = tasks[at].as_mut().poll(&mut context) {
            done.expect("no store fails");
            drop(tasks.swap_remove(at));
        }
    }
}

fn schedule(seed: u64) {
    let mut chance = Chance(seed);
    let (former, new) = (store(), store());
    let node = || Migrating::new(former.clone(), new.clone()).expect("it takes imports");
    // Some schedules are of the time when one node is prepared, and the other moves.
    let some_are_prepared = chance.below(2) == 0;
    let shared: Shared = Arc::default();
    let first = digest(0);
    told(&shared, |told| told.digests.push(first));
    former.inner().plant(first, Stored::Record(begun()));

    let mut tasks: Vec<Task> = Vec::new();
    for _ in 0..1 + chance.below(2) {
        let copying = node();
        tasks.push(Box::pin(
            async move { copying.copy(fast()).await.map(|_| ()) },
        ));
    }
    let sweeping = node();
    tasks.push(Box::pin(async move {
        let sweep = sweeping.capabilities().sweep.expect("a map sweeps");
        // Long before anything but the leavings of a freeze is due.
        let now = begun().created_at;
        while sweep.sweep(now, 1).await?.more {}
        Ok(())
    }));
    let ends = chance.below(2) == 0;
    for number in 1..=3 + chance.below(3) {
        let node = match some_are_prepared && chance.below(2) == 0 {
            true => Migrating::prepared(former.clone(), new.clone()).expect("it takes imports"),
            false => node(),
        };
        let shared = shared.clone();
        let known = told(&shared, |told| told.digests.clone());
        let at = known[usize::try_from(chance.below(known.len() as u64)).expect("few")];
        tasks.push(match chance.below(6) {
            0 | 1 => Box::pin(increment(node, shared, at)),
            2 => Box::pin(rotate(node, shared, at, digest(number))),
            3 | 4 if ends => Box::pin(end(node, shared, at, chance.below(3) == 0)),
            _ => Box::pin(async move { load(&node, &shared, at).await.map(|_| ()) }),
        });
    }
    run(&mut chance, tasks, !seed.is_multiple_of(3), &shared);

    // Whatever was left is finished by a node that is not killed.
    let last: Task = Box::pin({
        let (node, shared) = (node(), shared.clone());
        async move {
            node.copy(fast()).await?;
            let digests = told(&shared, |told| told.digests.clone());
            let mut standing = Vec::new();
            for at in digests {
                if let Some(record) = load(&node, &shared, at).await? {
                    standing.push((at, record));
                }
            }
            let subjects = node.capabilities().required_subjects()?;
            let listed = subjects.sessions_of(&subject(), 10).await?;
            let listed: Vec<_> = listed.iter().map(|listed| listed.digest).collect();
            let places: Vec<_> = standing.iter().map(|(at, _)| *at).collect();
            told(&shared, |told| {
                assert_eq!(listed, places, "{told:#?}");
                if told.ends > 0 {
                    assert!(standing.is_empty(), "revived: {standing:?} {told:#?}");
                } else if told.ends_begun == 0 {
                    assert_eq!(standing.len(), 1, "{standing:?} {told:#?}");
                    let value = value_of(&standing[0].1);
                    let bounds = told.increments..=told.increments_begun;
                    assert!(bounds.contains(&value), "{value} {told:#?}");
                }
            });
            Ok(())
        }
    });
    run(&mut chance, vec![last], false, &shared);
    let left = former.inner().snapshot();
    let is_mark = |left: &Stored| matches!(left, Stored::Rotated { .. });
    let may_stay = |left: &Stored| some_are_prepared && is_mark(left);
    assert!(left.values().all(may_stay), "the former store is empty");
}

#[test]
fn no_schedule_loses_a_write_or_revives_a_session() {
    for seed in 0..SCHEDULES {
        schedule(seed);
    }
}

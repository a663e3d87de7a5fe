//! Linearizability: whatever clients do at once, some order of it explains every
//! answer.
//!
//! Clients load, create, update, touch, rotate and delete one family of sessions
//! at random; what each called and was answered is recorded with its place in
//! time. Then every order that agrees with those places is tried against the
//! model, after Wing and Gong (1993) with the memory of Lowe (2017): where none
//! gives the same answers, two writers have both won, an acknowledged write was
//! lost, or a dead session came back.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use cloakroom_core::engine::{SessionKey, TokenStore};
use cloakroom_core::store::{Data, KeyDigest, Record, Revision, Stored};
use cloakroom_core::{Error, ErrorKind, Timestamp};
use futures_executor::block_on;

use crate::sample::{after, key, sample};

/// Calls that one trial may hold: the search keeps them in the bits of a number.
const CALLS_MAX: usize = 64;

/// One family of sessions, the clients that contend for it, and what they were
/// answered.
///
/// For a store that must be polled by a runtime; others take [`linearizable`].
///
/// ```
/// use cloakroom_testkit::{MapStore, Trial};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let store = MapStore::default();
/// let trial = Trial::new(7); // the seed of all that is random in it
/// // As many as the store is to bear at once; each on a task of its own.
/// tokio::join!(trial.client(&store, 8), trial.client(&store, 8));
/// trial.check();
/// # });
/// ```
#[derive(Debug)]
pub struct Trial {
    seed: u64,
    base: Timestamp,
    /// Ticks with each beginning and each end of a call.
    time: AtomicU64,
    clients: AtomicU64,
    shared: Mutex<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    keys: Vec<SessionKey>,
    /// Which keys clients know of: the target of a rotation only once it is
    /// answered, as in life.
    known: Vec<usize>,
    calls: Vec<Event>,
}

#[derive(Clone, Copy, Debug)]
struct Event {
    call: Call,
    began: u64,
    /// The end of time, where it is not known whether it was done.
    ended: u64,
    answer: Answer,
}

#[derive(Clone, Copy, Debug)]
enum Call {
    Load(usize),
    Create(usize, Content),
    Update(usize, u64, Content),
    Touch(usize, u64, u64),
    Rotate(usize, usize, u64, Content),
    Delete(usize),
}

/// What tells one record from another here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Content {
    value: u64,
    /// Milliseconds after the base of the trial.
    expires: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Stands {
    Record(u64, Content),
    Mark(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Found(Option<Stands>),
    Written(u64),
    Done,
    Refused(ErrorKind),
    Unknown,
}

type State = Vec<Option<Stands>>;

/// As good as any here: splitmix64 (Steele, Lea, Flood 2014).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap_or(0)
    }
}

impl Trial {
    /// A family of two keys under which nothing stands yet.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            base: after(sample("").created_at, 3_600),
            time: AtomicU64::new(0),
            clients: AtomicU64::new(0),
            shared: Mutex::new(Shared {
                keys: vec![key(), key()],
                known: vec![0, 1],
                calls: Vec::new(),
            }),
        }
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tick(&self) -> u64 {
        self.time.fetch_add(1, Ordering::SeqCst)
    }

    /// One client's calls, one after the other. Those of all clients together
    /// are 64 at most.
    ///
    /// # Panics
    /// Where the store gives an answer that no clause allows.
    pub async fn client<T: TokenStore>(&self, store: &T, calls: usize) {
        let number = self.clients.fetch_add(1, Ordering::SeqCst);
        let mut chance = Chance(self.seed ^ (number + 1).wrapping_mul(0xa076_1d64_78bd_642f));
        // The revisions that this client has last seen, by key.
        let mut seen: HashMap<usize, u64> = HashMap::new();
        for _ in 0..calls {
            let call = self.choose(&mut chance, &seen);
            let began = self.tick();
            let answer = self.make(store, call).await;
            let ended = match answer {
                Answer::Unknown => u64::MAX,
                _ => self.tick(),
            };
            match (call, answer) {
                (Call::Load(at), Answer::Found(Some(Stands::Record(revision, _))))
                | (
                    Call::Create(at, _) | Call::Update(at, ..) | Call::Rotate(_, at, ..),
                    Answer::Written(revision),
                ) => {
                    seen.insert(at, revision);
                }
                _ => {}
            }
            let mut shared = self.shared();
            if let (Call::Rotate(_, new, ..), Answer::Written(_)) = (call, answer) {
                shared.known.push(new);
            }
            shared.calls.push(Event {
                call,
                began,
                ended,
                answer,
            });
        }
    }

    fn choose(&self, chance: &mut Chance, seen: &HashMap<usize, u64>) -> Call {
        let mut shared = self.shared();
        let at = shared.known[chance.below(shared.known.len())];
        let content = Content {
            value: chance.next(),
            expires: chance.next() % 1_000,
        };
        // Mostly what this client has seen, at times a guess.
        let revision = match chance.below(8) {
            0 => 1 + chance.next() % 4,
            _ => seen.get(&at).copied().unwrap_or(1),
        };
        match chance.below(12) {
            0..=2 => Call::Load(at),
            3 | 4 => Call::Create(at, content),
            5..=7 => Call::Update(at, revision, content),
            8 => Call::Touch(at, revision, content.expires),
            9 | 10 => {
                shared.keys.push(key());
                Call::Rotate(at, shared.keys.len() - 1, revision, content)
            }
            _ => Call::Delete(at),
        }
    }

    async fn make<T: TokenStore>(&self, store: &T, call: Call) -> Answer {
        let token = |at: usize| self.shared().keys[at].to_token();
        let key_of = |at: usize| SessionKey::parse(token(at).expose()).expect("it is a key's");
        let written = |result: Result<cloakroom_core::engine::Written, Error>| {
            result.map(|written| Answer::Written(written.revision.as_u64()))
        };
        let result = match call {
            Call::Load(at) => {
                let loaded = store.load_token(&token(at)).await;
                loaded.map(|loaded| Answer::Found(loaded.map(|loaded| self.read(&loaded.stored))))
            }
            Call::Create(at, content) => {
                let record = self.record(0, content);
                written(store.create_token(&key_of(at), &record).await)
            }
            Call::Update(at, revision, content) => {
                let record = self.record(revision, content);
                written(store.update_token(&token(at), &record).await)
            }
            Call::Touch(at, revision, expires) => {
                let record = self.record(revision, Content { value: 0, expires });
                let touched = store.touch_token(&token(at), &record).await;
                touched.map(|_| Answer::Done)
            }
            Call::Rotate(old, new, revision, content) => {
                let record = self.record(revision, content);
                let until = after(self.base, 3_600);
                let (old, new) = (token(old), key_of(new));
                written(store.rotate_token(&old, &new, &record, until).await)
            }
            Call::Delete(at) => store.delete_token(&token(at)).await.map(|()| Answer::Done),
        };
        result.unwrap_or_else(|error| match error.kind() {
            ErrorKind::Unavailable => Answer::Unknown,
            kind @ (ErrorKind::Exists | ErrorKind::Conflict | ErrorKind::Gone) => {
                Answer::Refused(kind)
            }
            _ => panic!("no clause allows this answer to {call:?}: {error}"),
        })
    }

    fn record(&self, revision: u64, content: Content) -> Record {
        let expires_at = self.base.as_millis() + content.expires;
        let mut record = Record::new(self.base, Timestamp::from_millis(expires_at));
        record.revision = Revision::from_u64(revision);
        record.data = Data::from_bytes(content.value.to_le_bytes());
        record
    }

    fn read(&self, stored: &Stored) -> Stands {
        match stored {
            Stored::Record(record) => {
                let value = record
                    .data
                    .as_bytes()
                    .try_into()
                    .expect("8 bytes, as written");
                let content = Content {
                    value: u64::from_le_bytes(value),
                    expires: record.expires_at.as_millis() - self.base.as_millis(),
                };
                Stands::Record(record.revision.as_u64(), content)
            }
            Stored::Rotated { to, .. } => Stands::Mark(self.number_of(to)),
        }
    }

    fn number_of(&self, digest: &KeyDigest) -> usize {
        let shared = self.shared();
        let mut keys = shared.keys.iter();
        keys.position(|key| key.digest() == *digest)
            .expect("a mark leads to a key of its own family")
    }

    /// How many calls were made.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.shared().calls.len()
    }

    /// Looks for an order that explains all answers.
    ///
    /// # Panics
    /// Where there is none: with the seed and all calls; and over 64 calls.
    pub fn check(&self) {
        let shared = self.shared();
        let mut events = shared.calls.clone();
        events.sort_by_key(|event| event.began);
        assert!(events.len() <= CALLS_MAX, "{CALLS_MAX} calls at most");
        let state = vec![None; shared.keys.len()];
        if !is_explained(&events, 0, state, &mut HashSet::new()) {
            let mut told = String::new();
            for event in &events {
                let _ = writeln!(told, "{event:?}");
            }
            panic!(
                "no order explains these answers (seed {}):\n{told}",
                self.seed
            );
        }
    }
}

/// Whether the calls whose bit in `done` is not set can follow on this state.
fn is_explained(
    events: &[Event],
    done: u64,
    state: State,
    tried: &mut HashSet<(u64, State)>,
) -> bool {
    let is_left = |at: &usize| done & (1 << at) == 0;
    let left = || (0..events.len()).filter(is_left);
    if left().all(|at| events[at].answer == Answer::Unknown) {
        return true;
    }
    if !tried.insert((done, state.clone())) {
        return false;
    }
    // What began after another call had ended comes after it.
    let first_end = left().map(|at| events[at].ended).min().unwrap_or(u64::MAX);
    left()
        .take_while(|at| events[*at].began < first_end)
        .any(|at| {
            let mut next = state.clone();
            let answer = apply(&mut next, events[at].call);
            let agrees = [answer, Answer::Unknown].contains(&events[at].answer);
            agrees && is_explained(events, done | (1 << at), next, tried)
        })
}

/// The contract, on a family so small.
fn apply(state: &mut State, call: Call) -> Answer {
    let based_on = |state: &State, at: usize, revision: u64| match state[at] {
        Some(Stands::Record(stored, _)) if stored == revision => Ok(stored + 1),
        Some(Stands::Record(..)) => Err(Answer::Refused(ErrorKind::Conflict)),
        _ => Err(Answer::Refused(ErrorKind::Gone)),
    };
    match call {
        Call::Load(at) => Answer::Found(state[at]),
        Call::Create(at, content) => match state[at] {
            Some(_) => Answer::Refused(ErrorKind::Exists),
            None => {
                state[at] = Some(Stands::Record(1, content));
                Answer::Written(1)
            }
        },
        Call::Update(at, revision, content) => match based_on(state, at, revision) {
            Ok(next) => {
                state[at] = Some(Stands::Record(next, content));
                Answer::Written(next)
            }
            Err(refused) => refused,
        },
        Call::Touch(at, revision, expires) => match &mut state[at] {
            Some(Stands::Record(stored, content)) => {
                if *stored == revision {
                    content.expires = content.expires.max(expires);
                }
                Answer::Done
            }
            _ => Answer::Refused(ErrorKind::Gone),
        },
        Call::Rotate(old, new, revision, content) => match based_on(state, old, revision) {
            Ok(next) => {
                state[new] = Some(Stands::Record(next, content));
                state[old] = Some(Stands::Mark(new));
                Answer::Written(next)
            }
            Err(refused) => refused,
        },
        Call::Delete(at) => {
            let mut at = at;
            // A mark leads to a key that was new, so never round in a circle.
            while let Some(Stands::Mark(to)) = state[at] {
                at = to;
            }
            state[at] = None;
            Answer::Done
        }
    }
}

/// So many trials of eight clients, each on a thread: for a store that needs no
/// runtime to be polled.
///
/// # Panics
/// As [`Trial::check`].
pub fn linearizable<T: TokenStore>(store: &T, trials: u64) {
    for seed in 0..trials {
        let trial = &Trial::new(seed);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(move || block_on(trial.client(store, 6)));
            }
        });
        trial.check();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MapStore;

    #[test]
    fn the_model_is_linearizable() {
        linearizable(&MapStore::default(), 200);
    }

    fn event(call: Call, began: u64, ended: u64, answer: Answer) -> Event {
        Event {
            call,
            began,
            ended,
            answer,
        }
    }

    fn explained(events: &[Event]) -> bool {
        is_explained(events, 0, vec![None; 4], &mut HashSet::new())
    }

    const A: Content = Content {
        value: 1,
        expires: 10,
    };
    const B: Content = Content {
        value: 2,
        expires: 20,
    };

    #[test]
    fn what_no_order_explains_is_found() {
        let created = event(Call::Create(0, A), 0, 1, Answer::Written(1));
        // Two updates on one revision have both won, at the same time.
        let first = event(Call::Update(0, 1, A), 2, 5, Answer::Written(2));
        let second = event(Call::Update(0, 1, B), 3, 4, Answer::Written(2));
        assert!(!explained(&[created, first, second]));
        let lost = event(
            Call::Update(0, 1, B),
            3,
            4,
            Answer::Refused(ErrorKind::Conflict),
        );
        assert!(explained(&[created, first, lost]));
        // A load sees what was deleted before it began; or while it ran.
        let deleted = event(Call::Delete(0), 2, 3, Answer::Done);
        let found = Answer::Found(Some(Stands::Record(1, A)));
        assert!(!explained(&[
            created,
            deleted,
            event(Call::Load(0), 4, 5, found)
        ]));
        let deleted_meanwhile = event(Call::Delete(0), 2, 6, Answer::Done);
        let load = event(Call::Load(0), 4, 5, found);
        assert!(explained(&[created, deleted_meanwhile, load]));
        // An acknowledged write is not there.
        let missing = event(Call::Load(0), 2, 3, Answer::Found(None));
        assert!(!explained(&[created, missing]));
        // A touch has moved a deadline back.
        let touched = event(Call::Touch(0, 1, 5), 2, 3, Answer::Done);
        let nearer = Content { expires: 5, ..A };
        let nearer = Answer::Found(Some(Stands::Record(1, nearer)));
        assert!(!explained(&[
            created,
            touched,
            event(Call::Load(0), 4, 5, nearer)
        ]));
        // After a delete under a mark the session opens under its new key.
        let moved = event(Call::Rotate(0, 1, 1, B), 2, 3, Answer::Written(2));
        let ended = event(Call::Delete(0), 4, 5, Answer::Done);
        let alive = Answer::Found(Some(Stands::Record(2, B)));
        let load = event(Call::Load(1), 6, 7, alive);
        assert!(!explained(&[created, moved, ended, load]));
        assert!(explained(&[created, moved, load]));
    }

    #[test]
    fn a_write_without_an_answer_may_have_been_done_or_not_even_later() {
        let created = event(Call::Create(0, A), 0, 1, Answer::Written(1));
        let unknown = event(Call::Update(0, 1, B), 2, u64::MAX, Answer::Unknown);
        let old = Answer::Found(Some(Stands::Record(1, A)));
        let new = Answer::Found(Some(Stands::Record(2, B)));
        let loads = |first, second| {
            [
                created,
                unknown,
                event(Call::Load(0), 3, 4, first),
                event(Call::Load(0), 5, 6, second),
            ]
        };
        assert!(explained(&loads(old, old)));
        assert!(explained(&loads(old, new)));
        assert!(explained(&loads(new, new)));
        assert!(!explained(&loads(new, old)));
    }
}

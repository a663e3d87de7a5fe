//! Linearizability: whatever clients call at once, some order of the calls explains
//! every answer.
//!
//! Clients load, create, update, touch, rotate and delete one family of sessions at
//! random. Each call and its answer are recorded with the times at which it began and
//! ended. Every order that agrees with these times is then tried on a model, after Wing
//! and Gong (1993) with the memoization of Lowe (2017). Where none gives the same
//! answers, two writers have both won, an acknowledged write was lost, or a deleted
//! session came back.

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

/// A family of sessions, and the recorded calls of the clients that contend for it.
///
/// [`linearizable`] runs many of them on a store that needs no runtime.
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
    /// A logical clock, which ticks when a call begins and when it ends.
    time: AtomicU64,
    clients: AtomicU64,
    shared: Mutex<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    keys: Vec<SessionKey>,
    /// The indexes of the keys that clients know. The new key of a rotation becomes known
    /// when the rotation is answered, as in an application.
    known: Vec<usize>,
    calls: Vec<Event>,
}

#[derive(Clone, Copy, Debug)]
struct Event {
    call: Request,
    began: u64,
    /// `u64::MAX` where it is unknown whether it was done.
    ended: u64,
    answer: Response,
}

#[derive(Clone, Copy, Debug)]
enum Request {
    Load(usize),
    Create(usize, Content),
    Update(usize, u64, Content),
    Touch(usize, u64, u64),
    Rotate(usize, usize, u64, Content),
    Delete(usize),
}

/// By what the checker tells one record from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Content {
    value: u64,
    /// Milliseconds after the base of the trial.
    expires: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Occupant {
    Record(u64, Content),
    Mark(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Response {
    Found(Option<Occupant>),
    Written(u64),
    Done,
    Refused(ErrorKind),
    Unknown,
}

type State = Vec<Option<Occupant>>;

/// Random numbers that a seed repeats: splitmix64 (Steele, Lea, Flood 2014).
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
    /// A family of two keys, with nothing stored under them.
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

    /// Makes `calls` calls as one client, one after the other. All clients together may
    /// make 64.
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
                Response::Unknown => u64::MAX,
                _ => self.tick(),
            };
            match (call, answer) {
                (Request::Load(at), Response::Found(Some(Occupant::Record(revision, _))))
                | (
                    Request::Create(at, _) | Request::Update(at, ..) | Request::Rotate(_, at, ..),
                    Response::Written(revision),
                ) => {
                    seen.insert(at, revision);
                }
                _ => {}
            }
            let mut shared = self.shared();
            if let (Request::Rotate(_, new, ..), Response::Written(_)) = (call, answer) {
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

    fn choose(&self, chance: &mut Chance, seen: &HashMap<usize, u64>) -> Request {
        let mut shared = self.shared();
        let at = shared.known[chance.below(shared.known.len())];
        let content = Content {
            value: chance.next(),
            expires: chance.next() % 1_000,
        };
        // Mostly the revision that this client has seen, sometimes a guess.
        let revision = match chance.below(8) {
            0 => 1 + chance.next() % 4,
            _ => seen.get(&at).copied().unwrap_or(1),
        };
        match chance.below(12) {
            0..=2 => Request::Load(at),
            3 | 4 => Request::Create(at, content),
            5..=7 => Request::Update(at, revision, content),
            8 => Request::Touch(at, revision, content.expires),
            9 | 10 => {
                shared.keys.push(key());
                Request::Rotate(at, shared.keys.len() - 1, revision, content)
            }
            _ => Request::Delete(at),
        }
    }

    async fn make<T: TokenStore>(&self, store: &T, call: Request) -> Response {
        let token = |at: usize| self.shared().keys[at].to_token();
        let key_of = |at: usize| SessionKey::parse(token(at).expose()).expect("it is a key's");
        let written = |result: Result<cloakroom_core::engine::Written, Error>| {
            result.map(|written| Response::Written(written.revision.as_u64()))
        };
        let result = match call {
            Request::Load(at) => {
                let loaded = store.load_token(&token(at)).await;
                loaded.map(|loaded| {
                    Response::Found(loaded.and_then(|loaded| self.read(&loaded.stored)))
                })
            }
            Request::Create(at, content) => {
                let record = self.record(0, content);
                written(store.create_token(&key_of(at), &record).await)
            }
            Request::Update(at, revision, content) => {
                let record = self.record(revision, content);
                written(store.update_token(&token(at), &record).await)
            }
            Request::Touch(at, revision, expires) => {
                let record = self.record(revision, Content { value: 0, expires });
                let touched = store.touch_token(&token(at), &record).await;
                touched.map(|_| Response::Done)
            }
            Request::Rotate(old, new, revision, content) => {
                let record = self.record(revision, content);
                let until = after(self.base, 3_600);
                let (old, new) = (token(old), key_of(new));
                written(store.rotate_token(&old, &new, &record, until).await)
            }
            Request::Delete(at) => store
                .delete_token(&token(at))
                .await
                .map(|()| Response::Done),
        };
        result.unwrap_or_else(|error| match error.kind() {
            ErrorKind::Unavailable => Response::Unknown,
            kind @ (ErrorKind::Exists | ErrorKind::Conflict | ErrorKind::Gone) => {
                Response::Refused(kind)
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

    /// What stands there; what is remembered of a session that has expired is nothing.
    fn read(&self, stored: &Stored) -> Option<Occupant> {
        Some(match stored {
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
                Occupant::Record(record.revision.as_u64(), content)
            }
            Stored::Rotated { to, .. } => Occupant::Mark(self.number_of(to)),
            Stored::Ended(_) => return None,
        })
    }

    fn number_of(&self, digest: &KeyDigest) -> usize {
        let shared = self.shared();
        let mut keys = shared.keys.iter();
        keys.position(|key| key.digest() == *digest)
            .expect("a mark leads to a key of its own family")
    }

    /// How many calls all clients have made.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.shared().calls.len()
    }

    /// Looks for an order of the calls that explains all answers.
    ///
    /// # Panics
    /// Where there is none, with the seed and all calls. Where there were more than 64
    /// calls.
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

/// Whether some order of the calls whose bit in `done` is not set explains their answers
/// from this state on.
fn is_explained(
    events: &[Event],
    done: u64,
    state: State,
    tried: &mut HashSet<(u64, State)>,
) -> bool {
    let is_left = |at: &usize| done & (1 << at) == 0;
    let left = || (0..events.len()).filter(is_left);
    if left().all(|at| events[at].answer == Response::Unknown) {
        return true;
    }
    if !tried.insert((done, state.clone())) {
        return false;
    }
    // A call that began after another one had ended comes after it.
    let first_end = left().map(|at| events[at].ended).min().unwrap_or(u64::MAX);
    left()
        .take_while(|at| events[*at].began < first_end)
        .any(|at| {
            let mut next = state.clone();
            let answer = apply(&mut next, events[at].call);
            let agrees = [answer, Response::Unknown].contains(&events[at].answer);
            agrees && is_explained(events, done | (1 << at), next, tried)
        })
}

/// Carries out a call on a state, and answers it as the contract wants.
fn apply(state: &mut State, call: Request) -> Response {
    let based_on = |state: &State, at: usize, revision: u64| match state[at] {
        Some(Occupant::Record(stored, _)) if stored == revision => Ok(stored + 1),
        Some(Occupant::Record(..)) => Err(Response::Refused(ErrorKind::Conflict)),
        _ => Err(Response::Refused(ErrorKind::Gone)),
    };
    match call {
        Request::Load(at) => Response::Found(state[at]),
        Request::Create(at, content) => match state[at] {
            Some(_) => Response::Refused(ErrorKind::Exists),
            None => {
                state[at] = Some(Occupant::Record(1, content));
                Response::Written(1)
            }
        },
        Request::Update(at, revision, content) => match based_on(state, at, revision) {
            Ok(next) => {
                state[at] = Some(Occupant::Record(next, content));
                Response::Written(next)
            }
            Err(refused) => refused,
        },
        Request::Touch(at, revision, expires) => match &mut state[at] {
            Some(Occupant::Record(stored, content)) => {
                if *stored == revision {
                    content.expires = content.expires.max(expires);
                }
                Response::Done
            }
            _ => Response::Refused(ErrorKind::Gone),
        },
        Request::Rotate(old, new, revision, content) => match based_on(state, old, revision) {
            Ok(next) => {
                state[new] = Some(Occupant::Record(next, content));
                state[old] = Some(Occupant::Mark(new));
                Response::Written(next)
            }
            Err(refused) => refused,
        },
        Request::Delete(at) => {
            let mut at = at;
            // A mark leads to a key that was new, so the marks form no circle.
            while let Some(Occupant::Mark(to)) = state[at] {
                at = to;
            }
            state[at] = None;
            Response::Done
        }
    }
}

/// Runs and checks so many trials of eight clients, each on a thread of its own. A store
/// that needs a runtime is wrapped by [`in_runtime`](crate::in_runtime).
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

    fn event(call: Request, began: u64, ended: u64, answer: Response) -> Event {
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
        let created = event(Request::Create(0, A), 0, 1, Response::Written(1));
        // Two updates on one revision have both won, at the same time.
        let first = event(Request::Update(0, 1, A), 2, 5, Response::Written(2));
        let second = event(Request::Update(0, 1, B), 3, 4, Response::Written(2));
        assert!(!explained(&[created, first, second]));
        let lost = event(
            Request::Update(0, 1, B),
            3,
            4,
            Response::Refused(ErrorKind::Conflict),
        );
        assert!(explained(&[created, first, lost]));
        // A load sees what was deleted before it began; or while it ran.
        let deleted = event(Request::Delete(0), 2, 3, Response::Done);
        let found = Response::Found(Some(Occupant::Record(1, A)));
        assert!(!explained(&[
            created,
            deleted,
            event(Request::Load(0), 4, 5, found)
        ]));
        let deleted_meanwhile = event(Request::Delete(0), 2, 6, Response::Done);
        let load = event(Request::Load(0), 4, 5, found);
        assert!(explained(&[created, deleted_meanwhile, load]));
        // An acknowledged write is not there.
        let missing = event(Request::Load(0), 2, 3, Response::Found(None));
        assert!(!explained(&[created, missing]));
        // A touch has moved a deadline back.
        let touched = event(Request::Touch(0, 1, 5), 2, 3, Response::Done);
        let nearer = Content { expires: 5, ..A };
        let nearer = Response::Found(Some(Occupant::Record(1, nearer)));
        assert!(!explained(&[
            created,
            touched,
            event(Request::Load(0), 4, 5, nearer)
        ]));
        // After a delete under a mark the session opens under its new key.
        let moved = event(Request::Rotate(0, 1, 1, B), 2, 3, Response::Written(2));
        let ended = event(Request::Delete(0), 4, 5, Response::Done);
        let alive = Response::Found(Some(Occupant::Record(2, B)));
        let load = event(Request::Load(1), 6, 7, alive);
        assert!(!explained(&[created, moved, ended, load]));
        assert!(explained(&[created, moved, load]));
    }

    #[test]
    fn a_write_without_an_answer_may_have_been_done_or_not_even_later() {
        let created = event(Request::Create(0, A), 0, 1, Response::Written(1));
        let unknown = event(Request::Update(0, 1, B), 2, u64::MAX, Response::Unknown);
        let old = Response::Found(Some(Occupant::Record(1, A)));
        let new = Response::Found(Some(Occupant::Record(2, B)));
        let loads = |first, second| {
            [
                created,
                unknown,
                event(Request::Load(0), 3, 4, first),
                event(Request::Load(0), 5, 6, second),
            ]
        };
        assert!(explained(&loads(old, old)));
        assert!(explained(&loads(old, new)));
        assert!(explained(&loads(new, new)));
        assert!(!explained(&loads(new, old)));
    }
}

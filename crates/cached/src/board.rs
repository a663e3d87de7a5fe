//! What is in the cache, which loads are under way, and which writes.
//!
//! One lock holds the rules together: what a flight or a write puts into the
//! cache is decided and put under it. It is never held over an await.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{self, AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cloakroom_core::store::{Invalidation, KeyDigest, Record, Revision, Stored, Touch};
use cloakroom_core::{Clock, Error, Timestamp};
use futures_util::FutureExt as _;
use futures_util::future::{Shared, WeakShared};
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use crate::{Counters, WhileDeaf, count};

type Loaded = Result<Option<Stored>, Error>;
type Load = Pin<Box<dyn Future<Output = Loaded> + Send>>;

/// What an entry costs beside its stored: moka's bookkeeping (364 bytes as
/// measured), the digest, when it was true.
const ENTRY_BYTES: usize = 364 + KeyDigest::BYTES + size_of::<Entry>();

/// moka counts no further than 1,000 years. It only collects what is too old;
/// whether something is, [`Board::is_stale`] says.
const TTL_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

#[derive(Clone)]
struct Entry {
    stored: Arc<Stored>,
    /// When what it says was certainly true.
    as_of: Timestamp,
}

pub(crate) struct Board {
    entries: Cache<KeyDigest, Entry>,
    moves: Mutex<Moves>,
    staleness_max: Duration,
    clock: Arc<dyn Clock>,
    /// What is due by then may have been swept from the store.
    swept_until_millis: AtomicU64,
    /// Whether a channel that was followed is broken.
    is_deaf: AtomicBool,
    while_deaf: WhileDeaf,
    pub(crate) counters: Counters,
}

#[derive(Default)]
struct Moves {
    flights: HashMap<KeyDigest, Flight>,
    writes: HashMap<KeyDigest, Writes>,
    next_flight: u64,
}

/// A load of the store that several callers may wait for. The board does not
/// keep it alive: with its last waiter it ends.
struct Flight {
    number: u64,
    load: WeakShared<Load>,
    took_off: Timestamp,
}

/// Writes to one digest that are under way at once.
#[derive(Default)]
struct Writes {
    count: usize,
    /// Whether two of them have overlapped since the first began.
    overlapped: bool,
    /// The latest that meanwhile a load has found, or other nodes have announced.
    known: Option<State>,
}

impl Board {
    pub(crate) fn new(
        capacity_bytes: u64,
        staleness_max: Duration,
        while_deaf: WhileDeaf,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let entries = Cache::builder()
            .name("cloakroom-cached")
            .max_capacity(capacity_bytes)
            .weigher(|_: &KeyDigest, entry: &Entry| weight(&entry.stored))
            // The default policy drops every new session of a full cache.
            .eviction_policy(EvictionPolicy::lru())
            .time_to_live(staleness_max.clamp(Duration::from_millis(1), TTL_MAX))
            .build();
        Self {
            entries,
            moves: Mutex::default(),
            staleness_max,
            clock,
            swept_until_millis: AtomicU64::new(0),
            is_deaf: AtomicBool::new(false),
            while_deaf,
            counters: Counters::default(),
        }
    }

    /// A sweep of the store at this time begins.
    pub(crate) fn sweep(&self, now: Timestamp) {
        self.swept_until_millis
            .fetch_max(now.as_millis(), atomic::Ordering::Relaxed);
    }

    /// What is past its deadline may have been swept since, or touched on another
    /// node: only the store can say.
    fn may_answer(&self, entry: &Entry) -> bool {
        let is_live = entry.stored.expires_at() > self.clock.now();
        is_live && !self.is_stale(entry.as_of) && !self.may_be_swept(&entry.stored)
    }

    fn may_be_swept(&self, stored: &Stored) -> bool {
        stored.expires_at().as_millis() <= self.swept_until_millis.load(atomic::Ordering::Relaxed)
    }

    fn moves(&self) -> MutexGuard<'_, Moves> {
        // No code that could panic runs half-way through a change.
        self.moves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stale(&self, as_of: Timestamp) -> bool {
        let now = self.clock.now();
        // A clock that was put back says nothing of an entry's age.
        now < as_of || now.saturating_since(as_of) >= self.staleness_max
    }

    fn is_bypassed(&self) -> bool {
        self.while_deaf == WhileDeaf::Bypass && self.is_deaf()
    }

    /// What the cache can answer with.
    pub(crate) fn look(&self, digest: &KeyDigest) -> Option<Arc<Stored>> {
        if self.is_bypassed() {
            return None;
        }
        match self.entries.get(digest) {
            Some(entry) if self.may_answer(&entry) => {
                count(&self.counters.hits);
                Some(entry.stored)
            }
            Some(_) => {
                count(&self.counters.stale);
                None
            }
            None => None,
        }
    }

    /// Waits for the load under way for this digest, or makes this one it.
    pub(crate) async fn fly(
        self: &Arc<Self>,
        digest: KeyDigest,
        load: impl Future<Output = Loaded> + Send + 'static,
    ) -> Loaded {
        let shared = self.board(digest, load);
        shared.await
    }

    fn board(
        self: &Arc<Self>,
        digest: KeyDigest,
        load: impl Future<Output = Loaded> + Send + 'static,
    ) -> Shared<Load> {
        let mut moves = self.moves();
        if let Some(flight) = moves.flights.get(&digest)
            && !self.is_bypassed()
            && !self.is_stale(flight.took_off)
            && let Some(shared) = flight.load.upgrade()
        {
            count(&self.counters.coalesced);
            return shared;
        }
        count(&self.counters.misses);
        let number = moves.next_flight;
        moves.next_flight += 1;
        let took_off = self.clock.now();
        let board = self.clone();
        let load: Load = Box::pin(async move {
            let flight = Landing {
                board: &board,
                digest,
                number,
            };
            let loaded = load.await;
            if let Ok(found) = &loaded {
                flight.land(found.as_ref(), took_off);
            }
            loaded
        });
        let shared = load.shared();
        let weak = shared
            .downgrade()
            .expect("a future not yet polled is there");
        let flight = Flight {
            number,
            load: weak,
            took_off,
        };
        moves.flights.insert(digest, flight);
        shared
    }

    /// A write to this digest begins.
    pub(crate) fn begin(self: &Arc<Self>, digest: KeyDigest) -> Write {
        let mut moves = self.moves();
        let writes = moves.writes.entry(digest).or_default();
        writes.overlapped |= writes.count > 0;
        writes.count += 1;
        Write {
            board: self.clone(),
            digest,
            record: None,
            as_of: self.clock.now(),
        }
    }

    pub(crate) fn is_deaf(&self) -> bool {
        self.is_deaf.load(atomic::Ordering::SeqCst)
    }

    /// A channel is open, and hears of what is written from now on. What is here
    /// may be older than what was missed until now.
    pub(crate) fn hears(&self) {
        self.forget_all();
        self.is_deaf.store(false, atomic::Ordering::SeqCst);
    }

    /// A channel is being opened; until it is, nobody is heard.
    pub(crate) fn awaits_channel(&self) {
        self.is_deaf.store(true, atomic::Ordering::SeqCst);
    }

    /// The channel is broken.
    pub(crate) fn lost(&self) {
        if !self.is_deaf.swap(true, atomic::Ordering::SeqCst) {
            count(&self.counters.losses);
        }
    }

    /// Some node has written this, perhaps this one. What it says was written
    /// before a load begins that follows on it: a flight under way may have read
    /// what was there before, and so may a write that ends later.
    pub(crate) fn heard(&self, invalidation: &Invalidation) {
        let Invalidation { digest, revision } = invalidation;
        let untouched = Touch {
            last_seen_at: Timestamp::EPOCH,
            expires_at: Timestamp::EPOCH,
        };
        let state = (*revision, untouched);
        let mut moves = self.moves();
        moves.flights.remove(digest);
        if let Some(writes) = moves.writes.get_mut(digest) {
            writes.learn(state);
        }
        if self.drop_older(digest, state) {
            count(&self.counters.invalidated);
        }
    }

    /// Drops what is older than this: at an older revision, or at the same one
    /// before a touch.
    fn drop_older(&self, digest: &KeyDigest, state: State) -> bool {
        let is_older = |entry: Entry| match &*entry.stored {
            Stored::Record(record) => is_older(record, state),
            // Nothing comes after a mark.
            Stored::Rotated { .. } => false,
        };
        let is_older = self.entries.get(digest).is_some_and(is_older);
        if is_older {
            self.entries.invalidate(digest);
        }
        is_older
    }

    /// Nothing that is here, or on its way here, is known to be true any more.
    pub(crate) fn forget_all(&self) {
        let mut moves = self.moves();
        moves.flights.clear();
        for writes in moves.writes.values_mut() {
            writes.overlapped = true;
        }
        self.entries.invalidate_all();
    }
}

/// Takes a flight off the board when it ends, however it ends.
struct Landing<'b> {
    board: &'b Board,
    digest: KeyDigest,
    number: u64,
}

impl Landing<'_> {
    /// Whether no write has taken it off the board.
    fn is_listed(&self, moves: &Moves) -> bool {
        let listed = moves.flights.get(&self.digest);
        listed.is_some_and(|flight| flight.number == self.number)
    }

    /// Fills the cache where no write has overtaken this flight. Where one has, it
    /// may still have read more than the flight that is listed now, and more than a
    /// write that has yet to end: whoever comes after its answer must not be told less.
    fn land(&self, found: Option<&Stored>, as_of: Timestamp) {
        let mut moves = self.board.moves();
        if let Some(writes) = moves.writes.get_mut(&self.digest) {
            writes.learn(state_of(found));
        }
        match found {
            Some(stored) if self.is_listed(&moves) => {
                let stored = Arc::new(stored.clone());
                self.board
                    .entries
                    .insert(self.digest, Entry { stored, as_of });
            }
            _ => {
                moves.flights.remove(&self.digest);
                self.board.drop_older(&self.digest, state_of(found));
            }
        }
    }
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        let mut moves = self.board.moves();
        if self.is_listed(&moves) {
            moves.flights.remove(&self.digest);
        }
    }
}

/// A write under way. When it is dropped, the flights under way for its digest
/// are poisoned, and the cache holds what it wrote, or nothing.
pub(crate) struct Write {
    board: Arc<Board>,
    digest: KeyDigest,
    record: Option<Record>,
    as_of: Timestamp,
}

impl Write {
    /// The store has taken this.
    pub(crate) fn wrote(mut self, record: Record) {
        self.record = Some(record);
    }
}

impl Drop for Write {
    fn drop(&mut self) {
        let mut moves = self.board.moves();
        moves.flights.remove(&self.digest);
        let mut alone = true;
        let mut known = None;
        if let Some(writes) = moves.writes.get_mut(&self.digest) {
            writes.count -= 1;
            alone = !writes.overlapped;
            known = writes.known;
            if writes.count == 0 {
                moves.writes.remove(&self.digest);
            }
        }
        let is_latest =
            |record: &Record| alone && !known.is_some_and(|known| is_older(record, known));
        match self.record.take().filter(is_latest) {
            Some(record) => {
                let stored = Arc::new(Stored::Record(record));
                let as_of = self.as_of;
                self.board
                    .entries
                    .insert(self.digest, Entry { stored, as_of });
            }
            None => self.board.entries.invalidate(&self.digest),
        }
    }
}

/// What tells an older state of a session from a newer one.
type State = (Revision, Touch);

/// At an older revision, or at the same one before a touch.
fn is_older(record: &Record, (revision, touched): State) -> bool {
    let touch = Touch::from(record);
    match record.revision.cmp(&revision) {
        Ordering::Less => true,
        Ordering::Equal => touch.later(touched) != touch,
        Ordering::Greater => false,
    }
}

impl Writes {
    fn learn(&mut self, state: State) {
        let (revision, touch) = self.known.unwrap_or(state);
        self.known = Some(match revision.cmp(&state.0) {
            Ordering::Less => state,
            Ordering::Equal => (revision, touch.later(state.1)),
            Ordering::Greater => (revision, touch),
        });
    }
}

/// A mark, and nothing at all, come after every record.
fn state_of(found: Option<&Stored>) -> State {
    let end = Touch {
        last_seen_at: Timestamp::MAX,
        expires_at: Timestamp::MAX,
    };
    match found {
        Some(Stored::Record(record)) => (record.revision, record.into()),
        _ => (Revision::LAST, end),
    }
}

fn weight(stored: &Stored) -> u32 {
    u32::try_from(ENTRY_BYTES + stored.memory_bytes()).unwrap_or(u32::MAX)
}

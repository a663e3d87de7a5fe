//! Who waits for the end of which session, and what of these sessions is known.
//!
//! One map for each engine, with an entry for each that waits. An end on this node takes its
//! entries out at once. What happens elsewhere is learned by asking the store (`asking.rs`):
//! soon, where the store has announced an end or a move; else in the engine's rhythm, where the
//! store announces nothing, where something may have been missed, and past the deadline.

mod asking;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use cloakroom_core::engine::Token;
use cloakroom_core::session::Ended;
use cloakroom_core::store::{EndReason, KeyDigest, Record, Revision, SubjectDigest};
use cloakroom_core::{Expiry, Timestamp};
use tokio::sync::Notify;

pub(crate) use self::watch::Kept;

/// The shortest rhythm in which the store may be asked.
pub(crate) const CHECK_EVERY_MIN: Duration = Duration::from_millis(10);

/// How often the store is asked by default.
const CHECK_EVERY_DEFAULT: Duration = Duration::from_secs(5);

/// Sessions that are to be asked about soon. What comes beyond is asked about in the rhythm.
const SOON_MAX: usize = 1_024;

/// Those that wait for the ends of sessions.
#[derive(Debug)]
pub(crate) struct Ends {
    /// How often the store is asked, where it announces nothing.
    pub(crate) check_every: Duration,
    waiting: Mutex<Waiting>,
    /// As many as wait, for who looks without the lock.
    count: AtomicUsize,
    /// Whether the task runs that asks the store.
    is_asking: AtomicBool,
    /// Tells that task that there is something to ask soon.
    soon: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    /// By the digest of the session, and a number for each that waits for its end.
    entries: BTreeMap<(KeyDigest, u64), Entry>,
    next: u64,
    soon: BTreeSet<KeyDigest>,
    /// Whether the store announces what other nodes do.
    is_subscribed: bool,
}

/// What is known of the session that somebody waits for.
#[derive(Debug)]
struct Entry {
    revision: Revision,
    /// When it ends if it is not used; it may have been used since.
    deadline: Timestamp,
    /// Where this number is another one, the session has begun anew.
    flushes: u32,
    subject: Option<SubjectDigest>,
    /// Whether nothing can have happened that was not heard.
    is_sure: bool,
    /// What the store is asked by, where the session lies with the client.
    token: Option<Token>,
    end: Arc<End>,
}

/// What one future waits for.
#[derive(Debug)]
struct End {
    number: u64,
    /// Where the session is. Written under the lock of the map alone.
    at: Mutex<KeyDigest>,
    ended: OnceLock<Ended>,
    changed: Notify,
}

impl End {
    fn at(&self) -> KeyDigest {
        *self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn move_to(&self, digest: KeyDigest) {
        *self.at.lock().unwrap_or_else(PoisonError::into_inner) = digest;
    }

    fn resolve(&self, ended: Ended) {
        // The first end is the one that counts.
        let _ = self.ended.set(ended);
        self.changed.notify_one();
    }
}

impl Default for Ends {
    fn default() -> Self {
        Self::checked_every(CHECK_EVERY_DEFAULT)
    }
}

impl Ends {
    pub(crate) fn checked_every(check_every: Duration) -> Self {
        Self {
            check_every,
            waiting: Mutex::default(),
            count: AtomicUsize::new(0),
            is_asking: AtomicBool::new(false),
            soon: Notify::new(),
        }
    }
}

/// What happens on this node.
impl Ends {
    /// Whether nobody waits: most sites have no sockets, and pay nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.count.load(Ordering::SeqCst) == 0
    }

    /// A session has ended. Where nobody waits for it under this digest, somebody may under the
    /// one that a rotation has moved it to, so the store is asked.
    pub(crate) fn ended(&self, digest: &KeyDigest, ended: &Ended) {
        if self.is_empty() {
            return;
        }
        let mut waiting = self.lock();
        let taken = waiting.take(digest);
        self.note_count(&waiting);
        match taken.is_empty() {
            true => self.ask_soon(&mut waiting, *digest),
            false => drop(waiting),
        }
        for (_, entry) in taken {
            entry.end.resolve(ended.clone());
        }
    }

    /// Sessions of a subject have ended, nobody knows which.
    pub(crate) fn ended_of(&self, subject: &SubjectDigest) {
        if self.is_empty() {
            return;
        }
        let mut waiting = self.lock();
        let mut theirs = Vec::new();
        for ((digest, _), entry) in &mut waiting.entries {
            if entry.subject.as_ref() == Some(subject) {
                entry.is_sure = false;
                theirs.push(*digest);
            }
        }
        theirs.dedup();
        for digest in theirs {
            self.ask_soon(&mut waiting, digest);
        }
    }

    /// A session was written, and is at another digest now where it was rotated.
    pub(crate) fn written(
        &self,
        before: &KeyDigest,
        now: &KeyDigest,
        token: &Token,
        record: &Record,
        policy: &Expiry,
    ) {
        if self.is_empty() {
            return;
        }
        let mut waiting = self.lock();
        for (_, mut entry) in waiting.take(before) {
            entry.note(record, policy);
            if entry.token.is_some() {
                entry.token = Some(token.clone());
            }
            waiting.put(*now, entry);
        }
    }
}

/// What is kept for those that wait.
impl Ends {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // No code under this lock can panic midway.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_count(&self, waiting: &Waiting) {
        self.count.store(waiting.entries.len(), Ordering::SeqCst);
    }

    /// Somebody waits from now on. What happened between the load of the record and now was
    /// not heard, so the store is asked once.
    fn wait(
        &self,
        at: KeyDigest,
        record: &Record,
        policy: &Expiry,
        token: Option<Token>,
    ) -> Arc<End> {
        let mut waiting = self.lock();
        let number = waiting.next;
        waiting.next += 1;
        let end = Arc::new(End {
            number,
            at: Mutex::new(at),
            ended: OnceLock::new(),
            changed: Notify::new(),
        });
        let entry = Entry {
            revision: record.revision,
            deadline: policy.end_of_unused(record),
            flushes: record.flushes,
            subject: record.subject_digest(),
            is_sure: false,
            token,
            end: end.clone(),
        };
        waiting.entries.insert((at, number), entry);
        self.note_count(&waiting);
        end
    }

    /// Nobody waits for this end any more.
    fn forget(&self, end: &End) {
        let mut waiting = self.lock();
        let entry = waiting.entries.remove(&(end.at(), end.number));
        self.note_count(&waiting);
        drop(waiting);
        // Its token is wiped without the lock.
        drop(entry);
    }

    fn ask_soon(&self, waiting: &mut Waiting, digest: KeyDigest) {
        if waiting.soon.len() < SOON_MAX && waiting.soon.insert(digest) {
            self.soon.notify_one();
        }
    }

    /// Tells all that wait to look whether the task still runs that asks for them.
    fn wake_all(&self) {
        for entry in self.lock().entries.values() {
            entry.end.changed.notify_one();
        }
    }
}

impl Waiting {
    fn keys(&self, digest: &KeyDigest) -> Vec<(KeyDigest, u64)> {
        let of_digest = self.entries.range((*digest, 0)..=(*digest, u64::MAX));
        of_digest.map(|(key, _)| *key).collect()
    }

    fn at<'w>(&'w mut self, digest: &KeyDigest) -> impl Iterator<Item = &'w mut Entry> + use<'w> {
        let of_digest = (*digest, 0)..=(*digest, u64::MAX);
        self.entries.range_mut(of_digest).map(|(_, entry)| entry)
    }

    fn take(&mut self, digest: &KeyDigest) -> Vec<((KeyDigest, u64), Entry)> {
        let keys = self.keys(digest).into_iter();
        keys.filter_map(|key| self.entries.remove_entry(&key))
            .collect()
    }

    fn put(&mut self, digest: KeyDigest, entry: Entry) {
        entry.end.move_to(digest);
        self.entries.insert((digest, entry.end.number), entry);
    }
}

impl Entry {
    fn note(&mut self, record: &Record, policy: &Expiry) {
        self.revision = record.revision;
        self.deadline = policy.end_of_unused(record);
        self.subject = record.subject_digest();
    }

    /// Why the session that was waited for has ended, if this record has begun anew in its
    /// place.
    fn ended_by(&self, record: &Record) -> Option<Ended> {
        let because = match record.subject {
            Some(_) => EndReason::Flushed,
            None => EndReason::LoggedOut,
        };
        (self.flushes != record.flushes).then(|| Ended::new(because))
    }
}

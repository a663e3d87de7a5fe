//! Removing what is due, in the order of deadlines.
//!
//! Slots lie in that order, so that what is due lies together. Its places lie by
//! digest, and its entries by subject, each on a page of its own where there are many:
//! they are removed later, in their own order, when there are enough of them to share
//! pages, or when there is nothing else to do.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Mutex, PoisonError};

use cloakroom_core::store::{KeyDigest, Swept};
use cloakroom_core::{ErrorKind, Timestamp};
use redb::StorageError;

use crate::tables::{FIRST, Failure, Tables};

/// Slots looked at in one step for each that may be removed: those whose record has
/// moved on or is left cost a look too.
const LOOKS_PER_REMOVAL: usize = 4;

/// Of so many places, one may lead nowhere before they are cleared: seventy or so lie on
/// a page.
const PLACES_PER_REMOVED: u64 = 4;

/// The most that are cleared in one round. They are kept in memory meanwhile: 32 MiB,
/// and more where subjects are long.
const CLEARED_MAX: u64 = 256 * 1_024;

/// Of these, so many are read in one step. Where steps are too few for that, and there
/// are twice as many as there should be, all.
const GATHERED_PER_STEP: usize = 8 * 1_024;

/// Places and entries that one step clears: two of each for every slot it may remove.
const CLEARS_PER_STEP: usize = 4 * crate::SWEEP_PIECE_MAX;

/// Numbers that one step forgets, once all is cleared.
const FORGOTTEN_PER_STEP: u64 = 8 * 1_024;

enum Found {
    /// The record was due, and is removed.
    Removed,
    /// The record has a later deadline.
    Moved,
    /// The record is of a newer version: it is not ours to judge.
    Unknown,
}

/// What one step leaves for the next.
#[derive(Default)]
pub(crate) struct Progress {
    /// Where it begins: at the first slot, or behind those of a newer version, which
    /// the steps before it have left.
    left: Option<(Timestamp, KeyDigest)>,
    clearing: Option<Clearing>,
}

/// A round of clearing: what was removed up to a number. How far it has come stands in
/// the database; a process that ends, or a transaction that fails, takes back no more
/// than its own part.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Round {
    upto: u64,
    /// The last place that was cleared.
    place: KeyDigest,
    /// The key of the last entry that was.
    entry: Vec<u8>,
}

/// What of a round is left, in order.
struct Clearing {
    round: Round,
    /// The number of the last that was read, and whether that is all.
    read: Option<u64>,
    is_gathered: bool,
    places: Runs<KeyDigest>,
    /// Keys.
    entries: Runs<Vec<u8>>,
}

pub(crate) fn step(
    tables: &mut Tables<'_>,
    progress: &Mutex<Progress>,
    now: Timestamp,
    max: usize,
) -> Result<Swept, Failure> {
    let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
    let swept = remove(tables, &mut progress.left, now, max)?;
    let is_idle = swept.removed == 0 && !swept.more;
    clear(tables, &mut progress.clearing, is_idle)?;
    Ok(swept)
}

fn remove(
    tables: &mut Tables<'_>,
    cursor: &mut Option<(Timestamp, KeyDigest)>,
    now: Timestamp,
    max: usize,
) -> Result<Swept, Failure> {
    let mut swept = Swept::default();
    let mut looks = max.saturating_mul(LOOKS_PER_REMOVAL);
    let mut unknown = 0_usize;
    // One that a later `now` has left is of no use for this.
    let mut left = cursor.take().filter(|(at, _)| *at <= now);
    let mut last = left;
    loop {
        let room = looks.min(max - swept.removed);
        let due = tables.due_after(last, now, room.max(1))?;
        if due.is_empty() {
            break;
        }
        if room == 0 {
            // Every look has removed or moved a slot, or is behind the cursor:
            // whoever calls again while there is more comes to an end.
            swept.more = max > 0;
            *cursor = left;
            break;
        }
        looks -= due.len();
        for (at, digest) in due {
            last = Some((at, digest));
            match judge(tables, now, at, &digest)? {
                Found::Removed => swept.removed += 1,
                Found::Moved => {}
                Found::Unknown => {
                    unknown += 1;
                    left = last;
                }
            }
        }
    }
    if unknown > 0 {
        tracing::warn!(
            records = unknown,
            "records of a newer version are due; this build leaves them"
        );
    }
    Ok(swept)
}

/// Judges the deadline as it stands, in the same transaction as the removal.
fn judge(
    tables: &mut Tables<'_>,
    now: Timestamp,
    at: Timestamp,
    digest: &KeyDigest,
) -> Result<Found, StorageError> {
    let Some(stored) = tables.stored_at(at, digest)? else {
        return Ok(Found::Moved);
    };
    match stored.head() {
        // Where no place leads here, the place is damaged, or this key is. It has opened
        // nothing, and what was ended meanwhile must not open anything again.
        Ok(head) if head.expires_at > now && tables.is_home(at, digest)? => {
            tables.move_on(head.expires_at, digest, &stored)?;
            Ok(Found::Moved)
        }
        Err(error) if error.kind() == ErrorKind::Unsupported => Ok(Found::Unknown),
        // Due, or damaged beyond telling: its key says that it was due.
        Ok(_) | Err(_) => {
            tables.sweep(digest, &stored)?;
            Ok(Found::Removed)
        }
    }
}

/// Some of what was removed and has yet to follow, where there is enough of it.
fn clear(
    tables: &mut Tables<'_>,
    clearing: &mut Option<Clearing>,
    is_idle: bool,
) -> Result<(), StorageError> {
    let (places, removed) = tables.counts()?;
    let enough = (places / PLACES_PER_REMOVED).min(CLEARED_MAX);
    let round = match tables.round()?.as_deref().and_then(Round::read) {
        Some(round) => round,
        None if removed > 0 && (removed >= enough || is_idle) => Round::begin(tables)?,
        None => return Ok(()),
    };
    let mut under_way = match clearing.take() {
        Some(known) if known.round == round => known,
        _ => Clearing::of(round),
    };
    if !under_way.is_gathered {
        let at_once = if removed > 2 * enough {
            usize::MAX
        } else {
            GATHERED_PER_STEP
        };
        under_way.gather(tables, at_once)?;
    }
    if under_way.is_gathered {
        under_way.clear(tables)?;
        if under_way.is_empty() && tables.forget(under_way.round.upto, FORGOTTEN_PER_STEP)? {
            return tables.set_round(None);
        }
        tables.set_round(Some(&under_way.round.bytes()))?;
    }
    *clearing = Some(under_way);
    Ok(())
}

/// Runs in order, merged as they are taken.
struct Runs<T> {
    runs: Vec<std::vec::IntoIter<T>>,
    /// The first of each, and which.
    heads: BinaryHeap<Reverse<(T, usize)>>,
}

impl<T: Ord> Default for Runs<T> {
    fn default() -> Self {
        Self {
            runs: Vec::new(),
            heads: BinaryHeap::new(),
        }
    }
}

impl<T: Ord> Runs<T> {
    fn add(&mut self, mut run: Vec<T>) {
        run.sort_unstable();
        let mut run = run.into_iter();
        let head = run.next().map(|head| Reverse((head, self.runs.len())));
        self.heads.extend(head);
        self.runs.push(run);
    }

    fn pop(&mut self) -> Option<T> {
        let Reverse((first, run)) = self.heads.pop()?;
        let next = self.runs[run].next().map(|next| Reverse((next, run)));
        self.heads.extend(next);
        Some(first)
    }

    fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }
}

impl Clearing {
    fn of(round: Round) -> Self {
        Self {
            round,
            read: None,
            is_gathered: false,
            places: Runs::default(),
            entries: Runs::default(),
        }
    }

    /// Reads so many more of what was removed, and passes over what has been cleared.
    fn gather(&mut self, tables: &Tables<'_>, max: usize) -> Result<(), StorageError> {
        let (removed, is_all) = tables.removed(self.read, self.round.upto, max)?;
        self.read = removed.last().map_or(self.read, |last| Some(last.number));
        self.is_gathered = is_all;
        let (round, is_begun) = (&self.round, self.round.is_begun());
        let digests = removed.iter().map(|removed| removed.digest);
        let places = digests.filter(|digest| !is_begun || *digest > round.place);
        self.places.add(places.collect());
        let entries = removed.into_iter().filter_map(|removed| removed.entry);
        let entries = entries.filter(|entry| !is_begun || *entry > round.entry);
        self.entries.add(entries.collect());
        Ok(())
    }

    /// Places first: of an entry whose digest has none, nothing else is looked at.
    fn clear(&mut self, tables: &mut Tables<'_>) -> Result<(), StorageError> {
        for _ in 0..CLEARS_PER_STEP {
            if let Some(digest) = self.places.pop() {
                tables.clear_place(&digest)?;
                self.round.place = digest;
            } else if let Some(entry) = self.entries.pop() {
                tables.clear_entry(&entry)?;
                self.round.entry = entry;
            } else {
                break;
            }
        }
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.places.is_empty() && self.entries.is_empty()
    }
}

impl Round {
    /// Of the first that were removed, as many as there are or as one round takes.
    fn begin(tables: &mut Tables<'_>) -> Result<Self, StorageError> {
        let (first, last) = tables.removed_ends()?;
        let round = Self {
            upto: last.min(first.saturating_add(CLEARED_MAX - 1)),
            place: KeyDigest::from_bytes(FIRST),
            entry: Vec::new(),
        };
        tables.set_round(Some(&round.bytes()))?;
        Ok(round)
    }

    /// Whether anything was cleared.
    fn is_begun(&self) -> bool {
        self.place.as_bytes() != &FIRST
    }

    fn bytes(&self) -> Vec<u8> {
        let upto = self.upto.to_be_bytes();
        [&upto[..], self.place.as_bytes(), &self.entry].concat()
    }

    /// `None` where it is too short: the round is begun again.
    fn read(bytes: &[u8]) -> Option<Self> {
        let (upto, rest) = bytes.split_first_chunk()?;
        let (place, entry) = rest.split_first_chunk()?;
        Some(Self {
            upto: u64::from_be_bytes(*upto),
            place: KeyDigest::from_bytes(*place),
            entry: entry.to_vec(),
        })
    }
}

//! Removing what is due, in the order of deadlines.
//!
//! Slots lie in that order, so that what is due lies together. Its places lie by
//! digest, and its entries by subject, each on a page of its own where there are many:
//! they are removed later, in their own order, when there are enough of them to share
//! pages, or when there is nothing else to do.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use cloakroom_core::{ErrorKind, KeyDigest, Swept, Timestamp};
use redb::StorageError;

use crate::tables::{FIRST, Failure, Removed, Tables};

/// Slots looked at in one step for each that may be removed: those whose record has
/// moved on or is left cost a look too.
const LOOKS_PER_REMOVAL: usize = 4;

/// Of so many places, one may lead nowhere before they are cleared: ten or so lie on a
/// page of them.
const PLACES_PER_REMOVED: u64 = 8;

/// The most that are cleared in one round. They are read in one step, and kept in
/// memory: 4 MiB, and the subjects.
const CLEARED_MAX: usize = 64 * 1_024;

/// Places, and entries, that one step clears: twice what it removes.
const CLEARS_PER_STEP: usize = 2 * crate::SWEEP_PIECE_MAX;

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
    /// The last entry that was.
    entry: Entry,
}

type Entry = (Vec<u8>, KeyDigest);

/// What of a round is left, in order.
struct Clearing {
    round: Round,
    places: BTreeSet<KeyDigest>,
    entries: BTreeSet<Entry>,
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
    // The place is damaged, or this key is: it has opened nothing, and what was ended
    // meanwhile must not open anything again.
    if !tables.is_home(at, digest)? {
        tables.sweep(digest, &stored)?;
        return Ok(Found::Removed);
    }
    match stored.head() {
        Ok(head) if head.expires_at > now => {
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
    let round = tables.round()?.as_deref().and_then(Round::read);
    let round = match round {
        Some(round) => round,
        None if is_worth(tables, is_idle)? => Round::BEGUN,
        None => return Ok(()),
    };
    let mut under_way = match clearing.take() {
        Some(known) if known.round == round => known,
        _ => Clearing::gather(tables, round)?,
    };
    for _ in 0..CLEARS_PER_STEP {
        if let Some(digest) = under_way.places.pop_first() {
            tables.clear_place(&digest)?;
            under_way.round.place = digest;
        }
        if let Some(entry) = under_way.entries.pop_first() {
            tables.clear_entry(&entry.0, &entry.1)?;
            under_way.round.entry = entry;
        }
    }
    let is_cleared = under_way.places.is_empty() && under_way.entries.is_empty();
    if is_cleared && tables.forget(under_way.round.upto, 4 * CLEARS_PER_STEP)? {
        return tables.set_round(None);
    }
    tables.set_round(Some(&under_way.round.bytes()))?;
    *clearing = Some(under_way);
    Ok(())
}

fn is_worth(tables: &Tables<'_>, is_idle: bool) -> Result<bool, StorageError> {
    let (places, removed) = tables.counts()?;
    let enough = (places / PLACES_PER_REMOVED).min(CLEARED_MAX as u64);
    Ok(removed > 0 && (removed >= enough || is_idle))
}

impl Clearing {
    fn gather(tables: &Tables<'_>, mut round: Round) -> Result<Self, StorageError> {
        let removed = tables.removed(round.upto, CLEARED_MAX)?;
        let is_begun = round != Round::BEGUN;
        round.upto = removed.last().map_or(round.upto, |last| last.number);
        let digests = removed.iter().map(|removed| removed.digest);
        let places = digests.filter(|digest| !is_begun || *digest > round.place);
        let places = places.collect();
        let owned = removed
            .into_iter()
            .filter_map(|Removed { digest, owner, .. }| Some((owner?, digest)));
        let entries = owned.filter(|entry| !is_begun || *entry > round.entry);
        let entries = entries.collect();
        Ok(Self {
            round,
            places,
            entries,
        })
    }
}

impl Round {
    const BEGUN: Self = Self {
        upto: u64::MAX,
        place: KeyDigest::from_bytes(FIRST),
        entry: (Vec::new(), KeyDigest::from_bytes(FIRST)),
    };

    fn bytes(&self) -> Vec<u8> {
        let (owner, digest) = &self.entry;
        let upto = self.upto.to_be_bytes();
        let place = self.place.as_bytes();
        [&upto[..], place, digest.as_bytes(), owner].concat()
    }

    /// `None` where it is damaged: the round is begun again.
    fn read(bytes: &[u8]) -> Option<Self> {
        let (upto, rest) = bytes.split_first_chunk()?;
        let (place, rest) = rest.split_first_chunk()?;
        let (digest, owner) = rest.split_first_chunk()?;
        Some(Self {
            upto: u64::from_be_bytes(*upto),
            place: KeyDigest::from_bytes(*place),
            entry: (owner.to_vec(), KeyDigest::from_bytes(*digest)),
        })
    }
}

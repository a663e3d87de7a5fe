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

use crate::tables::{Failure, Removed, Tables};

/// Slots looked at in one step for each that may be removed: those whose record has
/// moved on or is left cost a look too.
const LOOKS_PER_REMOVAL: usize = 4;

/// Of so many places, one may lead nowhere before they are cleared: ten or so lie on a
/// page of them.
const PLACES_PER_REMOVED: u64 = 8;

/// The most that are cleared together: they are kept in memory.
const CLEARED_MAX: usize = 128 * 1_024;

/// Of these, so many are read in one step.
const GATHERED_PER_STEP: usize = 4 * 1_024;

/// Places, and entries, that one step clears: twice what it removes.
const CLEARS_PER_STEP: usize = 2 * crate::SWEEP_PIECE_MAX;

enum Found {
    /// The record was due, and is removed.
    Removed,
    /// The slot was not the record's, or the record has a later deadline.
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

/// What is being cleared. A crash loses it, and it is begun again.
#[derive(Default)]
struct Clearing {
    places: BTreeSet<KeyDigest>,
    entries: BTreeSet<(String, KeyDigest)>,
    /// The number of the last that has been read.
    upto: Option<u64>,
    is_gathered: bool,
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
    // A place that leads nowhere is damaged, and this is what it should lead to.
    if tables.stands_elsewhere(digest, &stored)? {
        tables.sweep(digest, &stored)?;
        return Ok(Found::Moved);
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
    if clearing.is_none() && !is_worth(tables, is_idle)? {
        return Ok(());
    }
    let under_way = clearing.get_or_insert_default();
    if !under_way.is_gathered && !under_way.gather(tables)? {
        return Ok(());
    }
    for _ in 0..CLEARS_PER_STEP {
        if let Some(digest) = under_way.places.pop_first() {
            tables.clear_place(&digest)?;
        }
        if let Some((owner, digest)) = under_way.entries.pop_first() {
            tables.clear_entry(&owner, &digest)?;
        }
    }
    let is_cleared = under_way.places.is_empty() && under_way.entries.is_empty();
    if is_cleared && tables.forget(under_way.upto, 4 * CLEARS_PER_STEP)? {
        *clearing = None;
    }
    Ok(())
}

fn is_worth(tables: &Tables<'_>, is_idle: bool) -> Result<bool, StorageError> {
    let (places, removed) = tables.counts()?;
    let enough = (places / PLACES_PER_REMOVED).min(CLEARED_MAX as u64);
    Ok(removed > 0 && (removed >= enough || is_idle))
}

impl Clearing {
    /// Reads some more, and says whether that was the last.
    fn gather(&mut self, tables: &Tables<'_>) -> Result<bool, StorageError> {
        let removed = tables.removed_after(self.upto, GATHERED_PER_STEP)?;
        self.upto = removed.last().map_or(self.upto, |last| Some(last.number));
        let is_all = removed.len() < GATHERED_PER_STEP;
        for Removed { digest, owner, .. } in removed {
            self.places.insert(digest);
            self.entries.extend(owner.map(|owner| (owner, digest)));
        }
        self.is_gathered = is_all || self.places.len() >= CLEARED_MAX;
        Ok(self.is_gathered)
    }
}

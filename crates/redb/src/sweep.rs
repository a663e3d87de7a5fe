//! Removing what is due, in index order.

use std::sync::{Mutex, PoisonError};

use cloakroom_core::{ErrorKind, KeyDigest, Swept, Timestamp};

use crate::tables::{Failure, Tables};

/// Entries looked at in one step for each that may be removed: those that
/// dangle, or whose record has moved on or is left, cost a look too.
const LOOKS_PER_REMOVAL: usize = 4;

enum Found {
    /// The record was due, and is removed.
    Removed,
    /// The entry was not the record's, or the record has a later deadline.
    Moved,
    /// The record is of a newer version: it is not ours to judge.
    Unknown,
}

/// Where the next step begins: at the first entry, or behind those of a newer
/// version, which the steps before it have left.
pub(crate) type Cursor = Mutex<Option<(Timestamp, KeyDigest)>>;

pub(crate) fn step(
    tables: &mut Tables<'_>,
    cursor: &Cursor,
    now: Timestamp,
    max: usize,
) -> Result<Swept, Failure> {
    let mut swept = Swept::default();
    let mut looks = max.saturating_mul(LOOKS_PER_REMOVAL);
    let mut unknown = 0_usize;
    let mut cursor = cursor.lock().unwrap_or_else(PoisonError::into_inner);
    // One that a later `now` has left is of no use for this.
    let mut left = cursor.take().filter(|(deadline, _)| *deadline <= now);
    let mut last = left;
    while let Some((deadline, digest)) = tables.due_after(last, now)? {
        if swept.removed == max || looks == 0 {
            // Every look has removed or moved an entry, or is behind the cursor:
            // whoever calls again while there is more comes to an end.
            swept.more = max > 0;
            *cursor = left;
            break;
        }
        looks -= 1;
        last = Some((deadline, digest));
        match judge(tables, now, deadline, &digest)? {
            Found::Removed => swept.removed += 1,
            Found::Moved => {}
            Found::Unknown => {
                unknown += 1;
                left = last;
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
    deadline: Timestamp,
    digest: &KeyDigest,
) -> Result<Found, Failure> {
    let mut stored = match tables.stored(digest) {
        Ok(Some(stored)) => stored,
        Ok(None) => {
            tables.remove_dangling(deadline, digest, None)?;
            return Ok(Found::Moved);
        }
        // Too short to be a record at all.
        Err(Failure::Refused(_)) => {
            tables.remove_record(digest)?;
            tables.remove_dangling(deadline, digest, None)?;
            return Ok(Found::Removed);
        }
        Err(broken) => return Err(broken),
    };
    if !tables.is_entry_of(deadline, digest, &stored)? {
        tables.remove_dangling(deadline, digest, Some(&stored))?;
        return Ok(Found::Moved);
    }
    stored.indexed_at = deadline;
    match stored.head() {
        Ok(head) if head.expires_at > now => {
            tables.move_entry(digest, head.expires_at, &stored)?;
            Ok(Found::Moved)
        }
        Err(error) if error.kind() == ErrorKind::Unsupported => Ok(Found::Unknown),
        // Due, or damaged beyond telling: the index says that it was due.
        Ok(_) | Err(_) => {
            tables.remove(digest, &stored)?;
            Ok(Found::Removed)
        }
    }
}

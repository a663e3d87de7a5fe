//! Removing what is due, in index order.

use std::ops::Bound::{Excluded, Included, Unbounded};
use std::sync::Mutex;

use cloakroom_core::store::{KeyDigest, Swept};
use cloakroom_core::{Error, ErrorKind, Timestamp};

use sled::IVec;

use crate::failed;
use crate::trees::{Trees, index_key};

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
pub(crate) type Cursor = Mutex<Option<IVec>>;

pub(crate) fn step(trees: &Trees, now: Timestamp, max: usize) -> Result<Swept, Error> {
    let mut swept = Swept::default();
    let mut looks = max.saturating_mul(LOOKS_PER_REMOVAL);
    let mut unknown = 0_usize;
    let end = index_key(now, &KeyDigest::from_bytes([0xff; KeyDigest::BYTES]));
    let mut cursor = trees.sweep_cursor();
    // One that a later `now` has left is of no use for this.
    let mut left = cursor.take().filter(|left| left[..] < end[..]);
    let from = left.clone().map_or(Unbounded, Excluded);
    for entry in trees.expiry.range((from, Included(IVec::from(&end[..])))) {
        if swept.removed == max || looks == 0 {
            // Every look has removed or moved an entry, or is behind the cursor:
            // whoever calls again while there is more comes to an end.
            swept.more = max > 0;
            *cursor = left;
            break;
        }
        looks -= 1;
        let (key, _) = entry.map_err(failed)?;
        let Some((deadline, digest)) = parse(&key) else {
            trees.expiry.remove(&key).map_err(failed)?;
            continue;
        };
        match judge(trees, now, deadline, &digest)? {
            Found::Removed => swept.removed += 1,
            Found::Moved => {}
            Found::Unknown => {
                unknown += 1;
                left = Some(key);
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

fn parse(key: &[u8]) -> Option<(Timestamp, KeyDigest)> {
    let (deadline, digest) = key.split_first_chunk()?;
    let deadline = Timestamp::from_millis(u64::from_be_bytes(*deadline));
    Some((deadline, KeyDigest::from_bytes(digest.try_into().ok()?)))
}

/// Judges the deadline as it stands, in the same step as the removal.
fn judge(
    trees: &Trees,
    now: Timestamp,
    deadline: Timestamp,
    digest: &KeyDigest,
) -> Result<Found, Error> {
    trees.transact(|all| {
        let mut stored = match all.stored(digest) {
            Ok(Some(stored)) => stored,
            Ok(None) => {
                all.remove_dangling(deadline, digest, None)?;
                return Ok(Found::Moved);
            }
            // Too short to be a record at all.
            Err(sled::transaction::ConflictableTransactionError::Abort(_)) => {
                all.records.remove(digest.as_bytes())?;
                all.remove_dangling(deadline, digest, None)?;
                return Ok(Found::Removed);
            }
            Err(error) => return Err(error),
        };
        if !all.is_entry_of(deadline, digest, &stored)? {
            all.remove_dangling(deadline, digest, Some(&stored))?;
            return Ok(Found::Moved);
        }
        stored.indexed_at = deadline;
        match stored.head() {
            Ok(head) if head.expires_at > now => {
                all.move_entry(digest, head.expires_at, &stored)?;
                Ok(Found::Moved)
            }
            Err(error) if error.kind() == ErrorKind::Unsupported => Ok(Found::Unknown),
            // Due, or damaged beyond telling: the index says that it was due.
            Ok(_) | Err(_) => {
                all.remove(digest, &stored)?;
                Ok(Found::Removed)
            }
        }
    })
}

//! Removing what has expired, in the order of `expiry`.

use std::ops::Bound::{Excluded, Included, Unbounded};
use std::sync::{Mutex, PoisonError};

use cloakroom_core::store::{KeyDigest, Stored, Swept};
use cloakroom_core::{Error, ErrorKind, Timestamp};
use sled::IVec;

use crate::error::failed;
use crate::layout::{expiry_key, parse_expiry_key};
use crate::trees::Trees;

/// Entries that one step looks at for each record that it may remove: an orphan, and an
/// entry whose record has a later deadline or is left, cost a look too.
const LOOKS_PER_REMOVAL: usize = 4;

enum Judged {
    /// The record was due, and is removed, or a tombstone stands in its place.
    Removed,
    /// The entry was an orphan and is removed, or its record has a later deadline and it
    /// was moved there.
    Moved,
    /// A record of a newer version, which only the newer build may judge.
    Newer,
}

/// The key in `expiry` behind which the next step begins: the last of a record of a newer
/// version that the steps before have left. Without one, at the first entry.
pub(crate) type Cursor = Mutex<Option<IVec>>;

/// One step. Two at once take turns.
pub(crate) fn step(
    trees: &Trees,
    cursor: &Cursor,
    now: Timestamp,
    max: usize,
) -> Result<Swept, Error> {
    let mut cursor = cursor.lock().unwrap_or_else(PoisonError::into_inner);
    let mut swept = Swept::default();
    let mut looks = max.saturating_mul(LOOKS_PER_REMOVAL);
    let mut newer = 0_usize;
    let end = expiry_key(now, &KeyDigest::from_bytes([0xff; KeyDigest::BYTES]));
    // A step with a later `now` may have left a cursor behind this one's end.
    let mut left = cursor.take().filter(|left| left[..] < end[..]);
    let from = left.clone().map_or(Unbounded, Excluded);
    for entry in trees.expiry.range((from, Included(IVec::from(&end[..])))) {
        if swept.removed == max || looks == 0 {
            // Every look has removed or moved an entry, or moved the cursor behind it, so
            // a caller who calls again while there is more comes to an end.
            swept.more = max > 0;
            *cursor = left;
            break;
        }
        looks -= 1;
        let (key, _) = entry.map_err(failed)?;
        let Some((deadline, digest)) = parse_expiry_key(&key) else {
            trees.expiry.remove(&key).map_err(failed)?;
            continue;
        };
        match judge(trees, now, deadline, &digest)? {
            Judged::Removed => swept.removed += 1,
            Judged::Moved => {}
            Judged::Newer => {
                newer += 1;
                left = Some(key);
            }
        }
    }
    if newer > 0 {
        tracing::warn!(
            event = "sweep_left_newer_records",
            records = newer,
            "records of a newer version are due; this build leaves them"
        );
    }
    Ok(swept)
}

/// Judges a row as it stands, in the same transaction as the removal.
fn judge(
    trees: &Trees,
    now: Timestamp,
    deadline: Timestamp,
    digest: &KeyDigest,
) -> Result<Judged, Error> {
    trees.transact(|all| {
        let mut row = match all.row(digest)? {
            Ok(Some(row)) => row,
            Ok(None) => {
                all.remove_orphan(deadline, digest, None)?;
                return Ok(Judged::Moved);
            }
            // It is too short to be a row.
            Err(_) => {
                all.records.remove(digest.as_bytes())?;
                all.remove_orphan(deadline, digest, None)?;
                return Ok(Judged::Removed);
            }
        };
        if !all.is_entry_of(deadline, digest, &row)? {
            all.remove_orphan(deadline, digest, Some(&row))?;
            return Ok(Judged::Moved);
        }
        row.indexed_at = deadline;
        match row.head() {
            Ok(head) if head.expires_at > now => {
                all.move_expiry_entry(digest, head.expires_at, &row)?;
                Ok(Judged::Moved)
            }
            Err(error) if error.kind() == ErrorKind::Unsupported => Ok(Judged::Newer),
            // Due; or damaged, and then due by its entry.
            Ok(_) | Err(_) => {
                let expired = Stored::decode(row.frame()).ok();
                let left = expired.and_then(|expired| expired.swept(now));
                all.end_row(digest, &row, left)?;
                Ok(Judged::Removed)
            }
        }
    })
}

//! Removing what has expired, in the order of deadlines.

use std::ops::Bound::{Excluded, Included, Unbounded};
use std::sync::{Arc, Mutex, PoisonError};

use cloakroom_core::store::{FrameHead, KeyDigest, Stored, Swept};
use cloakroom_core::{Error, ErrorKind, Timestamp};
use redb::{ReadableTable as _, StorageError};

use crate::stored_frame::StoredFrame;
use crate::tables::{LAST_DIGEST, TableError, Tables};
use crate::writer::Writer;

/// Records that one transaction removes or moves, where few writes share it. Each lies on
/// pages of its own in two tables, and costs the writers that wait about what a new
/// session does.
const PIECE_MIN: usize = 4;

/// Records that a sweep may look at for each that it may remove: a record is looked at,
/// and not removed, where its deadline has moved on or where it is of a newer version.
const LOOKS_PER_REMOVAL: usize = 4;

/// Where the next piece begins: at the first record, or after those of a newer version,
/// which the pieces before it have left.
pub(crate) type Cursor = Mutex<Option<RecordKey>>;

type RecordKey = (Timestamp, KeyDigest);

/// What a sweep has done, and may still do.
#[derive(Clone, Copy)]
struct Progress {
    removals_left: usize,
    looks_left: usize,
    /// Records of a newer version that were met.
    unsupported: usize,
    /// Whether more may be due.
    more: bool,
}

enum Verdict {
    /// Or a tombstone stands in its place.
    Removed,
    /// Not due, and moved to its deadline.
    Moved,
    /// Of a newer version, which this build cannot judge.
    Left,
}

/// Removes at most `max` records, marks and tombstones whose deadline is at or before `now`, each
/// piece in a transaction of its own: others write between them.
pub(crate) async fn sweep(
    writer: &Writer,
    cursor: &Arc<Cursor>,
    now: Timestamp,
    max: usize,
) -> Result<Swept, Error> {
    let mut progress = Progress {
        removals_left: max,
        looks_left: max.saturating_mul(LOOKS_PER_REMOVAL),
        unsupported: 0,
        more: max > 0,
    };
    while progress.more && !progress.is_spent() {
        let cursor = cursor.clone();
        let piece = move |t: &mut Tables<'_>| remove_piece(t, &cursor, now, progress);
        progress = writer.write(piece).await?;
    }
    if progress.unsupported > 0 {
        tracing::warn!(
            event = "sweep_left_newer_records",
            records = progress.unsupported,
            "records of a newer version have expired; this build leaves them"
        );
    }
    Ok(Swept::new(max - progress.removals_left, progress.more))
}

impl Progress {
    fn is_spent(&self) -> bool {
        self.removals_left == 0 || self.looks_left == 0
    }
}

/// Removes or moves a piece: half as many records as this transaction has writes, and at
/// least four. That keeps up with new sessions, since each one is written more than once,
/// and makes the transaction about half as long again.
fn remove_piece(
    tables: &mut Tables<'_>,
    cursor: &Cursor,
    now: Timestamp,
    mut progress: Progress,
) -> Result<Progress, TableError> {
    let mut cursor = cursor.lock().unwrap_or_else(PoisonError::into_inner);
    // The room is counted in looks: a removal or a move costs several, and skipping a
    // record of a newer version costs one.
    let mut room = (tables.writes / 2).max(PIECE_MIN) * LOOKS_PER_REMOVAL;
    // A cursor beyond `now` comes from a sweep with a later `now`.
    let mut left = cursor.take().filter(|(indexed_at, _)| *indexed_at <= now);
    let mut last = left;
    while let Some((indexed_at, digest)) = due_after(tables, last, now)? {
        if progress.is_spent() || room < LOOKS_PER_REMOVAL {
            // Every record looked at has been removed, moved behind `now`, or lies before the
            // cursor, so a caller that repeats while there is more comes to an end.
            *cursor = left;
            return Ok(progress);
        }
        progress.looks_left -= 1;
        last = Some((indexed_at, digest));
        match judge(tables, now, indexed_at, &digest)? {
            Verdict::Removed => {
                progress.removals_left -= 1;
                room -= LOOKS_PER_REMOVAL;
            }
            Verdict::Moved => room -= LOOKS_PER_REMOVAL,
            Verdict::Left => {
                progress.unsupported += 1;
                room -= 1;
                left = last;
            }
        }
    }
    progress.more = false;
    Ok(progress)
}

/// The key of the first record after this one that lies under a deadline up to `now`.
fn due_after(
    tables: &Tables<'_>,
    after: Option<RecordKey>,
    now: Timestamp,
) -> Result<Option<RecordKey>, StorageError> {
    let after = match &after {
        Some((indexed_at, digest)) => Excluded((indexed_at.as_millis(), digest.as_bytes())),
        None => Unbounded,
    };
    let until = Included((now.as_millis(), &LAST_DIGEST));
    let Some(record) = tables.records.range((after, until))?.next() else {
        return Ok(None);
    };
    let (key, _) = record?;
    let (millis, digest) = key.value();
    let digest = KeyDigest::from_bytes(*digest);
    Ok(Some((Timestamp::from_millis(millis), digest)))
}

/// Judges the deadline as it stands, in the transaction that removes the record.
fn judge(
    tables: &mut Tables<'_>,
    now: Timestamp,
    indexed_at: Timestamp,
    digest: &KeyDigest,
) -> Result<Verdict, TableError> {
    let Some(stored) = tables.stored_at(indexed_at, digest)? else {
        return Ok(Verdict::Moved);
    };
    // A record that `deadlines` does not lead to has opened nothing since it was damaged. It
    // may have been ended meanwhile: it must not come back, and nothing is left in its place.
    let is_led_to = tables.indexed_at(digest)? == Some(indexed_at);
    match FrameHead::read(stored.frame()) {
        Ok(head) if head.expires_at > now && is_led_to => {
            let moved = StoredFrame::read(head.expires_at, stored.bytes());
            tables.put(digest, &moved, &stored)?;
            Ok(Verdict::Moved)
        }
        Err(error) if error.kind() == ErrorKind::Unsupported => Ok(Verdict::Left),
        // Expired; or damaged, so that nothing but its key says when.
        Ok(_) | Err(_) => {
            let expired = Stored::decode(stored.frame()).ok().filter(|_| is_led_to);
            let left = expired.and_then(|expired| expired.swept(now));
            tables.end_at(digest, &stored, left)?;
            Ok(Verdict::Removed)
        }
    }
}

#[cfg(test)]
mod tests {
    use cloakroom_testkit::{key, sample};
    use redb::Database;
    use redb::backends::InMemoryBackend;

    use super::*;

    #[test]
    fn a_piece_grows_with_the_writes_that_share_its_transaction() {
        let db = Database::builder().create_with_backend(InMemoryBackend::new());
        let transaction = db.unwrap().begin_write().unwrap();
        let mut tables = Tables::open(&transaction, 0).unwrap();
        for _ in 0..200 {
            tables.create(&key().digest(), &sample("x")).unwrap();
        }
        let progress = Progress {
            removals_left: 1_000,
            looks_left: 4_000,
            unsupported: 0,
            more: true,
        };
        for (writes, removed) in [(1, PIECE_MIN), (100, 50)] {
            tables.writes = writes;
            let done = remove_piece(&mut tables, &Cursor::default(), Timestamp::MAX, progress);
            let done = done.unwrap();
            assert_eq!((done.removals_left, done.more), (1_000 - removed, true));
        }
    }
}

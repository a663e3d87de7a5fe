//! What is about many sessions: sweeping, listing and ending by subject, scanning.

use cloakroom_core::store::{
    KeyDigest, Listed, ROTATION_HOPS_MAX, Revoke, SCAN_PAGE_BYTES_MAX, SCAN_PAGE_ITEMS_MAX,
    ScanCursor, ScanPage, Scanned, Stored, SubjectDigest, Swept,
};
use cloakroom_core::{Error, ErrorKind, Timestamp};

use crate::dialect::{Arg, Dialect};
use crate::failure::unavailable;
use crate::row::{self, millis};
use crate::store::Store;

/// How often a revocation looks again whether one has slipped through.
const REVOKE_PASSES: usize = 16;

impl<DB: Dialect> Store<DB> {
    pub(crate) async fn sweep(&self, now: Timestamp, max: usize) -> Result<Swept, Error> {
        let limit = i64::try_from(max).unwrap_or(i64::MAX);
        let args = [Arg::Int(millis(now)), Arg::Int(limit)];
        let removed = self.link.write(&self.texts.sweep, &args).await?;
        let removed = usize::try_from(removed).unwrap_or(usize::MAX);
        Ok(Swept::new(removed, max > 0 && removed >= max))
    }

    pub(crate) async fn sessions_of(&self, subject: &SubjectDigest) -> Result<Vec<Listed>, Error> {
        let args = [Arg::Bytes(subject.as_bytes())];
        let rows = self.link.read(&self.texts.sessions, &args).await?;
        let mut listed = Vec::new();
        for row in &rows {
            let digest = row::digest::<DB>(row, 0)?;
            if let Ok(Stored::Record(record)) = stored::<DB>(row, false)? {
                listed.push(Listed::new(digest, record));
            }
        }
        Ok(listed)
    }

    pub(crate) async fn revoke(
        &self,
        subject: &SubjectDigest,
        which: Revoke,
    ) -> Result<Vec<KeyDigest>, Error> {
        let spared = match which {
            Revoke::One(digest) => {
                let ended = self.end(&digest, Some(subject)).await?;
                return Ok(ended.into_iter().collect());
            }
            Revoke::All => None,
            Revoke::AllBut(digest) => Some(digest),
        };
        let args = [
            Arg::Bytes(subject.as_bytes()),
            Arg::MaybeBytes(spared.as_ref().map(|digest| &digest.as_bytes()[..])),
        ];
        let mut ended = Vec::new();
        if DB::WORDS.returns {
            ended = self.ended_at_once(&args).await?;
        }
        // What a rotation was moving was neither here nor there for a statement that
        // waited for it; so the end is a look that finds nobody. What is spared is
        // followed in that very look: it cannot move away from under it.
        for _ in 0..REVOKE_PASSES {
            let rows = self.link.read(&self.texts.others, &args).await?;
            let Some(first) = rows.first() else {
                return Ok(ended);
            };
            let marks = usize::try_from(row::int::<DB>(first, 1)?).unwrap_or(usize::MAX);
            if marks > ROTATION_HOPS_MAX {
                return Err(unavailable::<DB>(format!(
                    "the session to be spared has moved more than ROTATION_HOPS_MAX = \
                     {ROTATION_HOPS_MAX} times while its rotation marks stand; try again when \
                     they have expired"
                )));
            }
            for row in &rows {
                // Followed again, where it has moved since.
                let digest = row::digest::<DB>(row, 0)?;
                ended.extend(self.end(&digest, Some(subject)).await?);
            }
        }
        Err(unavailable::<DB>(
            "sessions of the subject began or moved each time that they were to be ended",
        ))
    }

    async fn ended_at_once(&self, args: &[Arg<'_>]) -> Result<Vec<KeyDigest>, Error> {
        let rows = self.link.returning(&self.texts.revoke, args).await?;
        rows.iter().map(|row| row::digest::<DB>(row, 0)).collect()
    }

    pub(crate) async fn scan(
        &self,
        from: Option<&ScanCursor>,
        max: usize,
    ) -> Result<ScanPage, Error> {
        let from = from.map(ScanCursor::digest).transpose()?;
        // No bytes are before all others.
        let from = Arg::Bytes(from.as_ref().map_or(&[][..], |digest| digest.as_bytes()));
        let max = max.clamp(1, SCAN_PAGE_ITEMS_MAX);
        // Without their data first: of large records fewer are in a page, so that none
        // is too long for its time.
        let args = [from.clone(), rows(max)];
        let ahead = self.link.read(&self.texts.ahead, &args).await?;
        let (mut end, mut count, mut bytes) = (None, 0, 0);
        for row in &ahead {
            end = Some(row::digest::<DB>(row, 0)?);
            count += 1;
            bytes += usize::try_from(row::int::<DB>(row, 1)?).unwrap_or(0);
            if bytes >= SCAN_PAGE_BYTES_MAX {
                break;
            }
        }
        let Some(end) = end else {
            return Ok(ScanPage::default());
        };
        let is_last = count == ahead.len() && count < max;
        let args = [from, Arg::Bytes(end.as_bytes()), rows(count)];
        let found = self.link.read(&self.texts.scan, &args).await?;
        let items = found.iter().map(|row| {
            let digest = row::digest::<DB>(row, 0)?;
            let stored = stored::<DB>(row, true)?;
            Ok(Scanned::new(digest, stored))
        });
        let items = items.collect::<Result<Vec<_>, Error>>()?;
        // What has come in between may have pushed others out of the page.
        let reached = match items.last() {
            Some(last) if items.len() == count => last.digest,
            _ => end,
        };
        let next = (!is_last || reached != end).then(|| ScanCursor::after(&reached));
        Ok(ScanPage::new(items, next))
    }
}

/// What stands in one row of many. A row that cannot be read is passed over; a table
/// that is another one cannot be.
fn stored<DB: Dialect>(row: &DB::Row, with_data: bool) -> Result<Result<Stored, Error>, Error> {
    let stored = row::stored::<DB>(row, with_data).map_err(|error| error.in_store(DB::STORE));
    match stored {
        Err(error) if error.kind() == ErrorKind::Misconfigured => Err(error),
        stored => Ok(stored),
    }
}

fn rows(count: usize) -> Arg<'static> {
    Arg::Int(i64::try_from(count).expect("at most SCAN_PAGE_ITEMS_MAX"))
}

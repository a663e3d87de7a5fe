//! What a bounded look through the store finds.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use cloakroom::engine::TokenStore as _;
use cloakroom::store::{
    EndReason, KeyDigest, SCAN_PAGE_ITEMS_MAX, ScanCursor, Stored, SubjectDigest, Tombstone,
};
use cloakroom::{Engine, Error, Timestamp};

/// How many entries of the store are read for one page, at most.
pub const SCAN_ITEMS_MAX: usize = 20_000;

/// For how long the store is read for one page; what is asked for by then is waited for.
pub const SCAN_TIME_MAX: Duration = Duration::from_secs(2);

/// How many of the latest ends are shown.
pub(crate) const LATEST_MAX: usize = 50;

const HOUR: Duration = Duration::from_secs(60 * 60);

/// A session that has ended.
pub(crate) struct End {
    pub(crate) digest: KeyDigest,
    pub(crate) tombstone: Tombstone,
}

/// How many sessions ended for one reason.
#[derive(Clone, Copy, Default)]
pub(crate) struct Count {
    pub(crate) last_hour: u64,
    pub(crate) last_day: u64,
}

#[derive(Default)]
pub(crate) struct Survey {
    /// Sessions of this site that would open now.
    pub(crate) live: u64,
    /// Those of them that somebody is logged in with.
    pub(crate) logged_in: u64,
    /// Records of this site that have expired, and of other sites.
    pub(crate) other_records: u64,
    pub(crate) marks: u64,
    pub(crate) unreadable: u64,
    pub(crate) ends: BTreeMap<EndReason, Count>,
    /// The latest first.
    pub(crate) latest: Vec<End>,
    pub(crate) read: usize,
    /// Whether the store was read to its end.
    pub(crate) is_whole: bool,
}

impl Survey {
    /// Reads the store through, as far as the limits allow; `None` where it cannot be. With a
    /// subject, only the ends of theirs count.
    pub(crate) async fn of(
        engine: &Engine,
        subject: Option<&SubjectDigest>,
    ) -> Result<Option<Self>, Error> {
        let Some(scan) = engine.store().token_capabilities().scan else {
            return Ok(None);
        };
        let (mut survey, now, begun) = (Self::default(), engine.now(), Instant::now());
        let mut next: Option<ScanCursor> = None;
        while survey.read < SCAN_ITEMS_MAX && begun.elapsed() < SCAN_TIME_MAX {
            let max = SCAN_PAGE_ITEMS_MAX.min(SCAN_ITEMS_MAX - survey.read);
            let page = scan.scan(next.as_ref(), max).await?;
            survey.read += page.items.len();
            for item in page.items {
                survey.note(engine, subject, now, item.digest, item.stored);
            }
            next = page.next;
            if next.is_none() {
                survey.is_whole = true;
                break;
            }
        }
        survey.keep_latest();
        Ok(Some(survey))
    }

    fn note(
        &mut self,
        engine: &Engine,
        subject: Option<&SubjectDigest>,
        now: Timestamp,
        digest: KeyDigest,
        stored: Result<Stored, Error>,
    ) {
        match stored {
            Ok(Stored::Record(record)) if engine.is_live(&record) => {
                self.live += 1;
                self.logged_in += u64::from(record.subject.is_some());
            }
            Ok(Stored::Record(_)) => self.other_records += 1,
            Ok(Stored::Rotated { .. }) => self.marks += 1,
            Ok(Stored::Ended(tombstone)) => {
                let is_asked_for = subject.is_none_or(|of| tombstone.subject.as_ref() == Some(of));
                if !is_asked_for || tombstone.until <= now {
                    return;
                }
                let count = self.ends.entry(tombstone.because).or_default();
                count.last_day += 1;
                count.last_hour += u64::from(now.saturating_since(tombstone.at) < HOUR);
                self.latest.push(End { digest, tombstone });
                if self.latest.len() >= 4 * LATEST_MAX {
                    self.keep_latest();
                }
            }
            Err(_) => self.unreadable += 1,
        }
    }

    fn keep_latest(&mut self) {
        self.latest.sort_by(|one, other| {
            let by_time = other.tombstone.at.cmp(&one.tombstone.at);
            by_time.then_with(|| one.digest.cmp(&other.digest))
        });
        self.latest.truncate(LATEST_MAX);
    }
}

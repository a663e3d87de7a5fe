//! What a lifetime makes of a record.

use std::time::Duration;

use crate::session::Ended;
use crate::store::{EndReason, Record, Touch};
use crate::{Expiry, SessionExpiry, Timestamp};

/// For engines: the deadlines of a record under this policy.
impl Expiry {
    /// An empty record that begins at `now`.
    #[must_use]
    pub fn begin(&self, now: Timestamp) -> Record {
        let mut record = Record::new(now, now);
        self.apply(SessionExpiry::Default, &mut record);
        self.slide(&mut record, now);
        record
    }

    /// Counts the absolute lifetime of a session from `now`, as a login does.
    /// An end that the session chose as an instant stays where it is.
    pub fn begin_anew(&self, record: &mut Record, now: Timestamp) {
        record.created_at = now;
        record.absolute_deadline = self.end_of(record);
    }

    /// Writes a session's own choice into its header. The deadline itself moves
    /// with the next [`slide`](Self::slide).
    pub fn apply(&self, choice: SessionExpiry, record: &mut Record) {
        record.expiry = choice;
        record.absolute_deadline = self.end_of(record);
    }

    /// Moves the deadline to what a use at `now` makes it: `now` and the idle
    /// time, at most the absolute deadline.
    pub fn slide(&self, record: &mut Record, now: Timestamp) {
        record.absolute_deadline = self.end_of(record);
        record.expires_at = self.deadline(record, now);
    }

    /// Whether a session's cookie ends with the browser; the record has its
    /// deadlines all the same.
    #[must_use]
    pub fn cookie_ends_with_browser(&self, record: &Record) -> bool {
        match record.expiry {
            SessionExpiry::Default => self.ends_with_browser(),
            SessionExpiry::BrowserClose => true,
            SessionExpiry::Idle(_) | SessionExpiry::At(_) => false,
            SessionExpiry::Own(own) => own.ends_with_browser(),
        }
    }

    /// When a session ends if it is not used again: by its stored deadline, and by this
    /// policy from its last use and its beginning, whichever is sooner. So a policy that
    /// was shortened holds for the sessions that are stored already. The last use may lag
    /// by the share of the idle time after which a use is written.
    #[must_use]
    pub fn end_of_unused(&self, record: &Record) -> Timestamp {
        let stored = record
            .absolute_deadline
            .map_or(record.expires_at, |end| end.min(record.expires_at));
        stored.min(self.deadline(record, record.last_seen_at))
    }

    /// How a session has ended that was not used again: at its absolute deadline, or since it
    /// was idle.
    #[must_use]
    pub fn ended_unused(&self, record: &Record) -> Ended {
        let end = self.end_of_unused(record);
        let absolute = [record.absolute_deadline, self.end_of(record)];
        let is_absolute = absolute
            .into_iter()
            .flatten()
            .any(|deadline| deadline <= end);
        let because = match is_absolute {
            true => EndReason::Absolute,
            false => EndReason::Idle,
        };
        Ended::new(because).at(end)
    }

    /// Whether a session is dead at `now` under this policy.
    #[must_use]
    pub fn is_expired(&self, record: &Record, now: Timestamp) -> bool {
        self.end_of_unused(record) <= now
    }

    fn deadline(&self, record: &Record, now: Timestamp) -> Timestamp {
        let idle = self
            .idle_of(record)
            .map_or(Timestamp::MAX, |idle| now.saturating_add(idle));
        self.end_of(record).map_or(idle, |end| idle.min(end))
    }

    /// How long a session lives unused; `None` where it ends at an instant alone.
    fn idle_of(&self, record: &Record) -> Option<Duration> {
        match record.expiry {
            SessionExpiry::Default | SessionExpiry::BrowserClose => Some(self.idle()),
            SessionExpiry::Idle(idle) => Some(idle),
            SessionExpiry::At(_) => None,
            SessionExpiry::Own(own) => Some(own.idle()),
        }
    }

    /// The instant that no use moves a session past.
    fn end_of(&self, record: &Record) -> Option<Timestamp> {
        let lifetime = match record.expiry {
            SessionExpiry::Own(own) => own.absolute(),
            _ => self.absolute(),
        };
        let end = lifetime.map(|lifetime| record.created_at.saturating_add(lifetime));
        match record.expiry {
            SessionExpiry::At(instant) => Some(end.map_or(instant, |end| end.min(instant))),
            _ => end,
        }
    }

    /// As [`slide`](Self::slide), where that moves the deadline by at least
    /// `share_percent` of the idle time, or back.
    pub fn slide_by(&self, record: &mut Record, now: Timestamp, share_percent: u8) {
        let backwards = self.deadline(record, now) < record.expires_at;
        if backwards || self.touch_due(record, now, share_percent).is_some() {
            self.slide(record, now);
        }
    }

    /// The touch to write, where a use at `now` is by at least `share_percent`
    /// of the idle time later than the last one noted, or moves the deadline by
    /// as much; otherwise a write is not worth it. Where the absolute lifetime is
    /// shorter than the idle time, the share is taken of that.
    #[must_use]
    pub fn touch_due(&self, record: &Record, now: Timestamp, share_percent: u8) -> Option<Touch> {
        let deadline = self.deadline(record, now);
        let life = self
            .end_of(record)
            .map_or(Duration::MAX, |end| end.saturating_since(record.created_at));
        let worth = self
            .idle_of(record)
            .unwrap_or(Duration::MAX)
            .min(life)
            .saturating_mul(share_percent.into())
            / 100;
        let due = |new: Timestamp, old: Timestamp| new > old && new.saturating_since(old) >= worth;
        let is_due = due(deadline, record.expires_at) || due(now, record.last_seen_at);
        is_due.then_some(Touch {
            last_seen_at: now,
            expires_at: deadline,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000_000);
    const MINUTE: Duration = Duration::from_secs(60);
    const HOUR: Duration = Duration::from_secs(60 * 60);

    fn at(now: Timestamp, minutes: u64) -> Timestamp {
        now.saturating_add(Duration::from_secs(60 * minutes))
    }

    fn expiry() -> Expiry {
        Expiry::new(10 * MINUTE, Some(HOUR)).unwrap()
    }

    #[test]
    fn idle_slides_and_never_past_the_absolute_deadline() {
        let mut record = expiry().begin(NOW);
        assert_eq!(record.expires_at, at(NOW, 10));
        expiry().slide(&mut record, at(NOW, 5));
        assert_eq!(record.expires_at, at(NOW, 15));
        expiry().slide(&mut record, at(NOW, 55));
        assert_eq!(record.expires_at, at(NOW, 60));
        expiry().slide(&mut record, at(NOW, 59));
        assert_eq!(record.expires_at, at(NOW, 60));
        assert!(record.is_expired(at(NOW, 60)) && !record.is_expired(at(NOW, 59)));
    }

    #[test]
    fn each_choice_of_a_session_moves_its_deadlines() {
        let year = Duration::from_secs(365 * 24 * 3600);
        let own = Expiry::new(year, None).unwrap();
        for (choice, expires_at, browser) in [
            (SessionExpiry::Default, at(NOW, 10), false),
            (SessionExpiry::Idle(30 * MINUTE), at(NOW, 30), false),
            (SessionExpiry::Idle(90 * MINUTE), at(NOW, 60), false),
            (SessionExpiry::At(at(NOW, 45)), at(NOW, 45), false),
            (SessionExpiry::At(at(NOW, 90)), at(NOW, 60), false),
            (SessionExpiry::BrowserClose, at(NOW, 10), true),
            (SessionExpiry::Own(own), NOW.saturating_add(year), false),
        ] {
            let mut record = expiry().begin(NOW);
            expiry().apply(choice, &mut record);
            expiry().slide(&mut record, NOW);
            assert_eq!(record.expires_at, expires_at, "{choice:?}");
            assert_eq!(
                expiry().cookie_ends_with_browser(&record),
                browser,
                "{choice:?}"
            );
            expiry().apply(SessionExpiry::Default, &mut record);
            expiry().slide(&mut record, NOW);
            assert_eq!(record, expiry().begin(NOW), "back from {choice:?}");
        }
    }

    #[test]
    fn a_shortened_policy_judges_what_is_stored_and_a_longer_one_revives_nothing() {
        let day = Duration::from_secs(24 * 3600);
        let before = Expiry::new(14 * day, Some(30 * day)).unwrap();
        let record = before.begin(NOW);
        let after = |days: u64| NOW.saturating_add(day * u32::try_from(days).unwrap());
        assert!(!before.is_expired(&record, after(10)));
        assert!(expiry().is_expired(&record, at(NOW, 10)));
        assert!(!expiry().is_expired(&record, at(NOW, 9)));
        // Used all the time, it ends with the absolute lifetime of now.
        let mut used = record.clone();
        used.last_seen_at = at(NOW, 59);
        assert!(!expiry().is_expired(&used, at(NOW, 59)));
        assert!(expiry().is_expired(&used, at(NOW, 60)));
        // What a session chose for itself stays its own.
        let mut own = record.clone();
        before.apply(SessionExpiry::Own(before), &mut own);
        assert!(!expiry().is_expired(&own, after(10)));
        let short = expiry().begin(NOW);
        assert!(before.is_expired(&short, at(NOW, 10)));
    }

    #[test]
    fn a_login_counts_the_absolute_lifetime_anew_but_keeps_a_chosen_instant() {
        let mut record = expiry().begin(NOW);
        expiry().begin_anew(&mut record, at(NOW, 30));
        assert_eq!(record.created_at, at(NOW, 30));
        assert_eq!(record.absolute_deadline, Some(at(NOW, 90)));
        expiry().apply(SessionExpiry::At(at(NOW, 45)), &mut record);
        expiry().begin_anew(&mut record, at(NOW, 40));
        assert_eq!(record.absolute_deadline, Some(at(NOW, 45)));
    }

    #[test]
    fn a_touch_is_due_once_its_share_of_the_idle_time_has_passed() {
        let record = expiry().begin(NOW);
        assert_eq!(expiry().touch_due(&record, NOW, 10), None);
        let just_before = NOW.saturating_add(MINUTE - Duration::from_millis(1));
        assert_eq!(expiry().touch_due(&record, just_before, 10), None);
        assert_eq!(
            expiry().touch_due(&record, at(NOW, 1), 10),
            Some(Touch {
                last_seen_at: at(NOW, 1),
                expires_at: at(NOW, 11),
            })
        );
    }

    #[test]
    fn a_session_near_its_end_is_still_seen() {
        let mut last = expiry().begin(NOW);
        expiry().slide(&mut last, at(NOW, 51));
        last.last_seen_at = at(NOW, 51);
        let seen = |record: &Record, now| {
            let touch = expiry().touch_due(record, now, 10)?;
            assert_eq!(touch.expires_at, record.expires_at);
            Some(touch.last_seen_at)
        };
        let just_before = at(NOW, 51).saturating_add(MINUTE - Duration::from_millis(1));
        assert_eq!(seen(&last, just_before), None);
        assert_eq!(seen(&last, at(NOW, 52)), Some(at(NOW, 52)));
        let mut fixed = expiry().begin(NOW);
        expiry().apply(SessionExpiry::At(at(NOW, 30)), &mut fixed);
        expiry().slide(&mut fixed, NOW);
        assert_eq!(seen(&fixed, at(NOW, 2)), None);
        assert_eq!(seen(&fixed, at(NOW, 3)), Some(at(NOW, 3)));
    }
}

//! How long a session lives.

use std::time::Duration;

use crate::{Error, ErrorKind, Record, Timestamp, Touch};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const MINUTE: Duration = Duration::from_secs(60);

/// The idle time of a session that ends at an instant, however it is used.
const UNLIMITED: Duration = Duration::from_millis(i64::MAX as u64);

/// The lifetime of sessions: how long one lives unused, and how long it lives
/// at all.
///
/// `idle` slides: each use moves the deadline on. `absolute` is counted from
/// the beginning of the session (a login begins it anew) and never moves.
///
/// ```
/// use cloakroom_core::Expiry;
/// use std::time::Duration;
///
/// let expiry = Expiry::new(Duration::from_secs(30 * 60), Some(Duration::from_secs(12 * 3600)))?;
/// assert_eq!(expiry.idle(), Duration::from_secs(1800));
/// assert_eq!(Expiry::default().idle(), Duration::from_secs(1_209_600));
/// # Ok::<(), cloakroom_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry {
    idle: Duration,
    absolute: Option<Duration>,
    ends_with_browser: bool,
}

impl Default for Expiry {
    /// Two weeks idle, as Django; 30 days at most, as NIST SP 800-63B-4 asks of
    /// its lowest level; a persistent cookie.
    fn default() -> Self {
        Self {
            idle: 14 * DAY,
            absolute: Some(30 * DAY),
            ends_with_browser: false,
        }
    }
}

impl Expiry {
    /// Lifetimes of one's own. `None` for `absolute` lets a session that is in
    /// use live for ever.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] for a lifetime under one millisecond.
    pub fn new(idle: Duration, absolute: Option<Duration>) -> Result<Self, Error> {
        let shortest = Duration::from_millis(1);
        if idle < shortest || absolute.is_some_and(|absolute| absolute < shortest) {
            return Err(Error::new(
                ErrorKind::Misconfigured,
                "a session lifetime must be one millisecond at least",
            ));
        }
        Ok(Self {
            idle,
            absolute,
            ends_with_browser: false,
        })
    }

    /// NIST SP 800-63B-4, section 2.1.3 (AAL1): reauthentication after 30 days
    /// at most. The standard asks for no idle limit here; this preset keeps the
    /// default of two weeks.
    #[must_use]
    pub fn aal1() -> Self {
        Self {
            absolute: Some(30 * DAY),
            ..Self::default()
        }
    }

    /// NIST SP 800-63B-4, section 2.2.3 (AAL2): one hour idle, 24 hours at most.
    #[must_use]
    pub fn aal2() -> Self {
        Self {
            idle: HOUR,
            absolute: Some(24 * HOUR),
            ends_with_browser: false,
        }
    }

    /// NIST SP 800-63B-4, section 2.3.3 (AAL3): 15 minutes idle, 12 hours at
    /// most.
    #[must_use]
    pub fn aal3() -> Self {
        Self {
            idle: 15 * MINUTE,
            absolute: Some(12 * HOUR),
            ends_with_browser: false,
        }
    }

    /// The same lifetimes, with cookies that end with the browser.
    #[must_use]
    pub fn ending_with_browser(self) -> Self {
        Self {
            ends_with_browser: true,
            ..self
        }
    }

    /// How long a session lives unused.
    #[must_use]
    pub fn idle(&self) -> Duration {
        self.idle
    }

    /// How long a session lives at all.
    #[must_use]
    pub fn absolute(&self) -> Option<Duration> {
        self.absolute
    }

    /// Whether cookies end with the browser unless a session says otherwise.
    #[must_use]
    pub fn ends_with_browser(&self) -> bool {
        self.ends_with_browser
    }

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
        if record.idle_override != Some(UNLIMITED) {
            let lives = |end: Timestamp| end.saturating_since(record.created_at);
            record.absolute_deadline = record
                .absolute_deadline
                .map(|end| now.saturating_add(lives(end)));
        }
        record.created_at = now;
    }

    /// Writes a session's own choice into its header. The deadline itself moves
    /// with the next [`slide`](Self::slide).
    pub fn apply(&self, choice: SessionExpiry, record: &mut Record) {
        let limit = |expiry: &Self| {
            expiry
                .absolute
                .map(|absolute| record.created_at.saturating_add(absolute))
        };
        let (idle, absolute, ends_with_browser) = match choice {
            SessionExpiry::Default => (None, limit(self), self.ends_with_browser),
            SessionExpiry::BrowserClose => (None, limit(self), true),
            SessionExpiry::Idle(idle) => (Some(idle), limit(self), false),
            SessionExpiry::At(instant) => {
                let capped = limit(self).map_or(instant, |limit| limit.min(instant));
                (Some(UNLIMITED), Some(capped), false)
            }
            SessionExpiry::Own(own) => (Some(own.idle), limit(&own), own.ends_with_browser),
        };
        record.idle_override = idle;
        record.absolute_deadline = absolute;
        record.ends_with_browser = ends_with_browser;
    }

    /// Moves the deadline to what a use at `now` makes it: `now` and the idle
    /// time, at most the absolute deadline.
    pub fn slide(&self, record: &mut Record, now: Timestamp) {
        record.expires_at = self.deadline(record, now);
    }

    fn deadline(&self, record: &Record, now: Timestamp) -> Timestamp {
        let idle = now.saturating_add(self.idle_of(record));
        record
            .absolute_deadline
            .map_or(idle, |absolute| idle.min(absolute))
    }

    fn idle_of(&self, record: &Record) -> Duration {
        record.idle_override.unwrap_or(self.idle)
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
    /// as much; otherwise a write is not worth it. Of a session that ends sooner
    /// than it could go unused, the share is that of its whole life.
    #[must_use]
    pub fn touch_due(&self, record: &Record, now: Timestamp, share_percent: u8) -> Option<Touch> {
        let deadline = self.deadline(record, now);
        let life = record
            .absolute_deadline
            .map_or(Duration::MAX, |end| end.saturating_since(record.created_at));
        let worth = self
            .idle_of(record)
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

/// What one session chooses for itself, with
/// [`Session::set_expiry`](crate::Session::set_expiry).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionExpiry {
    /// What is configured.
    Default,
    /// Another idle time, within the configured absolute lifetime.
    Idle(Duration),
    /// A fixed end, however much the session is used; the configured absolute
    /// lifetime if that is sooner.
    At(Timestamp),
    /// The cookie ends with the browser; the record keeps the configured
    /// lifetimes.
    BrowserClose,
    /// Lifetimes of its own, in place of both configured ones: "remember me for
    /// 30 days" for this login only.
    Own(Expiry),
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000_000);

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
            assert_eq!(record.ends_with_browser, browser, "{choice:?}");
            expiry().apply(SessionExpiry::Default, &mut record);
            expiry().slide(&mut record, NOW);
            assert_eq!(record, expiry().begin(NOW), "back from {choice:?}");
        }
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

    #[test]
    fn a_lifetime_of_nothing_is_refused() {
        for (idle, absolute) in [(Duration::ZERO, None), (DAY, Some(Duration::ZERO))] {
            let error = Expiry::new(idle, absolute).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Misconfigured);
        }
    }
}

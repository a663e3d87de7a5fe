//! Time as an argument: stores are told the time, they never ask for it.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A point in time: whole milliseconds since 1970-01-01T00:00:00Z.
///
/// It ends at `i64::MAX` milliseconds, so that every store can keep it in a
/// signed column; arithmetic saturates there, so no deadline can wrap into the
/// past.
///
/// ```
/// use cloakroom_core::Timestamp;
/// use std::time::Duration;
///
/// let now = Timestamp::from_millis(1_700_000_000_000);
/// let later = now.saturating_add(Duration::from_secs(60));
/// assert_eq!(later.saturating_since(now), Duration::from_secs(60));
/// assert_eq!(now.saturating_since(later), Duration::ZERO);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The epoch itself, earlier than any deadline.
    pub const EPOCH: Self = Self(0);
    /// The latest representable instant; as a deadline, "never".
    pub const MAX: Self = Self(i64::MAX as u64);

    /// From milliseconds since the epoch, at most [`Timestamp::MAX`].
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        if millis > Self::MAX.0 {
            Self::MAX
        } else {
            Self(millis)
        }
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// This instant and a duration more, at most [`Timestamp::MAX`]. Fractions
    /// of a millisecond are dropped.
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self::from_millis(self.0.saturating_add(duration_millis(duration)))
    }

    /// The time from `earlier` to this instant; zero where `earlier` is later.
    #[must_use]
    pub fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// An instant before 1970 is the epoch, one past [`Timestamp::MAX`] is that.
impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(duration_millis(since))
    }
}

/// An instant that the system cannot express is the end of the year 9999.
impl From<Timestamp> for SystemTime {
    fn from(instant: Timestamp) -> Self {
        UNIX_EPOCH
            .checked_add(Duration::from_millis(instant.0))
            .unwrap_or(UNIX_EPOCH + Duration::from_secs(253_402_300_799))
    }
}

/// Whole milliseconds of a duration, at most those of [`Timestamp::MAX`].
pub(crate) fn duration_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis())
        .map_or(Timestamp::MAX.0, |millis| millis.min(Timestamp::MAX.0))
}

/// Where the engine gets the time from. Tests pass a clock they move by hand.
pub trait Clock: Send + Sync + fmt::Debug + 'static {
    /// The present moment.
    fn now(&self) -> Timestamp;
}

/// The operating system's wall clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    /// A machine whose clock stands before 1970 reads as the epoch.
    fn now(&self) -> Timestamp {
        SystemTime::now().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_saturate_and_never_wrap() {
        assert_eq!(Timestamp::from_millis(u64::MAX), Timestamp::MAX);
        let late = Timestamp::from_millis(i64::MAX as u64 - 1);
        assert_eq!(late.saturating_add(Duration::MAX), Timestamp::MAX);
        assert_eq!(Timestamp::EPOCH.saturating_since(late), Duration::ZERO);
    }

    #[test]
    fn an_instant_goes_to_the_systems_time_and_back() {
        let instant = Timestamp::from_millis(1_700_000_000_123);
        assert_eq!(Timestamp::from(SystemTime::from(instant)), instant);
        let before = UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(Timestamp::from(before), Timestamp::EPOCH);
        assert!(SystemTime::from(Timestamp::MAX) > SystemTime::now());
    }

    #[test]
    fn the_system_clock_is_past_2020() {
        assert!(SystemClock.now() > Timestamp::from_millis(1_577_836_800_000));
    }
}

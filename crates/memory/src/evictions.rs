//! What is said where the store is full.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often at most it is said. A flood evicts thousands a second.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// Counts the sessions that the bound on the store's bytes has ended, and tells of them.
#[derive(Default)]
pub(crate) struct Evictions {
    untold: AtomicU64,
    told_at: Mutex<Option<Instant>>,
}

impl Evictions {
    /// Counts one. It may be called under any lock.
    pub(crate) fn count(&self) {
        self.untold.fetch_add(1, Ordering::Relaxed);
    }

    /// Tells of those counted, if it is time to. It is called with no lock held, since a
    /// log may be slow.
    pub(crate) fn tell(&self) {
        if self.untold.load(Ordering::Relaxed) == 0 {
            return;
        }
        if let Some(sessions) = self.due(Instant::now()) {
            tracing::warn!(
                event = "sessions_evicted",
                sessions,
                "the in-memory store is full and has ended sessions before their time, those \
                 unused longest; give it more capacity"
            );
        }
    }

    /// How many are to be told of now.
    fn due(&self, now: Instant) -> Option<u64> {
        let mut told_at = self.told_at.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = |told: Instant| now.saturating_duration_since(told) >= TOLD_EVERY;
        if !told_at.is_none_or(is_due) {
            return None;
        }
        let untold = self.untold.swap(0, Ordering::Relaxed);
        // Another thread may have told of them meanwhile.
        (untold > 0).then(|| {
            *told_at = Some(now);
            untold
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_at_once_and_the_rest_once_a_minute_with_their_count() {
        let (evictions, begun) = (Evictions::default(), Instant::now());
        let at = |seconds| {
            evictions.count();
            evictions.due(begun + Duration::from_secs(seconds))
        };
        assert_eq!(at(0), Some(1));
        assert_eq!((at(1), at(30), at(59)), (None, None, None));
        assert_eq!(at(60), Some(4));
        assert_eq!(at(61), None);
        assert_eq!(at(500), Some(2));
    }
}

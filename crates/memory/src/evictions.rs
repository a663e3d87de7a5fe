//! What is said where the store is full.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use cloakroom_core::store::Stored;
use moka::notification::RemovalCause;

/// How often at most it is said. A flood evicts thousands a second.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// Counts the sessions that the bound on the store's bytes has ended, and tells of them.
#[derive(Default)]
pub(crate) struct Evictions(Mutex<State>);

#[derive(Default)]
struct State {
    untold: u64,
    told_at: Option<Instant>,
}

impl Evictions {
    /// Called by moka for whatever leaves the store. It does not look into the store.
    pub(crate) fn left(&self, stored: &Stored, cause: RemovalCause) {
        if cause != RemovalCause::Size || !matches!(stored, Stored::Record(_)) {
            return;
        }
        if let Some(sessions) = self.count(Instant::now()) {
            tracing::warn!(
                sessions,
                "the in-memory store is full and has ended sessions before their time, those \
                 unused longest; give it more capacity"
            );
        }
    }

    /// Counts one, and answers how many are to be told of now.
    fn count(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.untold += 1;
        let is_due = |told: Instant| now.saturating_duration_since(told) >= TOLD_EVERY;
        if !state.told_at.is_none_or(is_due) {
            return None;
        }
        state.told_at = Some(now);
        Some(std::mem::take(&mut state.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_at_once_and_the_rest_once_a_minute_with_their_count() {
        let (evictions, begun) = (Evictions::default(), Instant::now());
        let at = |seconds| evictions.count(begun + Duration::from_secs(seconds));
        assert_eq!(at(0), Some(1));
        assert_eq!((at(1), at(30), at(59)), (None, None, None));
        assert_eq!(at(60), Some(4));
        assert_eq!(at(61), None);
        assert_eq!(at(500), Some(2));
    }
}

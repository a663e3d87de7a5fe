//! A limit on an event that a client can cause at will.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use cloakroom_core::Timestamp;

/// How long nothing is logged after an event.
const PERIOD: Duration = Duration::from_secs(60);

/// Lets one event of a kind through each minute, and counts the others.
///
/// ```
/// use cloakroom_core::Timestamp;
/// use cloakroom_web::EventLimit;
///
/// let limit = EventLimit::default();
/// assert_eq!(limit.log_at(Timestamp::EPOCH), Some(0));
/// assert_eq!(limit.log_at(Timestamp::EPOCH), None);
/// ```
#[derive(Debug, Default)]
pub struct EventLimit(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    logged_at: Option<Timestamp>,
    unlogged: u64,
}

impl EventLimit {
    /// Counts an event; answers whether to log it, and then how many went unlogged since
    /// the last one that was.
    pub fn log_at(&self, now: Timestamp) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let logs = state.logged_at.is_none_or(|at| {
            // A clock that went back must not silence the log until it is there again.
            now < at || now.saturating_since(at) >= PERIOD
        });
        if logs {
            state.logged_at = Some(now);
            return Some(std::mem::take(&mut state.unlogged));
        }
        state.unlogged += 1;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_logged_at_once_and_then_one_a_minute_with_the_number_between() {
        let limit = EventLimit::default();
        let at = |secs| limit.log_at(Timestamp::EPOCH.saturating_add(Duration::from_secs(secs)));
        assert_eq!(at(1_000), Some(0));
        for _ in 0..500 {
            assert_eq!(at(1_030), None);
        }
        assert_eq!(at(1_059), None);
        assert_eq!(at(1_060), Some(501));
        assert_eq!(at(1_061), None);
        assert_eq!(at(9_000), Some(1));
        assert_eq!(at(9_001), None);
        assert_eq!(at(500), Some(1), "the clock went back");
        assert_eq!(at(501), None);
    }
}

//! The tokens that have been carried out: each counts once.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use cloakroom_core::Timestamp;

use crate::token::AGE_MAX;

/// How many are remembered at most; beyond, the oldest is forgotten.
const SEEN_MAX: usize = 10_000;

/// The `jti` of tokens that were carried out lately. An older one is refused for its age.
#[derive(Debug, Default)]
pub(crate) struct Seen(Mutex<State>);

#[derive(Default)]
struct State {
    jtis: HashSet<String>,
    in_order: VecDeque<(Timestamp, String)>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let count = self.in_order.len();
        f.debug_struct("State")
            .field("count", &count)
            .finish_non_exhaustive()
    }
}

impl Seen {
    pub(crate) fn has(&self, jti: &str) -> bool {
        self.state().jtis.contains(jti)
    }

    pub(crate) fn note(&self, jti: String, now: Timestamp) {
        let mut state = self.state();
        let state = &mut *state;
        if !state.jtis.insert(jti.clone()) {
            return;
        }
        state.in_order.push_back((now, jti));
        // Twice the age: a token may be issued a minute ahead of this clock.
        let is_old = |at: Timestamp| now.saturating_since(at) > 2 * AGE_MAX;
        while let Some((at, oldest)) = state.in_order.front()
            && (state.in_order.len() > SEEN_MAX || is_old(*at))
        {
            state.jtis.remove(oldest);
            state.in_order.pop_front();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_remembered_and_none_for_longer_than_it_could_be_used() {
        let at = |secs: u64| Timestamp::from_millis(secs * 1_000);
        let seen = Seen::default();
        for number in 0..=SEEN_MAX {
            seen.note(number.to_string(), at(0));
            seen.note(number.to_string(), at(0));
        }
        assert!(!seen.has("0") && seen.has("1"));
        assert_eq!(seen.state().in_order.len(), SEEN_MAX);
        assert_eq!(seen.state().jtis.len(), SEEN_MAX);
        seen.note("late".to_owned(), at(1_201));
        assert_eq!(seen.state().jtis.len(), 1);
        assert!(seen.has("late") && !seen.has("1"));
    }
}

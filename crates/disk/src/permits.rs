//! Permits to have a job in a queue, so that the queue has an end.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::waiting::Waiting;

#[derive(Debug)]
pub(crate) struct Permits(Mutex<State>);

#[derive(Debug)]
struct State {
    free: usize,
    /// Empty while a permit is free.
    waiting: Waiting<Permit>,
}

/// Given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Permit(Arc<Permits>);

impl Permits {
    pub(crate) fn new(permits: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            free: permits,
            waiting: Waiting::default(),
        })))
    }

    /// Waits for a permit; who came first gets the first.
    pub(crate) async fn acquire(self: &Arc<Self>) -> Permit {
        let granted = {
            let mut state = self.state();
            if state.free > 0 {
                state.free -= 1;
                return Permit(self.clone());
            }
            state.waiting.push(())
        };
        granted
            .await
            .expect("the queue keeps each waiter until it has a permit")
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.0.state();
        let Some(next) = state.waiting.pop() else {
            state.free += 1;
            return;
        };
        // A waiter that gives up at this moment drops the permit: not under the lock.
        drop(state);
        drop(next.send(Self(self.0.clone())));
    }
}

//! A thread that says when a wait has lasted too long.

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use futures_channel::oneshot;

use crate::waiting::Waiting;

/// Deadlines that all lie equally far ahead when they are set.
pub(crate) struct Deadlines {
    after: Duration,
    shared: Arc<Shared>,
    /// `None` only while this is dropped.
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// In the order of their deadlines.
    waiting: Waiting<Infallible, Instant>,
    closed: bool,
}

impl Deadlines {
    pub(crate) fn start(name: &str, after: Duration) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let thread = thread::Builder::new().name(format!("{name}-deadlines"));
        let thread = thread.spawn({
            let shared = shared.clone();
            move || shared.run()
        })?;
        Ok(Self {
            after,
            shared,
            thread: Some(thread),
        })
    }

    /// Sets a deadline. The receiver is cancelled when it passes; dropped before that, the
    /// deadline is forgotten.
    pub(crate) fn set(&self) -> oneshot::Receiver<Infallible> {
        let mut state = self.shared.state();
        let is_first = state.waiting.first().is_none();
        let passed = state.waiting.push(Instant::now() + self.after);
        if is_first {
            self.shared.changed.notify_one();
        }
        passed
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut state = self.state();
        while !state.closed {
            let first = state.waiting.first().copied();
            let left = first.map(|first| first.saturating_duration_since(Instant::now()));
            state = match left {
                None => {
                    let woken = self.changed.wait(state);
                    woken.unwrap_or_else(PoisonError::into_inner)
                }
                Some(Duration::ZERO) => {
                    drop(state.waiting.pop());
                    state
                }
                Some(left) => {
                    let woken = self.changed.wait_timeout(state, left);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

impl Drop for Deadlines {
    fn drop(&mut self) {
        self.shared.state().closed = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

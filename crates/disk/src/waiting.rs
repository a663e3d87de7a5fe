//! Queues of those who wait, from which whoever gives up is forgotten.

use std::collections::VecDeque;

use futures_channel::oneshot;

/// Those who wait for a `T`, in the order in which they came.
#[derive(Debug)]
pub(crate) struct Waiting<T, K = ()>(VecDeque<(K, oneshot::Sender<T>)>);

impl<T, K> Default for Waiting<T, K> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T, K> Waiting<T, K> {
    /// Adds one. The queue is at most about twice as long as there are waiters: those who
    /// have given up are forgotten before it grows.
    pub(crate) fn push(&mut self, key: K) -> oneshot::Receiver<T> {
        let (sender, receiver) = oneshot::channel();
        if self.0.len() == self.0.capacity() {
            self.0.retain(|(_, sender)| !sender.is_canceled());
            self.0.reserve(self.0.len() + 1);
        }
        self.0.push_back((key, sender));
        receiver
    }

    /// The first who still waits.
    pub(crate) fn first(&mut self) -> Option<&K> {
        while self.0.front().is_some_and(|(_, it)| it.is_canceled()) {
            self.0.pop_front();
        }
        self.0.front().map(|(key, _)| key)
    }

    pub(crate) fn pop(&mut self) -> Option<oneshot::Sender<T>> {
        self.first()?;
        self.0.pop_front().map(|(_, sender)| sender)
    }
}

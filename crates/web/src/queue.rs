//! A queue for each session within this process.
//!
//! Compare-and-swap alone is enough for correctness. The queue is there because 64
//! concurrent writers of one session would otherwise make 64 * 63 / 2 attempts.

use std::collections::VecDeque;
use std::collections::hash_map::{Entry, HashMap};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cloakroom_core::engine::Token;
use cloakroom_core::store::Record;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// The line of each session that somebody writes: who waits behind them.
#[derive(Debug, Default)]
struct Lines(Mutex<HashMap<u64, Line>>);

#[derive(Debug, Default)]
struct Line {
    waiters: VecDeque<oneshot::Sender<Ticket>>,
    /// Counts the turns that are over.
    over: u64,
}

/// What the writer before has stored, under which token. The next one begins with it
/// instead of a write that is bound to be a conflict and another load.
type LastWritten = Option<Box<(Token, Record)>>;

/// Lines by the hash of the token. Two tokens with one hash wait for each other, which
/// is harmless.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    lines: Arc<Lines>,
    hasher: RandomState,
}

/// The turn of one session, which goes to the next in line when this is dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    /// `None` where nobody has taken it: it is passed on already.
    lines: Option<Arc<Lines>>,
    hash: u64,
    last_written: LastWritten,
}

impl Lines {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Line>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turns_over(&self, hash: u64) -> u64 {
        self.lock().get(&hash).map_or(0, |line| line.over)
    }
}

impl Queue {
    /// Waits for this session's turn; gives up, with `None`, when no writer ahead of it
    /// finishes within `still_max`. Where nobody is ahead, it costs an entry in a map.
    pub(crate) async fn enter(&self, token: &Token, still_max: Duration) -> Option<Ticket> {
        let hash = self.hasher.hash_one(token.expose());
        let turn = match self.lines.lock().entry(hash) {
            Entry::Vacant(place) => {
                place.insert(Line::default());
                return Some(Ticket {
                    lines: Some(self.lines.clone()),
                    hash,
                    last_written: None,
                });
            }
            Entry::Occupied(line) => {
                let waiters = &mut line.into_mut().waiters;
                // Those who gave up are cleared away before the line grows.
                if waiters.len() == waiters.capacity() {
                    waiters.retain(|waiter| !waiter.is_closed());
                }
                let (sender, turn) = oneshot::channel();
                waiters.push_back(sender);
                turn
            }
        };
        Box::pin(self.wait(hash, turn, still_max)).await
    }

    async fn wait(
        &self,
        hash: u64,
        mut turn: oneshot::Receiver<Ticket>,
        still_max: Duration,
    ) -> Option<Ticket> {
        loop {
            let before = self.lines.turns_over(hash);
            match timeout(still_max, &mut turn).await {
                Ok(ticket) => return ticket.ok(),
                Err(_) if self.lines.turns_over(hash) == before => return None,
                Err(_) => {}
            }
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.lines.lock().len()
    }
}

impl Ticket {
    /// Takes the record that the writer before has stored under this token.
    pub(crate) fn last_written(&mut self, token: &Token) -> Option<Record> {
        let (of, record) = *self.last_written.take()?;
        (of == *token).then_some(record)
    }

    /// Leaves the record that stands under this token now, for the writer behind, if
    /// there is one.
    pub(crate) fn leave(&mut self, token: &Token, record: &Record) {
        let is_waited_for = self.lines.as_ref().is_some_and(|lines| {
            let lines = lines.lock();
            let line = lines.get(&self.hash);
            line.is_some_and(|line| !line.waiters.is_empty())
        });
        if is_waited_for {
            self.last_written = Some(Box::new((token.clone(), record.clone())));
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let Some(lines) = self.lines.take() else {
            return;
        };
        let mut ticket = Self {
            lines: None,
            hash: self.hash,
            last_written: self.last_written.take(),
        };
        loop {
            let mut list = lines.lock();
            let Some(line) = list.get_mut(&self.hash) else {
                return;
            };
            line.over += 1;
            let Some(next) = line.waiters.pop_front() else {
                list.remove(&self.hash);
                return;
            };
            drop(list);
            ticket.lines = Some(lines.clone());
            // Whoever gave up is passed over.
            match next.send(ticket) {
                Ok(()) => return,
                Err(unclaimed) => ticket = unclaimed,
            }
            ticket.lines = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use cloakroom_core::Timestamp;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_at_a_time_for_a_token_and_nothing_left_behind() {
        let queue = Queue::default();
        let (a, b) = (Token::new("a"), Token::new("b"));
        let wait = Duration::from_millis(10);
        let first = queue.enter(&a, wait).await.unwrap();
        let other = queue.enter(&b, wait).await.unwrap();
        assert!(queue.enter(&a, wait).await.is_none());
        assert_eq!(queue.len(), 2);
        drop(first);
        let next = queue.enter(&a, wait).await.unwrap();
        drop((next, other));
        assert_eq!(queue.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_that_moves_is_waited_in_for_however_long() {
        const WAITERS: u32 = 20;
        let queue = Arc::new(Queue::default());
        let wait = Duration::from_secs(10);
        let begun = tokio::time::Instant::now();
        let slow = |_| {
            let queue = queue.clone();
            tokio::spawn(async move {
                let ticket = queue.enter(&Token::new("a"), wait).await;
                tokio::time::sleep(Duration::from_secs(9)).await;
                ticket.is_some()
            })
        };
        for waiter in Vec::from_iter((0..WAITERS).map(slow)) {
            assert!(waiter.await.unwrap());
        }
        assert_eq!(begun.elapsed(), WAITERS * Duration::from_secs(9));
        assert_eq!(queue.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_gave_up_is_passed_over_and_the_next_gets_what_was_left() {
        let queue = Queue::default();
        let token = Token::new("a");
        let wait = Duration::from_secs(10);
        let mut first = queue.enter(&token, wait).await.unwrap();
        for _ in 0..100 {
            let mut gives_up = Box::pin(queue.enter(&token, wait));
            assert!(poll_once(gives_up.as_mut()).is_pending());
        }
        let mut waits = Box::pin(queue.enter(&token, wait));
        assert!(poll_once(waits.as_mut()).is_pending());
        let waiting = queue.lines.lock().values().next().unwrap().waiters.len();
        assert!(waiting < 20, "those who gave up stay in line: {waiting}");
        let record = Record::new(Timestamp::EPOCH, Timestamp::MAX);
        first.leave(&token, &record);
        drop(first);
        let mut next = waits.await.unwrap();
        assert_eq!(next.last_written(&token), Some(record));
        // The turn came, and whoever waited for it has gone.
        let mut gone = Box::pin(queue.enter(&token, wait));
        assert!(poll_once(gone.as_mut()).is_pending());
        drop(next);
        drop(gone);
        assert_eq!(queue.len(), 0);
    }

    fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> std::task::Poll<F::Output> {
        future.poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiter_that_gives_up_last_cleans_up() {
        let queue = Queue::default();
        let token = Token::new("a");
        let wait = Duration::from_secs(10);
        let first = queue.enter(&token, wait).await.unwrap();
        let mut waiter = Box::pin(queue.enter(&token, wait));
        tokio::select! {
            biased;
            _ = &mut waiter => unreachable!("the turn is taken"),
            () = std::future::ready(()) => {}
        }
        drop(first);
        drop(waiter);
        assert_eq!(queue.len(), 0);
    }
}

//! A queue for each session within this process.
//!
//! Compare-and-swap alone is enough for correctness. The queue is there because 64
//! concurrent writers of one session would otherwise make 64 * 63 / 2 attempts.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cloakroom_core::engine::Token;
use cloakroom_core::store::Record;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use tokio::time::timeout;

/// The queue of one session.
#[derive(Clone, Debug, Default)]
struct Line {
    turn: Arc<AsyncMutex<LastWritten>>,
    /// Counts the turns that are over.
    over: Arc<AtomicU64>,
}

/// What the writer before has stored, under which token. The next one begins with it
/// instead of a write that is bound to be a conflict and another load.
type LastWritten = Option<(Token, Record)>;

type Queues = Mutex<HashMap<u64, Line>>;

/// Queues by the hash of the token. Two tokens with one hash wait for each other, which
/// is harmless.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    queues: Queues,
    hasher: RandomState,
}

/// Holds the queue of one session until dropped.
pub(crate) struct Ticket<'q> {
    queue: &'q Queue,
    hash: u64,
    turn: Option<OwnedMutexGuard<LastWritten>>,
    over: Arc<AtomicU64>,
}

impl Queue {
    /// Waits for this session's turn; gives up, with `None`, when no writer ahead of it
    /// finishes within `still_max`.
    pub(crate) async fn enter(&self, token: &Token, still_max: Duration) -> Option<Ticket<'_>> {
        let hash = self.hasher.hash_one(token.expose());
        let Line { turn, over } = {
            let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
            queues.entry(hash).or_default().clone()
        };
        // The ticket exists before the wait, so that a waiter that gives up cleans up too.
        let mut ticket = Ticket {
            queue: self,
            hash,
            turn: None,
            over: over.clone(),
        };
        let mut turn = pin!(turn.lock_owned());
        loop {
            let before = over.load(Ordering::Relaxed);
            match timeout(still_max, &mut turn).await {
                Ok(turn) => {
                    ticket.turn = Some(turn);
                    return Some(ticket);
                }
                Err(_) if over.load(Ordering::Relaxed) == before => return None,
                Err(_) => {}
            }
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.queues.lock().unwrap().len()
    }
}

impl Ticket<'_> {
    /// Takes the record that the writer before has stored under this token.
    pub(crate) fn last_written(&mut self, token: &Token) -> Option<Record> {
        let (of, record) = self.turn.as_mut()?.take()?;
        (of == *token).then_some(record)
    }

    /// Leaves the record that stands under this token now, for the writer behind, if
    /// there is one.
    pub(crate) fn leave(&mut self, token: &Token, record: &Record) {
        // The list of queues holds it, and this turn.
        const HELD: usize = 2;
        if let Some(turn) = &mut self.turn
            && Arc::strong_count(OwnedMutexGuard::mutex(turn)) > HELD
        {
            **turn = Some((token.clone(), record.clone()));
        }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if self.turn.take().is_some() {
            self.over.fetch_add(1, Ordering::Relaxed);
        }
        let mut queues = self
            .queue
            .queues
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Each waiter holds a clone that it took under this very lock.
        if queues
            .get(&self.hash)
            .is_some_and(|line| Arc::strong_count(&line.turn) == 1)
        {
            queues.remove(&self.hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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

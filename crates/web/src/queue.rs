//! A queue for each session within this process.
//!
//! Compare-and-swap alone is enough for correctness; the queue keeps 64
//! concurrent writers of one session from making 64 * 63 / 2 attempts.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

use cloakroom_core::Token;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

type Places = Mutex<HashMap<u64, Arc<AsyncMutex<()>>>>;

/// Queues by the hash of the token: two tokens that share one wait for each
/// other now and then, which is harmless.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    places: Places,
    hasher: RandomState,
}

/// Holds the queue of one session until dropped.
pub(crate) struct Place<'q> {
    queue: &'q Queue,
    hash: u64,
    turn: Option<OwnedMutexGuard<()>>,
}

impl Queue {
    pub(crate) async fn enter(&self, token: &Token) -> Place<'_> {
        let hash = self.hasher.hash_one(token.expose());
        let lock = {
            let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
            places.entry(hash).or_default().clone()
        };
        // Made before the wait, so that a waiter that gives up cleans up too.
        let mut place = Place {
            queue: self,
            hash,
            turn: None,
        };
        place.turn = Some(lock.lock_owned().await);
        place
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.places.lock().unwrap().len()
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.turn = None;
        let mut places = self
            .queue
            .places
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Who waits holds a clone, taken under this very lock.
        if places
            .get(&self.hash)
            .is_some_and(|lock| Arc::strong_count(lock) == 1)
        {
            places.remove(&self.hash);
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
        let first = queue.enter(&a).await;
        let other = queue.enter(&b).await;
        let wait = Duration::from_millis(10);
        assert!(tokio::time::timeout(wait, queue.enter(&a)).await.is_err());
        assert_eq!(queue.len(), 2);
        drop(first);
        let next = tokio::time::timeout(wait, queue.enter(&a)).await.unwrap();
        drop((next, other));
        assert_eq!(queue.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiter_that_gives_up_last_cleans_up() {
        let queue = Queue::default();
        let token = Token::new("a");
        let first = queue.enter(&token).await;
        let mut waiter = Box::pin(queue.enter(&token));
        tokio::select! {
            biased;
            _ = &mut waiter => unreachable!("the place is taken"),
            () = std::future::ready(()) => {}
        }
        drop(first);
        drop(waiter);
        assert_eq!(queue.len(), 0);
    }
}

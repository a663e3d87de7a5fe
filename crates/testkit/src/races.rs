//! The concurrent clauses, from threads.
//!
//! [`conformance`](crate::conformance) sends its concurrent calls from one task:
//! a store that answers without waiting runs them one after another. These send
//! them from threads, for stores that need no runtime to be polled.

use std::sync::Barrier;
use std::thread;

use cloakroom_core::{Error, ErrorKind, TokenStore};
use futures_executor::block_on;

use crate::sample::{Sample, after, key, sample, stored};

const THREADS: usize = 4;

/// What each of several threads, let go at once, gets from its call.
fn at_once<T: Send>(call: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let start = Barrier::new(THREADS);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (start, call) = (&start, &call);
                scope.spawn(move || {
                    start.wait();
                    call(thread)
                })
            })
            .collect();
        let joined = threads.into_iter().map(|thread| thread.join());
        joined
            .map(|result| result.expect("no call panics"))
            .collect()
    })
}

fn one_won<T>(results: &[Result<T, Error>], lost: &[ErrorKind]) {
    let won = results.iter().filter(|result| result.is_ok()).count();
    assert_eq!(won, 1, "one of {} wins", results.len());
    for error in results.iter().filter_map(|result| result.as_ref().err()) {
        assert!(lost.contains(&error.kind()), "{error}");
    }
}

/// Creates of one key, updates on one revision, rotations of one session, and
/// writes that race a delete, from threads: so many rounds of each.
///
/// # Panics
/// Where two writers win, or a deleted session opens.
pub fn races<T: TokenStore>(store: &T, rounds: usize) {
    for _ in 0..rounds {
        let key = &key();
        let creates = at_once(|thread| {
            let record = sample(&thread.to_string());
            block_on(store.create_token(key, &record))
        });
        one_won(&creates, &[ErrorKind::Exists]);

        let shared = &block_on(Sample::create(store, "contended"));
        let updates = at_once(|thread| {
            let record = shared.saying(&thread.to_string());
            block_on(store.update_token(&shared.token, &record))
        });
        one_won(&updates, &[ErrorKind::Conflict]);

        let shared = &block_on(Sample::create(store, "contended"));
        let until = after(shared.record.created_at, 3_600);
        let rotations = at_once(|_| {
            let new = crate::key();
            block_on(store.rotate_token(&shared.token, &new, &shared.record, until))
        });
        one_won(&rotations, &[ErrorKind::Conflict, ErrorKind::Gone]);

        let shared = &block_on(Sample::create(store, "to delete"));
        let new = &crate::key();
        at_once(|thread| match thread {
            0 => block_on(store.delete_token(&shared.token)).map(|()| true),
            1 => block_on(store.update_token(&shared.token, &shared.record)).map(|_| true),
            2 => block_on(store.touch_token(&shared.token, &shared.record)).map(|_| true),
            _ => {
                let moved = store.rotate_token(&shared.token, new, &shared.record, until);
                block_on(moved).map(|_| true)
            }
        });
        assert!(
            block_on(stored(store, &shared.token)).is_none(),
            "it was deleted"
        );
        let moved = block_on(stored(store, &new.to_token()));
        assert!(moved.is_none(), "it was deleted, wherever it had moved");
    }
}

//! The concurrent clauses, from threads.
//!
//! [`conformance`](crate::conformance) makes its concurrent calls from one task, and a
//! store that never waits then runs them one after another. These make them from
//! threads. A store that needs a runtime is wrapped by [`in_runtime`](crate::in_runtime).

use std::sync::Barrier;
use std::thread;

use cloakroom_core::engine::TokenStore;
use cloakroom_core::store::{KeyDigest, Revoke};
use cloakroom_core::{Error, ErrorKind, Subject};
use futures_executor::block_on;

use crate::sample::{Sample, after, key, listed_as, load, sample, stored, subjects};

const THREADS: usize = 4;

/// Starts several threads at once, and answers what each got from its call.
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

/// Races creates of one key, updates on one revision, rotations of one session, and
/// writes with a delete, from threads: `rounds` times each.
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

fn listed<T: TokenStore>(store: &T, subject: &Subject) -> Vec<KeyDigest> {
    let listed =
        block_on(subjects(store).sessions_of(&listed_as(subject), usize::MAX)).expect("it answers");
    let mut digests: Vec<_> = listed.iter().map(|listed| listed.digest).collect();
    digests.sort();
    digests
}

/// Races lists and revocations of a subject with sessions of it that begin, are rotated,
/// change their subject and end, from threads: `rounds` times each.
///
/// # Panics
/// Where a list misses a session, where a session survives a revocation that began after
/// it, or where another subject's session is ended.
pub fn races_of_subjects<T: TokenStore>(store: &T, rounds: usize) {
    for _ in 0..rounds {
        let whose = Subject::new(key().digest().to_hex()).expect("short");
        let other = Subject::new(key().digest().to_hex()).expect("short");
        let begin = |subject: &Subject| {
            let (key, mut record) = (key(), sample("raced"));
            record.subject = Some(subject.clone());
            let written = block_on(store.create_token(&key, &record)).expect("created");
            (
                key.digest(),
                key.to_token(),
                record.at_revision(written.revision),
            )
        };

        // A session that moves on and on is in every list, and its own device
        // is spared.
        let (first, token, record) = &begin(&whose);
        let until = after(record.created_at, 3_600);
        let results = at_once(|thread| match thread {
            0 => {
                let (mut token, mut record) = (token.clone(), record.clone());
                let mut at = *first;
                for _ in 0..8 {
                    let new = key();
                    let moved = store.rotate_token(&token, &new, &record, until);
                    record.revision = block_on(moved).expect("nobody else moves it").revision;
                    (token, at) = (new.to_token(), new.digest());
                }
                vec![at]
            }
            1 => {
                for _ in 0..8 {
                    let there = listed(store, &whose);
                    assert!(!there.is_empty(), "it stood all the time");
                }
                Vec::new()
            }
            _ => {
                let which = Revoke::AllBut(*first);
                block_on(subjects(store).revoke(&listed_as(&whose), which)).expect("it answers")
            }
        });
        let last = results[0][0];
        assert_eq!(listed(store, &whose), [last], "listed where it is, once");
        for ended in &results[2..] {
            assert!(ended.is_empty(), "the device that asks is spared");
        }

        // What stood when all were ended is ended, wherever it has moved.
        let (_, token, record) = &begin(&whose);
        let (alien, alien_token, _) = &begin(&other);
        let moved = &key();
        let begun = at_once(|thread| match thread {
            0 => Some(begin(&whose)),
            1 => {
                let _ = block_on(store.rotate_token(token, moved, record, until));
                None
            }
            2 => {
                let mut record = record.clone();
                record.label = None;
                let _ = block_on(store.update_token(token, &record));
                None
            }
            _ => {
                let whose = listed_as(&whose);
                let ended = subjects(store).revoke(&whose, Revoke::All);
                block_on(ended).expect("it answers");
                None
            }
        });
        assert!(block_on(stored(store, token)).is_none(), "it was ended");
        let moved = block_on(stored(store, &moved.to_token()));
        assert!(moved.is_none(), "it was ended, wherever it had moved");
        let (digest, token, _) = begun[0].as_ref().expect("the first thread began one");
        let survivors: &[KeyDigest] = match block_on(load(store, token)) {
            Some(_) => &[*digest],
            None => &[],
        };
        assert_eq!(listed(store, &whose), survivors, "what stands is listed");
        assert!(block_on(stored(store, alien_token)).is_some());
        assert_eq!(listed(store, &other), [*alien]);

        // A session that changes hands is in one list, and ended with it.
        let (digest, token, record) = &begin(&whose);
        at_once(|thread| match thread {
            0 => {
                let mut record = record.clone();
                record.subject = Some(other.clone());
                let _ = block_on(store.update_token(token, &record));
            }
            1 => drop(block_on(
                subjects(store).revoke(&listed_as(&whose), Revoke::One(*digest)),
            )),
            _ => drop(listed(store, &whose)),
        });
        let there = block_on(stored(store, token));
        let mine = listed(store, &other).contains(digest);
        assert_eq!(mine, there.is_some(), "listed where it stands");
        assert!(!listed(store, &whose).contains(digest));
    }
}

//! A database that fails, is opened again, and is closed.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use cloakroom_disk::Recovery;

type Answers = Arc<Mutex<Vec<Result<&'static str, &'static str>>>>;

/// A database that is a word. It is opened again as the last of these says.
fn of(answers: &[Result<&'static str, &'static str>]) -> Recovery<&'static str, &'static str> {
    let answers: Answers = Arc::new(Mutex::new(answers.to_vec()));
    let open = move || answers.lock().unwrap().pop().expect("one more answer");
    Recovery::new("first", open)
}

/// Steps whenever that is due, until writes are taken again.
fn step_until_writes_are_taken(recovery: &mut Recovery<&'static str, &'static str>) {
    let handle = recovery.handle();
    let limit = Instant::now() + Duration::from_secs(60);
    while handle.to_write().is_err() {
        assert!(Instant::now() < limit);
        if let Some(wait) = recovery.step() {
            sleep(wait);
        }
    }
    assert_eq!(recovery.step(), None);
}

#[test]
fn what_failed_is_not_to_be_had_until_it_is_open_and_takes_writes_after_that() {
    let mut recovery = of(&[Ok("third"), Err("still full")]);
    let handle = recovery.handle();
    assert_eq!(handle.to_write().as_deref(), Ok(&"first"));
    recovery.failed(&"full");
    assert_eq!(handle.to_read(), Err("full"));
    assert_eq!(handle.to_write(), Err("full"));
    // The first attempt comes at once, the next one after a pause.
    let wait = recovery.step().unwrap();
    assert_eq!(handle.to_read(), Err("still full"));
    assert!(wait > Duration::ZERO);
    sleep(wait);
    assert!(recovery.step().is_some());
    assert_eq!(handle.to_read().as_deref(), Ok(&"third"));
    assert_eq!(handle.to_write(), Err("still full"));
    step_until_writes_are_taken(&mut recovery);
}

#[test]
fn a_pause_doubles_with_each_failure_up_to_a_bound_and_is_short_again_after_a_success() {
    let mut recovery = of(&[Ok("again"); 12]);
    let mut pause_after_failure = || {
        recovery.failed(&"full");
        let pause = recovery.step().unwrap();
        // A write cannot have succeeded yet.
        recovery.succeeded();
        pause
    };
    let pauses: Vec<_> = (0..10).map(|_| pause_after_failure()).collect();
    let (first, last) = (pauses[0], pauses[9]);
    assert!(first * 8 < pauses[5], "{pauses:?}");
    assert!(last < Duration::from_secs(60), "{pauses:?}");
    step_until_writes_are_taken(&mut recovery);
    recovery.succeeded();
    recovery.failed(&"full");
    assert!(recovery.step().unwrap() * 8 < last);
}

#[test]
fn a_database_is_closed_once_the_operations_on_it_are_over_and_a_new_one_is_refused_meanwhile() {
    let mut recovery = of(&[]);
    let handle = recovery.handle();
    let used = handle.to_read().unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let user = {
        let is_over = is_over.clone();
        thread::spawn(move || {
            while handle.to_read().is_ok() {
                thread::yield_now();
            }
            is_over.store(true, Ordering::SeqCst);
            drop(used);
        })
    };
    recovery.failed(&"full");
    assert!(is_over.load(Ordering::SeqCst));
    user.join().unwrap();
}

#[test]
fn what_was_closed_is_never_opened_again() {
    let mut recovery = of(&[]);
    let handle = recovery.handle();
    recovery.failed(&"full");
    recovery.close("closed");
    assert_eq!(recovery.step(), None);
    recovery.close("closed");
    assert_eq!(handle.to_read(), Err("closed"));
    assert_eq!(handle.to_write(), Err("closed"));
}

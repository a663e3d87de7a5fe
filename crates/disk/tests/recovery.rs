//! A database that fails, is opened again, and is closed.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

use std::sync::atomic::{AtomicUsize, Ordering};
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
    recovery.failed(&"full", |_| {});
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
        recovery.failed(&"full", |_| {});
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
    recovery.failed(&"full", |_| {});
    assert!(recovery.step().unwrap() * 8 < last);
}

#[test]
fn a_failure_waits_for_the_operations_that_are_under_way_and_wakes_them() {
    let mut recovery = of(&[Ok("again")]);
    let used = recovery.handle().to_read().unwrap();
    let wakes = Arc::new(AtomicUsize::new(0));
    let user = {
        let wakes = wakes.clone();
        thread::spawn(move || {
            while wakes.load(Ordering::SeqCst) < 3 {
                thread::yield_now();
            }
            drop(used);
        })
    };
    recovery.failed(&"full", |_| {
        wakes.fetch_add(1, Ordering::SeqCst);
    });
    assert!(wakes.load(Ordering::SeqCst) >= 3);
    user.join().unwrap();
}

#[test]
fn what_was_closed_is_never_opened_again() {
    let mut recovery = of(&[]);
    let handle = recovery.handle();
    recovery.failed(&"full", |_| {});
    recovery.close("closed", |_| {});
    assert_eq!(recovery.step(), None);
    recovery.close("closed", |_| {});
    assert_eq!(handle.to_read(), Err("closed"));
    assert_eq!(handle.to_write(), Err("closed"));
}

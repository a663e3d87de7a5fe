//! Jobs on background threads: what runs, what is lost, and what a drop waits for.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use cloakroom_disk::{JobLost, JobThreads, Reply};
use futures_executor::block_on;
use futures_util::FutureExt as _;
use futures_util::future::join3;

#[test]
fn a_job_answers_what_it_returns_on_a_named_thread() {
    let threads = JobThreads::start("name", 2).unwrap();
    let name = block_on(threads.run(|| std::thread::current().name().map(str::to_owned)));
    let name = name.unwrap().unwrap();
    assert!(["name-0", "name-1"].contains(&name.as_str()), "{name}");
}

#[test]
fn as_many_jobs_run_at_once_as_there_are_threads() {
    let threads = JobThreads::start("test", 3).unwrap();
    let barrier = Arc::new(Barrier::new(3));
    let meet = |barrier: &Arc<Barrier>| {
        let barrier = barrier.clone();
        threads.run(move || barrier.wait().is_leader())
    };
    let [one, two, three] = [&barrier; 3].map(meet);
    let (one, two, three) = block_on(join3(one, two, three));
    let leaders = [one, two, three]
        .iter()
        .filter(|it| **it == Ok(true))
        .count();
    assert_eq!(leaders, 1);
}

#[test]
fn a_job_that_panics_is_lost_and_the_next_one_runs() {
    let threads = JobThreads::start("test", 1).unwrap();
    let lost = block_on(threads.run(|| panic!("a job of this test")));
    assert_eq!(lost, Err::<(), _>(JobLost));
    assert_eq!(block_on(threads.run(|| 7)), Ok(7));
}

#[test]
fn a_drop_waits_for_every_job_also_for_those_that_nobody_waits_for() {
    let threads = JobThreads::start("test", 2).unwrap();
    let done = Arc::new(AtomicUsize::new(0));
    for _ in 0..100 {
        let done = done.clone();
        let job = threads.run(move || done.fetch_add(1, Ordering::Relaxed));
        assert!(job.now_or_never().is_none_or(|done| done.is_ok()));
    }
    drop(threads);
    assert_eq!(done.load(Ordering::Relaxed), 100);
}

#[test]
fn a_batch_holds_all_the_jobs_that_wait_up_to_its_bound() {
    let (sizes, seen) = channel();
    let (begin, begun) = channel::<()>();
    let threads = JobThreads::start_batched("test", 3, move |batch: Vec<Reply<usize>>| {
        let size = batch.len();
        sizes.send(size).unwrap();
        begun.recv().unwrap();
        batch.into_iter().for_each(|reply| reply.send(size));
        None
    })
    .unwrap();
    let ask = || Box::pin(threads.ask(|reply| reply));
    let mut first = ask();
    assert_eq!((&mut first).now_or_never(), None);
    assert_eq!(seen.recv(), Ok(1));
    // While the first batch is worked on, these wait.
    let mut later: Vec<_> = (0..4).map(|_| ask()).collect();
    for job in &mut later {
        assert_eq!(job.now_or_never(), None);
    }
    for _ in 0..3 {
        begin.send(()).unwrap();
    }
    assert_eq!(block_on(first), Ok(1));
    let sizes: Vec<_> = later.into_iter().map(block_on).collect();
    assert_eq!(sizes, [Ok(3), Ok(3), Ok(3), Ok(1)]);
}

#[test]
fn a_batch_that_panics_loses_its_jobs_and_all_later_ones() {
    let threads = JobThreads::start_batched("test", usize::MAX, |_: Vec<Reply<()>>| {
        panic!("a batch of this test")
    })
    .unwrap();
    for _ in 0..2 {
        assert_eq!(block_on(threads.ask(|reply| reply)), Err(JobLost));
    }
}

#[test]
fn a_batch_that_answers_a_time_is_called_again_without_a_job() {
    let (called, seen) = channel();
    let mut calls = 0;
    let threads = JobThreads::start_batched("test", 1, move |batch: Vec<()>| {
        called.send(batch.len()).unwrap();
        calls += 1;
        (calls < 3).then_some(Duration::from_millis(1))
    })
    .unwrap();
    let asked = threads.ask(|_: Reply<()>| ());
    assert_eq!(asked.now_or_never(), Some(Err(JobLost)));
    let sizes = [seen.recv(), seen.recv(), seen.recv()];
    assert_eq!(sizes, [Ok(1), Ok(0), Ok(0)]);
    // It sleeps from now on, and a drop ends it all the same.
    drop(threads);
    assert!(seen.recv().is_err());
}

/// Jobs that were asked for, and given up on, while the only thread was busy.
fn given_up(threads: &JobThreads, jobs: usize) -> Arc<AtomicUsize> {
    let done = Arc::new(AtomicUsize::new(0));
    for _ in 0..jobs {
        let done = done.clone();
        let job = threads.run(move || done.fetch_add(1, Ordering::Relaxed));
        assert_eq!(job.now_or_never(), None);
    }
    done
}

#[test]
fn jobs_that_nobody_waits_for_fill_the_queue_to_its_bound_alone() {
    let threads = JobThreads::start("test", 1).unwrap();
    let (begin, begun) = channel::<()>();
    let mut busy = Box::pin(threads.run(move || begun.recv()));
    assert_eq!((&mut busy).now_or_never(), None);
    let done = given_up(&threads, 10_000);
    // Each job that is kept holds one.
    assert!(Arc::strong_count(&done) <= 1_024, "{done:?}");
    // Who still waits is served, after those in the queue.
    let mut last = Box::pin(threads.run(|| 7));
    assert_eq!((&mut last).now_or_never(), None);
    begin.send(()).unwrap();
    assert_eq!(block_on(busy), Ok(Ok(())));
    assert_eq!(block_on(last), Ok(7));
    assert_eq!(done.load(Ordering::Relaxed), 1_023);
    // All that was taken is free again.
    for _ in 0..3 {
        assert_eq!(block_on(threads.run(|| 7)), Ok(7));
    }
}

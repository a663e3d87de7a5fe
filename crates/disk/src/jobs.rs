//! Background threads, so that no thread of an async runtime waits for a disk.

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use futures_channel::oneshot;

use crate::permits::{Permit, Permits};

/// A job that needs nothing from the thread it runs on.
pub type Job = Box<dyn FnOnce() + Send>;

/// Jobs in the queue and on the threads. With a session of 64 KiB in each: 64 MiB.
const JOBS_MAX: usize = 1_024;

/// Background threads that take jobs from one queue, in the order in which they come.
///
/// A job in the queue is carried out whether or not anybody still waits for it. The queue
/// takes 1,024 jobs, those that are being done among them; who comes with another waits
/// until one of them has ended, and leaves nothing behind when it gives up before. Dropping
/// this waits until the queue is empty and the threads have ended, so it must not be
/// dropped on one of its own threads.
#[derive(Debug)]
pub struct JobThreads<J = Job> {
    /// `None` only while this is dropped.
    queue: Option<Sender<Queued<J>>>,
    threads: Vec<JoinHandle<()>>,
    permits: Arc<Permits>,
}

/// A job, and the permit that it holds until it has ended.
type Queued<J> = (J, Permit);

impl JobThreads {
    /// Starts threads that run one job each at a time. A job that panics leaves its
    /// thread running.
    pub fn start(name: &str, threads: usize) -> io::Result<Self> {
        let (queue, waiting) = channel();
        let waiting = Arc::new(Mutex::new(waiting));
        // Where one of them cannot be started, dropping this ends the others.
        let mut started = Self {
            queue: Some(queue),
            threads: Vec::new(),
            permits: Permits::new(JOBS_MAX),
        };
        for number in 0..threads {
            let waiting = waiting.clone();
            let name = format!("{name}-{number}");
            started.spawn(name, move || run_one_by_one(&waiting))?;
        }
        Ok(started)
    }

    /// Runs a job, and answers what it returns.
    ///
    /// # Errors
    /// [`JobLost`] where the job panics.
    pub async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JobLost> {
        self.ask(|reply| Box::new(move || reply.send(job()))).await
    }
}

impl<J: Send + 'static> JobThreads<J> {
    /// Starts one thread that is given all the jobs that wait, `jobs_max` at most, so
    /// that they can share a sync. Where `run` answers a time, it is called again after
    /// that time at the latest, without a job if none has come. Where it panics, the
    /// thread ends, and every later job is lost.
    pub fn start_batched(
        name: &str,
        jobs_max: usize,
        mut run: impl FnMut(Vec<J>) -> Option<Duration> + Send + 'static,
    ) -> io::Result<Self> {
        let (queue, waiting) = channel();
        let mut started = Self {
            queue: Some(queue),
            threads: Vec::new(),
            permits: Permits::new(JOBS_MAX),
        };
        started.spawn(name.to_owned(), move || {
            let mut wait_max = None;
            loop {
                let first = match wait_max {
                    None => waiting.recv().map_err(RecvTimeoutError::from),
                    Some(wait_max) => waiting.recv_timeout(wait_max),
                };
                if matches!(first, Err(RecvTimeoutError::Disconnected)) {
                    return;
                }
                let rest = waiting.try_iter().take(jobs_max.saturating_sub(1));
                let queued = first.into_iter().chain(rest);
                let (jobs, permits): (_, Vec<_>) = queued.unzip();
                wait_max = run(jobs);
                drop(permits);
            }
        })?;
        Ok(started)
    }

    /// Adds the job that `job` makes to the queue, once there is room, and waits until it
    /// replies.
    ///
    /// # Errors
    /// [`JobLost`] where the reply is dropped.
    pub async fn ask<T>(&self, job: impl FnOnce(Reply<T>) -> J) -> Result<T, JobLost> {
        let permit = self.permits.acquire().await;
        let (reply, replied) = oneshot::channel();
        if let Some(queue) = &self.queue {
            // A job that the queue does not take is dropped, and its reply with it.
            let _ = queue.send((job(Reply(reply)), permit));
        }
        replied.await.map_err(|_| JobLost)
    }

    fn spawn(&mut self, name: String, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let thread = thread::Builder::new().name(name).spawn(run)?;
        self.threads.push(thread);
        Ok(())
    }
}

fn run_one_by_one(waiting: &Mutex<Receiver<Queued<Job>>>) {
    loop {
        let next = waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recv();
        let Ok((job, _permit)) = next else { return };
        // Whoever waits for a job that panics is told so by its dropped reply.
        let _ = catch_unwind(AssertUnwindSafe(job));
    }
}

impl<J> Drop for JobThreads<J> {
    fn drop(&mut self) {
        self.queue = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Where a job sends its answer.
#[derive(Debug)]
pub struct Reply<T>(oneshot::Sender<T>);

impl<T> Reply<T> {
    /// Whether somebody still waits for the answer.
    pub(crate) fn is_awaited(&self) -> bool {
        !self.0.is_canceled()
    }

    /// Sends the answer; nothing comes of it where nobody waits any more.
    pub fn send(self, answer: T) {
        let _ = self.0.send(answer);
    }
}

/// A job that will not reply: it panicked, or its thread has ended. Nobody knows how
/// much of it was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobLost;

impl fmt::Display for JobLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a background thread failed before it had finished the job")
    }
}

impl std::error::Error for JobLost {}

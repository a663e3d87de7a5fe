//! The threads that write, so that no thread of an async runtime waits for a
//! disk or a lock.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use cloakroom_core::Error;
use futures_channel::oneshot;

use crate::unavailable;

/// As many writes are under way at once. Syncs that are share a commit of the
/// file system's journal: with 64 writers, 16 threads make twice the writes a
/// second that 4 do.
const THREADS: usize = 16;

type Job = Box<dyn FnOnce() + Send>;

pub(crate) struct Workers {
    /// `None` only while it is dropped.
    jobs: Option<Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    pub(crate) fn start() -> io::Result<Self> {
        let (jobs, waiting) = channel();
        let waiting = Arc::new(Mutex::new(waiting));
        let mut workers = Self {
            jobs: Some(jobs),
            threads: Vec::new(),
        };
        for number in 0..THREADS {
            let waiting = waiting.clone();
            let thread = thread::Builder::new()
                .name(format!("cloakroom-file-{number}"))
                .spawn(move || serve(&waiting))?;
            workers.threads.push(thread);
        }
        Ok(workers)
    }

    /// Runs the work to its end, whether or not anyone still waits for it.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (waiter, answer) = oneshot::channel();
        let job: Job = Box::new(move || {
            // Who no longer waits needs no answer.
            let _ = waiter.send(work());
        });
        if let Some(jobs) = &self.jobs {
            // A job that cannot be sent is dropped, and its waiter with it.
            let _ = jobs.send(job);
        }
        answer
            .await
            .unwrap_or_else(|_| Err(unavailable("the thread that wrote has failed")))
    }
}

fn serve(waiting: &Mutex<Receiver<Job>>) {
    loop {
        let next = waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recv();
        let Ok(job) = next else { return };
        // One failed job is its own; the thread goes on.
        let _ = catch_unwind(AssertUnwindSafe(job));
    }
}

impl Drop for Workers {
    /// Waits for what is under way, so that nothing is written once the store is
    /// closed.
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

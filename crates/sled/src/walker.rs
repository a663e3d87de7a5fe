//! The thread that walks, so that no thread of an async runtime waits for a piece
//! of work that grows with what is stored.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use cloakroom_core::Error;
use futures_channel::oneshot;

use crate::trees::Trees;
use crate::{damaged_pages, unavailable};

type Job = Box<dyn FnOnce(&Trees) + Send>;

pub(crate) struct Walker {
    /// `None` only while it is dropped.
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Walker {
    pub(crate) fn start(trees: Arc<Trees>) -> io::Result<Self> {
        let (jobs, waiting) = channel();
        let thread = thread::Builder::new()
            .name("cloakroom-sled-walk".to_owned())
            .spawn(move || serve(&trees, &waiting))?;
        Ok(Self {
            jobs: Some(jobs),
            thread: Some(thread),
        })
    }

    /// Runs the work to its end, whether or not anyone still waits for it.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Trees) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (waiter, answer) = oneshot::channel();
        let job: Job = Box::new(move |trees| {
            // sled panics on some damage where an error would do.
            let done = catch_unwind(AssertUnwindSafe(|| work(trees)));
            // Who no longer waits needs no answer.
            let _ = waiter.send(done.unwrap_or_else(|_| Err(damaged_pages())));
        });
        if let Some(jobs) = &self.jobs {
            // A job that cannot be sent is dropped, and its waiter with it.
            let _ = jobs.send(job);
        }
        answer
            .await
            .unwrap_or_else(|_| Err(unavailable("the thread that walks has ended")))
    }
}

fn serve(trees: &Trees, waiting: &Receiver<Job>) {
    while let Ok(job) = waiting.recv() {
        job(trees);
    }
}

impl Drop for Walker {
    /// Waits for the thread, so that the database is free to be opened again.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

//! The thread that writes: one transaction, and one sync, for all that wait.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use cloakroom_core::Error;
use futures_channel::oneshot;
use redb::{Database, Durability};

use crate::tables::{Failure, Tables};
use crate::{NAME, damaged_pages, failed, unavailable};

/// Writes in one transaction; the rest waits for the next.
const BATCH_MAX: usize = 1_024;

/// A write on its way: run once at most, then answered once.
trait Job: Send {
    /// Fails only where the database does; a refusal is kept for the answer.
    fn run(&mut self, tables: &mut Tables<'_>) -> Result<(), redb::Error>;

    /// Answers, once it is known whether the transaction holds.
    fn answer(self: Box<Self>, committed: Result<(), Error>);
}

struct Waiting<T, W> {
    work: Option<W>,
    done: Option<Result<T, Error>>,
    waiter: oneshot::Sender<Result<T, Error>>,
}

impl<T, W> Job for Waiting<T, W>
where
    T: Send,
    W: FnOnce(&mut Tables<'_>) -> Result<T, Failure> + Send,
{
    fn run(&mut self, tables: &mut Tables<'_>) -> Result<(), redb::Error> {
        let Some(work) = self.work.take() else {
            return Ok(());
        };
        match work(tables) {
            Ok(value) => self.done = Some(Ok(value)),
            Err(Failure::Refused(error)) => self.done = Some(Err(error.in_store(NAME))),
            Err(Failure::Broken(source)) => return Err(source),
        }
        Ok(())
    }

    fn answer(self: Box<Self>, committed: Result<(), Error>) {
        let done = self.done;
        let answer = committed.and_then(|()| done.unwrap_or_else(|| Err(given_up())));
        // Who no longer waits needs no answer.
        let _ = self.waiter.send(answer);
    }
}

fn given_up() -> Error {
    unavailable("the thread that writes has given the write up")
}

pub(crate) struct Writer {
    /// `None` only while it is dropped.
    jobs: Option<Sender<Box<dyn Job>>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(crate) fn start(db: Arc<Database>) -> io::Result<Self> {
        let (jobs, waiting) = channel();
        let thread = thread::Builder::new()
            .name("cloakroom-redb-write".to_owned())
            .spawn(move || serve(&db, &waiting))?;
        Ok(Self {
            jobs: Some(jobs),
            thread: Some(thread),
        })
    }

    /// Resolves when the work has been done and is on the disk. It is done
    /// whether or not anyone still waits for it.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Tables<'_>) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Error> {
        let (waiter, answer) = oneshot::channel();
        let job = Box::new(Waiting {
            work: Some(work),
            done: None,
            waiter,
        });
        if let Some(jobs) = &self.jobs {
            // A job that cannot be sent is dropped, and its waiter with it.
            let _ = jobs.send(job);
        }
        answer.await.unwrap_or_else(|_| Err(given_up()))
    }
}

fn serve(db: &Database, waiting: &Receiver<Box<dyn Job>>) {
    while let Ok(first) = waiting.recv() {
        let mut batch = vec![first];
        batch.extend(waiting.try_iter().take(BATCH_MAX - 1));
        // redb panics on some damage where an error would do.
        let committed = catch_unwind(AssertUnwindSafe(|| commit(db, &mut batch)))
            .unwrap_or_else(|_| Err(damaged_pages()));
        for job in batch {
            job.answer(committed.clone());
        }
    }
}

fn commit(db: &Database, batch: &mut [Box<dyn Job>]) -> Result<(), Error> {
    let mut transaction = db.begin_write().map_err(failed)?;
    transaction
        .set_durability(Durability::Immediate)
        .map_err(failed)?;
    let mut tables = Tables::open(&transaction).map_err(failed)?;
    for job in batch {
        job.run(&mut tables).map_err(failed)?;
    }
    let changed = tables.changed;
    drop(tables);
    if changed {
        transaction.commit().map_err(failed)
    } else {
        // Every write was refused, or had nothing to do: there is nothing to
        // sync, and what they saw is on the disk.
        transaction.abort().map_err(failed)
    }
}

impl Drop for Writer {
    /// Waits for the thread, so that the database is free to be opened again.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

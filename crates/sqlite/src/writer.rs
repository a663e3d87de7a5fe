//! The thread that writes: one transaction, and one sync, for all the writes that wait. A
//! short write that syncs nothing is done on the caller's thread, where nobody else writes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cloakroom_core::Error;
use cloakroom_disk::{Handle, InlineWork, JobLost, JobThreads, NotDone, Recovery, Reply};

use crate::NAME;
use crate::database::{Database, Failure, closed, unavailable};
use crate::table::{Table, TableError};

/// Writes in one transaction; the rest waits for the next.
const BATCH_MAX: usize = 1_024;

/// A write that waits: it is run, then answered once. It is run once more where the
/// transaction that it shared with others failed.
trait Write: Send {
    /// Fails only where the database does; a refusal is kept for the answer.
    fn run(&mut self, table: &mut Table<'_>) -> Result<(), rusqlite::Error>;

    /// Answers, once it is known whether the transaction holds.
    fn answer(self: Box<Self>, committed: Result<(), Error>);

    /// How long it has waited for others.
    fn waited(&self) -> Duration;
}

struct Waiting<T, W> {
    work: W,
    asked_at: Instant,
    done: Option<Result<T, Error>>,
    reply: Reply<Result<T, Error>>,
}

impl<T, W> Write for Waiting<T, W>
where
    T: Send,
    W: FnMut(&mut Table<'_>) -> Result<T, TableError> + Send,
{
    fn run(&mut self, table: &mut Table<'_>) -> Result<(), rusqlite::Error> {
        self.done = match (self.work)(table) {
            Ok(value) => Some(Ok(value)),
            Err(TableError::Refused(error)) => Some(Err(error.in_store(NAME))),
            Err(TableError::Database(source)) => return Err(source),
        };
        Ok(())
    }

    fn answer(self: Box<Self>, committed: Result<(), Error>) {
        match (committed, self.done) {
            (Ok(()), Some(done)) => self.reply.send(done),
            (Err(error), _) => self.reply.send(Err(error)),
            // What was committed has been run; a dropped reply is an error all the same.
            (Ok(()), None) => {}
        }
    }

    fn waited(&self) -> Duration {
        self.asked_at.elapsed()
    }
}

/// What waits in the queue of the thread.
enum Job {
    Write(Box<dyn Write>),
    Close(Reply<()>),
}

/// The database, as whoever reads it asks for it.
pub(crate) type DatabaseHandle = Handle<Database, Error>;

pub(crate) struct Writer {
    thread: JobThreads<Job>,
    path: PathBuf,
    /// Whether a commit waits for the disk.
    syncs: bool,
}

impl Writer {
    /// Takes over the open database, and starts the thread. A write waits for so long at
    /// most until no other process has the lock.
    pub(crate) fn start(
        database: Database,
        path: &Path,
        lock_timeout: Duration,
    ) -> Result<(Self, Arc<DatabaseHandle>), Error> {
        let path = path.to_path_buf();
        // SQLite goes on by itself after a failure of the disk: the database is closed for
        // good alone, and never opened again.
        let never_again = {
            let path = path.clone();
            move || Err(closed(&path))
        };
        let syncs = database.syncs();
        let mut lifetime = Recovery::new(database, never_again);
        let handle = lifetime.handle();
        let run = {
            let path = path.clone();
            move |batch| {
                run(&mut lifetime, batch, &path, lock_timeout);
                None
            }
        };
        let thread = JobThreads::start_batched("cloakroom-sqlite-write", BATCH_MAX, run);
        let thread = thread.map_err(|source| {
            let message = format!("cannot start the thread that writes: {source}");
            unavailable(message).with_source(source)
        })?;
        let writer = Self {
            thread,
            path,
            syncs,
        };
        Ok((writer, handle))
    }

    /// As [`write`](Self::write), for a write that takes microseconds: on the caller's
    /// thread, where a commit syncs nothing and nobody else is writing.
    pub(crate) async fn write_short<T: Send + 'static>(
        &self,
        inline: &InlineWork,
        database: &Arc<DatabaseHandle>,
        mut work: impl FnMut(&mut Table<'_>) -> Result<T, TableError> + Send + 'static,
    ) -> Result<T, Error> {
        if self.syncs {
            return self.write(work).await;
        }
        let at_once = move |handle: &DatabaseHandle| {
            let written = handle.to_write()?.transact_at_once(&mut work)?;
            Ok(written.ok_or(work))
        };
        match inline.run(database, at_once).await {
            Ok(Ok(Ok(written))) => Ok(written),
            Ok(Ok(Err(work))) => self.write(work).await,
            Ok(Err(error)) => Err(error),
            Err(not_done) => Err(self.not_done("write to", not_done)),
        }
    }

    /// What is answered where the disk has not.
    pub(crate) fn not_done(&self, what: &str, not_done: NotDone) -> Error {
        let message = format!("cannot {what} {}: {not_done}", self.path.display());
        unavailable(message).with_source(not_done)
    }

    /// Resolves when the work has been done and is on the disk. It is done whether or
    /// not anyone still waits for it.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        work: impl FnMut(&mut Table<'_>) -> Result<T, TableError> + Send + 'static,
    ) -> Result<T, Error> {
        let asked = self.thread.ask(|reply| {
            Job::Write(Box::new(Waiting {
                work,
                asked_at: Instant::now(),
                done: None,
                reply,
            }))
        });
        asked.await.unwrap_or_else(|lost| Err(ended(lost)))
    }

    /// Resolves when all that was asked before is done, and the file is closed.
    pub(crate) async fn close(&self) -> Result<(), Error> {
        self.thread.ask(Job::Close).await.map_err(ended)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

fn ended(lost: JobLost) -> Error {
    let message = "the thread that writes has ended; restart the process";
    unavailable(message).with_source(lost)
}

fn run(
    lifetime: &mut Recovery<Database, Error>,
    batch: Vec<Job>,
    path: &Path,
    lock_timeout: Duration,
) {
    let (mut writes, mut closing) = (Vec::new(), Vec::new());
    for job in batch {
        match job {
            Job::Write(write) => writes.push(write),
            Job::Close(reply) => closing.push(reply),
        }
    }
    match lifetime.handle().to_write() {
        Ok(database) => commit(&database, writes, lock_timeout),
        Err(closed) => {
            for write in writes {
                write.answer(Err(closed.clone()));
            }
        }
    }
    if !closing.is_empty() {
        lifetime.close(closed(path));
        for reply in closing {
            reply.send(());
        }
    }
}

/// Commits the writes together. Where one of them fails the transaction, each is tried in
/// one of its own, so that it fails alone.
fn commit(database: &Database, mut writes: Vec<Box<dyn Write>>, lock_timeout: Duration) {
    let Some(waited) = writes.iter().map(|write| write.waited()).max() else {
        return;
    };
    // Those who wait behind a batch that has waited for the lock do not begin anew; but a
    // disk that was slow is no reason not to wait for a lock that is free in a moment.
    let lock_timeout = lock_timeout.saturating_sub(waited).max(lock_timeout / 8);
    let until = Instant::now() + lock_timeout;
    database.empty_long_log();
    let transact = |writes: &mut [Box<dyn Write>]| {
        let lock_timeout = until.saturating_duration_since(Instant::now());
        database.transact(lock_timeout, |table| {
            writes.iter_mut().try_for_each(|write| write.run(table))
        })
    };
    let committed = match transact(&mut writes) {
        Err(Failure { is_of_one, .. }) if is_of_one && writes.len() > 1 => {
            for mut write in writes {
                let committed = transact(std::slice::from_mut(&mut write));
                write.answer(committed.map_err(|failure| failure.error));
            }
            return;
        }
        committed => committed.map_err(|failure| failure.error),
    };
    for write in writes {
        write.answer(committed.clone());
    }
}

//! The thread that writes: one transaction, and one sync, for all the writes that wait.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cloakroom_core::Error;
use cloakroom_disk::{Handle, JobLost, JobThreads, Recovery, Reply};
use redb::{Database, Durability};

use crate::database::{DatabaseFile, Failure, NAME, as_outage, closed, unavailable};
use crate::tables::{TableError, Tables};

/// Writes in one transaction; the rest waits for the next.
const BATCH_MAX: usize = 1_024;

/// A write that waits: it is run once at most, then answered once.
trait Write: Send {
    /// Fails only where the database does; a refusal is kept for the answer.
    fn run(&mut self, tables: &mut Tables<'_>) -> Result<(), redb::Error>;

    /// Answers, once it is known whether the transaction holds.
    fn answer(self: Box<Self>, committed: Result<(), Error>);
}

struct Waiting<T, W> {
    work: Option<W>,
    done: Option<Result<T, Error>>,
    reply: Reply<Result<T, Error>>,
}

impl<T, W> Write for Waiting<T, W>
where
    T: Send,
    W: FnOnce(&mut Tables<'_>) -> Result<T, TableError> + Send,
{
    fn run(&mut self, tables: &mut Tables<'_>) -> Result<(), redb::Error> {
        let Some(work) = self.work.take() else {
            return Ok(());
        };
        self.done = match work(tables) {
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
}

/// What waits in the queue of the thread.
enum Job {
    Write(Box<dyn Write>),
    Close(Reply<()>),
}

/// The database, as whoever reads it asks for it.
pub(crate) type DatabaseHandle = Handle<DatabaseFile, Error>;

pub(crate) struct Writer {
    thread: JobThreads<Job>,
    path: PathBuf,
}

impl Writer {
    /// Takes over the open database, and starts the thread.
    pub(crate) fn start(
        database: DatabaseFile,
        path: &Path,
        cache_bytes: usize,
    ) -> Result<(Self, Arc<DatabaseHandle>), Error> {
        let path = path.to_path_buf();
        let open_again = {
            let path = path.clone();
            // To whoever uses the store, all that keeps it from opening is an outage.
            move || DatabaseFile::open_again(&path, cache_bytes).map_err(as_outage)
        };
        let mut recovery = Recovery::new(database, open_again);
        let handle = recovery.handle();
        let run = {
            let path = path.clone();
            move |batch| run(&mut recovery, batch, &path)
        };
        let thread = JobThreads::start_batched("cloakroom-redb-write", BATCH_MAX, run);
        let thread = thread.map_err(|source| {
            let message = format!("cannot start the thread that writes: {source}");
            unavailable(message).with_source(source)
        })?;
        Ok((Self { thread, path }, handle))
    }

    /// Resolves when the work has been done and is on the disk. It is done whether or
    /// not anyone still waits for it.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Tables<'_>) -> Result<T, TableError> + Send + 'static,
    ) -> Result<T, Error> {
        let asked = self.thread.ask(|reply| {
            Job::Write(Box::new(Waiting {
                work: Some(work),
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
    recovery: &mut Recovery<DatabaseFile, Error>,
    batch: Vec<Job>,
    path: &Path,
) -> Option<Duration> {
    let (mut writes, mut closing) = (Vec::new(), Vec::new());
    for job in batch {
        match job {
            Job::Write(write) => writes.push(write),
            Job::Close(reply) => closing.push(reply),
        }
    }
    // Writes may be due to be taken again.
    let mut wait_max = recovery.step();
    if !writes.is_empty() {
        let committed = commit(recovery, &mut writes);
        for write in writes {
            write.answer(committed.clone());
        }
        // Nobody waits any more while the database is opened again.
        wait_max = recovery.step();
    }
    if !closing.is_empty() {
        recovery.close(closed(path));
        for reply in closing {
            reply.send(());
        }
        wait_max = None;
    }
    wait_max
}

/// Commits the writes, all or none. Where the database fails, it is closed before they
/// are answered: nobody reads then what the disk may not have.
fn commit(
    recovery: &mut Recovery<DatabaseFile, Error>,
    writes: &mut [Box<dyn Write>],
) -> Result<(), Error> {
    let database = recovery.handle().to_write()?;
    let committed = database.attempt(|db| Ok(transact(db, writes)?));
    let committed = committed.and_then(|changed| database.check_place().map(|()| changed));
    drop(database);
    match committed {
        Ok(changed) => {
            if changed {
                recovery.succeeded();
            }
            Ok(())
        }
        Err(Failure { error, is_final }) => {
            if is_final {
                recovery.failed(&error);
            }
            Err(error)
        }
    }
}

/// Answers whether anything has changed.
fn transact(db: &Database, writes: &mut [Box<dyn Write>]) -> Result<bool, redb::Error> {
    let mut transaction = db.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    let mut tables = Tables::open(&transaction, writes.len())?;
    for write in writes {
        write.run(&mut tables)?;
    }
    let changed = tables.changed;
    drop(tables);
    if changed {
        transaction.commit()?;
    } else {
        // Every write was refused, or had nothing to do: there is nothing to sync, and
        // what they read is on the disk.
        transaction.abort()?;
    }
    Ok(changed)
}

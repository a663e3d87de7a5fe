//! The thread that writes: one transaction, and one sync, for all the writes that wait.

use std::sync::Arc;

use cloakroom_core::Error;
use cloakroom_disk::{JobThreads, Reply};
use redb::{Database, Durability};

use crate::database::{DatabaseFile, NAME, unavailable};
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

pub(crate) struct Writer(JobThreads<Box<dyn Write>>);

impl Writer {
    pub(crate) fn start(database: Arc<DatabaseFile>) -> Result<Self, Error> {
        let run = move |batch: Vec<Box<dyn Write>>| run(&database, batch);
        match JobThreads::start_batched("cloakroom-redb-write", BATCH_MAX, run) {
            Ok(threads) => Ok(Self(threads)),
            Err(source) => {
                let message = format!("cannot start the thread that writes: {source}");
                Err(unavailable(message).with_source(source))
            }
        }
    }

    /// Resolves when the work has been done and is on the disk. It is done whether or
    /// not anyone still waits for it.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Tables<'_>) -> Result<T, TableError> + Send + 'static,
    ) -> Result<T, Error> {
        let asked = self.0.ask(|reply| -> Box<dyn Write> {
            Box::new(Waiting {
                work: Some(work),
                done: None,
                reply,
            })
        });
        asked.await.unwrap_or_else(|lost| {
            let message = "the thread that writes has ended; open the store anew";
            Err(unavailable(message).with_source(lost))
        })
    }
}

fn run(database: &DatabaseFile, mut batch: Vec<Box<dyn Write>>) {
    let committed = database.attempt(|db| Ok(commit(db, &mut batch)?));
    for write in batch {
        write.answer(committed.clone());
    }
}

fn commit(db: &Database, batch: &mut [Box<dyn Write>]) -> Result<(), redb::Error> {
    let mut transaction = db.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    let mut tables = Tables::open(&transaction, batch.len())?;
    for write in batch {
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
    Ok(())
}

//! Durability: one flush and one `fdatasync` for all writers that wait, and the recovery of
//! a database whose disk has failed.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cloakroom_core::Error;
use cloakroom_disk::{Handle, JobLost, JobThreads, Recovery, Reply};

use crate::database::{Database, SyncError};
use crate::error::{closed, unavailable};
use crate::open::wait_until_closed;

/// The database, as each operation asks for it.
pub(crate) type DatabaseHandle = Handle<Database, Error>;

/// What waits in the queue of the thread.
enum Job {
    /// A sync of what was written to the database of this generation; without one, only
    /// the judgement whether the database has failed.
    Sync(Option<u64>, Reply<Result<(), Error>>),
    Close(Reply<Result<(), Error>>),
}

/// A background thread that syncs for whoever asks. One sync serves everybody who asked
/// before it began; whoever asks meanwhile is served by the next.
pub(crate) struct Syncer(JobThreads<Job>);

impl Syncer {
    /// Opens the database, and starts the thread.
    pub(crate) fn start(
        path: &Path,
        cache_bytes: u64,
    ) -> Result<(Self, Arc<DatabaseHandle>), Error> {
        let database = Database::open(path, cache_bytes)?;
        let path = path.to_path_buf();
        let open_again = {
            let (path, mut generation) = (path.clone(), 0);
            move || {
                generation += 1;
                // To whoever uses the store, all that keeps it from opening is an outage.
                let opened = Database::open_again(&path, cache_bytes, generation);
                opened.map_err(|error| unavailable(error.message().to_owned()).with_source(error))
            }
        };
        let mut recovery = Recovery::new(database, open_again);
        let handle = recovery.handle();
        let failed = |source| {
            unavailable(format!("cannot start a background thread: {source}")).with_source(source)
        };
        let run = move |batch| run(&mut recovery, batch, &path);
        let started = JobThreads::start_batched("cloakroom-sled-sync", usize::MAX, run);
        Ok((Self(started.map_err(failed)?), handle))
    }

    /// Resolves when all that this caller has written to the database of this generation
    /// is on the disk.
    pub(crate) async fn sync(&self, generation: u64) -> Result<(), Error> {
        let synced = self.0.ask(|reply| Job::Sync(Some(generation), reply)).await;
        synced.unwrap_or_else(|lost| Err(ended(lost)))
    }

    /// Looks whether the database has failed, after an operation that did.
    pub(crate) async fn check(&self) {
        let _ = self.0.ask(|reply| Job::Sync(None, reply)).await;
    }

    /// Resolves when all that was written is on the disk, and the database is closed.
    pub(crate) async fn close(&self) -> Result<(), Error> {
        let done = self.0.ask(Job::Close).await;
        done.unwrap_or_else(|lost| Err(ended(lost)))
    }
}

fn ended(lost: JobLost) -> Error {
    let message = "the thread that syncs has ended; restart the process";
    unavailable(message).with_source(lost)
}

fn run(recovery: &mut Recovery<Database, Error>, batch: Vec<Job>, path: &Path) -> Option<Duration> {
    if batch.is_empty() {
        return recovery.step();
    }
    let was_open = recovery.handle().to_read().is_ok();
    let synced = sync(recovery);
    let mut closing = Vec::new();
    for job in batch {
        match job {
            Job::Sync(wanted, reply) => reply.send(match &synced {
                Ok(generation) if wanted.is_some_and(|wanted| wanted != *generation) => {
                    Err(opened_since(path))
                }
                Ok(_) => Ok(()),
                Err(error) => Err(error.clone()),
            }),
            Job::Close(reply) => closing.push(reply),
        }
    }
    if closing.is_empty() {
        // Nobody waits any more while the database is opened again.
        return recovery.step();
    }
    recovery.close(closed(path));
    // What could not be synced may be touches that were answered.
    let done = match (was_open, synced) {
        (true, Err(error)) => Err(error),
        _ => wait_until_closed(path),
    };
    for reply in closing {
        reply.send(done.clone());
    }
    None
}

/// Syncs, and answers of which generation the database is. One that has failed is closed
/// before anybody is answered: nobody reads then what the disk may not have.
fn sync(recovery: &mut Recovery<Database, Error>) -> Result<u64, Error> {
    let database = recovery.handle().to_read()?;
    let generation = database.generation;
    let synced = database.sync();
    drop(database);
    match synced {
        Ok(()) => {
            recovery.succeeded();
            Ok(generation)
        }
        Err(SyncError::NotBegun(error)) => Err(error),
        Err(SyncError::Failed(error)) => {
            recovery.failed(&error);
            Err(error)
        }
    }
}

fn opened_since(path: &Path) -> Error {
    unavailable(format!(
        "the database in {} has failed and was opened again before the write was synced; it may or \
         may not be kept",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use cloakroom_core::ErrorKind;

    use super::*;

    /// What was written to a database that has failed since may be lost, however well the
    /// one that was opened after it syncs.
    #[tokio::test]
    async fn no_sync_acknowledges_what_was_written_before_the_database_was_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let [path, away] = ["sessions", "away"].map(|name| folder.path().join(name));
        let (syncer, handle) = Syncer::start(&path, 1 << 20).unwrap();
        let before = handle.to_write().unwrap().generation;
        syncer.sync(before).await.unwrap();
        std::fs::rename(&path, &away).unwrap();
        syncer.sync(before).await.unwrap_err();
        std::fs::rename(&away, &path).unwrap();
        let since = loop {
            match handle.to_write() {
                Ok(database) => break database.generation,
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        };
        let error = syncer.sync(before).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        syncer.sync(since).await.unwrap();
    }
}

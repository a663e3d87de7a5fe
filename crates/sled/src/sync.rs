//! Durability, shared: one flush and one `fdatasync` for all that wait.

use std::fs::File;
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use cloakroom_core::Error;
use futures_channel::oneshot;

use crate::{failed, unavailable};

type Waiter = oneshot::Sender<Result<(), Error>>;

/// A thread that syncs for whoever asks. Everyone who asked before a sync began
/// is served by it; who asks meanwhile is served by the next.
pub(crate) struct Syncer {
    /// `None` only while it is dropped.
    ask: Option<Sender<Waiter>>,
    thread: Option<JoinHandle<()>>,
}

impl Syncer {
    pub(crate) fn start(db: sled::Db, file: File) -> io::Result<Self> {
        let (ask, asked) = channel();
        let thread = thread::Builder::new()
            .name("cloakroom-sled-sync".to_owned())
            .spawn(move || serve(&db, &file, &asked))?;
        Ok(Self {
            ask: Some(ask),
            thread: Some(thread),
        })
    }

    /// Resolves when all that this caller has written is on the disk.
    pub(crate) async fn sync(&self) -> Result<(), Error> {
        let (waiter, answer) = oneshot::channel();
        let asked = self
            .ask
            .as_ref()
            .is_some_and(|ask| ask.send(waiter).is_ok());
        match answer.await {
            Ok(synced) if asked => synced,
            _ => Err(unavailable("the thread that syncs has ended")),
        }
    }
}

fn serve(db: &sled::Db, file: &File, asked: &Receiver<Waiter>) {
    while let Ok(first) = asked.recv() {
        let waiters: Vec<Waiter> = std::iter::once(first).chain(asked.try_iter()).collect();
        let synced = sync(db, file);
        for waiter in waiters {
            // Who no longer waits needs no answer.
            let _ = waiter.send(synced.clone());
        }
    }
}

fn sync(db: &sled::Db, file: &File) -> Result<(), Error> {
    db.flush().map_err(failed)?;
    // sled's flush is a sync_file_range on Linux: it orders no disk cache.
    file.sync_data()
        .map_err(|source| unavailable("the disk did not take what was written").with_source(source))
}

impl Drop for Syncer {
    /// Waits for the thread, so that the database is free to be opened again.
    fn drop(&mut self) {
        self.ask = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

//! Durability, shared: one flush and one `fdatasync` for all that wait.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use cloakroom_core::Error;
use futures_channel::oneshot;

use crate::folder::sync_folder;
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
    pub(crate) fn start(disk: Disk) -> io::Result<Self> {
        let (ask, asked) = channel();
        let thread = thread::Builder::new()
            .name("cloakroom-sled-sync".to_owned())
            .spawn(move || serve(disk, &asked))?;
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

fn serve(mut disk: Disk, asked: &Receiver<Waiter>) {
    // After a failed sync nobody knows which pages the disk still has, and a
    // later one may succeed without them: nothing is acknowledged any more.
    let mut broken = None;
    while let Ok(first) = asked.recv() {
        let waiters: Vec<Waiter> = std::iter::once(first).chain(asked.try_iter()).collect();
        let synced = match &broken {
            Some(error) => Err(Error::clone(error)),
            None => disk.sync(),
        };
        broken = broken.or_else(|| synced.clone().err());
        for waiter in waiters {
            // Who no longer waits needs no answer.
            let _ = waiter.send(synced.clone());
        }
    }
}

/// What has to reach the disk.
pub(crate) struct Disk {
    db: sled::Db,
    file: File,
    blobs: PathBuf,
    /// Blobs that are on the disk already.
    synced: HashSet<OsString>,
}

impl Disk {
    pub(crate) fn new(db: sled::Db, folder: &Path) -> io::Result<Self> {
        // sled never syncs its settings, and opens no database with damaged ones.
        File::open(folder.join("conf"))?.sync_all()?;
        // The names of the files must be there after a crash, too.
        sync_folder(folder)?;
        Ok(Self {
            db,
            file: OpenOptions::new().write(true).open(folder.join("db"))?,
            blobs: folder.join("blobs"),
            synced: HashSet::new(),
        })
    }

    fn sync(&mut self) -> Result<(), Error> {
        self.db.flush().map_err(failed)?;
        let synced = self
            .sync_blobs()
            // sled's flush is a sync_file_range on Linux: it orders no disk cache.
            .and_then(|()| self.file.sync_data());
        synced.map_err(|source| {
            unavailable("the disk did not take what was written; open the store anew")
                .with_source(source)
        })
    }

    /// sled writes what does not fit into its log (128 KiB, a tree node of a few
    /// large sessions) to files of their own and syncs neither them nor their
    /// folder, though its recovery ends at the first one it cannot read.
    fn sync_blobs(&mut self) -> io::Result<()> {
        let mut present = HashSet::new();
        let mut fresh = false;
        for entry in fs::read_dir(&self.blobs)? {
            let entry = entry?;
            let name = entry.file_name();
            if !self.synced.contains(&name) {
                match File::open(entry.path()).and_then(|blob| blob.sync_all()) {
                    Ok(()) => fresh = true,
                    // Replaced and removed since it was listed.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(error),
                }
            }
            present.insert(name);
        }
        self.synced = present;
        if fresh {
            sync_folder(&self.blobs)?;
        }
        Ok(())
    }
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

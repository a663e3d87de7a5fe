//! Durability: one flush and one `fdatasync` for all writers that wait.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use cloakroom_core::Error;
use cloakroom_disk::{JobThreads, Reply, sync_folder};

use crate::error::{failed, unavailable};

/// A background thread that syncs for whoever asks. One sync serves everybody who asked
/// before it began; whoever asks meanwhile is served by the next.
pub(crate) struct Syncer(JobThreads<Reply<Result<(), Error>>>);

impl Syncer {
    pub(crate) fn start(mut database: Database) -> io::Result<Self> {
        // After a failed sync nobody knows which pages the disk still has, and a later
        // sync may succeed without them: nothing is acknowledged any more.
        let mut broken: Option<Error> = None;
        let sync = move |waiting: Vec<Reply<_>>| {
            let synced = match &broken {
                Some(error) => Err(error.clone()),
                None => database.sync(),
            };
            if let Err(error) = &synced {
                broken = Some(error.clone());
            }
            for reply in waiting {
                reply.send(synced.clone());
            }
            None
        };
        JobThreads::start_batched("cloakroom-sled-sync", usize::MAX, sync).map(Self)
    }

    /// Resolves when all that this caller has written is on the disk.
    pub(crate) async fn sync(&self) -> Result<(), Error> {
        let synced = self.0.ask(|reply| reply).await;
        synced.unwrap_or_else(|lost| {
            let message = format!("{lost}: nothing is acknowledged until the store is opened anew");
            Err(unavailable(message).with_source(lost))
        })
    }
}

/// The files of the database that have to reach the disk.
pub(crate) struct Database {
    db: sled::Db,
    folder: PathBuf,
    log: File,
    blobs: PathBuf,
    /// Blobs that are on the disk already.
    synced_blobs: HashSet<OsString>,
}

impl Database {
    pub(crate) fn new(db: sled::Db, folder: &Path) -> io::Result<Self> {
        // sled never syncs its settings, and opens no database with damaged ones.
        File::open(folder.join("conf"))?.sync_all()?;
        // The names of sled's files have to survive a crash, too.
        sync_folder(folder)?;
        Ok(Self {
            db,
            folder: folder.to_path_buf(),
            log: OpenOptions::new().write(true).open(folder.join("db"))?,
            blobs: folder.join("blobs"),
            synced_blobs: HashSet::new(),
        })
    }

    fn sync(&mut self) -> Result<(), Error> {
        self.db.flush().map_err(failed)?;
        let synced = self
            .sync_blobs()
            // sled's flush is a sync_file_range on Linux, which does not reach through the
            // disk's own cache.
            .and_then(|()| self.log.sync_data());
        synced.map_err(|source| {
            let message = format!(
                "the disk did not take what was written to the database in {}: {source}; nothing \
                 is acknowledged until the store is opened anew",
                self.folder.display()
            );
            unavailable(message).with_source(source)
        })
    }

    /// sled writes what does not fit into its log (128 KiB, a tree node of a few large
    /// sessions) to files of their own. It syncs neither them nor their folder, though its
    /// recovery ends at the first one that it cannot read.
    fn sync_blobs(&mut self) -> io::Result<()> {
        let mut present = HashSet::new();
        let mut is_any_new = false;
        for entry in fs::read_dir(&self.blobs)? {
            let entry = entry?;
            let name = entry.file_name();
            if !self.synced_blobs.contains(&name) {
                match File::open(entry.path()).and_then(|blob| blob.sync_all()) {
                    Ok(()) => is_any_new = true,
                    // sled has replaced and removed it since the folder was listed.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(error),
                }
            }
            present.insert(name);
        }
        self.synced_blobs = present;
        if is_any_new {
            sync_folder(&self.blobs)?;
        }
        Ok(())
    }
}

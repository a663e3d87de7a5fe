//! The open database, and which of its files have to reach the disk.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use cloakroom_core::Error;
use cloakroom_disk::{FileIdentity, next_step, sync_folder};

use crate::error::{NAME, damaged, gone, unavailable};
use crate::open;
use crate::trees::Trees;

pub(crate) struct Database {
    pub(crate) trees: Trees,
    /// How often it was opened again: what was written to the database of another generation,
    /// a sync of this one does not keep.
    pub(crate) generation: u64,
    db: sled::Db,
    folder: PathBuf,
    log: File,
    log_identity: FileIdentity,
    /// Blobs that are on the disk already.
    synced_blobs: Mutex<HashSet<OsString>>,
}

/// Why a sync failed.
pub(crate) enum SyncError {
    /// Nothing was lost: the next sync makes up for it.
    NotBegun(Error),
    /// The disk has failed, and a later sync may succeed without what this one should have
    /// kept.
    Failed(Error),
}

impl Database {
    pub(crate) fn open(path: &Path, cache_bytes: u64) -> Result<Self, Error> {
        let (db, trees) = open::open(path, cache_bytes)?;
        Self::new(db, trees, path, 0)
    }

    pub(crate) fn open_again(
        path: &Path,
        cache_bytes: u64,
        generation: u64,
    ) -> Result<Self, Error> {
        let (db, trees) = open::open_again(path, cache_bytes)?;
        Self::new(db, trees, path, generation)
    }

    fn new(db: sled::Db, trees: Trees, folder: &Path, generation: u64) -> Result<Self, Error> {
        let open = || {
            // sled never syncs its settings, and opens no database with damaged ones.
            File::open(folder.join("conf"))?.sync_all()?;
            // The names of sled's files have to survive a crash, too.
            sync_folder(folder)?;
            let log = folder.join("db");
            let log_identity = FileIdentity::at(&log)?;
            Ok((OpenOptions::new().write(true).open(log)?, log_identity))
        };
        let (log, log_identity) = open().map_err(|source: io::Error| {
            let (folder, next_step) = (folder.display(), next_step(&source));
            let message = format!("cannot sync the database in {folder}: {source}{next_step}");
            unavailable(message).with_source(source)
        })?;
        Ok(Self {
            trees,
            generation,
            db,
            folder: folder.to_path_buf(),
            log,
            log_identity,
            synced_blobs: Mutex::default(),
        })
    }

    /// Runs what may panic on a damaged page.
    pub(crate) fn attempt<T>(
        &self,
        work: impl FnOnce(&Trees) -> Result<T, Error>,
    ) -> Result<T, Error> {
        catch_unwind(AssertUnwindSafe(|| work(&self.trees)))
            .unwrap_or_else(|_| Err(damaged(&self.folder)))
            .map_err(|error| error.in_store(NAME))
    }

    /// Syncs all that was written until now.
    pub(crate) fn sync(&self) -> Result<(), SyncError> {
        match catch_unwind(AssertUnwindSafe(|| self.db.flush())) {
            Ok(Ok(_)) => {}
            Ok(Err(source)) => return Err(self.not_taken(source)),
            Err(_) => return Err(SyncError::Failed(damaged(&self.folder))),
        }
        self.sync_blobs()?;
        // sled's flush is a sync_file_range on Linux, which does not reach through the
        // disk's own cache.
        self.log
            .sync_data()
            .map_err(|source| self.not_taken(source))?;
        match self.log_identity.has_left(&self.folder.join("db")) {
            true => Err(SyncError::Failed(gone(&self.folder))),
            false => Ok(()),
        }
    }

    /// sled writes what does not fit into its log (128 KiB, a tree node of a few large
    /// sessions) to files of their own. It syncs neither them nor their folder, though its
    /// recovery ends at the first one that it cannot read.
    fn sync_blobs(&self) -> Result<(), SyncError> {
        let folder = self.folder.join("blobs");
        let mut synced = self
            .synced_blobs
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut present = HashSet::new();
        let mut is_any_new = false;
        let listed = fs::read_dir(&folder).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => SyncError::Failed(gone(&self.folder)),
            _ => self.not_begun(source),
        });
        for entry in listed? {
            let entry = entry.map_err(|source| self.not_begun(source))?;
            let name = entry.file_name();
            if !synced.contains(&name) {
                match File::open(entry.path()) {
                    Ok(blob) => blob.sync_all().map_err(|source| self.not_taken(source))?,
                    // sled has replaced and removed it since the folder was listed.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(source) => return Err(self.not_begun(source)),
                }
                is_any_new = true;
            }
            present.insert(name);
        }
        if is_any_new {
            sync_folder(&folder).map_err(|source| self.not_taken(source))?;
        }
        *synced = present;
        Ok(())
    }

    fn not_begun(&self, source: io::Error) -> SyncError {
        let message = format!(
            "cannot sync the database in {}: {source}; the write may or may not be kept",
            self.folder.display()
        );
        SyncError::NotBegun(unavailable(message).with_source(source))
    }

    fn not_taken(&self, source: impl std::error::Error + Send + Sync + 'static) -> SyncError {
        let message = format!(
            "the disk did not take what was written to the database in {}: {source}; a write that \
             was under way may or may not be kept; see to the disk: the store opens the database \
             again by itself",
            self.folder.display()
        );
        SyncError::Failed(unavailable(message).with_source(source))
    }
}

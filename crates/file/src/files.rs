//! The files and locks of one store, and what stands under a digest.
//!
//! One invariant carries the store: a session's file is replaced or removed only by who
//! holds the lock of its digest, and the lock of the file, and has read the file since.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use cloakroom_core::store::{
    FrameHead, FrameKind, KeyDigest, Record, Revision, Stored, SubjectDigest,
};
use cloakroom_core::{Error, ErrorKind};
use cloakroom_disk::{check_private_folder, make_private_folder, make_private_folder_unsynced};

use crate::error::{misconfigured, next_step, unavailable};
use crate::layout::{Durability, Layout};
use crate::locked_file::LockedFile;
use crate::locks::{LOCK_WAIT_SECS_MAX, Locks};

pub(crate) struct Files {
    pub(crate) layout: Arc<Layout>,
    pub(crate) locks: Locks,
}

impl Files {
    /// Makes every folder of the layout, on the disk, before the first write, so that no
    /// write has to.
    pub(crate) fn open(path: &Path, durability: Durability) -> Result<Self, Error> {
        let unusable = |source: io::Error| {
            let (path, next_step) = (path.display(), next_step(&source));
            let message = format!("cannot use the folder {path}: {source}{next_step}");
            unavailable(message).with_source(source)
        };
        make_private_folder(path).map_err(unusable)?;
        check_private_folder(path).map_err(|source| match source.kind() {
            io::ErrorKind::PermissionDenied => {
                misconfigured(source.to_string()).with_source(source)
            }
            _ => unusable(source),
        })?;
        let layout = Arc::new(Layout::new(path, durability));
        let locks = make_folders(&layout).map_err(unusable)?;
        layout.probe_hard_links().map_err(|source| match source.kind() {
            io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied => {
                let path = path.display();
                let message = format!(
                    "the file system of {path} makes no hard links: {source}; choose a folder on \
                     a local file system"
                );
                misconfigured(message).with_source(source)
            }
            _ => unusable(source),
        })?;
        // A file system without locks is found now, and not by the first write.
        let locked = locks.lock(&KeyDigest::from_bytes([0; KeyDigest::BYTES]));
        locked.map(drop)?;
        Ok(Self { layout, locks })
    }

    /// The same files, for work that arrives now.
    pub(crate) fn renewed(&self) -> Self {
        Self {
            layout: self.layout.clone(),
            locks: self.locks.renewed(),
        }
    }

    /// Refuses work that has waited for its turn for as long as it may wait for a lock.
    pub(crate) fn require_in_time(&self) -> Result<(), Error> {
        if !self.locks.is_too_late() {
            return Ok(());
        }
        let path = self.layout.path.display();
        Err(unavailable(format!(
            "nothing was done within {LOCK_WAIT_SECS_MAX} s, since the disk under {path} is slow \
             or has more to do than it can"
        )))
    }

    pub(crate) fn load(&self, digest: &KeyDigest) -> Result<Option<Stored>, Error> {
        load(&self.layout, digest)
    }

    /// Whether nothing stands under a digest. Asked before a new file is written, to
    /// spare a write that would be refused.
    pub(crate) fn require_free(&self, digest: &KeyDigest) -> Result<(), Error> {
        match fs::symlink_metadata(self.layout.session_path(digest)) {
            Ok(_) => Err(ErrorKind::Exists.into()),
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => {
                Err(self
                    .layout
                    .session_failed("look for a session's file", digest, source))
            }
        }
    }

    /// The frame of the record under a digest, and what its head says.
    pub(crate) fn require_record(&self, digest: &KeyDigest) -> Result<(FrameHead, Vec<u8>), Error> {
        let frame = self.layout.read(digest)?.ok_or(ErrorKind::Gone)?;
        let head = FrameHead::read(&frame).map_err(frame_error)?;
        match head.kind {
            FrameKind::Record => Ok((head, frame)),
            FrameKind::Rotated | FrameKind::Ended => Err(ErrorKind::Gone.into()),
        }
    }

    /// The comparison of compare-and-swap: the revision that follows the stored record,
    /// where `record` is based on it, and whose the stored record is.
    pub(crate) fn next_revision(
        &self,
        digest: &KeyDigest,
        record: &Record,
    ) -> Result<(Revision, Option<SubjectDigest>), Error> {
        let frame = self.layout.read(digest)?.ok_or(ErrorKind::Gone)?;
        next_revision_in(&frame, record)
    }

    /// The same comparison, of the file that is about to be replaced and is locked from now on.
    pub(crate) fn lock_based_on(
        &self,
        digest: &KeyDigest,
        record: &Record,
    ) -> Result<LockedFile, Error> {
        let locked = self.lock_file(digest)?.ok_or(ErrorKind::Gone)?;
        next_revision_in(locked.frame.as_ref().map_err(Error::clone)?, record)?;
        Ok(locked)
    }
}

fn next_revision_in(
    frame: &[u8],
    record: &Record,
) -> Result<(Revision, Option<SubjectDigest>), Error> {
    let (head, subject) = FrameHead::read_with_subject(frame).map_err(frame_error)?;
    if head.kind != FrameKind::Record {
        return Err(ErrorKind::Gone.into());
    }
    let next = record.next_revision_after(head.revision)?;
    Ok((next, subject))
}

pub(crate) fn load(layout: &Layout, digest: &KeyDigest) -> Result<Option<Stored>, Error> {
    let frame = layout.read(digest)?;
    frame.map(|frame| decode(&frame)).transpose()
}

pub(crate) fn decode(frame: &[u8]) -> Result<Stored, Error> {
    Stored::decode(frame).map_err(frame_error)
}

/// The subject of the record in a frame; a rotation mark and a tombstone have none.
pub(crate) fn subject_in(frame: &[u8]) -> Result<Option<SubjectDigest>, Error> {
    Ok(FrameHead::read_with_subject(frame)?.1)
}

/// A file that is longer than any frame holds no frame.
fn frame_error(error: Error) -> Error {
    match error.kind() {
        ErrorKind::TooLarge => {
            Error::new(ErrorKind::Corrupt, "file is longer than any frame").with_source(error)
        }
        _ => error,
    }
}

fn make_folders(layout: &Arc<Layout>) -> io::Result<Locks> {
    make_private_folder_unsynced(layout.root())?;
    for first in 0..=u8::MAX {
        for folder in [layout.session_folder(first), layout.entry_folder(first)] {
            layout.make_in(&folder, || make_private_folder_unsynced(&folder))?;
        }
    }
    let locks = Locks::open(layout)?;
    for made in [
        &layout.locks_folder(),
        &layout.subjects_folder(),
        layout.root(),
        &layout.path,
    ] {
        layout.sync_folder(made)?;
    }
    Ok(locks)
}

//! The index by subject: an empty file for each record with a subject.
//!
//! Two invariants. A record's file gets its name only while its entry stands on the disk. An
//! entry is removed only by who holds the lock of its digest and has seen that no record
//! of that subject stands there. Whoever writes the record holds the same lock, so a
//! record that stands is always listed. An orphan, an entry whose session is gone or
//! changed owner, may be left by a crash, and is harmless.

use std::io;

use cloakroom_core::store::{KeyDigest, SubjectDigest};
use cloakroom_core::{Error, ErrorKind};
use cloakroom_disk::private_options;

use crate::error::failed;
use crate::files::{Files, subject_in};
use crate::layout::SubjectEntry;

impl Files {
    /// Makes and syncs the entry of a record that is about to be written. A record without
    /// a subject has no entry.
    pub(crate) fn add_entry(
        &self,
        subject: Option<SubjectDigest>,
        digest: &KeyDigest,
    ) -> Result<(), Error> {
        match SubjectEntry::of(subject, digest) {
            Some(entry) => self.make_entry(&entry),
            None => Ok(()),
        }
    }

    /// Called with the lock of the digest: from here until the lock is given back, the
    /// entry stands. A sweep may have removed it as an orphan since it was added, where
    /// the writer was stopped for long.
    pub(crate) fn keep_entry(
        &self,
        subject: Option<SubjectDigest>,
        digest: &KeyDigest,
    ) -> Result<(), Error> {
        match SubjectEntry::of(subject, digest) {
            Some(entry) if !self.has_entry(&entry)? => self.make_entry(&entry),
            _ => Ok(()),
        }
    }

    pub(crate) fn has_entry(&self, entry: &SubjectEntry) -> Result<bool, Error> {
        let found = self.layout.entry_path(entry).try_exists();
        found.map_err(|source| self.entry_failed("look for a subject's entry", entry, source))
    }

    fn entry_failed(&self, operation: &str, entry: &SubjectEntry, source: io::Error) -> Error {
        let folder = self.layout.entry_folder(entry.subject.as_bytes()[0]);
        failed(operation, &folder, source)
    }

    /// Removes the entry of a record that is gone from the disk. Where that fails, a
    /// sweep removes the orphan.
    pub(crate) fn drop_entry(&self, subject: Option<SubjectDigest>, digest: &KeyDigest) {
        if let Some(entry) = SubjectEntry::of(subject, digest) {
            let _ = self.remove_orphan(&entry);
        }
    }

    /// Makes the file, which may exist already, and syncs its folder.
    fn make_entry(&self, entry: &SubjectEntry) -> Result<(), Error> {
        let mut options = private_options();
        options.write(true).create_new(true);
        let folder = self.layout.entry_folder(entry.subject.as_bytes()[0]);
        let path = self.layout.entry_path(entry);
        match self.layout.make_in(&folder, || options.open(&path)) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => {
                return Err(self.entry_failed("make a subject's entry", entry, source));
            }
        }
        self.layout.sync_entries(&entry.subject)
    }

    /// Removes an entry if it is an orphan, judged with the lock of its digest.
    pub(crate) fn remove_orphan(&self, entry: &SubjectEntry) -> Result<(), Error> {
        let _lock = self.locks.lock(&entry.digest)?;
        if self.is_orphan(entry)? {
            self.layout.remove_entry(entry)?;
        }
        Ok(())
    }

    pub(crate) fn is_orphan(&self, entry: &SubjectEntry) -> Result<bool, Error> {
        match self.layout.read(&entry.digest) {
            Ok(frame) => Ok(!frame.is_some_and(|frame| may_be_of(&entry.subject, &frame))),
            Err(error) if error.kind() == ErrorKind::Corrupt => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Whether a frame is a record of the subject. One that cannot be read may be anybody's.
fn may_be_of(subject: &SubjectDigest, frame: &[u8]) -> bool {
    subject_in(frame).map_or(true, |found| found == Some(*subject))
}

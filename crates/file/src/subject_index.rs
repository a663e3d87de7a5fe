//! The index by subject: an empty file for each record with a subject.
//!
//! Two invariants. A record's file gets its name only while its entry stands on the disk. An
//! entry is removed only by who holds the lock of its digest and has seen that no record
//! of that subject stands there. Whoever writes the record holds the same lock, so a
//! record that stands is always listed. An orphan, an entry whose session is gone or
//! changed owner, may be left by a crash, and is harmless.

use std::io;

use cloakroom_core::Error;
use cloakroom_core::store::{KeyDigest, SubjectDigest};
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
            Some(entry) if !self.layout.entry_path(&entry).exists() => self.make_entry(&entry),
            _ => Ok(()),
        }
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
        match options.open(self.layout.entry_path(entry)) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => {
                let folder = self.layout.entry_folder(entry.subject.as_bytes()[0]);
                return Err(failed("make a subject's entry", &folder, source));
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
        let frame = self.layout.read(&entry.digest)?;
        Ok(!frame.is_some_and(|frame| may_be_of(&entry.subject, &frame)))
    }
}

/// Whether a frame is a record of the subject. One that cannot be read may be anybody's.
fn may_be_of(subject: &SubjectDigest, frame: &[u8]) -> bool {
    subject_in(frame).map_or(true, |found| found == Some(*subject))
}

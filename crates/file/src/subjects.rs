//! Whose sessions are whose: an empty file for each record with a subject.
//!
//! Two invariants: a record takes its name only while its entry stands on the disk,
//! and an entry is removed only by who holds the lock of its digest and has seen
//! there no record of that subject. Whoever makes both holds that lock as well, so
//! a record that stands is always listed, and an entry without its record, which a
//! crash leaves, is harmless.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::PathBuf;

use cloakroom_core::store::{KeyDigest, Listed, Revoke, Stored, SubjectDigest};
use cloakroom_core::{Error, ErrorKind};

use crate::access::private;
use crate::files::{Files, owner_of};
use crate::folder::{self, Folder, failed, found};
use crate::locks::Held;
use crate::unavailable;

/// How often a revocation looks for sessions that have moved out of its way.
const PASSES_MAX: usize = 32;

/// An entry: that this digest may hold a record of that subject.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) subject: SubjectDigest,
    pub(crate) digest: KeyDigest,
}

impl Entry {
    pub(crate) fn of(subject: &SubjectDigest, digest: &KeyDigest) -> Self {
        Self {
            subject: *subject,
            digest: *digest,
        }
    }

    pub(crate) fn place(&self, folder: &Folder) -> PathBuf {
        let name = format!("{}.{}", self.subject.to_hex(), self.digest.to_hex());
        folder.subject_fan(self.subject.as_bytes()[0]).join(name)
    }

    /// From the name of a file in the folder of subjects that begin so.
    pub(crate) fn parse(first: u8, name: &str) -> Option<Self> {
        let (subject, digest) = name.split_once('.')?;
        let subject = SubjectDigest::from_hex(subject)?;
        let digest = KeyDigest::from_hex(digest)?;
        (subject.as_bytes()[0] == first).then_some(Self { subject, digest })
    }

    /// Makes the file, and has it on the disk; it may stand already.
    fn make(&self, folder: &Folder) -> Result<(), Error> {
        let mut options = private();
        match options
            .write(true)
            .create_new(true)
            .open(self.place(folder))
        {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(failed("cannot list a session", source)),
        }
        folder.sync_subjects(self.subject.as_bytes()[0])
    }

    /// Under the lock of the digest: it stands from here until the lock is given
    /// back, though a sweep has taken it from a writer that was stopped for long.
    pub(crate) fn renew(&self, folder: &Folder) -> Result<(), Error> {
        match self.place(folder).try_exists() {
            Ok(true) => Ok(()),
            _ => self.make(folder),
        }
    }

    /// Whether the record in a frame is whom this lists. One that cannot be read
    /// may be.
    fn is_of(&self, frame: &[u8]) -> bool {
        match owner_of(frame) {
            Ok(subject) => subject == Some(self.subject),
            Err(_) => true,
        }
    }
}

impl Files {
    /// Makes an entry before its record; nothing for a record that is nobody's.
    pub(crate) fn announce(
        &self,
        subject: Option<&SubjectDigest>,
        digest: &KeyDigest,
    ) -> Result<Option<Entry>, Error> {
        let entry = subject.map(|subject| Entry::of(subject, digest));
        if let Some(entry) = &entry {
            entry.make(&self.folder)?;
        }
        Ok(entry)
    }

    /// Removes an entry whose record is gone, and that is on the disk. Where it
    /// cannot, a sweep will.
    pub(crate) fn withdraw(&self, entry: &Entry) {
        let _ = self.remove_dangling(entry);
    }

    pub(crate) fn withdraw_of(&self, subject: Option<&SubjectDigest>, digest: &KeyDigest) {
        if let Some(subject) = subject {
            self.withdraw(&Entry::of(subject, digest));
        }
    }

    /// Judges the entry in the same step as the removal.
    pub(crate) fn remove_dangling(&self, entry: &Entry) -> Result<(), Error> {
        let _held = self.locks.hold(&entry.digest)?;
        if self.dangles(entry)? {
            let removed = found(fs::remove_file(entry.place(&self.folder)));
            removed.map_err(|source| failed("cannot remove an entry", source))?;
        }
        Ok(())
    }

    pub(crate) fn dangles(&self, entry: &Entry) -> Result<bool, Error> {
        let frame = self.folder.read(&entry.digest)?;
        Ok(!frame.is_some_and(|frame| entry.is_of(&frame)))
    }

    /// The digests in a subject's entries. A folder is not read in one step: of a
    /// session that moves meanwhile, both entries may be missed. So every lock is
    /// held, under which no record takes a name and no entry is removed.
    fn entries(
        &self,
        subject: &SubjectDigest,
        _: &[Held<'_>],
    ) -> Result<BTreeSet<KeyDigest>, Error> {
        let listed = self.folder.list_subjects(subject.as_bytes()[0]);
        let listed = listed.map_err(|source| failed("cannot list a folder", source))?;
        let theirs = listed.iter().filter_map(|entry| match entry {
            folder::Entry::Listed(entry) if entry.subject == *subject => Some(entry.digest),
            _ => None,
        });
        Ok(theirs.collect())
    }

    /// As they stand at one instant, so that one that moves is neither missed nor
    /// listed twice.
    pub(crate) fn sessions_of(&self, subject: &SubjectDigest) -> Result<Vec<Listed>, Error> {
        let held = self.locks.hold_all()?;
        let mut listed = Vec::new();
        for digest in self.entries(subject, &held)? {
            match self.load(&digest) {
                Ok(Some(Stored::Record(record))) if record.subject_digest() == Some(*subject) => {
                    listed.push(Listed::new(digest, record));
                }
                Err(error) if error.kind() == ErrorKind::Unavailable => return Err(error),
                _ => {}
            }
        }
        Ok(listed)
    }

    pub(crate) fn revoke(
        &self,
        subject: &SubjectDigest,
        which: Revoke,
    ) -> Result<Vec<KeyDigest>, Error> {
        let mut relied_on = Vec::new();
        let mut ended = Vec::new();
        let done = self.end_all(subject, which, &mut relied_on, &mut ended);
        // Those that were ended are, though others may still stand.
        self.folder.sync(&relied_on)?;
        for digest in &ended {
            self.withdraw_of(Some(subject), digest);
        }
        done.map(|()| ended)
    }

    fn end_all(
        &self,
        subject: &SubjectDigest,
        which: Revoke,
        relied_on: &mut Vec<KeyDigest>,
        ended: &mut Vec<KeyDigest>,
    ) -> Result<(), Error> {
        // Asked under the lock of the digest that is judged: a rotation of the one
        // to be spared is then over, or not begun.
        let is_meant = |at: &KeyDigest, owner: &Result<Option<SubjectDigest>, Error>| {
            let is_theirs = match owner {
                Ok(owner) => *owner == Some(*subject),
                Err(_) => Entry::of(subject, at).place(&self.folder).exists(),
            };
            let is_spared =
                || matches!(which, Revoke::AllBut(kept) if self.whereabouts(&kept) == *at);
            is_theirs && !is_spared()
        };
        let mut end = |digest: &KeyDigest| {
            let found = self.end(digest, relied_on, is_meant)?;
            ended.extend(found.map(|ended| ended.digest));
            Ok(())
        };
        if let Revoke::One(meant) = which {
            return end(&meant);
        }
        let mut asked = BTreeSet::new();
        for _ in 0..PASSES_MAX {
            let mut fresh = self.entries(subject, &self.locks.hold_all()?)?;
            // What was ended keeps its entry for now: another one is of a session
            // that has moved, or of one that has just begun.
            fresh.retain(|digest| !asked.contains(digest));
            if fresh.is_empty() {
                return Ok(());
            }
            fresh.iter().try_for_each(&mut end)?;
            asked.append(&mut fresh);
        }
        Err(unavailable(
            "the sessions of this subject change faster than they can be ended; try again",
        ))
    }

    /// Where a session is that stood there once.
    fn whereabouts(&self, digest: &KeyDigest) -> KeyDigest {
        let mark = |at: &KeyDigest| match self.load(at) {
            Ok(Some(Stored::Rotated { to, .. })) => Ok::<_, Error>(Some(to)),
            _ => Ok(None),
        };
        Stored::resolve_rotations(digest, mark).unwrap_or(*digest)
    }
}

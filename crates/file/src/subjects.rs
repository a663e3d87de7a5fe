//! The sessions of one subject: their list, and their end.

use std::collections::BTreeSet;

use cloakroom_core::store::{
    Ending, KeyDigest, ListPage, Listed, Revoke, RotationPath, ScanCursor, Stored, SubjectDigest,
};
use cloakroom_core::{Error, ErrorKind};

use crate::error::unavailable;
use crate::files::Files;
use crate::layout::SubjectEntry;
use crate::writes::{EndOutcome, Owner};

/// Sessions that a revocation ends before it syncs their end and removes their entries.
const STEP_MAX: usize = 256;

/// How often a revocation lists a subject's sessions again, for those that have moved
/// since the last time.
const PASSES_MAX: usize = 32;

impl Files {
    /// One page, in the order of the entries' digests. It holds no lock: an entry whose
    /// session has moved since the folder was read leads on, along its rotation marks.
    pub(crate) fn list(
        &self,
        subject: &SubjectDigest,
        from: Option<&ScanCursor>,
    ) -> Result<ListPage, Error> {
        let from = from.map(ScanCursor::digest).transpose()?;
        let mut entries = self.layout.list_entries_of(subject)?;
        // Reading a long folder is no single step: of a session that moved meanwhile, both
        // entries may have been missed. The new one stands by now.
        entries.append(&mut self.layout.list_entries_of(subject)?);
        let rest = entries.into_iter().filter(|entry| Some(*entry) > from);
        // Where the sessions of this page were found.
        let mut found = BTreeSet::new();
        ListPage::fill(rest.map(|entry| Ok((entry, self.find(subject, entry, &mut found)?))))
    }

    /// The session that an entry leads to, unless it was found by another entry. `None`
    /// for an orphan, for a session that cannot be read, and for the entry of a session that
    /// is about to move there: that one is found by the entry of where it was.
    fn find(
        &self,
        subject: &SubjectDigest,
        entry: KeyDigest,
        found: &mut BTreeSet<KeyDigest>,
    ) -> Result<Option<Listed>, Error> {
        let mut path = RotationPath::from(entry);
        while !found.contains(path.at()) {
            match self.load(path.at()) {
                Ok(Some(Stored::Rotated { to, .. })) if path.follow(to).is_ok() => {}
                Ok(Some(Stored::Record(record))) if record.subject_digest() == Some(*subject) => {
                    found.insert(*path.at());
                    return Ok(Some(Listed::new(*path.at(), record)));
                }
                Err(error) if error.kind() == ErrorKind::Unavailable => return Err(error),
                _ => break,
            }
        }
        Ok(None)
    }

    /// In steps: when one is done, the end of its sessions is on the disk and their
    /// entries are gone, whatever comes of the next.
    pub(crate) fn revoke(
        &self,
        subject: &SubjectDigest,
        which: Revoke,
        ending: Option<&Ending>,
    ) -> Result<Vec<KeyDigest>, Error> {
        let mut ended = Vec::new();
        if let Revoke::One(meant) = which {
            self.end_step(subject, which, ending, &[meant], &mut ended)?;
            return Ok(ended);
        }
        let mut asked = BTreeSet::new();
        for _ in 0..PASSES_MAX {
            let mut fresh = self.layout.list_entries_of(subject)?;
            fresh.retain(|digest| !asked.contains(digest));
            if fresh.is_empty() {
                // Reading a folder is no single step: both entries of a session that
                // moved meanwhile may have been missed. While all the locks are held, no
                // record takes a name and no entry is removed.
                let _locks = self.locks.lock_all()?;
                fresh = self.layout.list_entries_of(subject)?;
                fresh.retain(|digest| !asked.contains(digest));
            }
            if fresh.is_empty() {
                return Ok(ended);
            }
            for step in Vec::from_iter(fresh.iter().copied()).chunks(STEP_MAX) {
                self.end_step(subject, which, ending, step, &mut ended)?;
            }
            asked.append(&mut fresh);
        }
        Err(unavailable(
            "the sessions of this subject change faster than they can be ended; try again",
        ))
    }

    fn end_step(
        &self,
        subject: &SubjectDigest,
        which: Revoke,
        ending: Option<&Ending>,
        step: &[KeyDigest],
        ended: &mut Vec<KeyDigest>,
    ) -> Result<(), Error> {
        let before = ended.len();
        let mut seen = Vec::new();
        let done = self.end_each(subject, which, ending, step, &mut seen, ended);
        // The end of those that were ended holds, also where others still stand.
        let done = self.layout.sync(&seen).and(done);
        for digest in &ended[before..] {
            self.drop_entry(Some(*subject), digest);
        }
        done.map_err(|error| Revoke::cut_short(error, ended.len()))
    }

    fn end_each(
        &self,
        subject: &SubjectDigest,
        which: Revoke,
        ending: Option<&Ending>,
        step: &[KeyDigest],
        seen: &mut Vec<KeyDigest>,
        ended: &mut Vec<KeyDigest>,
    ) -> Result<(), Error> {
        // Asked with the lock of the digest: the session to be spared is either there,
        // and cannot be rotated away, or it is not.
        let is_meant = |digest: &KeyDigest, owner: &Owner| {
            let is_theirs = match owner {
                Ok(owner) => *owner == Some(*subject),
                Err(_) => self.has_entry(&SubjectEntry {
                    subject: *subject,
                    digest: *digest,
                })?,
            };
            Ok(match which {
                Revoke::AllBut(kept) => is_theirs && self.current_digest(&kept)? != *digest,
                Revoke::All | Revoke::One(_) => is_theirs,
            })
        };
        for digest in step {
            match self.end_where(digest, ending, seen, is_meant)? {
                EndOutcome::Ended(digest, _) => ended.push(digest),
                // In a list, a session out of reach from here has an entry of its own.
                EndOutcome::OutOfReach(error) if matches!(which, Revoke::One(_)) => {
                    return Err(error);
                }
                EndOutcome::Nothing | EndOutcome::OutOfReach(_) => {}
            }
        }
        Ok(())
    }

    /// Follows rotation marks to the session that is to be spared. A file that cannot be
    /// read may be a mark that leads to it: then nobody knows which session that is.
    fn current_digest(&self, spared: &KeyDigest) -> Result<KeyDigest, Error> {
        Stored::resolve_rotations(spared, |at| match self.load(at) {
            Ok(Some(Stored::Rotated { to, .. })) => Ok(Some(to)),
            Ok(_) => Ok(None),
            Err(error) => Err(unavailable(format!(
                "cannot find the session that is to be spared, since a file on the way to it \
                 cannot be read: {error}; no more sessions were ended"
            ))
            .with_source(error)),
        })
    }
}

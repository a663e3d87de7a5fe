//! The sessions of one subject: their list, and their end.

use std::collections::BTreeSet;

use cloakroom_core::store::{KeyDigest, Listed as ListedSession, Revoke, Stored, SubjectDigest};
use cloakroom_core::{Error, ErrorKind};

use crate::error::unavailable;
use crate::files::Files;
use crate::layout::{Listed, SubjectEntry};
use crate::locks::LockGuard;
use crate::writes::{Ending, Owner};

/// How often a revocation lists a subject's sessions again, for those that have moved
/// since the last time.
const PASSES_MAX: usize = 32;

impl Files {
    /// The sessions as they stand at one instant: one that moves meanwhile is neither
    /// missed nor listed twice.
    pub(crate) fn sessions_of(&self, subject: &SubjectDigest) -> Result<Vec<ListedSession>, Error> {
        let locks = self.locks.lock_all()?;
        let mut sessions = Vec::new();
        for digest in self.digests_of(subject, &locks)? {
            match self.load(&digest) {
                Ok(Some(Stored::Record(record))) if record.subject_digest() == Some(*subject) => {
                    sessions.push(ListedSession::new(digest, record));
                }
                Err(error) if error.kind() == ErrorKind::Unavailable => return Err(error),
                // An orphan, or a session that cannot be read.
                _ => {}
            }
        }
        Ok(sessions)
    }

    /// The digests in a subject's entries. Reading a folder is no single step, so both
    /// entries of a session that moves meanwhile could be missed. Hence all the locks:
    /// while they are held, no record takes a name and no entry is removed.
    fn digests_of(
        &self,
        subject: &SubjectDigest,
        _: &[LockGuard<'_>],
    ) -> Result<BTreeSet<KeyDigest>, Error> {
        let listed = self.layout.list_entries(subject.as_bytes()[0])?;
        let theirs = listed.iter().filter_map(|listed| match listed {
            Listed::SubjectEntry(entry) if entry.subject == *subject => Some(entry.digest),
            _ => None,
        });
        Ok(theirs.collect())
    }

    pub(crate) fn revoke(
        &self,
        subject: &SubjectDigest,
        which: Revoke,
    ) -> Result<Vec<KeyDigest>, Error> {
        let (mut seen, mut ended) = (Vec::new(), Vec::new());
        let done = self.end_all(subject, which, &mut seen, &mut ended);
        // The end of those that were ended holds, also where others still stand.
        self.layout.sync(&seen)?;
        for digest in &ended {
            self.drop_entry(Some(*subject), digest);
        }
        done.map(|()| ended)
    }

    fn end_all(
        &self,
        subject: &SubjectDigest,
        which: Revoke,
        seen: &mut Vec<KeyDigest>,
        ended: &mut Vec<KeyDigest>,
    ) -> Result<(), Error> {
        // Asked with the lock of the digest: the session to be spared is either there,
        // and cannot be rotated away, or it is not.
        let is_meant = |digest: &KeyDigest, owner: &Owner| {
            let is_theirs = match owner {
                Ok(owner) => *owner == Some(*subject),
                Err(_) => self.has_entry(subject, digest),
            };
            Ok(match which {
                Revoke::AllBut(kept) => is_theirs && self.current_digest(&kept)? != *digest,
                Revoke::All | Revoke::One(_) => is_theirs,
            })
        };
        if let Revoke::One(meant) = which {
            let one = self.end(&meant, seen, is_meant)?.required()?;
            ended.extend(one.map(|(digest, _)| digest));
            return Ok(());
        }
        let mut asked = BTreeSet::new();
        for _ in 0..PASSES_MAX {
            let mut fresh = self.digests_of(subject, &self.locks.lock_all()?)?;
            // The entries of ended sessions stand until the end is on the disk. Others
            // are of sessions that have moved, or have just begun.
            fresh.retain(|digest| !asked.contains(digest));
            if fresh.is_empty() {
                return Ok(());
            }
            for digest in &fresh {
                // A session out of reach from here has an entry of its own.
                if let Ending::Ended(digest, _) = self.end(digest, seen, is_meant)? {
                    ended.push(digest);
                }
            }
            asked.append(&mut fresh);
        }
        Err(unavailable(
            "the sessions of this subject change faster than they can be ended; try again",
        ))
    }

    fn has_entry(&self, subject: &SubjectDigest, digest: &KeyDigest) -> bool {
        let (subject, digest) = (*subject, *digest);
        let entry = SubjectEntry { subject, digest };
        self.layout.entry_path(&entry).exists()
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

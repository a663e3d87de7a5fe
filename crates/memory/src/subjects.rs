//! The sessions of a subject.

use std::collections::BTreeSet;

use cloakroom_core::store::{
    BoxFuture, KeyDigest, Listed, Revoke, RotationPath, Stored, SubjectDigest, Subjects,
};
use cloakroom_core::{Error, ErrorKind};

use crate::{Inner, MemoryStore, NAME, subject_of};

/// How often a revocation reads the index again for sessions that have moved meanwhile.
const PASSES_MAX: usize = 32;

impl Subjects for MemoryStore {
    fn sessions_of<'a>(
        &'a self,
        subject: &'a SubjectDigest,
    ) -> BoxFuture<'a, Result<Vec<Listed>, Error>> {
        Box::pin(async move { Ok(self.inner.sessions_of(subject)) })
    }

    fn revoke<'a>(
        &'a self,
        subject: &'a SubjectDigest,
        which: Revoke,
    ) -> BoxFuture<'a, Result<Vec<KeyDigest>, Error>> {
        Box::pin(async move { self.inner.revoke(subject, which) })
    }
}

impl Inner {
    fn sessions_of(&self, subject: &SubjectDigest) -> Vec<Listed> {
        let mut listed = Vec::new();
        let mut seen = BTreeSet::new();
        for digest in self.index.digests(subject) {
            // A session that has moved since is listed at its current digest. Where too
            // many marks lead there, its entry at that digest lists it.
            let mut path = RotationPath::from(digest);
            loop {
                match self.map.get(path.at()).as_deref() {
                    Some(Stored::Rotated { to, .. }) if path.follow(*to).is_ok() => continue,
                    Some(Stored::Record(record))
                        if record.subject_digest() == Some(*subject) && seen.insert(*path.at()) =>
                    {
                        listed.push(Listed::new(*path.at(), record.clone()));
                    }
                    _ => {}
                }
                break;
            }
        }
        listed
    }

    fn revoke(&self, subject: &SubjectDigest, which: Revoke) -> Result<Vec<KeyDigest>, Error> {
        // This is called under the lock of the digest `at`, so no rotation of the
        // session to be spared is half done.
        let is_meant = |at: &KeyDigest, stored: &Stored| {
            let is_spared = match which {
                Revoke::AllBut(kept) => self.current_digest(&kept)? == *at,
                Revoke::All | Revoke::One(_) => false,
            };
            Ok(subject_of(stored) == Some(*subject) && !is_spared)
        };
        if let Revoke::One(meant) = which {
            return Ok(self.end(&meant, is_meant)?.into_iter().collect());
        }
        let mut ended = Vec::new();
        let mut visited = BTreeSet::new();
        for _ in 0..PASSES_MAX {
            // A session may rotate away before its turn, and its marks may be gone or too
            // many by then. But it is listed at its current digest: once the index lists
            // nothing that this loop has not visited, none was missed.
            let listed = BTreeSet::from_iter(self.index.digests(subject));
            if listed.is_subset(&visited) {
                return Ok(ended);
            }
            for digest in &listed {
                ended.extend(self.end(digest, is_meant)?);
            }
            visited = listed;
        }
        let why = "the subject's sessions rotate or begin faster than they can be ended, and some \
                   may still stand: revoke again";
        Err(Error::new(ErrorKind::Unavailable, why).in_store(NAME))
    }

    /// Follows rotation marks from `digest` to the session's current digest.
    fn current_digest(&self, digest: &KeyDigest) -> Result<KeyDigest, Error> {
        let mark = |at: &KeyDigest| match self.map.get(at).as_deref() {
            Some(Stored::Rotated { to, .. }) => Ok(Some(*to)),
            _ => Ok(None),
        };
        Stored::resolve_rotations(digest, mark).map_err(|error: Error| error.in_store(NAME))
    }
}

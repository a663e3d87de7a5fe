//! The sessions of a subject.

use std::collections::BTreeSet;

use cloakroom_core::store::{
    BoxFuture, KeyDigest, Listed, Revoke, RotationPath, Stored, SubjectDigest, Subjects,
};
use cloakroom_core::{Error, ErrorKind};

use crate::{Inner, MemoryStore, NAME, subject_of};

/// How often a revocation looks for sessions that have moved out of its way.
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
            // One that has moved since is listed where it is; where that is too far,
            // by the entry that it has there.
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
        // Asked under the lock of the digest that is judged: a rotation of the one
        // to be spared is then over, or not begun.
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
        let mut asked = BTreeSet::new();
        for _ in 0..PASSES_MAX {
            // A session that moves on leaves a mark that may be gone, or too far
            // behind, when its turn comes; but it is listed where it is. Only where
            // all that is listed was asked since it was, none has slipped past.
            let listed = BTreeSet::from_iter(self.index.digests(subject));
            if listed.is_subset(&asked) {
                return Ok(ended);
            }
            for digest in &listed {
                ended.extend(self.end(digest, is_meant)?);
            }
            asked = listed;
        }
        let message = "the sessions of this subject begin faster than they can be ended";
        Err(Error::new(ErrorKind::Unavailable, message).in_store(NAME))
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

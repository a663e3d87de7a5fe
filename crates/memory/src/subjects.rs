//! The sessions of a subject.

use std::collections::BTreeSet;

use cloakroom_core::{
    BoxFuture, Data, Error, ErrorKind, KeyDigest, Listed, ROTATION_HOPS_MAX, Revoke, Stored,
    Subject, Subjects,
};

use crate::{Inner, MemoryStore, NAME, subject_of};

/// How often a revocation looks for sessions that have moved out of its way.
const PASSES_MAX: usize = 32;

impl Subjects for MemoryStore {
    fn sessions_of<'a>(
        &'a self,
        subject: &'a Subject,
    ) -> BoxFuture<'a, Result<Vec<Listed>, Error>> {
        Box::pin(async move { Ok(self.inner.sessions_of(subject)) })
    }

    fn revoke<'a>(
        &'a self,
        subject: &'a Subject,
        which: Revoke,
    ) -> BoxFuture<'a, Result<Vec<KeyDigest>, Error>> {
        Box::pin(async move { self.inner.revoke(subject, which) })
    }
}

impl Inner {
    fn sessions_of(&self, subject: &Subject) -> Vec<Listed> {
        let mut listed = Vec::new();
        let mut seen = BTreeSet::new();
        for digest in self.index.digests(subject) {
            // One that has moved since is listed where it is.
            let mut at = digest;
            for _ in 0..ROTATION_HOPS_MAX {
                match self.map.get(&at).as_deref() {
                    Some(Stored::Rotated { to, .. }) => at = *to,
                    Some(Stored::Record(record))
                        if record.subject.as_ref() == Some(subject) && seen.insert(at) =>
                    {
                        let mut record = record.clone();
                        record.data = Data::empty();
                        listed.push(Listed { digest: at, record });
                        break;
                    }
                    _ => break,
                }
            }
        }
        listed
    }

    fn revoke(&self, subject: &Subject, which: Revoke) -> Result<Vec<KeyDigest>, Error> {
        // Asked under the lock of the digest that is judged: a rotation of the one
        // to be spared is then over, or not begun.
        let is_meant = |at: &KeyDigest, stored: &Stored| {
            let is_spared =
                || matches!(which, Revoke::AllBut(kept) if self.whereabouts(&kept) == *at);
            subject_of(stored) == Some(subject) && !is_spared()
        };
        if let Revoke::One(meant) = which {
            return Ok(self.end(&meant, is_meant).into_iter().collect());
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
            let found = listed
                .iter()
                .filter_map(|digest| self.end(digest, is_meant));
            ended.extend(found);
            asked = listed;
        }
        let message = "the sessions of this subject begin faster than they can be ended";
        Err(Error::new(ErrorKind::Unavailable, message).in_store(NAME))
    }

    /// Where a session is that stood there once.
    fn whereabouts(&self, digest: &KeyDigest) -> KeyDigest {
        let mark = |at: &KeyDigest| match self.map.get(at).as_deref() {
            Some(Stored::Rotated { to, .. }) => Ok::<_, Error>(Some(*to)),
            _ => Ok(None),
        };
        Stored::resolve_rotations(digest, mark).unwrap_or(*digest)
    }
}

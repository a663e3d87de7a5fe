//! The sessions of a subject.

use std::collections::BTreeSet;

use cloakroom_core::store::{
    BoxFuture, KeyDigest, LIST_PAGE_ITEMS_MAX, ListPage, Listed, Revoke, RotationPath, ScanCursor,
    Stored, SubjectDigest, Subjects,
};
use cloakroom_core::{Error, ErrorKind};

use crate::yields::yield_now;
use crate::{Inner, MemoryStore, NAME, subject_of};

/// Sessions that a revocation ends before others get their turn.
const STEP_MAX: usize = 128;

/// How often a revocation reads the index again for sessions that have moved meanwhile.
const PASSES_MAX: usize = 32;

impl Subjects for MemoryStore {
    fn list_sessions<'a>(
        &'a self,
        subject: &'a SubjectDigest,
        from: Option<&'a ScanCursor>,
    ) -> BoxFuture<'a, Result<ListPage, Error>> {
        Box::pin(async move {
            let from = from.map(ScanCursor::digest).transpose();
            let from = from.map_err(|error| error.in_store(NAME))?;
            self.inner.page(subject, from)
        })
    }

    fn revoke<'a>(
        &'a self,
        subject: &'a SubjectDigest,
        which: Revoke,
    ) -> BoxFuture<'a, Result<Vec<KeyDigest>, Error>> {
        Box::pin(self.inner.revoke(subject, which))
    }
}

impl Inner {
    fn page(&self, subject: &SubjectDigest, from: Option<KeyDigest>) -> Result<ListPage, Error> {
        let entries = self.index.digests(subject, from, LIST_PAGE_ITEMS_MAX);
        let mut seen = BTreeSet::new();
        ListPage::fill(entries.into_iter().map(|entry| {
            // A session that has moved since is listed at its current digest. Where too
            // many marks lead there, its entry at that digest lists it.
            let mut path = RotationPath::from(entry);
            loop {
                match self.map.get(path.at()).as_deref() {
                    Some(Stored::Rotated { to, .. }) if path.follow(*to).is_ok() => {}
                    Some(Stored::Record(record))
                        if record.subject_digest() == Some(*subject) && seen.insert(*path.at()) =>
                    {
                        let listed = Listed::new(*path.at(), record.clone());
                        return Ok((entry, Some(listed)));
                    }
                    _ => return Ok((entry, None)),
                }
            }
        }))
    }

    async fn revoke(
        &self,
        subject: &SubjectDigest,
        which: Revoke,
    ) -> Result<Vec<KeyDigest>, Error> {
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
        // Many at first, in steps: the index loses the entries of those that are ended.
        let (mut ended, mut after) = (Vec::new(), None);
        loop {
            let some = self.index.digests(subject, after, STEP_MAX);
            if some.len() < STEP_MAX {
                break;
            }
            for digest in &some {
                ended.extend(self.end(digest, is_meant)?);
            }
            after = some.last().copied();
            yield_now().await;
        }
        let mut visited = BTreeSet::new();
        for _ in 0..PASSES_MAX {
            // A session may rotate away before its turn, and its marks may be gone or too
            // many by then. But it is listed at its current digest: once the index lists
            // nothing that this loop has not visited, none was missed.
            let listed = BTreeSet::from_iter(self.index.digests(subject, None, usize::MAX));
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

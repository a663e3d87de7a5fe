//! The sessions of a subject.

use std::collections::BTreeSet;

use cloakroom_core::store::{
    BoxFuture, Ending, KeyDigest, LIST_PAGE_ITEMS_MAX, ListPage, Listed, Revoke, RotationPath,
    ScanCursor, Stored, SubjectDigest, Subjects, Tombstone,
};
use cloakroom_core::{Error, ErrorKind};

use crate::yields::yield_now;
use crate::{Inner, MemoryStore, NAME, standing};

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

    fn end_sessions<'a>(
        &'a self,
        subject: &'a SubjectDigest,
        which: Revoke,
        ending: Option<&'a Ending>,
    ) -> BoxFuture<'a, Result<Vec<KeyDigest>, Error>> {
        Box::pin(self.inner.revoke(subject, which, ending))
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
                match self.peek(path.at()) {
                    Some(Stored::Rotated { to, .. }) if path.follow(to).is_ok() => {}
                    Some(Stored::Record(record))
                        if record.subject_digest() == Some(*subject) && seen.insert(*path.at()) =>
                    {
                        return Ok((entry, Some(Listed::new(*path.at(), record))));
                    }
                    _ => return Ok((entry, None)),
                }
            }
        }))
    }

    /// What stands at a digest. This is no use of it.
    fn peek(&self, digest: &KeyDigest) -> Option<Stored> {
        let now = self.clock.now();
        let shard = self.map.lock(digest.as_bytes());
        let stored = shard.peek(digest.as_bytes());
        stored.filter(|stored| stored.expires_at() > now).cloned()
    }

    /// Ends the record at a digest, or where rotation marks lead from there, if it is of
    /// this subject or the subject does not matter; answers the digest that it stood at.
    /// The session that `kept` leads to is spared.
    pub(crate) fn end(
        &self,
        digest: &KeyDigest,
        whose: Option<&SubjectDigest>,
        kept: Option<&KeyDigest>,
        ending: Option<&Ending>,
    ) -> Result<Option<KeyDigest>, Error> {
        let now = self.clock.now();
        let mut path = RotationPath::from(*digest);
        let mut spared = kept.copied().map(RotationPath::from);
        loop {
            let at = *path.at();
            // Both are locked, so no rotation of the session to be spared is half done.
            let also = spared.as_ref().map_or(at, |spared| *spared.at());
            let mut shards = self.map.lock_both(at.as_bytes(), also.as_bytes());
            if let Some(spared) = &mut spared
                && let Some(Stored::Rotated { to, .. }) =
                    standing(shards.of(also.as_bytes()), &also, now)
            {
                spared.follow(*to).map_err(|error| error.in_store(NAME))?;
                continue;
            }
            let shard = shards.of(at.as_bytes());
            match standing(shard, &at, now) {
                Some(Stored::Rotated { to, .. }) => {
                    path.follow(*to).map_err(|error| error.in_store(NAME))?;
                }
                Some(Stored::Record(record))
                    if (whose.is_none() || record.subject_digest().as_ref() == whose)
                        && (kept.is_none() || also != at) =>
                {
                    let subject = record.subject_digest();
                    let left = ending.map(|ending| Tombstone::new(ending, subject));
                    self.remove(shard, &at);
                    self.remember(shard, at.as_bytes(), left);
                    return Ok(Some(at));
                }
                // What has expired is remembered until its day is over: that goes too.
                Some(Stored::Ended(_)) | None if ending.is_none() && whose.is_none() => {
                    self.remove(shard, &at);
                    return Ok(None);
                }
                Some(Stored::Record(_) | Stored::Ended(_)) | None => return Ok(None),
            }
        }
    }

    async fn revoke(
        &self,
        subject: &SubjectDigest,
        which: Revoke,
        ending: Option<&Ending>,
    ) -> Result<Vec<KeyDigest>, Error> {
        let kept = match &which {
            Revoke::AllBut(kept) => Some(kept),
            Revoke::All | Revoke::One(_) => None,
        };
        if let Revoke::One(meant) = which {
            let ended = self.end(&meant, Some(subject), None, ending)?;
            return Ok(ended.into_iter().collect());
        }
        // Many at first, in steps: the index loses the entries of those that are ended.
        let (mut ended, mut after) = (Vec::new(), None);
        loop {
            let some = self.index.digests(subject, after, STEP_MAX);
            if some.len() < STEP_MAX {
                break;
            }
            for digest in &some {
                ended.extend(self.end(digest, Some(subject), kept, ending)?);
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
                ended.extend(self.end(digest, Some(subject), kept, ending)?);
            }
            visited = listed;
        }
        let why = "the subject's sessions rotate or begin faster than they can be ended, and some \
                   may still stand: revoke again";
        Err(Error::new(ErrorKind::Unavailable, why).in_store(NAME))
    }
}

//! The sessions of one subject: their list, and their end.
//!
//! In sled, an iteration over keys is no part of a transaction. So a subject's entries are
//! read while nobody changes them, and the sessions are looked at after that, while others
//! write. Then the entries are read again, until so few of them are new that others can
//! wait while those are looked at. That finds a session which has moved in between, however
//! fast it moves, and whether or not rotation marks still lead to it.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::Duration;

use cloakroom_core::store::{KeyDigest, Listed, Revoke, Stored, SubjectDigest};
use cloakroom_core::{Error, ErrorKind};

use crate::error::failed;
use crate::layout::parse_digest;
use crate::trees::{EntriesLock, Trees};

/// Sessions that a revocation ends in one transaction. Nobody else reads or writes
/// meanwhile: a millisecond.
const BATCH_MAX: usize = 32;

/// How long a revocation rests between two transactions. A lock here goes to the thread
/// that asks first, and the threads that wait for it have yet to wake up.
const REST: Duration = Duration::from_micros(200);

/// How often a subject's entries are read before others have to wait, however many of the
/// entries are new.
const PASSES_MAX: usize = 8;

impl Trees {
    /// The digests in a subject's entries.
    fn digests_of(
        &self,
        _: &EntriesLock<'_>,
        subject: &SubjectDigest,
    ) -> Result<BTreeSet<KeyDigest>, Error> {
        let keys = self.subjects.scan_prefix(subject.as_bytes()).keys();
        let digests =
            keys.map(|key| Ok(parse_digest(&key.map_err(failed)?[SubjectDigest::BYTES..])));
        digests.filter_map(Result::transpose).collect()
    }

    pub(crate) fn sessions_of(&self, subject: &SubjectDigest) -> Result<Vec<Listed>, Error> {
        let mut seen = BTreeMap::new();
        for pass in 1.. {
            let lock = self.lock_entries();
            let digests = self.digests_of(&lock, subject)?;
            let is_new = |digest: &&KeyDigest| !seen.contains_key(*digest);
            let fresh: Vec<_> = digests.iter().filter(is_new).collect();
            let is_last = fresh.len() <= BATCH_MAX || pass == PASSES_MAX;
            let _lock = is_last.then_some(lock);
            for digest in fresh {
                seen.insert(*digest, self.session_of(subject, digest)?);
            }
            if is_last {
                // A session that has moved is listed where it is now alone.
                seen.retain(|digest, _| digests.contains(digest));
                break;
            }
        }
        Ok(seen.into_values().flatten().collect())
    }

    /// The session under a digest. `None` for an orphan, and where the record cannot be
    /// read.
    fn session_of(
        &self,
        subject: &SubjectDigest,
        digest: &KeyDigest,
    ) -> Result<Option<Listed>, Error> {
        match self.load(digest) {
            Ok(Some(Stored::Record(record))) if record.subject_digest() == Some(*subject) => {
                Ok(Some(Listed::new(*digest, record)))
            }
            Err(error) if error.kind() == ErrorKind::Unavailable => Err(error),
            _ => Ok(None),
        }
    }

    pub(crate) fn revoke(
        &self,
        subject: &SubjectDigest,
        which: Revoke,
    ) -> Result<Vec<KeyDigest>, Error> {
        if let Revoke::One(meant) = which {
            return self.transact(|all| {
                let digest = all.session_to_end(&meant)?;
                Ok(Vec::from_iter(
                    all.end_of(subject, &digest)?.then_some(digest),
                ))
            });
        }
        let (mut ended, mut asked) = (Vec::new(), BTreeSet::new());
        for pass in 1.. {
            let lock = self.lock_entries();
            let digests = self.digests_of(&lock, subject)?;
            let fresh: Vec<_> = digests.difference(&asked).collect();
            if fresh.len() <= BATCH_MAX || pass == PASSES_MAX {
                ended.extend(self.end_batch(&lock, subject, which, &fresh)?);
                break;
            }
            drop(lock);
            for batch in fresh.chunks(BATCH_MAX) {
                ended.extend(self.end_batch(&self.lock_entries(), subject, which, batch)?);
                thread::sleep(REST);
            }
            asked = digests;
        }
        Ok(ended)
    }

    /// Ends those of the sessions that are meant, in one transaction, and answers which
    /// they were.
    fn end_batch(
        &self,
        lock: &EntriesLock<'_>,
        subject: &SubjectDigest,
        which: Revoke,
        batch: &[&KeyDigest],
    ) -> Result<Vec<KeyDigest>, Error> {
        self.transact_locked(lock, |all| {
            let which = which.resolved(|digest| all.session_to_spare(digest))?;
            let mut ended = Vec::new();
            for digest in batch.iter().filter(|digest| which.means(digest)) {
                if all.end_of(subject, digest)? {
                    ended.push(**digest);
                }
            }
            Ok(ended)
        })
    }
}

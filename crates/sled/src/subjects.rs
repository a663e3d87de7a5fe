//! The sessions of one subject: their list, and their end.
//!
//! In sled, an iteration over keys is no part of a transaction. So a subject's entries are
//! read while nobody changes them: of a list those of one page, of a revocation those of
//! one step. Each entry that is meant is gone after its step, so a step that finds no more
//! than it ends was the last: a session that has moved meanwhile has an entry where it is.

use std::ops::Bound::{Excluded, Included};

use cloakroom_core::store::{
    Ending, KeyDigest, LIST_PAGE_ITEMS_MAX, ListPage, Listed, Revoke, RevokeStep, ScanCursor,
    Stored, SubjectDigest,
};
use cloakroom_core::{Error, ErrorKind};

use crate::error::failed;
use crate::layout::{parse_digest, subject_key};
use crate::trees::{EntriesLock, Trees};

/// Sessions that a revocation ends in one transaction. Nobody else reads or writes
/// meanwhile: a millisecond.
const STEP_MAX: usize = 32;

impl Trees {
    /// The digests in the first entries of a subject past this one.
    fn digests_of(
        &self,
        _: &EntriesLock<'_>,
        subject: &SubjectDigest,
        after: Option<&KeyDigest>,
        max: usize,
    ) -> Result<Vec<KeyDigest>, Error> {
        let last = subject_key(subject, &KeyDigest::from_bytes([0xff; KeyDigest::BYTES]));
        let from = match after {
            Some(after) => Excluded(subject_key(subject, after).to_vec()),
            None => Included(subject.as_bytes().to_vec()),
        };
        let keys = self.subjects.range((from, Included(last.to_vec()))).keys();
        let digests =
            keys.map(|key| Ok(parse_digest(&key.map_err(failed)?[SubjectDigest::BYTES..])));
        digests.filter_map(Result::transpose).take(max).collect()
    }

    /// A page is read while nobody writes, so that a session which moves meanwhile is
    /// neither missed nor listed twice: a millisecond.
    pub(crate) fn list(
        &self,
        subject: &SubjectDigest,
        from: Option<&ScanCursor>,
    ) -> Result<ListPage, Error> {
        let from = from.map(ScanCursor::digest).transpose()?;
        let lock = self.lock_entries();
        let digests = self.digests_of(&lock, subject, from.as_ref(), LIST_PAGE_ITEMS_MAX)?;
        ListPage::fill(digests.into_iter().map(|digest| {
            let listed = match self.load(&digest) {
                Ok(Some(Stored::Record(record))) if record.subject_digest() == Some(*subject) => {
                    Some(Listed::new(digest, record))
                }
                Err(error) if error.kind() == ErrorKind::Unavailable => return Err(error),
                // An orphan, or a record that cannot be read.
                _ => None,
            };
            Ok((digest, listed))
        }))
    }

    /// One step of a revocation, in one transaction.
    pub(crate) fn revoke(
        &self,
        subject: &SubjectDigest,
        which: Revoke,
        ending: Option<&Ending>,
    ) -> Result<RevokeStep, Error> {
        let lock = self.lock_entries();
        let named = match which {
            Revoke::One(_) => Vec::new(),
            // One more, which may be the one to spare.
            _ => self.digests_of(&lock, subject, None, STEP_MAX + 1)?,
        };
        self.transact_locked(&lock, |all| {
            let which = match which {
                Revoke::All => Revoke::All,
                Revoke::AllBut(kept) => Revoke::AllBut(all.session_to_spare(&kept)?),
                Revoke::One(meant) => Revoke::One(all.session_to_end(&meant)?),
            };
            let mut meant = named.clone();
            if let Revoke::One(one) = which {
                meant.push(one);
            }
            meant.retain(|digest| which.means(digest));
            let more = meant.len() >= STEP_MAX;
            meant.truncate(STEP_MAX);
            let mut ended = Vec::new();
            for digest in meant {
                if all.end_of(subject, &digest, ending)? {
                    ended.push(digest);
                }
            }
            Ok(RevokeStep { ended, which, more })
        })
    }
}

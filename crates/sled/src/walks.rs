//! What walks over keys: lists, revocations and scans.
//!
//! A walk is no part of a transaction in sled. So the digests of a subject are read
//! alone, while nobody changes them, and what stands there is looked at after that;
//! then they are read again, until those that were not looked at are few enough to
//! keep others waiting. A session that has moved in between is found that way, however
//! fast it moves, and whether or not its marks still lead there.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::Duration;

use cloakroom_core::store::{
    KeyDigest, Listed, Revoke, ScanCursor, ScanPage, Scanned, Stored, SubjectDigest,
};
use cloakroom_core::{Error, ErrorKind};

use crate::failed;
use crate::trees::{Listing, Row, Trees, owner_of};

/// Sessions that a revocation ends in one transaction. Nobody else reads or writes
/// meanwhile: a millisecond.
const PIECE_MAX: usize = 32;

/// How long a revocation rests between two of them. Locks here go to who asks
/// first, and those who wait are not awake yet.
const REST: Duration = Duration::from_micros(200);

/// How often the digests of a subject are read without keeping others out of what
/// comes after: each time but the first, more of them than a piece were new.
const PASSES_MAX: usize = 8;

impl Trees {
    /// The digests of a subject, while nobody changes which they are.
    fn digests(&self, _: &Listing<'_>, owner: &[u8]) -> Result<BTreeSet<KeyDigest>, Error> {
        let keys = self.subjects.scan_prefix(owner).keys();
        let digests = keys.map(|key| {
            let key = key.map_err(failed)?;
            Ok(digest_of(&key[owner.len()..]))
        });
        digests.filter_map(Result::transpose).collect()
    }

    pub(crate) fn sessions_of(&self, subject: &SubjectDigest) -> Result<Vec<Listed>, Error> {
        let owner = owner_of(Some(*subject));
        let mut seen = BTreeMap::new();
        for pass in 1.. {
            let listing = self.listing();
            let listed = self.digests(&listing, &owner)?;
            let fresh: Vec<_> = listed.iter().filter(|at| !seen.contains_key(*at)).collect();
            let is_last = fresh.len() <= PIECE_MAX || pass == PASSES_MAX;
            let _held = is_last.then_some(listing);
            for digest in fresh {
                seen.insert(*digest, self.listed(subject, digest)?);
            }
            if is_last {
                // One that has moved on is left out where it was.
                seen.retain(|digest, _| listed.contains(digest));
                break;
            }
        }
        Ok(seen.into_values().flatten().collect())
    }

    /// `None` for a dangling entry, or a record that cannot be read.
    fn listed(&self, subject: &SubjectDigest, digest: &KeyDigest) -> Result<Option<Listed>, Error> {
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
        let owner = owner_of(Some(*subject));
        if let Revoke::One(meant) = which {
            return self.transact(|all| {
                let at = all.follow(&meant)?;
                Ok(Vec::from_iter(all.end_of(&owner, &at)?.then_some(at)))
            });
        }
        let (mut ended, mut asked) = (Vec::new(), BTreeSet::new());
        for pass in 1.. {
            let listing = self.listing();
            let listed = self.digests(&listing, &owner)?;
            let fresh: Vec<_> = listed.difference(&asked).collect();
            if fresh.len() <= PIECE_MAX || pass == PASSES_MAX {
                ended.extend(self.end_piece(&listing, &owner, which, &fresh)?);
                break;
            }
            drop(listing);
            for piece in fresh.chunks(PIECE_MAX) {
                ended.extend(self.end_piece(&self.listing(), &owner, which, piece)?);
                thread::sleep(REST);
            }
            asked = listed;
        }
        Ok(ended)
    }

    /// Ends those of them that are meant, in one step, and answers which they were.
    fn end_piece(
        &self,
        listing: &Listing<'_>,
        owner: &[u8],
        which: Revoke,
        piece: &[&KeyDigest],
    ) -> Result<Vec<KeyDigest>, Error> {
        self.transact_in(listing, |all| {
            let which = which.resolved(|digest| all.follow(digest))?;
            let mut ended = Vec::new();
            for digest in piece.iter().filter(|digest| which.means(digest)) {
                if all.end_of(owner, digest)? {
                    ended.push(**digest);
                }
            }
            Ok(ended)
        })
    }

    pub(crate) fn scan(&self, from: Option<&ScanCursor>, max: usize) -> Result<ScanPage, Error> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = from.map(ScanCursor::digest).transpose()?;
        let from = from.as_ref().map(|digest| &digest.as_bytes()[..]);
        let rest = (from.map_or(Unbounded, Excluded), Unbounded);
        let found = self.records.range::<&[u8], _>(rest).map(|entry| {
            let (key, bytes) = entry.map_err(failed)?;
            let stored = |bytes| Stored::decode(Row::read(bytes)?.frame());
            Ok(digest_of(&key).map(|digest| Scanned::new(digest, stored(bytes))))
        });
        ScanPage::fill(found.filter_map(Result::transpose), max)
    }
}

/// `None` for a key that is none of ours.
fn digest_of(bytes: &[u8]) -> Option<KeyDigest> {
    bytes.try_into().ok().map(KeyDigest::from_bytes)
}

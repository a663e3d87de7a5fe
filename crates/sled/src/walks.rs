//! What walks over keys: lists, revocations and scans.

use std::sync::MutexGuard;

use cloakroom_core::{
    Data, Error, ErrorKind, KeyDigest, Listed, Revoke, ScanCursor, ScanPage, Scanned, Slot, Subject,
};

use crate::failed;
use crate::trees::{Stored, Trees, owner_of};

impl Trees {
    /// The digests of a subject, as they are while nobody else changes them.
    fn digests(&self, _: &MutexGuard<'_, ()>, owner: &[u8]) -> Result<Vec<KeyDigest>, Error> {
        let keys = self.subjects.scan_prefix(owner).keys();
        let digests = keys.map(|key| {
            let key = key.map_err(failed)?;
            Ok(digest_of(&key[owner.len()..]))
        });
        digests.filter_map(Result::transpose).collect()
    }

    pub(crate) fn sessions_of(&self, subject: &Subject) -> Result<Vec<Listed>, Error> {
        let listing = self.listing();
        let digests = self.digests(&listing, &owner_of(Some(subject.as_str())))?;
        let mut sessions = Vec::with_capacity(digests.len());
        for digest in digests {
            match self.load(&digest) {
                Ok(Some(Slot::Record(mut record))) if record.subject.as_ref() == Some(subject) => {
                    record.data = Data::empty();
                    sessions.push(Listed { digest, record });
                }
                Err(error) if error.kind() == ErrorKind::Unavailable => return Err(error),
                // A dangling entry, or a record that cannot be read.
                _ => {}
            }
        }
        Ok(sessions)
    }

    pub(crate) fn revoke(&self, subject: &Subject, which: Revoke) -> Result<Vec<KeyDigest>, Error> {
        let listing = self.listing();
        let owner = owner_of(Some(subject.as_str()));
        let digests = self.digests(&listing, &owner)?;
        self.transact_listing(&listing, |all| {
            let which = which.followed(|digest| all.follow(digest))?;
            let mut ended = Vec::new();
            for digest in digests.iter().filter(|digest| which.means(digest)) {
                if all.end_of(&owner, digest)? {
                    ended.push(*digest);
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
            let slot = |bytes| Slot::decode(Stored::read(bytes)?.frame());
            Ok(digest_of(&key).map(|digest| Scanned {
                digest,
                slot: slot(bytes),
            }))
        });
        ScanPage::fill(found.filter_map(Result::transpose), max)
    }
}

/// `None` for a key that is none of ours.
fn digest_of(bytes: &[u8]) -> Option<KeyDigest> {
    bytes.try_into().ok().map(KeyDigest::from_bytes)
}

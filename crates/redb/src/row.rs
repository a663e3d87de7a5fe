//! What stands in a slot, and how an entry by subject is written.

use cloakroom_core::store::{FrameHead, FrameKind, KeyDigest, SubjectDigest};
use cloakroom_core::{Error, ErrorKind, Timestamp};

/// The bytes of an owner: a subject's digest, or zeros for nobody.
pub(crate) fn owner_bytes(owner: Option<SubjectDigest>) -> [u8; SubjectDigest::BYTES] {
    owner.map_or(NOBODY, |owner| *owner.as_bytes())
}

const NOBODY: [u8; SubjectDigest::BYTES] = [0; SubjectDigest::BYTES];

/// The owner, and what stands behind it. Damage may make it another's, or nobody's.
pub(crate) fn read_owner(bytes: &[u8]) -> (Option<SubjectDigest>, &[u8]) {
    match bytes.split_first_chunk() {
        Some((&NOBODY, rest)) => (None, rest),
        Some((owner, rest)) => (Some(SubjectDigest::from_bytes(*owner)), rest),
        None => (None, &[]),
    }
}

/// The key of an entry in `subjects`.
pub(crate) fn entry_key(owner: &SubjectDigest, digest: &[u8; KeyDigest::BYTES]) -> Vec<u8> {
    [*owner.as_bytes(), *digest].concat()
}

/// The digest in such a key; `None` where it is damaged.
pub(crate) fn digest_in(entry: &[u8]) -> Option<KeyDigest> {
    let digest = read_owner(entry).1.try_into().ok()?;
    Some(KeyDigest::from_bytes(digest))
}

/// What stands under a digest.
pub(crate) struct Row {
    /// The first half of its key: its deadline, or one before it.
    pub(crate) at: Timestamp,
    pub(crate) bytes: Vec<u8>,
}

impl Row {
    /// The frame in a slot's bytes.
    pub(crate) fn frame_in(bytes: &[u8]) -> &[u8] {
        read_owner(bytes).1
    }

    pub(crate) fn frame(&self) -> &[u8] {
        Self::frame_in(&self.bytes)
    }

    pub(crate) fn head(&self) -> Result<FrameHead, Error> {
        FrameHead::read(self.frame())
    }

    /// The head of a record; a mark is nothing to write to.
    pub(crate) fn record(&self) -> Result<FrameHead, Error> {
        match FrameHead::read_with_subject(self.frame())?.0 {
            head if head.kind == FrameKind::Record => Ok(head),
            _ => Err(ErrorKind::Gone.into()),
        }
    }

    /// Whose record it is: as the frame says, which has a CRC, or where that is
    /// damaged, as stands before it.
    pub(crate) fn owner(&self) -> Option<SubjectDigest> {
        match FrameHead::read_with_subject(self.frame()) {
            Ok((_, subject)) => subject,
            Err(_) => read_owner(&self.bytes).0,
        }
    }

    /// Whether whoever is listed with it may end it.
    pub(crate) fn may_be_of(&self, subject: &SubjectDigest) -> bool {
        match FrameHead::read_with_subject(self.frame()) {
            Ok((_, found)) => found == Some(*subject),
            Err(_) => true,
        }
    }
}

//! What stands in a slot, and how an entry by subject is written.

use cloakroom_core::{Error, ErrorKind, FrameHead, FrameKind, KeyDigest, Timestamp};

/// A subject's bytes, with their length before them; nobody's is a length of its own.
pub(crate) fn owner_bytes(owner: Option<&[u8]>) -> Vec<u8> {
    let length = owner.map_or(NOBODY, |owner| {
        u16::try_from(owner.len()).expect("SUBJECT_BYTES_MAX is less")
    });
    [&length.to_be_bytes(), owner.unwrap_or_default()].concat()
}

const NOBODY: u16 = u16::MAX;

/// The owner, and what stands behind it. Damage may make it another's, or nobody's.
pub(crate) fn read_owner(bytes: &[u8]) -> (Option<&[u8]>, &[u8]) {
    let Some((length, rest)) = bytes.split_first_chunk() else {
        return (None, &[]);
    };
    match u16::from_be_bytes(*length) {
        NOBODY => (None, rest),
        length => match rest.split_at_checked(length.into()) {
            Some((owner, rest)) => (Some(owner), rest),
            None => (None, &[]),
        },
    }
}

/// The key of an entry in `subjects`.
pub(crate) fn entry_key(owner: &[u8], digest: &[u8; KeyDigest::BYTES]) -> Vec<u8> {
    let mut key = owner_bytes(Some(owner));
    key.extend_from_slice(digest);
    key
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
    pub(crate) fn owner(&self) -> Option<&[u8]> {
        match FrameHead::read_with_subject(self.frame()) {
            Ok((_, subject)) => subject.map(str::as_bytes),
            Err(_) => read_owner(&self.bytes).0,
        }
    }

    /// Whether whoever is listed with it may end it.
    pub(crate) fn may_be_of(&self, subject: &[u8]) -> bool {
        match FrameHead::read_with_subject(self.frame()) {
            Ok((_, found)) => found.map(str::as_bytes) == Some(subject),
            Err(_) => true,
        }
    }
}

//! The keys and values of the three trees.

use cloakroom_core::store::{FrameHead, FrameKind, KeyDigest, SubjectDigest};
use cloakroom_core::{Error, ErrorKind, Timestamp};
use sled::IVec;

const DEADLINE_BYTES: usize = 8;

/// A value in `records`: what stands under a digest.
pub(crate) struct Row {
    /// The deadline of its entry in `expiry`. It is under no CRC: where no entry stands
    /// there, it is damaged, and the entry that a sweep comes to is this row's.
    pub(crate) indexed_at: Timestamp,
    pub(crate) bytes: IVec,
}

impl Row {
    pub(crate) fn read(bytes: IVec) -> Result<Self, Error> {
        let (indexed_at, _) = bytes
            .split_first_chunk::<DEADLINE_BYTES>()
            .ok_or_else(|| Error::new(ErrorKind::Corrupt, "record ends before its frame"))?;
        let indexed_at = Timestamp::from_millis(u64::from_be_bytes(*indexed_at));
        Ok(Self { indexed_at, bytes })
    }

    pub(crate) fn encode(indexed_at: Timestamp, frame: &[u8]) -> Vec<u8> {
        [&indexed_at.as_millis().to_be_bytes(), frame].concat()
    }

    pub(crate) fn frame(&self) -> &[u8] {
        &self.bytes[DEADLINE_BYTES..]
    }

    pub(crate) fn head(&self) -> Result<FrameHead, Error> {
        FrameHead::read(self.frame())
    }

    /// The subject of the record; a rotation mark and a tombstone have none.
    pub(crate) fn subject(&self) -> Result<Option<SubjectDigest>, Error> {
        Ok(FrameHead::read_with_subject(self.frame())?.1)
    }

    /// Whether it is a record of the subject. One that cannot be read may be anybody's.
    pub(crate) fn may_be_of(&self, subject: Option<SubjectDigest>) -> bool {
        self.subject().map_or(true, |found| found == subject)
    }

    pub(crate) fn is_tombstone(&self) -> bool {
        self.head().is_ok_and(|head| head.kind == FrameKind::Ended)
    }

    /// The head of a record; `Gone` for a rotation mark and for a tombstone.
    pub(crate) fn record_head(&self) -> Result<FrameHead, Error> {
        match self.head()? {
            head if head.kind == FrameKind::Record => Ok(head),
            _ => Err(ErrorKind::Gone.into()),
        }
    }

    /// The head of a record, and its subject; `Gone` for a rotation mark and for a tombstone.
    pub(crate) fn record(&self) -> Result<(FrameHead, Option<SubjectDigest>), Error> {
        match FrameHead::read_with_subject(self.frame())? {
            found if found.0.kind == FrameKind::Record => Ok(found),
            _ => Err(ErrorKind::Gone.into()),
        }
    }
}

/// A key of `expiry`. Its value is [`subject_bytes`].
pub(crate) fn expiry_key(deadline: Timestamp, digest: &KeyDigest) -> [u8; 40] {
    let mut key = [0; DEADLINE_BYTES + KeyDigest::BYTES];
    key[..DEADLINE_BYTES].copy_from_slice(&deadline.as_millis().to_be_bytes());
    key[DEADLINE_BYTES..].copy_from_slice(digest.as_bytes());
    key
}

/// The parts of a key of `expiry`; `None` where the key is none of the store's.
pub(crate) fn parse_expiry_key(key: &[u8]) -> Option<(Timestamp, KeyDigest)> {
    let (deadline, digest) = key.split_first_chunk()?;
    let deadline = Timestamp::from_millis(u64::from_be_bytes(*deadline));
    Some((deadline, KeyDigest::from_bytes(digest.try_into().ok()?)))
}

/// The subject of an entry of `expiry`; empty for a record without a subject.
pub(crate) fn subject_bytes(subject: &Option<SubjectDigest>) -> &[u8] {
    subject.as_ref().map_or(&[], |subject| subject.as_bytes())
}

pub(crate) fn parse_subject(bytes: &[u8]) -> Option<SubjectDigest> {
    bytes.try_into().ok().map(SubjectDigest::from_bytes)
}

/// A key of `subjects`. Its value is empty.
pub(crate) fn subject_key(subject: &SubjectDigest, digest: &KeyDigest) -> [u8; 64] {
    let mut key = [0; SubjectDigest::BYTES + KeyDigest::BYTES];
    key[..SubjectDigest::BYTES].copy_from_slice(subject.as_bytes());
    key[SubjectDigest::BYTES..].copy_from_slice(digest.as_bytes());
    key
}

/// The digest at the end of a key of `subjects`, and the whole key of `records`; `None`
/// where the key is none of the store's.
pub(crate) fn parse_digest(bytes: &[u8]) -> Option<KeyDigest> {
    bytes.try_into().ok().map(KeyDigest::from_bytes)
}

//! What the table `records` holds under its keys.

use cloakroom_core::store::{Ending, FrameHead, FrameKind, Stored, SubjectDigest, Tombstone};
use cloakroom_core::{Error, ErrorKind, Timestamp};

pub(crate) const NO_SUBJECT: [u8; SubjectDigest::BYTES] = [0; SubjectDigest::BYTES];

/// A frame, behind the digest of its record's subject, or [`NO_SUBJECT`].
///
/// The frame says the same, and is under a CRC. The copy is for a frame that is damaged:
/// it tells which entry of the index by subject has to go with the record.
pub(crate) struct StoredFrame {
    /// The deadline in its key: that of the record, or an earlier one.
    pub(crate) indexed_at: Timestamp,
    bytes: Vec<u8>,
}

impl StoredFrame {
    pub(crate) fn new(indexed_at: Timestamp, subject: Option<SubjectDigest>, frame: &[u8]) -> Self {
        let subject = subject.map_or(NO_SUBJECT, |subject| *subject.as_bytes());
        let bytes = [&subject[..], frame].concat();
        Self { indexed_at, bytes }
    }

    pub(crate) fn read(indexed_at: Timestamp, bytes: &[u8]) -> Self {
        let bytes = bytes.to_vec();
        Self { indexed_at, bytes }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn frame(&self) -> &[u8] {
        frame_in(&self.bytes)
    }

    /// The head of a record; a rotation mark and a tombstone take no writes.
    pub(crate) fn record_head(&self) -> Result<FrameHead, Error> {
        match FrameHead::read(self.frame())? {
            head if head.kind == FrameKind::Record => Ok(head),
            _ => Err(ErrorKind::Gone.into()),
        }
    }

    pub(crate) fn is_tombstone(&self) -> bool {
        FrameHead::read(self.frame()).is_ok_and(|head| head.kind == FrameKind::Ended)
    }

    /// What is left of the record when it is ended so.
    pub(crate) fn tombstone(&self, ending: Option<&Ending>) -> Option<Tombstone> {
        ending.map(|ending| Tombstone::of_frame(self.frame(), ending))
    }

    /// The subject under which the record is listed.
    pub(crate) fn subject(&self) -> Option<SubjectDigest> {
        match FrameHead::read_with_subject(self.frame()) {
            Ok((_, subject)) => subject,
            Err(_) => match self.bytes.first_chunk() {
                Some(&NO_SUBJECT) | None => None,
                Some(subject) => Some(SubjectDigest::from_bytes(*subject)),
            },
        }
    }

    /// Whether an entry of the index that lists the record under this subject is right.
    /// Of a frame that cannot be read it is: the subject must be able to end the session.
    pub(crate) fn may_be_of(&self, subject: &SubjectDigest) -> bool {
        match FrameHead::read_with_subject(self.frame()) {
            Ok((_, found)) => found == Some(*subject),
            Err(_) => true,
        }
    }
}

/// Decodes what a table holds, without a copy.
pub(crate) fn decode(bytes: &[u8]) -> Result<Stored, Error> {
    Stored::decode(frame_in(bytes))
}

/// Where the bytes are too few, the frame is empty, which no reader takes for one.
fn frame_in(bytes: &[u8]) -> &[u8] {
    bytes.get(SubjectDigest::BYTES..).unwrap_or_default()
}

//! The binary form of a record, a rotation mark or a tombstone.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::codec::{self, Cursor, corrupt};
use crate::store::{
    Data, EndReason, Ending, FRAME_BYTES_CEILING, KeyDigest, Record, Revision, SubjectDigest,
    Tombstone, Touch,
};
use crate::{
    Error, ErrorKind, Label, Login, SUBJECT_BYTES_MAX, SessionExpiry, Site, Subject, Timestamp,
};

impl Record {
    /// The frame to store; see [`Stored`] for its bytes.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`] over 16 MiB
    /// ([`FRAME_BYTES_CEILING`](crate::store::FRAME_BYTES_CEILING)).
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        let expiry = match self.expiry {
            SessionExpiry::Default => String::new(),
            chosen => chosen.to_string(),
        };
        let mut body = Vec::new();
        if let Some(login) = &self.login {
            codec::put_counted_bytes(&mut body, &login.to_bytes());
        }
        body.extend_from_slice(&codec::encode(&Body {
            created_at: self.created_at.as_millis(),
            absolute_deadline: self.absolute_deadline.map(Timestamp::as_millis),
            expiry: &expiry,
            site: self.site.as_str(),
            subject: self.subject.as_ref().map(Subject::as_str),
            label: self.label.as_ref().map(Label::as_str),
            flushes: self.flushes,
            data: Bytes(self.data.as_bytes()),
        })?);
        let frame = FrameHead {
            kind: FrameKind::Record,
            has_login: self.login.is_some(),
            revision: self.revision,
            expires_at: self.expires_at,
            last_seen_at: self.last_seen_at,
        }
        .frame(&body);
        if frame.len() > FRAME_BYTES_CEILING {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!(
                    "record is {} bytes, FRAME_BYTES_CEILING is {FRAME_BYTES_CEILING}",
                    frame.len()
                ),
            ));
        }
        Ok(frame)
    }
}

/// What stands at a digest: a record, the mark that a record has moved, or what is
/// remembered of one that has ended.
///
/// As a frame, integers little-endian:
///
/// | bytes | content |
/// |---|---|
/// | 1 | version, 1 |
/// | 1 | kind: 0 record, 1 rotation mark, 2 tombstone, 3 record with a login |
/// | 8 | revision; 0 in a mark and in a tombstone |
/// | 8 | `expires_at`, milliseconds since the epoch |
/// | 8 | `last_seen_at`, milliseconds since the epoch; 0 in a mark, when the session ended in a tombstone |
/// | n | of a record, in bincode with variable-length integers: `created_at: u64`, `absolute_deadline: Option<u64>` (milliseconds since the epoch), `expiry: str` (empty for the default, else as [`SessionExpiry`] writes it), `site: str`, `subject: Option<str>`, `label: Option<str>`, `flushes: u32`, `data: bytes`; of a record with a login, the same behind the bytes of the login ([`Login::to_bytes`]) after their number; of a mark, the 32 bytes of the digest the session moved to; of a tombstone, in bincode, `because: str`, `subject: Option<bytes>` (the 32 bytes of its digest), `note: Option<str>` |
/// | 4 | CRC-32 (IEEE) of all bytes before |
///
/// Every version ends in that CRC, so damage and a newer version can be told
/// apart: the first is [`Corrupt`](ErrorKind::Corrupt), the second
/// [`Unsupported`](ErrorKind::Unsupported). The deadline stands at a fixed
/// place, so a sweep and a touch decode nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// A session.
    Record(Record),
    /// There was a session here that now lives under another key. It opens
    /// nothing; it tells the engine not to remove a cookie that a rotation has
    /// just replaced, and tells `delete` which session a late logout is about.
    Rotated {
        /// Where the session has moved to.
        to: KeyDigest,
        /// When the mark is no longer needed.
        until: Timestamp,
    },
    /// There was a session here that has ended. It opens nothing, nothing can be written
    /// to it, and nothing is created or imported in its place.
    Ended(Tombstone),
}

impl Stored {
    /// The record, where it is one.
    #[must_use]
    pub fn into_record(self) -> Option<Record> {
        match self {
            Self::Record(record) => Some(record),
            Self::Rotated { .. } | Self::Ended(_) => None,
        }
    }

    /// When a sweep may remove it.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        match self {
            Self::Record(record) => record.expires_at,
            Self::Rotated { until, .. } => *until,
            Self::Ended(tombstone) => tombstone.until,
        }
    }

    /// Bytes of memory that it takes, for a cache that is bounded by bytes: its own size,
    /// and what the allocator takes for its data, its subject and its label. The site is
    /// shared with other records.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        // Two counters before the bytes, and the allocator's header of 8 bytes.
        let shared = |bytes: usize| (16 + bytes + 8).next_multiple_of(16);
        let own = size_of::<Self>();
        match self {
            Self::Record(record) => {
                let subject = record.subject.as_ref().map(Subject::as_str);
                let label = record.label.as_ref().map(Label::as_str);
                let texts = [subject, label].into_iter().flatten();
                let texts: usize = texts.map(|text| shared(text.len())).sum();
                let login = record.login.as_deref().map_or(0, |login| {
                    shared(size_of::<Login>()) + login.parts().map(shared).sum::<usize>()
                });
                own + shared(record.data.as_bytes().len()) + texts + login
            }
            Self::Rotated { .. } => own,
            Self::Ended(tombstone) => {
                let note = tombstone.note.as_ref().map(Label::as_str);
                own + note.map_or(0, |note| shared(note.len()))
            }
        }
    }

    /// The frame to store.
    ///
    /// # Errors
    /// As [`Record::encode`].
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        match self {
            Self::Record(record) => record.encode(),
            Self::Rotated { to, until } => Ok(FrameHead {
                kind: FrameKind::Rotated,
                has_login: false,
                revision: Revision::NONE,
                expires_at: *until,
                last_seen_at: Timestamp::EPOCH,
            }
            .frame(to.as_bytes())),
            Self::Ended(tombstone) => {
                let body = codec::encode(&TombstoneBody {
                    because: tombstone.because.as_str(),
                    subject: tombstone.subject.as_ref().map(|of| Bytes(of.as_bytes())),
                    note: tombstone.note.as_ref().map(Label::as_str),
                })?;
                let head = FrameHead {
                    kind: FrameKind::Ended,
                    has_login: false,
                    revision: Revision::NONE,
                    expires_at: tombstone.until,
                    last_seen_at: tombstone.at,
                };
                Ok(head.frame(&body))
            }
        }
    }

    /// Reads a stored frame.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] where bytes are missing or changed,
    /// [`ErrorKind::Unsupported`] where an intact frame is of a newer version,
    /// [`ErrorKind::TooLarge`] over 16 MiB.
    pub fn decode(frame: &[u8]) -> Result<Self, Error> {
        let (head, body) = FrameHead::open(frame)?;
        match head.kind {
            FrameKind::Rotated => match body.try_into() {
                Ok(to) => Ok(Self::Rotated {
                    to: KeyDigest::from_bytes(to),
                    until: head.expires_at,
                }),
                Err(_) => Err(corrupt("a rotation mark does not say where to")),
            },
            FrameKind::Ended => {
                let body: TombstoneBody<'_> = codec::decode(body)?;
                let subject = body.subject.map(|of| of.0.try_into());
                let subject = subject
                    .transpose()
                    .map_err(|_| corrupt("the subject of a tombstone is no digest"))?;
                Ok(Self::Ended(Tombstone {
                    // A newer build may know more of them.
                    because: body.because.parse().unwrap_or(EndReason::Unknown),
                    at: head.last_seen_at,
                    until: head.expires_at,
                    subject: subject.map(SubjectDigest::from_bytes),
                    note: body.note.map(note).transpose()?,
                }))
            }
            FrameKind::Record => {
                let (login, body) = Body::read(head, body)?;
                Ok(Self::Record(Record {
                    revision: head.revision,
                    created_at: Timestamp::from_millis(body.created_at),
                    last_seen_at: head.last_seen_at,
                    expires_at: head.expires_at,
                    absolute_deadline: body.absolute_deadline.map(Timestamp::from_millis),
                    expiry: match body.expiry {
                        "" => SessionExpiry::Default,
                        text => text
                            .parse()
                            .map_err(|_| corrupt("the record's own lifetime cannot be read"))?,
                    },
                    site: site(body.site)?,
                    subject: body.subject.map(Subject::new).transpose()?,
                    label: body.label.map(Label::new).transpose()?,
                    flushes: body.flushes,
                    login: login.map(Login::from_bytes).transpose()?.map(Arc::new),
                    data: Data::from_bytes(body.data.0),
                }))
            }
        }
    }

    /// Where the session of a frame has moved, for who is to end that session: `None` where
    /// the frame is itself what is to be removed, a record, or what cannot be read.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] where the frame says that it is a rotation mark, and cannot be
    /// read: the session lives on at a digest that nobody knows, so it must not be answered
    /// that it was ended.
    pub fn moved_to(frame: &[u8]) -> Result<Option<KeyDigest>, Error> {
        match Self::decode(frame) {
            Ok(Self::Rotated { to, .. }) => Ok(Some(to)),
            Ok(Self::Record(_) | Self::Ended(_)) => Ok(None),
            Err(error) => match FrameHead::peek(frame) {
                Ok(head) if head.kind == FrameKind::Rotated => {
                    let why = format!(
                        "cannot end a session, since the rotation mark that leads to it cannot \
                         be read: {error}"
                    );
                    Err(Error::new(ErrorKind::Corrupt, why).with_source(error))
                }
                _ => Ok(None),
            },
        }
    }
}

impl Tombstone {
    /// Of the record in a frame. Of one that cannot be read nobody knows whose it was.
    #[must_use]
    pub fn of_frame(frame: &[u8], ending: &Ending) -> Self {
        let subject = FrameHead::read_with_subject(frame).map_or(None, |(_, subject)| subject);
        Self::new(ending, subject)
    }
}

const VERSION: u8 = 1;
const CRC_BYTES: usize = 4;

/// Whether a frame holds a record, a rotation mark or a tombstone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// A record.
    Record,
    /// A rotation mark.
    Rotated,
    /// A tombstone.
    Ended,
}

/// The start of a frame: what a compare-and-swap, a touch and a sweep need,
/// readable without decoding the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHead {
    /// What the frame holds.
    pub kind: FrameKind,
    /// Whether a record has a login before its body.
    has_login: bool,
    /// The stored revision; zero for a mark and for a tombstone.
    pub revision: Revision,
    /// The deadline.
    pub expires_at: Timestamp,
    /// When the session was last used; the epoch in a mark, when it ended in a tombstone.
    pub last_seen_at: Timestamp,
}

impl FrameHead {
    /// Bytes of the head, at the start of a frame.
    pub const BYTES: usize = 26;

    /// Reads the head from the first [`BYTES`](Self::BYTES) of a frame without
    /// checking whether the frame is intact. That is enough to skip what is not due, and
    /// never enough to remove anything.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] where this is no head, [`ErrorKind::Unsupported`]
    /// where it says that it is of a newer version.
    pub fn peek(start: &[u8]) -> Result<Self, Error> {
        Ok(Self::parse(start)?.0)
    }

    /// Reads the head of an intact frame.
    ///
    /// # Errors
    /// As [`Stored::decode`].
    pub fn read(frame: &[u8]) -> Result<Self, Error> {
        Ok(Self::open(frame)?.0)
    }

    /// The head of an intact frame, and the subject of the record in it. The data
    /// is neither copied nor decoded.
    ///
    /// # Errors
    /// As [`Stored::decode`].
    pub fn read_with_subject(frame: &[u8]) -> Result<(Self, Option<SubjectDigest>), Error> {
        let (head, body) = Self::open(frame)?;
        if head.kind != FrameKind::Record {
            return Ok((head, None));
        }
        let (_, body) = Body::read(head, body)?;
        let subject = match body.subject {
            Some(subject) => Some(SubjectDigest::new(
                &site(body.site)?,
                &Subject::new(subject)?,
            )),
            None => None,
        };
        Ok((head, subject))
    }

    /// The same frame after a use of the session, or `None` where that moves
    /// nothing. The rest of it is not decoded.
    ///
    /// # Errors
    /// As [`Stored::decode`].
    pub fn touched(frame: &[u8], touch: Touch) -> Result<Option<Vec<u8>>, Error> {
        let (head, body) = Self::open(frame)?;
        let stored = Touch {
            last_seen_at: head.last_seen_at,
            expires_at: head.expires_at,
        };
        let moved = stored.later(touch);
        let head = Self {
            last_seen_at: moved.last_seen_at,
            expires_at: moved.expires_at,
            ..head
        };
        Ok((moved != stored).then(|| head.frame(body)))
    }

    fn frame(self, body: &[u8]) -> Vec<u8> {
        let mut frame = Vec::with_capacity(Self::BYTES + body.len() + CRC_BYTES);
        frame.push(VERSION);
        frame.push(match self.kind {
            FrameKind::Record if self.has_login => 3,
            FrameKind::Record => 0,
            FrameKind::Rotated => 1,
            FrameKind::Ended => 2,
        });
        frame.extend_from_slice(&self.revision.as_u64().to_le_bytes());
        frame.extend_from_slice(&self.expires_at.as_millis().to_le_bytes());
        frame.extend_from_slice(&self.last_seen_at.as_millis().to_le_bytes());
        frame.extend_from_slice(body);
        let crc = crc32fast::hash(&frame);
        frame.extend_from_slice(&crc.to_le_bytes());
        frame
    }

    fn open(frame: &[u8]) -> Result<(Self, &[u8]), Error> {
        if frame.len() > FRAME_BYTES_CEILING {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!(
                    "frame is {} bytes, FRAME_BYTES_CEILING is {FRAME_BYTES_CEILING}",
                    frame.len()
                ),
            ));
        }
        let short = || corrupt("frame ends early");
        let (rest, crc) = frame.split_last_chunk::<CRC_BYTES>().ok_or_else(short)?;
        if crc32fast::hash(rest) != u32::from_le_bytes(*crc) {
            return Err(corrupt("frame does not match its CRC"));
        }
        Self::parse(rest)
    }

    /// The head, and what follows it.
    fn parse(start: &[u8]) -> Result<(Self, &[u8]), Error> {
        let short = || corrupt("frame ends early");
        let (version, rest) = start.split_first().ok_or_else(short)?;
        if *version > VERSION {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("record is of version {version}, this build reads up to {VERSION}"),
            ));
        }
        if *version != VERSION {
            return Err(corrupt("no such record version"));
        }
        let (kind, rest) = rest.split_first().ok_or_else(short)?;
        let (revision, rest) = rest.split_first_chunk().ok_or_else(short)?;
        let (expires_at, rest) = rest.split_first_chunk().ok_or_else(short)?;
        let (last_seen_at, body) = rest.split_first_chunk().ok_or_else(short)?;
        let head = Self {
            has_login: *kind == 3,
            kind: match kind {
                0 | 3 => FrameKind::Record,
                1 => FrameKind::Rotated,
                2 => FrameKind::Ended,
                _ => return Err(corrupt("no such frame kind")),
            },
            revision: Revision::from_u64(u64::from_le_bytes(*revision)),
            expires_at: Timestamp::from_millis(u64::from_le_bytes(*expires_at)),
            last_seen_at: Timestamp::from_millis(u64::from_le_bytes(*last_seen_at)),
        };
        Ok((head, body))
    }
}

/// The part of a record that bincode writes, in this order.
#[derive(Serialize, Deserialize)]
struct Body<'a> {
    created_at: u64,
    absolute_deadline: Option<u64>,
    #[serde(borrow)]
    expiry: &'a str,
    #[serde(borrow)]
    site: &'a str,
    #[serde(borrow)]
    subject: Option<&'a str>,
    #[serde(borrow)]
    label: Option<&'a str>,
    flushes: u32,
    #[serde(borrow)]
    data: Bytes<'a>,
}

impl<'a> Body<'a> {
    /// The bytes of the login, and what stands behind them. No build writes a longer subject or label: a frame that holds one was
    /// damaged or made by hand, whatever its CRC says.
    fn read(head: FrameHead, bytes: &'a [u8]) -> Result<(Option<&'a [u8]>, Self), Error> {
        let mut bytes = Cursor::new(bytes);
        let login = match head.has_login {
            true => Some(bytes.counted_bytes().ok_or(corrupt("frame ends early"))?),
            false => None,
        };
        let body: Self = codec::decode(bytes.rest())?;
        let texts = [body.subject, body.label].into_iter().flatten();
        match texts.max_by_key(|text| text.len()) {
            Some(text) if text.len() > SUBJECT_BYTES_MAX => {
                Err(corrupt("a subject or label is over SUBJECT_BYTES_MAX"))
            }
            _ => Ok((login, body)),
        }
    }
}

/// The part of a tombstone that bincode writes, in this order.
#[derive(Serialize, Deserialize)]
struct TombstoneBody<'a> {
    #[serde(borrow)]
    because: &'a str,
    #[serde(borrow)]
    subject: Option<Bytes<'a>>,
    #[serde(borrow)]
    note: Option<&'a str>,
}

fn note(text: &str) -> Result<Label, Error> {
    Label::new(text).map_err(|_| corrupt("a note is over SUBJECT_BYTES_MAX"))
}

fn site(name: &str) -> Result<Site, Error> {
    Site::new(name).map_err(|_| corrupt("the record's site is no name of a site"))
}

/// Borrowed bytes that serde takes as bytes rather than as a list of numbers.
struct Bytes<'a>(&'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Bytes<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        <&[u8]>::deserialize(from).map(Bytes)
    }
}

#[cfg(test)]
mod tests;

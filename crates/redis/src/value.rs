//! The string under a session's key: a head that scripts read and patch, then the frame.

use cloakroom_core::store::{
    FrameHead, FrameKind, KeyDigest, Record, Revision, Stored, SubjectDigest, Tombstone, Touch,
};
use cloakroom_core::{Error, ErrorKind, Timestamp};

/// Bytes of the head, in this version and in every later one.
pub(crate) const HEAD_BYTES: usize = 134;

/// The target in the head of a record without a subject.
pub(crate) const NO_SUBJECT: &str =
    "----------------------------------------------------------------";

const MAGIC: &[u8] = b"cr1 ";
const RECORD: u8 = b'r';
const MARK: u8 = b'm';
const TOMBSTONE: u8 = b't';

/// A session that a rotation is moving here. It opens once the mark at its old digest
/// stands. The old digest follows the head, then the frame.
pub(crate) const MOVING: u8 = b'p';

/// How long Redis keeps a record past its deadline, so that the clocks may be corrected
/// by that much: the engine judges deadlines, Redis collects garbage.
pub(crate) const GRACE_MILLIS: u64 = 60_000;

/// The longest lifetime: as many milliseconds as there are until the end of the year 9999.
const LIFETIME_MILLIS_MAX: u64 = 253_402_300_799_999;

/// The instant, by the application's clock, from which Redis may have collected a record
/// with this deadline.
pub(crate) fn collect_at(deadline: Timestamp) -> u64 {
    let at = deadline.as_millis().saturating_add(GRACE_MILLIS);
    at.min(LIFETIME_MILLIS_MAX)
}

/// For how many milliseconds Redis is to keep a record: a duration, since its clock need
/// not agree with the application's. It is never so short that nothing is left to patch.
pub(crate) fn lifetime(deadline: Timestamp, now: Timestamp) -> String {
    let left = collect_at(deadline).saturating_sub(now.as_millis());
    left.max(1_000).to_string()
}

/// The same of the index that lists a record: as long again as the record has to live, so
/// that the index outlives an extension of the deadline that did not reach it.
pub(crate) fn index_lifetime(touch: Touch, now: Timestamp) -> String {
    let has = touch.expires_at.saturating_since(touch.last_seen_at);
    lifetime(touch.expires_at.saturating_add(has), now)
}

/// A number as scripts compare it: as text of one length, since Lua's numbers are
/// doubles.
pub(crate) fn digits(number: u64) -> String {
    format!("{number:020}")
}

/// The target in the head of a record or a tombstone: its subject.
pub(crate) fn subject_field(subject: Option<SubjectDigest>) -> String {
    subject.map_or_else(|| NO_SUBJECT.to_owned(), |subject| subject.to_hex())
}

/// A decoded value.
#[derive(Debug)]
pub(crate) enum StoredValue {
    /// What stands here, with no rotation on its way.
    Complete(Stored),
    /// A session on its way here, in a rotation that may have been cut.
    Moving { from: KeyDigest, record: Record },
}

fn head(
    kind: u8,
    revision: Revision,
    expires: Timestamp,
    seen: Timestamp,
    target: &str,
) -> Vec<u8> {
    let mut head = Vec::with_capacity(HEAD_BYTES + 512);
    head.extend_from_slice(MAGIC);
    head.push(kind);
    let revision = digits(revision.as_u64());
    let (expires, seen) = (digits(expires.as_millis()), digits(seen.as_millis()));
    let rest = format!(" {revision} {expires} {seen} {target}\n");
    head.extend_from_slice(rest.as_bytes());
    head
}

fn record_head(kind: u8, record: &Record) -> Vec<u8> {
    head(
        kind,
        record.revision,
        record.expires_at,
        record.last_seen_at,
        &subject_field(record.subject_digest()),
    )
}

/// The value to store.
pub(crate) fn encode(stored: &Stored) -> Result<Vec<u8>, Error> {
    let mut value = match stored {
        Stored::Record(record) => record_head(RECORD, record),
        Stored::Rotated { to, until } => {
            head(MARK, Revision::NONE, *until, Timestamp::EPOCH, &to.to_hex())
        }
        Stored::Ended(tombstone) => return encode_tombstone(tombstone),
    };
    value.extend(stored.encode()?);
    Ok(value)
}

/// Whose session it was stands in the head alone, as a script copies it from the record's
/// head: no script can make the CRC of a frame.
fn encode_tombstone(tombstone: &Tombstone) -> Result<Vec<u8>, Error> {
    let target = subject_field(tombstone.subject);
    let (until, at) = (tombstone.until, tombstone.at);
    let mut value = head(TOMBSTONE, Revision::NONE, until, at, &target);
    let mut nobodys = tombstone.clone();
    nobodys.subject = None;
    value.extend(Stored::Ended(nobodys).encode()?);
    Ok(value)
}

/// The value of a record that a rotation is moving here from another digest.
pub(crate) fn encode_moving(record: &Record, from: &KeyDigest) -> Result<Vec<u8>, Error> {
    let mut value = record_head(MOVING, record);
    value.extend_from_slice(from.to_hex().as_bytes());
    value.extend(record.encode()?);
    Ok(value)
}

/// How the head of a record of this revision begins.
pub(crate) fn record_begins(revision: Revision) -> String {
    format!("cr1 r {}", digits(revision.as_u64()))
}

fn is_whole(head: &[u8]) -> bool {
    head.len() == HEAD_BYTES && head.starts_with(b"cr") && head.ends_with(b"\n")
}

/// Why nothing was written over a value with this head, as an outcome of a script: it does
/// not begin as the record that the write is based on.
pub(crate) fn refusal(head: &[u8]) -> &'static str {
    match head {
        [] => "GONE",
        _ if !is_whole(head) => "CORRUPT",
        _ if !head.starts_with(MAGIC) => "UNSUPPORTED",
        _ if head[4] != RECORD => "GONE",
        _ => "CONFLICT",
    }
}

/// Where the rotation mark with this head leads; `None` where it is of no mark.
///
/// # Errors
/// `Unsupported` for a mark of a newer build, `Corrupt` for one that was cut, or names no
/// digest.
pub(crate) fn successor(head: &[u8]) -> Result<Option<KeyDigest>, Error> {
    if !head.starts_with(b"cr") || head.get(4) != Some(&MARK) {
        return Ok(None);
    }
    if !is_whole(head) {
        return Err(corrupt("the rotation mark is cut"));
    }
    if !head.starts_with(MAGIC) {
        let text = "a newer build has written this rotation mark";
        return Err(Error::new(ErrorKind::Unsupported, text));
    }
    let to = std::str::from_utf8(&head[69..HEAD_BYTES - 1]).ok();
    match to.and_then(KeyDigest::from_hex) {
        Some(to) => Ok(Some(to)),
        None => Err(corrupt("the rotation mark names no digest")),
    }
}

fn corrupt(why: &'static str) -> Error {
    Error::new(ErrorKind::Corrupt, why)
}

fn number(digits: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(digits).ok()?;
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok())?
}

/// Reads a stored value.
///
/// # Errors
/// As [`Stored::decode`]; `Corrupt` where head and frame do not agree too.
pub(crate) fn decode(value: &[u8]) -> Result<StoredValue, Error> {
    let (head, rest) = value
        .split_at_checked(HEAD_BYTES)
        .ok_or_else(|| corrupt("the value ends early"))?;
    let kind = head[4];
    let (from, frame) = match kind {
        MOVING => {
            let (from, frame) = rest
                .split_at_checked(64)
                .ok_or_else(|| corrupt("the value ends early"))?;
            let from = std::str::from_utf8(from).ok();
            let from = from.and_then(KeyDigest::from_hex);
            (
                Some(from.ok_or_else(|| corrupt("the moving record names no old digest"))?),
                frame,
            )
        }
        _ => (None, rest),
    };
    // The frame is decoded first: its CRC tells damage from a newer version.
    let stored = Stored::decode(frame)?;
    let frame = FrameHead::peek(frame)?;
    if &head[..4] != MAGIC || head[HEAD_BYTES - 1] != b'\n' {
        return Err(corrupt("the value has no head of this store"));
    }
    let field = |at: usize| {
        number(&head[at..at + 20])
            .ok_or_else(|| corrupt("a number in the head has a character that is no digit"))
    };
    let revision = Revision::from_u64(field(6)?);
    let expires_at = Timestamp::from_millis(field(27)?);
    let last_seen_at = Timestamp::from_millis(field(48)?);
    let kinds_agree = match frame.kind {
        FrameKind::Record => kind == RECORD || kind == MOVING,
        FrameKind::Rotated => kind == MARK,
        FrameKind::Ended => kind == TOMBSTONE,
    };
    // A touch moves the two instants forward, never back.
    let agrees = kinds_agree
        && revision == frame.revision
        && expires_at >= frame.expires_at
        && last_seen_at >= frame.last_seen_at;
    let target = &head[69..HEAD_BYTES - 1];
    match stored {
        Stored::Record(record)
            if agrees && target == subject_field(record.subject_digest()).as_bytes() =>
        {
            let mut record = record;
            record.expires_at = expires_at;
            record.last_seen_at = last_seen_at;
            Ok(match from {
                Some(from) => StoredValue::Moving { from, record },
                None => StoredValue::Complete(Stored::Record(record)),
            })
        }
        Stored::Rotated { to, .. } if agrees && target == to.to_hex().as_bytes() => {
            Ok(StoredValue::Complete(stored))
        }
        Stored::Ended(mut tombstone) if agrees && tombstone.subject.is_none() => {
            if target != NO_SUBJECT.as_bytes() {
                let subject = std::str::from_utf8(target).ok();
                let subject = subject.and_then(SubjectDigest::from_hex);
                let subject = subject.ok_or_else(|| corrupt("the tombstone's subject is none"));
                tombstone.subject = Some(subject?);
            }
            Ok(StoredValue::Complete(Stored::Ended(tombstone)))
        }
        _ => Err(corrupt("head and frame do not belong together")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use cloakroom_core::store::{EndReason, Ending};
    use cloakroom_core::{Label, SessionExpiry, Subject};

    use super::*;

    fn full() -> Record {
        let mut record = Record::new(Timestamp::from_millis(1_000), Timestamp::from_millis(9_000));
        record.revision = Revision::from_u64(u64::MAX);
        record.expiry = SessionExpiry::Idle(Duration::from_millis(1_500));
        record.subject = Some(Subject::new("42").unwrap());
        record
    }

    fn tombstone(subject: Option<SubjectDigest>) -> Stored {
        let ending = Ending::new(EndReason::LoggedOutElsewhere, Timestamp::from_millis(6));
        let note = Some(Label::new("Firefox on Linux").unwrap());
        Stored::Ended(Tombstone::new(&ending.with_note(note), subject))
    }

    fn samples() -> [Stored; 4] {
        let to = KeyDigest::from_bytes([7; 32]);
        let until = Timestamp::MAX;
        [
            Stored::Record(full()),
            Stored::Rotated { to, until },
            tombstone(full().subject_digest()),
            tombstone(None),
        ]
    }

    fn heads() -> [Vec<u8>; 4] {
        samples().map(|stored| encode(&stored).unwrap()[..HEAD_BYTES].to_vec())
    }

    fn kind(value: &[u8]) -> ErrorKind {
        decode(value).unwrap_err().kind()
    }

    #[test]
    fn a_value_comes_back_and_a_touch_is_seen() {
        for stored in samples() {
            let value = encode(&stored).unwrap();
            assert_eq!(value[HEAD_BYTES - 1], b'\n');
            let StoredValue::Complete(found) = decode(&value).unwrap() else {
                panic!("it moves nowhere");
            };
            assert_eq!(found, stored);
        }
        let mut value = encode(&Stored::Record(full())).unwrap();
        value[27..47].copy_from_slice(digits(9_001).as_bytes());
        value[48..68].copy_from_slice(digits(1_001).as_bytes());
        let StoredValue::Complete(Stored::Record(touched)) = decode(&value).unwrap() else {
            panic!("it is a record");
        };
        assert_eq!(touched.expires_at.as_millis(), 9_001);
        assert_eq!(touched.last_seen_at.as_millis(), 1_001);
        let from = KeyDigest::from_bytes([3; 32]);
        let moving = decode(&encode_moving(&full(), &from).unwrap()).unwrap();
        assert!(
            matches!(moving, StoredValue::Moving { from: f, record } if f == from && record == full())
        );
    }

    /// The two instants that a touch moves are no more than digits, so a later
    /// one cannot be told from a touch, and the subject of a tombstone stands in the head
    /// alone; all else can be told.
    #[test]
    fn a_value_cut_anywhere_or_with_any_bit_flipped_is_corrupt() {
        for stored in samples() {
            let value = encode(&stored).unwrap();
            for end in 0..value.len() {
                assert_eq!(kind(&value[..end]), ErrorKind::Corrupt, "cut at {end}");
            }
            for bit in 0..value.len() * 8 {
                let mut flipped = value.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                let at = bit / 8;
                // A space between fields says nothing.
                if [5, 26, 47, 68].contains(&at) {
                    continue;
                }
                match decode(&flipped) {
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "bit {bit}"),
                    Ok(StoredValue::Complete(Stored::Ended(found)))
                        if (69..HEAD_BYTES - 1).contains(&at) =>
                    {
                        assert_eq!(tombstone(found.subject), Stored::Ended(found));
                    }
                    Ok(StoredValue::Complete(found)) => {
                        assert!(
                            (27..47).contains(&at) || (48..68).contains(&at),
                            "bit {bit}"
                        );
                        assert!(found.expires_at() >= stored.expires_at());
                    }
                    Ok(StoredValue::Moving { .. }) => panic!("bit {bit}"),
                }
            }
        }
    }

    #[test]
    fn a_newer_version_is_unsupported_and_somebody_elses_value_is_corrupt() {
        let mut value = encode(&Stored::Record(full())).unwrap();
        value[2] = b'2';
        assert_eq!(kind(&value), ErrorKind::Corrupt, "head and frame disagree");
        value[HEAD_BYTES] = 2;
        let end = value.len() - 4;
        let crc = crc32(&value[HEAD_BYTES..end]);
        value[end..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(kind(&value), ErrorKind::Unsupported);
        assert_eq!(kind(b""), ErrorKind::Corrupt);
        assert_eq!(kind(&[b'x'; 400]), ErrorKind::Corrupt);
    }

    /// As a script makes it of the one that it was given.
    #[test]
    fn a_tombstone_takes_the_subject_that_is_put_into_its_head() {
        let [record, ..] = heads();
        let mut value = encode(&tombstone(None)).unwrap();
        value[69..HEAD_BYTES - 1].copy_from_slice(&record[69..HEAD_BYTES - 1]);
        let expected = tombstone(full().subject_digest());
        assert_eq!(value, encode(&expected).unwrap());
        value[69] = b'-';
        assert_eq!(kind(&value), ErrorKind::Corrupt, "half a digest");
        let mut twice = encode(&expected).unwrap();
        twice.truncate(HEAD_BYTES);
        twice.extend(expected.encode().unwrap());
        assert_eq!(kind(&twice), ErrorKind::Corrupt);
    }

    #[test]
    fn a_mark_is_told_from_a_record_by_its_head_and_one_that_cannot_be_read_is_an_error() {
        let [record, mark, tombstone, _] = heads();
        assert_eq!(successor(&record).unwrap(), None);
        assert_eq!(successor(&tombstone).unwrap(), None);
        assert_eq!(successor(b"").unwrap(), None);
        let to = KeyDigest::from_bytes([7; 32]);
        assert_eq!(successor(&mark).unwrap(), Some(to));
        let changed = |at: usize| {
            let mut mark = mark.clone();
            mark[at] = b'9' + 9;
            successor(&mark).map_err(|error| error.kind())
        };
        assert_eq!(changed(2), Err(ErrorKind::Unsupported));
        assert_eq!(changed(80), Err(ErrorKind::Corrupt));
        assert_eq!(changed(0), Ok(None));
        for end in 5..HEAD_BYTES {
            let error = successor(&mark[..end]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "cut at {end}");
        }
    }

    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0_u32, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
                (crc >> 1) ^ if crc & 1 == 0 { 0 } else { 0xedb8_8320 }
            })
        })
    }

    #[test]
    fn a_lifetime_is_a_duration_with_its_grace_and_never_none() {
        let at = Timestamp::from_millis;
        assert_eq!(lifetime(at(9_000), at(5_000)), "64000");
        assert_eq!(lifetime(at(0), at(500_000)), "1000");
        assert_eq!(lifetime(Timestamp::MAX, at(0)), "253402300799999");
        let touch = |expires_at| Touch {
            last_seen_at: at(1_000),
            expires_at,
        };
        assert_eq!(index_lifetime(touch(at(3_000)), at(1_000)), "64000");
        let longest = index_lifetime(touch(Timestamp::MAX), at(0));
        assert_eq!(longest, "253402300799999");
    }

    #[test]
    fn what_refuses_a_write_is_told_by_the_head_alone() {
        let [record, mark, tombstone, _] = heads();
        let begins = record_begins(full().revision);
        assert!(record.starts_with(begins.as_bytes()) && begins.len() == 26);
        assert_eq!(refusal(b""), "GONE");
        assert_eq!(refusal(&record), "CONFLICT");
        assert_eq!(refusal(&mark), "GONE");
        assert_eq!(refusal(&tombstone), "GONE");
        for end in 1..HEAD_BYTES {
            assert_eq!(refusal(&record[..end]), "CORRUPT");
            assert_eq!(refusal(&mark[..end]), "CORRUPT");
        }
        let mut newer = record;
        newer[2] = b'2';
        assert_eq!(refusal(&newer), "UNSUPPORTED");
    }
}

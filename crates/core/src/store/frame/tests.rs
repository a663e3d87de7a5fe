//! Frames: what they hold, and what is no frame.

use std::time::Duration;

use super::*;
use crate::{Aal, Binding};

fn full() -> Record {
    Record {
        revision: Revision::from_u64(7),
        last_seen_at: Timestamp::from_millis(1_500),
        absolute_deadline: Some(Timestamp::MAX),
        expiry: SessionExpiry::Idle(Duration::from_millis(1_500)),
        site: Site::new("__Host-session").unwrap(),
        subject: Some(Subject::new("42").unwrap()),
        label: Some(Label::new("Firefox on Linux").unwrap()),
        flushes: 3,
        data: Data::from_bytes([1, 1, b'a', 1, 0]),
        ..Record::new(Timestamp::from_millis(1_000), Timestamp::from_millis(9_000))
    }
}

fn tombstone(because: EndReason) -> Tombstone {
    let ending = Ending::new(because, Timestamp::from_millis(6));
    let note = Some(Label::new("Firefox on Linux").unwrap());
    let subject = Some(SubjectDigest::from_bytes([9; 32]));
    Tombstone::new(&ending.with_note(note), subject)
}

fn logged_in() -> Record {
    let mut login = Login::new(&Aal::Two.into(), Timestamp::from_millis(1_000));
    let offered_at = Timestamp::from_millis(2_000);
    login.binding = Some(Box::new(Binding::offered([7; 32], offered_at)));
    Record {
        login: Some(Arc::new(login)),
        ..full()
    }
}

fn samples() -> [Stored; 6] {
    [
        Stored::Record(logged_in()),
        Stored::Record(full()),
        Stored::Record(Record::new(Timestamp::EPOCH, Timestamp::EPOCH)),
        Stored::Rotated {
            to: KeyDigest::from_bytes([7; 32]),
            until: Timestamp::from_millis(5),
        },
        Stored::Ended(tombstone(EndReason::LoggedOutElsewhere)),
        Stored::Ended(Tombstone {
            subject: None,
            note: None,
            ..tombstone(EndReason::Idle)
        }),
    ]
}

#[test]
fn who_ends_a_session_is_told_where_it_has_moved_or_that_nobody_knows() {
    let to = KeyDigest::from_bytes([7; 32]);
    let mark = Stored::Rotated {
        to,
        until: Timestamp::MAX,
    };
    let mut mark = mark.encode().unwrap();
    assert_eq!(Stored::moved_to(&mark).unwrap(), Some(to));
    *mark.last_mut().unwrap() ^= 1;
    let error = Stored::moved_to(&mark).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let record = Record::new(Timestamp::EPOCH, Timestamp::MAX);
    let mut record = record.encode().unwrap();
    assert_eq!(Stored::moved_to(&record).unwrap(), None);
    *record.last_mut().unwrap() ^= 1;
    assert_eq!(Stored::moved_to(&record).unwrap(), None);
    assert_eq!(Stored::moved_to(&[1, 2, 3]).unwrap(), None);
}

#[test]
fn a_frame_comes_back_and_its_head_reads_alone() {
    for stored in samples() {
        let frame = stored.encode().unwrap();
        assert_eq!(Stored::decode(&frame).unwrap(), stored);
        let head = FrameHead::read(&frame).unwrap();
        assert_eq!(head.expires_at, stored.expires_at());
        assert_eq!(FrameHead::peek(&frame[..FrameHead::BYTES]).unwrap(), head);
        let record = stored.clone().into_record();
        let subject = record.and_then(|record| record.subject_digest());
        let expected = (head, subject);
        assert_eq!(FrameHead::read_with_subject(&frame).unwrap(), expected);
        assert!(FrameHead::peek(&frame[..FrameHead::BYTES - 1]).is_err());
        let touch = Touch {
            last_seen_at: Timestamp::from_millis(2_000),
            expires_at: Timestamp::MAX,
        };
        let later = FrameHead::touched(&frame, touch).unwrap().unwrap();
        assert_eq!(Stored::decode(&later).unwrap().expires_at(), Timestamp::MAX);
        let head = FrameHead::read(&later).unwrap();
        assert_eq!(head.last_seen_at, touch.last_seen_at);
        assert_eq!(later.len(), frame.len());
        assert_eq!(FrameHead::touched(&later, touch).unwrap(), None);
    }
}

#[test]
fn a_frame_cut_anywhere_or_with_any_bit_flipped_is_corrupt() {
    for stored in samples() {
        let frame = stored.encode().unwrap();
        for end in 0..frame.len() {
            let error = Stored::decode(&frame[..end]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "cut at {end}");
        }
        for bit in 0..frame.len() * 8 {
            let mut flipped = frame.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let error = Stored::decode(&flipped).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "bit {bit}");
        }
    }
}

#[test]
fn an_intact_frame_of_a_newer_version_is_unsupported() {
    let mut frame = Stored::Record(full()).encode().unwrap();
    let end = frame.len() - CRC_BYTES;
    frame[0] = VERSION + 1;
    let crc = crc32fast::hash(&frame[..end]);
    frame[end..].copy_from_slice(&crc.to_le_bytes());
    for error in [
        Stored::decode(&frame).unwrap_err(),
        FrameHead::read(&frame).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }
}

#[test]
fn a_frame_is_written_up_to_its_ceiling_and_not_one_byte_past_it() {
    let with_data = |bytes: usize| {
        let mut record = Record::new(Timestamp::EPOCH, Timestamp::EPOCH);
        record.data = Data::from_bytes(vec![0; bytes]);
        record.encode()
    };
    // Lengths of this size are written in 5 bytes.
    let room = FRAME_BYTES_CEILING - (with_data(100_000).unwrap().len() - 100_000);
    let frame = with_data(room).unwrap();
    assert_eq!(frame.len(), FRAME_BYTES_CEILING);
    assert!(Stored::decode(&frame).is_ok());
    let error = with_data(room + 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    let error = Stored::decode(&[frame, vec![0]].concat()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
}

/// A longer subject could not be written again.
#[test]
fn an_intact_frame_with_a_subject_or_label_over_its_bound_is_corrupt() {
    let frame = |subject: usize, label: usize| {
        let texts = [subject, label].map(|bytes| "x".repeat(bytes));
        let body = codec::encode(&Body {
            created_at: 0,
            absolute_deadline: None,
            expiry: "",
            site: "",
            subject: Some(&texts[0]),
            label: Some(&texts[1]),
            flushes: 0,
            data: Bytes(&[]),
        });
        let head = FrameHead {
            kind: FrameKind::Record,
            revision: Revision::FIRST,
            expires_at: Timestamp::MAX,
            last_seen_at: Timestamp::EPOCH,
            has_login: false,
        };
        head.frame(&body.unwrap())
    };
    let longest = frame(SUBJECT_BYTES_MAX, SUBJECT_BYTES_MAX);
    assert!(Stored::decode(&longest).is_ok());
    assert!(FrameHead::read_with_subject(&longest).is_ok());
    for (subject, label) in [(SUBJECT_BYTES_MAX + 1, 0), (70_000, 0), (0, 70_000)] {
        let frame = frame(subject, label);
        let read = FrameHead::read_with_subject(&frame).map(drop);
        for refused in [read, Stored::decode(&frame).map(drop)] {
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::Corrupt);
        }
    }
}

/// Found by the fuzzer: no build writes such a number, so it is read as the
/// longest time there is, and written as that.
#[test]
fn an_idle_time_past_the_last_instant_is_read_as_the_longest() {
    let body = codec::encode(&Body {
        created_at: u64::MAX,
        absolute_deadline: Some(u64::MAX),
        expiry: "idle:18446744073709551615",
        site: "",
        subject: None,
        label: None,
        flushes: 0,
        data: Bytes(&[]),
    });
    let head = FrameHead {
        kind: FrameKind::Record,
        revision: Revision::FIRST,
        expires_at: Timestamp::MAX,
        last_seen_at: Timestamp::EPOCH,
        has_login: false,
    };
    let stored = Stored::decode(&head.frame(&body.unwrap())).unwrap();
    assert_eq!(Stored::decode(&stored.encode().unwrap()).unwrap(), stored);
    let longest = Duration::from_millis(Timestamp::MAX.as_millis());
    let expiry = stored.into_record().unwrap().expiry;
    assert_eq!(expiry, SessionExpiry::Idle(longest));
}

/// The format is a promise: these bytes, put together by hand from the
/// documented layout, must open for ever.
#[test]
fn the_published_frame_of_version_1_opens() {
    let hex = concat!(
        "010007000000000000002823000000000000dc05000000000000fbe80301fdffffffffffffff7f096964",
        "6c653a313530300e5f5f486f73742d73657373696f6e01023432011046697265666f78206f6e204c696e",
        "757803050101610100b727f715"
    );
    let frame: Vec<u8> = (0..hex.len() / 2)
        .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
        .collect();
    assert_eq!(Stored::decode(&frame).unwrap(), Stored::Record(full()));
    assert_eq!(Stored::Record(full()).encode().unwrap(), frame);
}

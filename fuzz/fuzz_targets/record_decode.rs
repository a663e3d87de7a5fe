//! Stored bytes: what is decoded is a record or a typed error, and what is a
//! record is written back as the same bytes.
//!
//! The CRC keeps almost all random bytes out, so it is put right first; the
//! first byte says whether to leave it wrong.

#![no_main]

use cloakroom_core::engine::Context;
use cloakroom_core::session::{Entries, Limits, Session};
use cloakroom_core::store::{Data, FrameHead, Record, Stored};
use cloakroom_core::{Expiry, Timestamp};
use libfuzzer_sys::fuzz_target;

fn read(record: Record) {
    let context = Context::new(Timestamp::EPOCH, Limits::default(), Expiry::default());
    let Ok(session) = Session::open(Some(record), context) else {
        return;
    };
    for name in session.keys().expect("a session that opened can be listed") {
        if let Ok(Some(value)) = session.get_value(&name) {
            let _ = value.display().to_string();
            let _ = session.get::<u64>(&name);
            let _ = session.get::<Vec<String>>(&name);
            session.insert(&name, value).ok();
        }
    }
    let _ = session.items();
}

fuzz_target!(|bytes: &[u8]| {
    let Some((leave, frame)) = bytes.split_first() else {
        return;
    };
    let mut frame = frame.to_vec();
    if leave % 8 != 0 {
        frame.extend_from_slice(&crc(&frame).to_le_bytes());
    }
    let head = FrameHead::read(&frame);
    if let Ok(stored) = Stored::decode(&frame) {
        assert_eq!(
            head.expect("a stored has a head").expires_at,
            stored.expires_at()
        );
        let again = stored.encode().expect("it was within the limits");
        let back = Stored::decode(&again).expect("it was just written");
        assert_eq!(back, stored);
        if let Stored::Record(record) = stored {
            read(record);
        }
    }
    // The entries alone, past the frame.
    if let Ok(entries) = Entries::open(Data::from_bytes(frame.as_slice())) {
        assert_eq!(entries.iter().count(), entries.len());
        let mut record = Record::new(Timestamp::EPOCH, Timestamp::MAX);
        record.data = entries.data().clone();
        read(record);
    }
});

/// CRC-32 (IEEE), as in the frame.
fn crc(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ 0xedb8_8320
            } else {
                crc >> 1
            };
        }
    }
    !crc
}

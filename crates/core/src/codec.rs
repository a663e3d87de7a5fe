//! The one module that knows `bincode`.
//!
//! Everything stored goes through here, so that a change of codec is this file
//! and a version byte. The format is bincode 1.3 with variable-length integers,
//! little-endian, trailing bytes refused. Bincode bounds neither depth nor, by
//! default, size: [`check_value`] walks the bytes first, without recursion and
//! without allocating, and nothing is decoded that it has not passed.

use bincode::Options as _;
use serde::{Deserialize, Serialize};

use crate::value::Wire;
use crate::{Error, ErrorKind};

pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, Error> {
    bincode::DefaultOptions::new()
        .serialize(value)
        .map_err(|source| Error::new(ErrorKind::Mismatch, "cannot be encoded").with_source(source))
}

/// Decodes bytes that hold no nesting, or whose nesting has been checked.
fn decode<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, Error> {
    bincode::DefaultOptions::new()
        .with_limit(bytes.len() as u64)
        .deserialize(bytes)
        .map_err(|source| corrupt("cannot be decoded").with_source(source))
}

/// Decodes a flat struct: one that holds no [`Wire`].
pub(crate) fn decode_flat<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, Error> {
    decode(bytes)
}

pub(crate) fn decode_value(bytes: &[u8], depth_max: usize) -> Result<Wire, Error> {
    check_value(bytes, depth_max)?;
    decode(bytes)
}

pub(crate) fn corrupt(message: &'static str) -> Error {
    Error::new(ErrorKind::Corrupt, message)
}

/// The variant numbers of [`Wire`], as bincode writes them. They are part of
/// the format.
mod tag {
    pub(super) const NULL: u64 = 0;
    pub(super) const BOOL: u64 = 1;
    pub(super) const UINT: u64 = 2;
    pub(super) const INT: u64 = 3;
    pub(super) const BIG_UINT: u64 = 4;
    pub(super) const BIG_INT: u64 = 5;
    pub(super) const FLOAT: u64 = 6;
    pub(super) const STR: u64 = 7;
    pub(super) const BYTES: u64 = 8;
    pub(super) const LIST: u64 = 9;
    pub(super) const MAP: u64 = 10;
    pub(super) const SOME: u64 = 11;
}

/// Proves that the bytes are one value, whole and no deeper than allowed.
fn check_value(bytes: &[u8], depth_max: usize) -> Result<(), Error> {
    let mut cursor = Cursor::new(bytes);
    // One counter per open container: how many of its values are still to come.
    let mut open: Vec<u64> = Vec::new();
    loop {
        let short = || corrupt("value ends early");
        let inner = match cursor.varint().ok_or_else(short)? {
            tag::NULL => 0,
            tag::BOOL => cursor.skip(1).map(|()| 0).ok_or_else(short)?,
            tag::UINT | tag::INT => cursor.varint().map(|_| 0).ok_or_else(short)?,
            tag::BIG_UINT | tag::BIG_INT => {
                cursor.skip_varint128().map(|()| 0).ok_or_else(short)?
            }
            tag::FLOAT => cursor.skip(8).map(|()| 0).ok_or_else(short)?,
            tag::STR | tag::BYTES => cursor.counted_bytes().map(|_| 0).ok_or_else(short)?,
            tag::LIST => cursor.varint().ok_or_else(short)?,
            tag::MAP => cursor
                .varint()
                .and_then(|pairs| pairs.checked_mul(2))
                .ok_or_else(short)?,
            tag::SOME => 1,
            _ => return Err(corrupt("value of an unknown kind")),
        };
        if inner > 0 {
            // Every value takes a byte at least, so no count can promise more.
            if inner > cursor.left() as u64 {
                return Err(short());
            }
            if open.len() == depth_max {
                return Err(Error::new(
                    ErrorKind::TooLarge,
                    format!("value is nested deeper than nesting_depth_max = {depth_max} levels"),
                ));
            }
            open.push(inner);
            continue;
        }
        // A value is complete: close what it completes.
        loop {
            match open.last_mut() {
                None if cursor.left() == 0 => return Ok(()),
                None => return Err(corrupt("bytes after the value")),
                Some(left) => {
                    *left -= 1;
                    if *left > 0 {
                        break;
                    }
                    open.pop();
                }
            }
        }
    }
}

/// Reads bincode's variable-length integers and counted bytes in place.
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub(crate) fn left(&self) -> usize {
        self.bytes.len()
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.bytes.split_at_checked(count)?;
        self.bytes = tail;
        Some(head)
    }

    fn skip(&mut self, count: usize) -> Option<()> {
        self.take(count).map(|_| ())
    }

    /// 0 to 250 in one byte; 251, 252, 253 announce 2, 4, 8 bytes.
    pub(crate) fn varint(&mut self) -> Option<u64> {
        let width = match self.take(1)?[0] {
            small @ 0..=250 => return Some(u64::from(small)),
            251 => 2,
            252 => 4,
            253 => 8,
            _ => return None,
        };
        let mut wide = [0; 8];
        wide[..width].copy_from_slice(self.take(width)?);
        Some(u64::from_le_bytes(wide))
    }

    /// The same, with 254 announcing 16 bytes.
    fn skip_varint128(&mut self) -> Option<()> {
        match self.bytes.first()? {
            254 => self.skip(17),
            _ => self.varint().map(|_| ()),
        }
    }

    pub(crate) fn counted_bytes(&mut self) -> Option<&'a [u8]> {
        let count = usize::try_from(self.varint()?).ok()?;
        self.take(count)
    }
}

/// Appends an integer as [`Cursor::varint`] reads it.
pub(crate) fn put_varint(out: &mut Vec<u8>, value: u64) {
    let wide = value.to_le_bytes();
    match value {
        0..=250 => out.push(wide[0]),
        251..=0xffff => {
            out.push(251);
            out.extend_from_slice(&wide[..2]);
        }
        0x1_0000..=0xffff_ffff => {
            out.push(252);
            out.extend_from_slice(&wide[..4]);
        }
        _ => {
            out.push(253);
            out.extend_from_slice(&wide);
        }
    }
}

pub(crate) fn put_counted_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Value;
    use crate::value::tests::any_value;

    #[test]
    fn nesting_is_refused_before_it_is_decoded() {
        // 100,000 lists in one another: 200 KB that would overflow any stack.
        let mut bytes = [tag::LIST as u8, 1].repeat(100_000);
        bytes.push(tag::NULL as u8);
        let error = decode_value(&bytes, 32).map(Value::from).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);

        let nested = |levels: usize| {
            let mut bytes = [tag::SOME as u8].repeat(levels);
            bytes.push(tag::NULL as u8);
            bytes
        };
        assert!(decode_value(&nested(32), 32).is_ok());
        assert!(decode_value(&nested(33), 32).is_err());
    }

    #[test]
    fn a_count_that_promises_more_than_there_is_allocates_nothing() {
        let mut bytes = vec![tag::LIST as u8];
        put_varint(&mut bytes, u64::MAX);
        assert_eq!(
            decode_value(&bytes, 32)
                .map(Value::from)
                .unwrap_err()
                .kind(),
            ErrorKind::Corrupt
        );
        bytes[0] = tag::MAP as u8;
        assert_eq!(
            decode_value(&bytes, 32)
                .map(Value::from)
                .unwrap_err()
                .kind(),
            ErrorKind::Corrupt
        );
    }

    proptest! {
        #[test]
        fn our_integers_are_bincodes(value: u64) {
            let mut ours = Vec::new();
            put_varint(&mut ours, value);
            prop_assert_eq!(&ours, &encode(&value).unwrap());
            prop_assert_eq!(Cursor::new(&ours).varint(), Some(value));
        }

        #[test]
        fn every_value_passes_the_guard_and_comes_back(value in any_value()) {
            let bytes = value.encode().unwrap();
            prop_assert_eq!(Value::from(decode_value(&bytes, 32).unwrap()), value);
        }

        #[test]
        fn cut_or_altered_bytes_never_panic(value in any_value(), at: prop::sample::Index, to: u8) {
            let mut bytes = value.encode().unwrap();
            let at = at.index(bytes.len());
            prop_assert!(decode_value(&bytes[..at], 32).is_err());
            bytes[at] = to;
            let _ = decode_value(&bytes, 32);
        }
    }
}

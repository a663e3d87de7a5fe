//! The one module that knows `bincode`.
//!
//! What is around a session's values goes through here, so that a change of codec is
//! this file and a version byte. The format is bincode 1.3 with variable-length integers,
//! little-endian, trailing bytes refused. Session values, which may be nested, have a
//! format of their own in `session::value`: bincode bounds no depth.

use bincode::Options as _;
use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind};

pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, Error> {
    bincode::DefaultOptions::new()
        .serialize(value)
        .map_err(|source| Error::new(ErrorKind::Mismatch, "cannot be encoded").with_source(source))
}

/// Decodes bytes that hold no nesting: bincode itself would overflow the stack.
pub(crate) fn decode<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, Error> {
    bincode::DefaultOptions::new()
        .with_limit(bytes.len() as u64)
        .deserialize(bytes)
        .map_err(|source| corrupt("cannot be decoded").with_source(source))
}

pub(crate) fn corrupt(message: &'static str) -> Error {
    Error::new(ErrorKind::Corrupt, message)
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

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    pub(crate) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.bytes.split_at_checked(count)?;
        self.bytes = tail;
        Some(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
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

/// Appends what `put` appends, with its length before it.
pub(crate) fn put_counted<E>(
    out: &mut Vec<u8>,
    put: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    let at = out.len();
    // Most lengths are one byte; a longer one moves what was put.
    out.push(0);
    put(out)?;
    let count = out.len() - at - 1;
    match u8::try_from(count) {
        Ok(count @ 0..=250) => out[at] = count,
        _ => {
            let mut head = Vec::new();
            put_varint(&mut head, count as u64);
            out.splice(at..=at, head);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn our_integers_are_bincodes(value: u64) {
            let mut ours = Vec::new();
            put_varint(&mut ours, value);
            prop_assert_eq!(&ours, &encode(&value).unwrap());
            prop_assert_eq!(Cursor::new(&ours).varint(), Some(value));
        }
    }

    #[test]
    fn what_is_counted_afterwards_is_what_was_counted_before() {
        for count in [0, 1, 250, 251, 0xffff, 0x1_0000] {
            let bytes = vec![7; count];
            let (mut before, mut after) = (vec![9], vec![9]);
            put_counted_bytes(&mut before, &bytes);
            let put = |out: &mut Vec<u8>| {
                out.extend_from_slice(&bytes);
                Ok::<(), Error>(())
            };
            put_counted(&mut after, put).unwrap();
            assert!(before == after, "{count}");
        }
    }
}

//! The bytes of a value: those that bincode 1.3 writes for an enum of these kinds,
//! in this order, with variable-length integers.
//!
//! Bincode's own decoder bounds no depth, and 6 KB of nested lists overflow a
//! thread's stack: so this one counts the levels as it goes down. A test compares
//! its bytes with bincode's.

use super::Value;
use crate::codec::{Cursor, corrupt, put_counted_bytes, put_varint, put_varint128};
use crate::{Error, ErrorKind};

/// The number of each kind. They are the format: a new kind goes to the end.
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

/// Appends a value to `out`.
pub(super) fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => put_varint(out, tag::NULL),
        Value::Bool(truth) => {
            put_varint(out, tag::BOOL);
            out.push(u8::from(*truth));
        }
        Value::UInt(number) => {
            put_varint(out, tag::UINT);
            put_varint(out, *number);
        }
        Value::Int(number) => {
            put_varint(out, tag::INT);
            put_varint(out, zigzag(i128::from(*number)) as u64);
        }
        Value::BigUInt(number) => {
            put_varint(out, tag::BIG_UINT);
            put_varint128(out, *number);
        }
        Value::BigInt(number) => {
            put_varint(out, tag::BIG_INT);
            put_varint128(out, zigzag(*number));
        }
        Value::Float(number) => {
            put_varint(out, tag::FLOAT);
            out.extend_from_slice(&number.to_le_bytes());
        }
        Value::Str(text) => {
            put_varint(out, tag::STR);
            put_counted_bytes(out, text.as_bytes());
        }
        Value::Bytes(bytes) => {
            put_varint(out, tag::BYTES);
            put_counted_bytes(out, bytes);
        }
        Value::List(items) => {
            put_varint(out, tag::LIST);
            put_varint(out, items.len() as u64);
            items.iter().for_each(|item| write(item, out));
        }
        Value::Map(pairs) => {
            put_varint(out, tag::MAP);
            put_varint(out, pairs.len() as u64);
            for (key, value) in pairs {
                write(key, out);
                write(value, out);
            }
        }
        Value::Some(inner) => {
            put_varint(out, tag::SOME);
            write(inner, out);
        }
    }
}

/// Reads bytes that are one value of at most `depth_max` levels, and nothing more.
pub(super) fn read(bytes: &[u8], depth_max: usize) -> Result<Value, Error> {
    let mut reader = Reader {
        cursor: Cursor::new(bytes),
        depth_max,
    };
    let value = reader.value(depth_max)?;
    match reader.cursor.left() {
        0 => Ok(value),
        _ => Err(corrupt("bytes after the value")),
    }
}

struct Reader<'a> {
    cursor: Cursor<'a>,
    depth_max: usize,
}

impl Reader<'_> {
    fn value(&mut self, levels_left: usize) -> Result<Value, Error> {
        let short = || corrupt("value ends early");
        Ok(match self.cursor.varint().ok_or_else(short)? {
            tag::NULL => Value::Null,
            tag::BOOL => match self.cursor.take(1).ok_or_else(short)?[0] {
                0 => Value::Bool(false),
                1 => Value::Bool(true),
                _ => return Err(corrupt("a truth value is neither 0 nor 1")),
            },
            tag::UINT => Value::UInt(self.cursor.varint().ok_or_else(short)?),
            tag::INT => {
                let number = self.cursor.varint().ok_or_else(short)?;
                let number = unzigzag(number.into());
                Value::Int(i64::try_from(number).map_err(|_| corrupt("a number is too large"))?)
            }
            tag::BIG_UINT => Value::BigUInt(self.cursor.varint128().ok_or_else(short)?),
            tag::BIG_INT => Value::BigInt(unzigzag(self.cursor.varint128().ok_or_else(short)?)),
            tag::FLOAT => {
                let bytes = self.cursor.array().ok_or_else(short)?;
                Value::Float(f64::from_le_bytes(bytes))
            }
            tag::STR => {
                let bytes = self.cursor.counted_bytes().ok_or_else(short)?;
                let text = str::from_utf8(bytes).map_err(|_| corrupt("text is not UTF-8"))?;
                Value::Str(text.to_owned())
            }
            tag::BYTES => Value::Bytes(self.cursor.counted_bytes().ok_or_else(short)?.to_vec()),
            tag::LIST => {
                let (count, levels_left) = self.enter(levels_left)?;
                let items = (0..count).map(|_| self.value(levels_left));
                Value::List(items.collect::<Result<_, _>>()?)
            }
            tag::MAP => {
                let (count, levels_left) = self.enter(levels_left)?;
                let pairs = (0..count)
                    .map(|_| Ok((self.value(levels_left)?, self.value(levels_left)?)))
                    .collect::<Result<_, Error>>()?;
                Value::Map(pairs)
            }
            tag::SOME => {
                let levels_left = self.descend(levels_left)?;
                Value::Some(Box::new(self.value(levels_left)?))
            }
            _ => return Err(corrupt("value of an unknown kind")),
        })
    }

    /// How many values a container promises, and how many levels it leaves them.
    /// An empty one takes no level.
    fn enter(&mut self, levels_left: usize) -> Result<(u64, usize), Error> {
        let short = || corrupt("value ends early");
        let count = self.cursor.varint().ok_or_else(short)?;
        // Every value takes a byte at least, so no count can promise more.
        if count > self.cursor.left() as u64 {
            return Err(short());
        }
        match count {
            0 => Ok((0, levels_left)),
            _ => Ok((count, self.descend(levels_left)?)),
        }
    }

    fn descend(&self, levels_left: usize) -> Result<usize, Error> {
        levels_left.checked_sub(1).ok_or_else(|| {
            Error::new(
                ErrorKind::TooLarge,
                format!(
                    "value is nested deeper than nesting_depth_max = {} levels",
                    self.depth_max
                ),
            )
        })
    }
}

/// Puts the sign into the lowest bit, so that small negative numbers stay short.
fn zigzag(number: i128) -> u128 {
    ((number << 1) ^ (number >> 127)) as u128
}

fn unzigzag(number: u128) -> i128 {
    (number >> 1) as i128 ^ -((number & 1) as i128)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Serialize;

    use super::*;
    use crate::codec;
    use crate::session::value::tests::any_value;

    /// The enum whose bincode encoding the format is.
    #[derive(Serialize)]
    enum Wire {
        Null,
        Bool(bool),
        UInt(u64),
        Int(i64),
        BigUInt(u128),
        BigInt(i128),
        Float(f64),
        Str(String),
        Bytes(Vec<u8>),
        List(Vec<Wire>),
        Map(Vec<(Wire, Wire)>),
        Some(Box<Wire>),
    }

    impl From<Value> for Wire {
        fn from(value: Value) -> Self {
            match value {
                Value::Null => Self::Null,
                Value::Bool(truth) => Self::Bool(truth),
                Value::UInt(number) => Self::UInt(number),
                Value::Int(number) => Self::Int(number),
                Value::BigUInt(number) => Self::BigUInt(number),
                Value::BigInt(number) => Self::BigInt(number),
                Value::Float(number) => Self::Float(number),
                Value::Str(text) => Self::Str(text),
                Value::Bytes(bytes) => Self::Bytes(bytes),
                Value::List(items) => Self::List(items.into_iter().map(Self::from).collect()),
                Value::Map(pairs) => {
                    let pairs = pairs.into_iter();
                    Self::Map(
                        pairs
                            .map(|(key, value)| (key.into(), value.into()))
                            .collect(),
                    )
                }
                Value::Some(inner) => Self::Some(Box::new(Self::from(*inner))),
            }
        }
    }

    #[test]
    fn nesting_is_refused_before_it_is_decoded() {
        // 100,000 lists in one another: 200 KB that would overflow any stack.
        let mut bytes = [tag::LIST as u8, 1].repeat(100_000);
        bytes.push(tag::NULL as u8);
        assert_eq!(read(&bytes, 32).unwrap_err().kind(), ErrorKind::TooLarge);

        let nested = |levels: usize| {
            let mut bytes = [tag::SOME as u8].repeat(levels);
            bytes.push(tag::NULL as u8);
            bytes
        };
        assert!(read(&nested(32), 32).is_ok());
        assert!(read(&nested(33), 32).is_err());
    }

    #[test]
    fn a_count_that_promises_more_than_there_is_allocates_nothing() {
        for kind in [tag::LIST, tag::MAP, tag::STR, tag::BYTES] {
            let mut bytes = vec![kind as u8];
            put_varint(&mut bytes, u64::MAX);
            assert_eq!(read(&bytes, 32).unwrap_err().kind(), ErrorKind::Corrupt);
        }
    }

    #[test]
    fn the_ends_of_each_kind_of_number_come_back() {
        for value in [
            Value::UInt(u64::MAX),
            Value::Int(i64::MIN),
            Value::Int(-1),
            Value::BigUInt(u128::MAX),
            Value::BigInt(i128::MIN),
        ] {
            assert_eq!(Value::decode(&value.encode()).unwrap(), value);
        }
    }

    proptest! {
        #[test]
        fn the_bytes_are_bincodes_and_come_back(value in any_value()) {
            let bytes = value.encode();
            prop_assert_eq!(&bytes, &codec::encode(&Wire::from(value.clone())).unwrap());
            prop_assert_eq!(read(&bytes, 32).unwrap(), value);
        }

        #[test]
        fn cut_or_altered_bytes_never_panic(value in any_value(), at: prop::sample::Index, to: u8) {
            let mut bytes = value.encode();
            let at = at.index(bytes.len());
            prop_assert!(read(&bytes[..at], 32).is_err());
            bytes[at] = to;
            let _ = read(&bytes, 32);
        }
    }
}

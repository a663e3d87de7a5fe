//! The bytes of a value: those that bincode 1.3 writes for an enum of these kinds,
//! in this order, with variable-length integers. `ser` writes them and `de` reads them,
//! each in one pass between them and serde.
//!
//! Bincode's own decoder bounds no depth, and 6 KB of nested lists overflow a
//! thread's stack: so these count the levels as they go down. A test compares
//! the bytes with bincode's.

use crate::{Error, ErrorKind};

/// The number of each kind. They are the format: a new kind goes to the end.
pub(super) mod kind {
    pub(crate) const NULL: u8 = 0;
    pub(crate) const BOOL: u8 = 1;
    pub(crate) const UINT: u8 = 2;
    pub(crate) const INT: u8 = 3;
    pub(crate) const BIG_UINT: u8 = 4;
    pub(crate) const BIG_INT: u8 = 5;
    pub(crate) const FLOAT: u8 = 6;
    pub(crate) const STR: u8 = 7;
    pub(crate) const BYTES: u8 = 8;
    pub(crate) const LIST: u8 = 9;
    pub(crate) const MAP: u8 = 10;
    pub(crate) const SOME: u8 = 11;
}

pub(super) fn too_deep(depth_max: usize) -> Error {
    Error::new(
        ErrorKind::TooLarge,
        format!("value is nested deeper than nesting_depth_max = {depth_max} levels"),
    )
}

/// Puts the sign into the lowest bit, so that small negative numbers stay short.
pub(super) fn zigzag(number: i128) -> u128 {
    ((number << 1) ^ (number >> 127)) as u128
}

pub(super) fn unzigzag(number: u128) -> i128 {
    (number >> 1) as i128 ^ -((number & 1) as i128)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Serialize;

    use super::*;
    use crate::codec::{self, put_varint};
    use crate::session::Value;
    use crate::session::value::de;
    use crate::session::value::tests::any_value;

    fn read(bytes: &[u8], depth_max: usize) -> Result<Value, Error> {
        Ok(de::read(bytes, depth_max, std::marker::PhantomData)?)
    }

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
        let mut bytes = [kind::LIST, 1].repeat(100_000);
        bytes.push(kind::NULL);
        assert_eq!(read(&bytes, 32).unwrap_err().kind(), ErrorKind::TooLarge);

        let nested = |levels: usize| {
            let mut bytes = [kind::SOME].repeat(levels);
            bytes.push(kind::NULL);
            bytes
        };
        assert!(read(&nested(32), 32).is_ok());
        assert!(read(&nested(33), 32).is_err());
    }

    #[test]
    fn a_count_that_promises_more_than_there_is_allocates_nothing() {
        for kind in [kind::LIST, kind::MAP, kind::STR, kind::BYTES] {
            let mut bytes = vec![kind];
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

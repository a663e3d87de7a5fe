//! The parts of the format of a value, which the documentation of [`Value`](super::Value)
//! describes: `ser` writes it and `de` reads it, each in one pass between it and serde.
//! Both count the levels as they go down, since 6 KB of nested lists would overflow a
//! thread's stack.

use crate::{Error, ErrorKind};

/// The first byte of each kind. They are the format: a new kind takes one of the bytes
/// from 0x0b to 0x0f.
pub(super) mod kind {
    pub(crate) const NULL: u8 = 0x00;
    pub(crate) const FALSE: u8 = 0x01;
    pub(crate) const TRUE: u8 = 0x02;
    pub(crate) const SOME: u8 = 0x03;
    pub(crate) const BIG_UINT: u8 = 0x04;
    pub(crate) const BIG_INT: u8 = 0x05;
    pub(crate) const FLOAT: u8 = 0x06;
    pub(crate) const STR: u8 = 0x07;
    pub(crate) const BYTES: u8 = 0x08;
    pub(crate) const LIST: u8 = 0x09;
    pub(crate) const MAP: u8 = 0x0a;
    // Each of these is the first of a range, which ends where the next one begins.
    pub(crate) const UINT: u8 = 0x10;
    pub(crate) const INT: u8 = 0x18;
    pub(crate) const NAME: u8 = 0x20;
    pub(crate) const SMALL_UINT: u8 = 0x40;
    pub(crate) const SHORT_STR: u8 = 0x80;
    pub(crate) const SHORT_LIST: u8 = 0xc0;
    pub(crate) const SHORT_MAP: u8 = 0xe0;
}

/// The first number, length of a text and count that do not fit into the kind's byte.
pub(super) const SMALL_UINT_END: u64 = 64;
pub(super) const SHORT_TEXT_END: usize = 64;
pub(super) const SHORT_COUNT_END: u64 = 32;

const NAMES_MAX: usize = (kind::SMALL_UINT - kind::NAME) as usize;

/// The short texts that are keys of maps in a value, each where it is first written. Its
/// place in this list is its number.
pub(super) struct Names<T> {
    /// Most values have none.
    list: Option<[T; NAMES_MAX]>,
    count: usize,
}

impl<T: Copy + Default> Names<T> {
    pub(super) fn new() -> Self {
        Self {
            list: None,
            count: 0,
        }
    }

    /// Gives a name the next number, if there is one left.
    pub(super) fn add(&mut self, name: T) {
        let list = self.list.get_or_insert_with(|| [T::default(); NAMES_MAX]);
        if let Some(place) = list.get_mut(self.count) {
            *place = name;
            self.count += 1;
        }
    }

    pub(super) fn numbered(&mut self) -> &mut [T] {
        match &mut self.list {
            Some(list) => &mut list[..self.count],
            None => &mut [],
        }
    }

    pub(super) fn truncate(&mut self, count: usize) {
        self.count = self.count.min(count);
    }
}

pub(super) fn too_deep(depth_max: usize) -> Error {
    Error::new(
        ErrorKind::TooLarge,
        format!("value is nested deeper than nesting_depth_max = {depth_max} levels"),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::put_varint;
    use crate::session::Value;
    use crate::session::value::de;
    use crate::session::value::tests::any_value;

    fn read(bytes: &[u8], depth_max: usize) -> Result<Value, Error> {
        Ok(de::read(bytes, depth_max, std::marker::PhantomData)?)
    }

    #[test]
    fn nesting_is_refused_before_it_is_decoded() {
        // 100,000 lists in one another: 100 KB that would overflow any stack.
        let mut bytes = [kind::SHORT_LIST | 1].repeat(100_000);
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

    fn bytes_of(hex: &str) -> Vec<u8> {
        let digits: String = hex.split_whitespace().collect();
        let bytes = (0..digits.len()).step_by(2);
        let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
        bytes.map(byte).collect()
    }

    fn text(text: &str) -> Value {
        Value::Str(text.to_owned())
    }

    /// The format is a promise: these were put together by hand from the documentation
    /// of [`Value`].
    #[test]
    fn the_published_bytes_of_each_kind() {
        let map = |pairs: &[(&str, Value)]| {
            let pairs = pairs.iter().cloned();
            Value::Map(pairs.map(|(key, value)| (text(key), value)).collect())
        };
        let nothing_of = |inner: Value| Value::Some(Box::new(inner));
        let line = |qty| map(&[("a", Value::Null), ("q", qty)]);
        for (value, hex) in [
            (Value::Null, "00"),
            (Value::Bool(false), "01"),
            (Value::Bool(true), "02"),
            (nothing_of(nothing_of(Value::Null)), "030300"),
            (
                Value::BigUInt(1 << 64),
                "04 0000000000000000 0100000000000000",
            ),
            (
                Value::BigInt(i64::MIN as i128 - 1),
                "05 ffffffffffffff7f ffffffffffffffff",
            ),
            (Value::Float(1.5), "06 000000000000f83f"),
            (text(&"x".repeat(64)), &format!("0740 {}", "78".repeat(64))),
            (Value::Bytes(vec![1, 255]), "08 02 01ff"),
            (
                Value::List(vec![Value::Null; 32]),
                &format!("0920 {}", "00".repeat(32)),
            ),
            (Value::UInt(64), "1040"),
            (Value::UInt(255), "10ff"),
            (Value::UInt(256), "110001"),
            (Value::UInt(u64::MAX), "17 ffffffffffffffff"),
            (Value::Int(-1), "1800"),
            (Value::Int(-256), "18ff"),
            (Value::Int(-257), "190001"),
            (Value::Int(i64::MIN), "1f ffffffffffffff7f"),
            (Value::UInt(0), "40"),
            (Value::UInt(63), "7f"),
            (text(""), "80"),
            (text("ß"), "82c39f"),
            (text(&"x".repeat(63)), &format!("bf {}", "78".repeat(63))),
            (Value::List(vec![]), "c0"),
            (
                Value::List(vec![Value::Null; 31]),
                &format!("df {}", "00".repeat(31)),
            ),
            (map(&[]), "e0"),
            (
                Value::Map(vec![(Value::Null, Value::UInt(1)); 31]),
                &format!("ff {}", "0041".repeat(31)),
            ),
            (
                Value::Map(vec![(Value::Null, Value::UInt(1)); 32]),
                &format!("0a20 {}", "0041".repeat(32)),
            ),
            // Names are keys alone: the values "a" are written each time.
            (
                Value::List(vec![line(text("a")), line(text("a"))]),
                "c2 e2 8161 00 8171 8161 e2 20 00 21 8161",
            ),
            // Those in a key that is itself a map come first.
            (
                Value::Map(vec![(
                    map(&[("b", Value::Null)]),
                    map(&[("b", Value::Null)]),
                )]),
                "e1 e1 8162 00 e1 20 00",
            ),
        ] {
            let bytes = bytes_of(hex);
            assert_eq!(value.encode(), bytes, "{hex}");
            assert_eq!(Value::decode(&bytes).unwrap(), value, "{hex}");
        }
    }

    #[test]
    fn a_number_that_is_no_names_is_corrupt() {
        for hex in [
            "e1 20 00",              // no name was before it
            "e1 8161 20",            // a number where no key stands
            "c2 e1 8161 00 20",      // the same
            "c2 e1 8161 00 e1 2100", // the second of one name
            "e2 21 00 8161 00",      // the number before the name
            "c2 81 61 e1 20 00",     // a text that is no key
            "20",
        ] {
            let error = read(&bytes_of(hex), 32).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{hex}");
        }
    }

    #[test]
    fn thirty_two_names_shorter_than_64_bytes_have_numbers() {
        let names: Vec<String> = (0..33).map(|index| format!("name {index:02}")).collect();
        let map = |names: &[String]| {
            let names = names.iter();
            Value::Map(names.map(|name| (text(name), Value::Null)).collect())
        };
        for (names, again) in [
            // Each has a number but the last.
            (&names[..], 32 + 8),
            (&[names[..1].to_vec(), vec!["x".repeat(63)]].concat()[..], 2),
            (
                &[names[..1].to_vec(), vec!["x".repeat(64)]].concat()[..],
                1 + 66,
            ),
        ] {
            let once = map(names).encode();
            let twice = Value::List(vec![map(names), map(names)]);
            let head = if names.len() < 32 { 1 } else { 2 };
            let bytes = twice.encode();
            assert_eq!(bytes.len(), 1 + once.len() + head + again + names.len());
            assert_eq!(Value::decode(&bytes).unwrap(), twice);
        }
    }

    #[test]
    fn the_ends_of_each_kind_of_number_come_back() {
        for value in [
            Value::UInt(0),
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
        fn any_value_comes_back(value in any_value()) {
            let bytes = value.encode();
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

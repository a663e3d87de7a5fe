//! A value as bincode writes it: an enum of its own, so that [`Value`] can
//! stand for its content towards every other format.

use std::fmt;

use serde::de::{Deserializer, Error, Visitor};
use serde::ser::{SerializeSeq as _, SerializeTuple as _, Serializer};
use serde::{Deserialize, Serialize};

use super::Value;

/// What is decoded. The order is the format: a new kind goes to the end.
#[derive(Deserialize)]
pub(crate) enum Wire {
    Null,
    Bool(bool),
    UInt(u64),
    Int(i64),
    BigUInt(u128),
    BigInt(i128),
    Float(f64),
    Str(String),
    Bytes(#[serde(deserialize_with = "bytes")] Vec<u8>),
    List(Vec<Wire>),
    Map(Vec<(Wire, Wire)>),
    Some(Box<Wire>),
}

impl From<Wire> for Value {
    fn from(wire: Wire) -> Self {
        match wire {
            Wire::Null => Self::Null,
            Wire::Bool(truth) => Self::Bool(truth),
            Wire::UInt(number) => Self::UInt(number),
            Wire::Int(number) => Self::Int(number),
            Wire::BigUInt(number) => Self::BigUInt(number),
            Wire::BigInt(number) => Self::BigInt(number),
            Wire::Float(number) => Self::Float(number),
            Wire::Str(text) => Self::Str(text),
            Wire::Bytes(bytes) => Self::Bytes(bytes),
            Wire::List(items) => Self::List(items.into_iter().map(Self::from).collect()),
            Wire::Map(pairs) => Self::Map(
                pairs
                    .into_iter()
                    .map(|(key, value)| (key.into(), value.into()))
                    .collect(),
            ),
            Wire::Some(inner) => Self::Some(Box::new(Self::from(*inner))),
        }
    }
}

/// What is encoded: the same enum over a borrowed value.
pub(super) struct Ref<'a>(pub(super) &'a Value);

impl Serialize for Ref<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        const NAME: &str = "Wire";
        match self.0 {
            Value::Null => to.serialize_unit_variant(NAME, 0, "Null"),
            Value::Bool(truth) => to.serialize_newtype_variant(NAME, 1, "Bool", truth),
            Value::UInt(number) => to.serialize_newtype_variant(NAME, 2, "UInt", number),
            Value::Int(number) => to.serialize_newtype_variant(NAME, 3, "Int", number),
            Value::BigUInt(number) => to.serialize_newtype_variant(NAME, 4, "BigUInt", number),
            Value::BigInt(number) => to.serialize_newtype_variant(NAME, 5, "BigInt", number),
            Value::Float(number) => to.serialize_newtype_variant(NAME, 6, "Float", number),
            Value::Str(text) => to.serialize_newtype_variant(NAME, 7, "Str", text),
            Value::Bytes(bytes) => to.serialize_newtype_variant(NAME, 8, "Bytes", &Raw(bytes)),
            Value::List(items) => to.serialize_newtype_variant(NAME, 9, "List", &List(items)),
            Value::Map(pairs) => to.serialize_newtype_variant(NAME, 10, "Map", &Pairs(pairs)),
            Value::Some(inner) => to.serialize_newtype_variant(NAME, 11, "Some", &Ref(inner)),
        }
    }
}

struct Raw<'a>(&'a [u8]);

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(self.0)
    }
}

struct List<'a>(&'a [Value]);

impl Serialize for List<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut items = to.serialize_seq(Some(self.0.len()))?;
        for item in self.0 {
            items.serialize_element(&Ref(item))?;
        }
        items.end()
    }
}

struct Pairs<'a>(&'a [(Value, Value)]);

impl Serialize for Pairs<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut pairs = to.serialize_seq(Some(self.0.len()))?;
        for pair in self.0 {
            pairs.serialize_element(&Pair(pair))?;
        }
        pairs.end()
    }
}

struct Pair<'a>(&'a (Value, Value));

impl Serialize for Pair<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut pair = to.serialize_tuple(2)?;
        pair.serialize_element(&Ref(&self.0.0))?;
        pair.serialize_element(&Ref(&self.0.1))?;
        pair.end()
    }
}

/// Bytes as bytes, not as a sequence of numbers: the same format, faster.
fn bytes<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
    struct Whole;

    impl Visitor<'_> for Whole {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("bytes")
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
            Ok(bytes.to_vec())
        }

        fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
            Ok(bytes)
        }
    }

    from.deserialize_byte_buf(Whole)
}

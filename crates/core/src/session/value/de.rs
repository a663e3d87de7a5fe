//! A [`Value`] into any deserialisable type, strictly: no number changes its
//! value on the way, no kind is taken for another.

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer, Unexpected,
    VariantAccess, Visitor,
};

use super::{Value, ValueError};

impl<'de> IntoDeserializer<'de, ValueError> for Value {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

fn list<'de, V: Visitor<'de>>(items: Vec<Value>, visitor: V) -> Result<V::Value, ValueError> {
    let mut items = SeqDeserializer::new(items.into_iter());
    let read = visitor.visit_seq(&mut items)?;
    items.end()?;
    Ok(read)
}

fn map<'de, V: Visitor<'de>>(
    pairs: Vec<(Value, Value)>,
    visitor: V,
) -> Result<V::Value, ValueError> {
    let mut pairs = MapDeserializer::new(pairs.into_iter());
    let read = visitor.visit_map(&mut pairs)?;
    pairs.end()?;
    Ok(read)
}

/// The nearest float, where it is the same number.
fn exact_float(value: &Value) -> Option<f64> {
    let float = match *value {
        Value::Float(float) => return Some(float),
        Value::UInt(number) if number <= 1 << f64::MANTISSA_DIGITS => number as f64,
        Value::Int(number) if number >= -(1 << f64::MANTISSA_DIGITS) => number as f64,
        _ => return None,
    };
    Some(float)
}

impl<'de> Deserializer<'de> for Value {
    type Error = ValueError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self {
            Self::Null => visitor.visit_unit(),
            Self::Bool(truth) => visitor.visit_bool(truth),
            Self::UInt(number) => visitor.visit_u64(number),
            Self::Int(number) => visitor.visit_i64(number),
            Self::BigUInt(number) => visitor.visit_u128(number),
            Self::BigInt(number) => visitor.visit_i128(number),
            Self::Float(number) => visitor.visit_f64(number),
            Self::Str(text) => visitor.visit_string(text),
            Self::Bytes(bytes) => visitor.visit_byte_buf(bytes),
            Self::List(items) => list(items, visitor),
            Self::Map(pairs) => map(pairs, visitor),
            Self::Some(inner) => visitor.visit_some(*inner),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self {
            Self::Null => visitor.visit_none(),
            Self::Some(inner) => visitor.visit_some(*inner),
            plain => visitor.visit_some(plain),
        }
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match exact_float(&self) {
            Some(float) => visitor.visit_f64(float),
            None => Err(self.is_not(&"a floating-point number")),
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match exact_float(&self) {
            Some(float) if float.is_nan() || f64::from(float as f32) == float => {
                visitor.visit_f32(float as f32)
            }
            _ => Err(self.is_not(&"a number that f32 holds exactly")),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        let (name, content) = match self {
            Self::Str(_) => (self, None),
            Self::Map(mut pairs) if pairs.len() == 1 => match pairs.pop() {
                Some((name, content)) => (name, Some(content)),
                None => return Err(Self::Null.is_not(&"an enum")),
            },
            other => return Err(other.is_not(&"an enum")),
        };
        visitor.visit_enum(Tagged { name, content })
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 char str string bytes byte_buf
        unit unit_struct seq tuple tuple_struct map struct identifier
    }
}

impl Value {
    fn is_not(&self, expected: &dyn de::Expected) -> ValueError {
        let found = match self {
            Self::Null | Self::Some(_) => Unexpected::Unit,
            Self::Bool(truth) => Unexpected::Bool(*truth),
            Self::UInt(_) | Self::Int(_) | Self::BigUInt(_) | Self::BigInt(_) => {
                Unexpected::Unsigned(0)
            }
            Self::Float(number) => Unexpected::Float(*number),
            Self::Str(_) => Unexpected::Str(""),
            Self::Bytes(_) => Unexpected::Bytes(&[]),
            Self::List(_) => Unexpected::Seq,
            Self::Map(_) => Unexpected::Map,
        };
        ValueError::invalid_type(found, expected)
    }
}

/// An externally tagged enum: a name, and what stands under it.
struct Tagged {
    name: Value,
    content: Option<Value>,
}

impl<'de> EnumAccess<'de> for Tagged {
    type Error = ValueError;
    type Variant = Content;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Content), ValueError> {
        Ok((seed.deserialize(self.name)?, Content(self.content)))
    }
}

struct Content(Option<Value>);

impl Content {
    fn some(self) -> Result<Value, ValueError> {
        self.0
            .ok_or_else(|| ValueError::mismatch("found a bare variant, expected one with content"))
    }
}

impl<'de> VariantAccess<'de> for Content {
    type Error = ValueError;

    fn unit_variant(self) -> Result<(), ValueError> {
        match self.0 {
            None | Some(Value::Null) => Ok(()),
            Some(_) => Err(ValueError::mismatch(
                "found a variant with content, expected a bare one",
            )),
        }
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<S::Value, ValueError> {
        seed.deserialize(self.some()?)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, ValueError> {
        match self.some()? {
            Value::List(items) => list(items, visitor),
            other => Err(other.is_not(&"a tuple variant")),
        }
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        match self.some()? {
            Value::Map(pairs) => map(pairs, visitor),
            other => Err(other.is_not(&"a struct variant")),
        }
    }
}

/// Whatever stands there.
impl<'de> de::Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Anything)
    }
}

struct Anything;

impl<'de> Visitor<'de> for Anything {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        let inner = <Value as de::Deserialize>::deserialize(from)?;
        Ok(match inner {
            Value::Null | Value::Some(_) => Value::Some(Box::new(inner)),
            plain => plain,
        })
    }

    fn visit_bool<E: de::Error>(self, truth: bool) -> Result<Value, E> {
        Ok(Value::Bool(truth))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Value, E> {
        Ok(Value::UInt(number))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Value, E> {
        Ok(u64::try_from(number).map_or(Value::Int(number), Value::UInt))
    }

    fn visit_u128<E: de::Error>(self, number: u128) -> Result<Value, E> {
        Ok(u64::try_from(number).map_or(Value::BigUInt(number), Value::UInt))
    }

    fn visit_i128<E: de::Error>(self, number: i128) -> Result<Value, E> {
        match (u128::try_from(number), i64::try_from(number)) {
            (Ok(natural), _) => self.visit_u128(natural),
            (_, Ok(small)) => Ok(Value::Int(small)),
            _ => Ok(Value::BigInt(number)),
        }
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Float(number))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Str(text.to_owned()))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Value, E> {
        Ok(Value::Str(text))
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Value, E> {
        Ok(Value::Bytes(bytes.to_vec()))
    }

    fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Value, E> {
        Ok(Value::Bytes(bytes))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut pairs: A) -> Result<Value, A::Error> {
        let mut map = Vec::new();
        while let Some(pair) = pairs.next_entry()? {
            map.push(pair);
        }
        Ok(Value::Map(map))
    }
}

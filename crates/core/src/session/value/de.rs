//! The bytes of a value into any deserialisable type, in one pass and strictly: no
//! number changes its value on the way, no kind is taken for another.

use serde::de::{
    self, Deserialize as _, DeserializeSeed, Deserializer, EnumAccess, Error as _, MapAccess,
    SeqAccess, Unexpected, VariantAccess, Visitor,
};

use super::format::{kind, too_deep, unzigzag};
use super::{Value, ValueError};
use crate::codec::{Cursor, corrupt};

/// How many items a type is told to make room for: more grow as they come, since the
/// bytes may promise what they do not hold.
const ROOM_MAX: usize = 256;

/// Reads bytes that are one value of at most `depth_max` levels, and nothing more.
pub(super) fn read<'de, S: DeserializeSeed<'de>>(
    bytes: &'de [u8],
    depth_max: usize,
    seed: S,
) -> Result<S::Value, ValueError> {
    let mut cursor = Cursor::new(bytes);
    let value = seed.deserialize(Reader::new(&mut cursor, depth_max))?;
    match cursor.left() {
        0 => Ok(value),
        _ => Err(corrupt("bytes after the value").into()),
    }
}

/// The names and the encoded values of a struct, or of a map from text.
pub(super) fn fields(bytes: &[u8]) -> Result<Vec<(&str, &[u8])>, ValueError> {
    let not_a_struct = || ValueError::mismatch("the typed view needs a struct");
    let mut cursor = Cursor::new(bytes);
    let mut reader = Reader::new(&mut cursor, usize::MAX);
    let Head::Map(count) = reader.head()? else {
        return Err(not_a_struct());
    };
    let mut fields = Vec::with_capacity(count.min(ROOM_MAX));
    for _ in 0..count {
        let Head::Str(name) = reader.head()? else {
            return Err(not_a_struct());
        };
        let value = reader.cursor.rest();
        de::IgnoredAny::deserialize(reader.again())?;
        let bytes = value.len() - reader.cursor.left();
        fields.push((name, &value[..bytes]));
    }
    Ok(fields)
}

fn short() -> ValueError {
    corrupt("value ends early").into()
}

/// Stands before a value.
struct Reader<'a, 'de> {
    cursor: &'a mut Cursor<'de>,
    depth_max: usize,
    /// How many more levels may be opened.
    left: usize,
}

/// A value without what it contains.
enum Head<'de> {
    Null,
    Bool(bool),
    UInt(u64),
    Int(i64),
    BigUInt(u128),
    BigInt(i128),
    Float(f64),
    Str(&'de str),
    Bytes(&'de [u8]),
    List(usize),
    Map(usize),
    Some,
}

impl<'a, 'de> Reader<'a, 'de> {
    fn new(cursor: &'a mut Cursor<'de>, depth_max: usize) -> Self {
        let left = depth_max;
        Self {
            cursor,
            depth_max,
            left,
        }
    }

    /// For the next value on the same level.
    fn again(&mut self) -> Reader<'_, 'de> {
        Reader {
            cursor: &mut *self.cursor,
            ..*self
        }
    }

    fn head(&mut self) -> Result<Head<'de>, ValueError> {
        let cursor = &mut *self.cursor;
        Ok(match cursor.take(1).ok_or_else(short)?[0] {
            kind::NULL => Head::Null,
            kind::BOOL => match cursor.take(1).ok_or_else(short)?[0] {
                0 => Head::Bool(false),
                1 => Head::Bool(true),
                _ => return Err(corrupt("a truth value is neither 0 nor 1").into()),
            },
            kind::UINT => Head::UInt(cursor.varint().ok_or_else(short)?),
            kind::INT => {
                let number = unzigzag(cursor.varint().ok_or_else(short)?.into());
                let number = i64::try_from(number);
                Head::Int(number.map_err(|_| corrupt("a number is too large"))?)
            }
            kind::BIG_UINT => Head::BigUInt(cursor.varint128().ok_or_else(short)?),
            kind::BIG_INT => Head::BigInt(unzigzag(cursor.varint128().ok_or_else(short)?)),
            kind::FLOAT => Head::Float(f64::from_le_bytes(cursor.array().ok_or_else(short)?)),
            kind::STR => {
                let text = str::from_utf8(cursor.counted_bytes().ok_or_else(short)?);
                Head::Str(text.map_err(|_| corrupt("text is not UTF-8"))?)
            }
            kind::BYTES => Head::Bytes(cursor.counted_bytes().ok_or_else(short)?),
            kind::LIST => Head::List(self.enter()?),
            kind::MAP => Head::Map(self.enter()?),
            kind::SOME => {
                self.descend()?;
                Head::Some
            }
            _ => return Err(corrupt("value of an unknown kind").into()),
        })
    }

    /// How many values a container promises. An empty one takes no level.
    fn enter(&mut self) -> Result<usize, ValueError> {
        let count = self.cursor.varint().ok_or_else(short)?;
        // Every value takes a byte at least, so no count can promise more.
        let count = usize::try_from(count).map_err(|_| short())?;
        if count > self.cursor.left() {
            return Err(short());
        }
        if count > 0 {
            self.descend()?;
        }
        Ok(count)
    }

    fn descend(&mut self) -> Result<(), ValueError> {
        let left = self.left.checked_sub(1);
        self.left = left.ok_or_else(|| too_deep(self.depth_max))?;
        Ok(())
    }

    fn items(self, count: usize) -> Items<'a, 'de> {
        Items {
            reader: self,
            count,
            taken: 0,
        }
    }

    fn list<V: Visitor<'de>>(self, count: usize, visitor: V) -> Result<V::Value, ValueError> {
        let mut items = self.items(count);
        let read = visitor.visit_seq(&mut items)?;
        items.all_taken("sequence")?;
        Ok(read)
    }

    fn map<V: Visitor<'de>>(self, count: usize, visitor: V) -> Result<V::Value, ValueError> {
        let mut items = self.items(count);
        let read = visitor.visit_map(&mut items)?;
        items.all_taken("map")?;
        Ok(read)
    }
}

impl Head<'_> {
    fn is_not(&self, expected: &dyn de::Expected) -> ValueError {
        let found = match self {
            Self::Null | Self::Some => Unexpected::Unit,
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

    /// The nearest float, where it is the same number.
    fn exact_float(&self) -> Option<f64> {
        match *self {
            Self::Float(float) => Some(float),
            Self::UInt(number) if number <= 1 << f64::MANTISSA_DIGITS => Some(number as f64),
            Self::Int(number) if number >= -(1 << f64::MANTISSA_DIGITS) => Some(number as f64),
            _ => None,
        }
    }
}

impl<'de> Deserializer<'de> for Reader<'_, 'de> {
    type Error = ValueError;

    fn deserialize_any<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, ValueError> {
        match self.head()? {
            Head::Null => visitor.visit_unit(),
            Head::Bool(truth) => visitor.visit_bool(truth),
            Head::UInt(number) => visitor.visit_u64(number),
            Head::Int(number) => visitor.visit_i64(number),
            Head::BigUInt(number) => visitor.visit_u128(number),
            Head::BigInt(number) => visitor.visit_i128(number),
            Head::Float(number) => visitor.visit_f64(number),
            Head::Str(text) => visitor.visit_borrowed_str(text),
            Head::Bytes(bytes) => visitor.visit_borrowed_bytes(bytes),
            Head::List(count) => self.list(count, visitor),
            Head::Map(count) => self.map(count, visitor),
            Head::Some => visitor.visit_some(self),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, ValueError> {
        match self.cursor.rest().first() {
            Some(&kind::NULL) => {
                self.head()?;
                visitor.visit_none()
            }
            Some(&kind::SOME) => {
                self.head()?;
                visitor.visit_some(self)
            }
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_f64<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, ValueError> {
        let head = self.head()?;
        match head.exact_float() {
            Some(float) => visitor.visit_f64(float),
            None => Err(head.is_not(&"a floating-point number")),
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, ValueError> {
        let head = self.head()?;
        match head.exact_float() {
            Some(float) if float.is_nan() || f64::from(float as f32) == float => {
                visitor.visit_f32(float as f32)
            }
            _ => Err(head.is_not(&"a number that f32 holds exactly")),
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
        mut self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        match self.cursor.rest().first() {
            Some(&kind::STR) => visitor.visit_enum(Tagged {
                reader: self,
                is_bare: true,
            }),
            _ => match self.head()? {
                Head::Map(1) => visitor.visit_enum(Tagged {
                    reader: self,
                    is_bare: false,
                }),
                other => Err(other.is_not(&"an enum")),
            },
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 char str string bytes byte_buf
        unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

/// What a list or map contains, one after the other.
struct Items<'a, 'de> {
    reader: Reader<'a, 'de>,
    count: usize,
    taken: usize,
}

impl<'de> Items<'_, 'de> {
    fn next<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, ValueError> {
        seed.deserialize(self.reader.again())
    }

    fn has_next(&mut self) -> bool {
        let has_next = self.taken < self.count;
        self.taken += usize::from(has_next);
        has_next
    }

    fn all_taken(&self, of: &str) -> Result<(), ValueError> {
        let (count, taken) = (self.count, self.taken);
        if taken == count {
            return Ok(());
        }
        let elements = if taken == 1 { "element" } else { "elements" };
        Err(ValueError::mismatch(format_args!(
            "invalid length {count}, expected {taken} {elements} in {of}"
        )))
    }

    fn room(&self) -> Option<usize> {
        Some((self.count - self.taken).min(ROOM_MAX))
    }
}

impl<'de> SeqAccess<'de> for Items<'_, 'de> {
    type Error = ValueError;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, ValueError> {
        match self.has_next() {
            true => self.next(seed).map(Some),
            false => Ok(None),
        }
    }

    fn size_hint(&self) -> Option<usize> {
        self.room()
    }
}

impl<'de> MapAccess<'de> for Items<'_, 'de> {
    type Error = ValueError;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, ValueError> {
        match self.has_next() {
            true => self.next(seed).map(Some),
            false => Ok(None),
        }
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<S::Value, ValueError> {
        self.next(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        self.room()
    }
}

/// An externally tagged enum: its name, and what stands under it unless it is bare.
struct Tagged<'a, 'de> {
    reader: Reader<'a, 'de>,
    is_bare: bool,
}

impl<'de> EnumAccess<'de> for Tagged<'_, 'de> {
    type Error = ValueError;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(
        mut self,
        seed: S,
    ) -> Result<(S::Value, Self), ValueError> {
        Ok((seed.deserialize(self.reader.again())?, self))
    }
}

impl<'a, 'de> Tagged<'a, 'de> {
    fn content(self) -> Result<Reader<'a, 'de>, ValueError> {
        match self.is_bare {
            true => Err(ValueError::mismatch(
                "found a bare variant, expected one with content",
            )),
            false => Ok(self.reader),
        }
    }
}

impl<'de> VariantAccess<'de> for Tagged<'_, 'de> {
    type Error = ValueError;

    fn unit_variant(mut self) -> Result<(), ValueError> {
        if self.is_bare {
            return Ok(());
        }
        match self.reader.head()? {
            Head::Null => Ok(()),
            _ => Err(ValueError::mismatch(
                "found a variant with content, expected a bare one",
            )),
        }
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<S::Value, ValueError> {
        seed.deserialize(self.content()?)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, ValueError> {
        let mut content = self.content()?;
        match content.head()? {
            Head::List(count) => content.list(count, visitor),
            other => Err(other.is_not(&"a tuple variant")),
        }
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        let mut content = self.content()?;
        match content.head()? {
            Head::Map(count) => content.map(count, visitor),
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

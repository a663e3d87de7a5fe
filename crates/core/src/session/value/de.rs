//! The bytes of a value into any deserialisable type, in one pass and strictly: no
//! number changes its value on the way, no kind is taken for another.

use serde::de::{
    self, Deserialize as _, DeserializeSeed, Deserializer, EnumAccess, Error as _, MapAccess,
    SeqAccess, Unexpected, VariantAccess, Visitor,
};

use super::ValueError;
use super::format::{Names, kind, too_deep};
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
    let mut source = Source::new(bytes);
    let value = seed.deserialize(Reader::new(&mut source, depth_max))?;
    match source.cursor.left() {
        0 => Ok(value),
        _ => Err(corrupt("bytes after the value").into()),
    }
}

/// The names and the encoded values of a struct, or of a map from text, that
/// [`write_fields`](super::ser::write_fields) wrote.
pub(super) fn fields(bytes: &[u8]) -> Result<Vec<(&str, &[u8])>, ValueError> {
    let not_a_struct = || ValueError::mismatch("the typed view needs a struct");
    let mut source = Source::new(bytes);
    let mut reader = Reader::new(&mut source, usize::MAX);
    let Head::Map(count) = reader.head()? else {
        return Err(not_a_struct());
    };
    let mut fields = Vec::with_capacity(count.min(ROOM_MAX));
    for _ in 0..count {
        let Head::Str(name) = reader.head()? else {
            return Err(not_a_struct());
        };
        reader.source.names.truncate(0);
        let value = reader.source.cursor.rest();
        de::IgnoredAny::deserialize(reader.next(false))?;
        let bytes = value.len() - reader.source.cursor.left();
        fields.push((name, &value[..bytes]));
    }
    Ok(fields)
}

fn short() -> ValueError {
    corrupt("value ends early").into()
}

/// The bytes of a value, read as far as the cursor.
struct Source<'de> {
    cursor: Cursor<'de>,
    names: Names<&'de str>,
}

impl<'de> Source<'de> {
    fn new(bytes: &'de [u8]) -> Self {
        Self {
            cursor: Cursor::new(bytes),
            names: Names::new(),
        }
    }

    /// The number of `count` bytes, at most eight.
    fn whole(&mut self, count: u8) -> Result<u64, ValueError> {
        let bytes = self.cursor.take(count.into()).ok_or_else(short)?;
        let mut wide = [0; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        Ok(u64::from_le_bytes(wide))
    }

    /// The text behind a kind that says its length. The key of a map gets a number.
    fn short_text(&mut self, kind: u8, is_key: bool) -> Result<&'de str, ValueError> {
        let count = usize::from(kind - kind::SHORT_STR);
        let text = text(self.cursor.take(count).ok_or_else(short)?)?;
        if is_key {
            self.names.add(text);
        }
        Ok(text)
    }

    /// The text that a number stands for: one that was read before, as the key of a map.
    fn name(&mut self, kind: u8) -> Result<&'de str, ValueError> {
        let number = usize::from(kind - kind::NAME);
        let name = self.names.numbered().get(number).copied();
        Ok(name.ok_or_else(|| corrupt("a name's number is that of no name"))?)
    }
}

fn text(bytes: &[u8]) -> Result<&str, ValueError> {
    Ok(str::from_utf8(bytes).map_err(|_| corrupt("text is not UTF-8"))?)
}

/// Stands before a value.
struct Reader<'a, 'de> {
    source: &'a mut Source<'de>,
    depth_max: usize,
    /// How many more levels may be opened.
    left: usize,
    /// Whether the value is the key of a map.
    is_key: bool,
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
    fn new(source: &'a mut Source<'de>, depth_max: usize) -> Self {
        Self {
            source,
            depth_max,
            left: depth_max,
            is_key: false,
        }
    }

    /// For the next value on the same level.
    fn next(&mut self, is_key: bool) -> Reader<'_, 'de> {
        Reader {
            source: &mut *self.source,
            is_key,
            ..*self
        }
    }

    fn next_kind(&self) -> Option<u8> {
        self.source.cursor.rest().first().copied()
    }

    fn head(&mut self) -> Result<Head<'de>, ValueError> {
        let source = &mut *self.source;
        let cursor = &mut source.cursor;
        Ok(match cursor.take(1).ok_or_else(short)?[0] {
            kind::NULL => Head::Null,
            kind::FALSE => Head::Bool(false),
            kind::TRUE => Head::Bool(true),
            kind::SOME => {
                self.descend()?;
                Head::Some
            }
            kind::BIG_UINT => Head::BigUInt(u128::from_le_bytes(cursor.array().ok_or_else(short)?)),
            kind::BIG_INT => Head::BigInt(i128::from_le_bytes(cursor.array().ok_or_else(short)?)),
            kind::FLOAT => Head::Float(f64::from_le_bytes(cursor.array().ok_or_else(short)?)),
            kind::STR => Head::Str(text(cursor.counted_bytes().ok_or_else(short)?)?),
            kind::BYTES => Head::Bytes(cursor.counted_bytes().ok_or_else(short)?),
            kind::LIST => {
                let count = cursor.varint().ok_or_else(short)?;
                Head::List(self.enter(count)?)
            }
            kind::MAP => {
                let count = cursor.varint().ok_or_else(short)?;
                Head::Map(self.enter(count)?)
            }
            kind @ kind::UINT..kind::INT => Head::UInt(source.whole(kind - kind::UINT + 1)?),
            kind @ kind::INT..kind::NAME => {
                let number = i64::try_from(source.whole(kind - kind::INT + 1)?);
                Head::Int(!number.map_err(|_| corrupt("a number is too small"))?)
            }
            kind @ kind::NAME..kind::SMALL_UINT if self.is_key => Head::Str(source.name(kind)?),
            kind::NAME..kind::SMALL_UINT => {
                return Err(corrupt("a name's number stands where no key does").into());
            }
            kind @ kind::SMALL_UINT..kind::SHORT_STR => {
                Head::UInt((kind - kind::SMALL_UINT).into())
            }
            kind @ kind::SHORT_STR..kind::SHORT_LIST => {
                Head::Str(source.short_text(kind, self.is_key)?)
            }
            kind @ kind::SHORT_LIST..kind::SHORT_MAP => {
                Head::List(self.enter((kind - kind::SHORT_LIST).into())?)
            }
            kind @ kind::SHORT_MAP.. => Head::Map(self.enter((kind - kind::SHORT_MAP).into())?),
            _ => return Err(corrupt("value of an unknown kind").into()),
        })
    }

    /// How many values a container promises. An empty one takes no level.
    fn enter(&mut self, count: u64) -> Result<usize, ValueError> {
        // Every value takes a byte at least, so no count can promise more.
        let count = usize::try_from(count).map_err(|_| short())?;
        if count > self.source.cursor.left() {
            return Err(short());
        }
        if count > 0 {
            self.descend()?;
        }
        self.is_key = false;
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
        // Most values are short texts: they need no head.
        if let Some(kind @ kind::SHORT_STR..kind::SHORT_LIST) = self.next_kind() {
            self.source.cursor.take(1);
            return visitor.visit_borrowed_str(self.source.short_text(kind, self.is_key)?);
        }
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
        match self.next_kind() {
            Some(kind::NULL) => {
                self.head()?;
                visitor.visit_none()
            }
            Some(kind::SOME) => {
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
        match self.next_kind() {
            Some(kind::STR | kind::NAME..kind::SMALL_UINT | kind::SHORT_STR..kind::SHORT_LIST) => {
                visitor.visit_enum(Tagged {
                    reader: self,
                    is_bare: true,
                })
            }
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
    fn next<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
        is_key: bool,
    ) -> Result<S::Value, ValueError> {
        seed.deserialize(self.reader.next(is_key))
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
            true => self.next(seed, false).map(Some),
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
            true => self.next(seed, true).map(Some),
            false => Ok(None),
        }
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<S::Value, ValueError> {
        self.next(seed, false)
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
        // A bare one is a key where the enum is; the name of another is the key of a map.
        let is_key = self.reader.is_key || !self.is_bare;
        Ok((seed.deserialize(self.reader.next(is_key))?, self))
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

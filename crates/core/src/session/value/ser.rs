//! Any serialisable type into the bytes of a value, in one pass.

use serde::ser::{self, Serialize};

use super::ValueError;
use super::format::{kind, too_deep, zigzag};
use crate::codec::{put_counted_bytes, put_varint, put_varint128};

/// Appends the bytes of `value`, which may open `depth_max` levels.
pub(super) fn write<T: Serialize + ?Sized>(
    value: &T,
    depth_max: usize,
    out: &mut Vec<u8>,
) -> Result<(), ValueError> {
    value.serialize(Writer {
        out,
        depth_max,
        left: depth_max,
        flattened: false,
    })
}

/// Carries how many more levels may be opened, so that a value that nests
/// without end fails before the stack does.
struct Writer<'a> {
    out: &'a mut Vec<u8>,
    depth_max: usize,
    left: usize,
    /// Whether it stands in a map whose length serde does not know: what the derive
    /// makes of a struct with a `flatten`.
    flattened: bool,
}

impl<'a> Writer<'a> {
    fn deeper(self) -> Result<Self, ValueError> {
        match self.left.checked_sub(1) {
            Some(left) => Ok(Self { left, ..self }),
            None => Err(too_deep(self.depth_max).into()),
        }
    }

    /// Serde's buffer for the fields of a `flatten` holds no 128 bits, whatever the
    /// number: it would be written and could not be read.
    fn check_wide(&self) -> Result<(), ValueError> {
        if !self.flattened {
            return Ok(());
        }
        Err(ValueError::mismatch(
            "serde reads no 128-bit integer in a struct with #[serde(flatten)]; \
             store it as text, or in an entry of its own",
        ))
    }

    /// The map of one pair that a variant with content is, up to the content.
    fn variant(self, name: &str) -> Result<Self, ValueError> {
        let inner = self.deeper()?;
        inner.out.extend([kind::MAP, 1]);
        text(inner.out, name);
        Ok(inner)
    }

    fn fill(self, kind: u8, count: Option<usize>) -> Result<Filling<'a>, ValueError> {
        let inner = self.deeper()?;
        inner.out.push(kind);
        let count_at = inner.out.len();
        let announced = count.unwrap_or(0) as u64;
        put_varint(inner.out, announced);
        Ok(Filling {
            items_at: inner.out.len(),
            inner,
            count_at,
            announced,
            count: 0,
        })
    }
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.push(kind::STR);
    put_counted_bytes(out, text.as_bytes());
}

/// A list or map being written behind the count that was announced for it.
struct Filling<'a> {
    inner: Writer<'a>,
    count_at: usize,
    items_at: usize,
    announced: u64,
    /// What was written: in a map, keys and values.
    count: u64,
}

impl Filling<'_> {
    /// Appends what a value, behind its name in a struct, is; nothing of one that fails.
    fn put<T: Serialize + ?Sized>(
        &mut self,
        name: Option<&str>,
        value: &T,
    ) -> Result<(), ValueError> {
        let at = self.inner.out.len();
        if let Some(name) = name {
            text(self.inner.out, name);
        }
        let written = value.serialize(Writer {
            out: &mut *self.inner.out,
            ..self.inner
        });
        match written {
            Ok(()) => self.count += 1,
            Err(_) => self.inner.out.truncate(at),
        }
        written
    }

    fn finish(self, count: u64) -> Result<(), ValueError> {
        if count != self.announced {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, count);
            self.inner.out.splice(self.count_at..self.items_at, bytes);
        }
        Ok(())
    }
}

macro_rules! widened {
    ($($method:ident($number:ty) as $wide:ident),+) => {$(
        fn $method(self, number: $number) -> Result<(), ValueError> {
            self.$wide(number.into())
        }
    )+};
}

impl<'a> ser::Serializer for Writer<'a> {
    type Ok = ();
    type Error = ValueError;
    type SerializeSeq = Filling<'a>;
    type SerializeTuple = Filling<'a>;
    type SerializeTupleStruct = Filling<'a>;
    type SerializeTupleVariant = Filling<'a>;
    type SerializeMap = Filling<'a>;
    type SerializeStruct = Filling<'a>;
    type SerializeStructVariant = Filling<'a>;

    widened! {
        serialize_i8(i8) as serialize_i64, serialize_i16(i16) as serialize_i64,
        serialize_i32(i32) as serialize_i64, serialize_u8(u8) as serialize_u64,
        serialize_u16(u16) as serialize_u64, serialize_u32(u32) as serialize_u64,
        serialize_f32(f32) as serialize_f64
    }

    fn serialize_bool(self, truth: bool) -> Result<(), ValueError> {
        self.out.extend([kind::BOOL, truth.into()]);
        Ok(())
    }
    fn serialize_u64(self, number: u64) -> Result<(), ValueError> {
        self.out.push(kind::UINT);
        put_varint(self.out, number);
        Ok(())
    }
    fn serialize_i64(self, number: i64) -> Result<(), ValueError> {
        if let Ok(natural) = u64::try_from(number) {
            return self.serialize_u64(natural);
        }
        self.out.push(kind::INT);
        put_varint(self.out, zigzag(number.into()) as u64);
        Ok(())
    }
    fn serialize_u128(self, number: u128) -> Result<(), ValueError> {
        self.check_wide()?;
        if let Ok(small) = u64::try_from(number) {
            return self.serialize_u64(small);
        }
        self.out.push(kind::BIG_UINT);
        put_varint128(self.out, number);
        Ok(())
    }
    fn serialize_i128(self, number: i128) -> Result<(), ValueError> {
        self.check_wide()?;
        match (u128::try_from(number), i64::try_from(number)) {
            (Ok(natural), _) => return self.serialize_u128(natural),
            (_, Ok(small)) => return self.serialize_i64(small),
            _ => self.out.push(kind::BIG_INT),
        }
        put_varint128(self.out, zigzag(number));
        Ok(())
    }
    fn serialize_f64(self, number: f64) -> Result<(), ValueError> {
        self.out.push(kind::FLOAT);
        self.out.extend(number.to_le_bytes());
        Ok(())
    }
    fn serialize_char(self, letter: char) -> Result<(), ValueError> {
        self.serialize_str(letter.encode_utf8(&mut [0; 4]))
    }
    fn serialize_str(self, value: &str) -> Result<(), ValueError> {
        text(self.out, value);
        Ok(())
    }
    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), ValueError> {
        self.out.push(kind::BYTES);
        put_counted_bytes(self.out, bytes);
        Ok(())
    }
    fn serialize_none(self) -> Result<(), ValueError> {
        self.serialize_unit()
    }
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), ValueError> {
        // Every `Some` costs a level, whether it is written or not, so that what
        // serialises within the limit also decodes within it.
        let inner = self.deeper()?;
        let at = inner.out.len();
        value.serialize(Writer {
            out: &mut *inner.out,
            ..inner
        })?;
        if matches!(inner.out.get(at), Some(&(kind::NULL | kind::SOME))) {
            inner.out.insert(at, kind::SOME);
        }
        Ok(())
    }
    fn serialize_unit(self) -> Result<(), ValueError> {
        self.out.push(kind::NULL);
        Ok(())
    }
    fn serialize_unit_struct(self, _: &'static str) -> Result<(), ValueError> {
        self.serialize_unit()
    }
    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), ValueError> {
        self.serialize_str(variant)
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), ValueError> {
        value.serialize(self)
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), ValueError> {
        value.serialize(self.variant(variant)?)
    }
    fn serialize_seq(self, len: Option<usize>) -> Result<Filling<'a>, ValueError> {
        self.fill(kind::LIST, len)
    }
    fn serialize_tuple(self, len: usize) -> Result<Filling<'a>, ValueError> {
        self.fill(kind::LIST, Some(len))
    }
    fn serialize_tuple_struct(
        self,
        _: &'static str,
        len: usize,
    ) -> Result<Filling<'a>, ValueError> {
        self.fill(kind::LIST, Some(len))
    }
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Filling<'a>, ValueError> {
        self.variant(variant)?.fill(kind::LIST, Some(len))
    }
    fn serialize_map(mut self, len: Option<usize>) -> Result<Filling<'a>, ValueError> {
        self.flattened |= len.is_none();
        self.fill(kind::MAP, len)
    }
    fn serialize_struct(self, _: &'static str, len: usize) -> Result<Filling<'a>, ValueError> {
        self.fill(kind::MAP, Some(len))
    }
    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Filling<'a>, ValueError> {
        self.variant(variant)?.fill(kind::MAP, Some(len))
    }
}

/// Serde tells four kinds of sequence apart, and two of struct; here they are one.
macro_rules! fillings {
    ($($kind:ident::$method:ident($($name:ident)?)),+) => {$(
        impl ser::$kind for Filling<'_> {
            type Ok = ();
            type Error = ValueError;

            fn $method<T: Serialize + ?Sized>(
                &mut self,
                $($name: &'static str,)?
                value: &T,
            ) -> Result<(), ValueError> {
                let name: Option<&str> = None$(.or(Some($name)))?;
                self.put(name, value)
            }

            fn end(self) -> Result<(), ValueError> {
                let count = self.count;
                self.finish(count)
            }
        }
    )+};
}

fillings! {
    SerializeSeq::serialize_element(),
    SerializeTuple::serialize_element(),
    SerializeTupleStruct::serialize_field(),
    SerializeTupleVariant::serialize_field(),
    SerializeStruct::serialize_field(name),
    SerializeStructVariant::serialize_field(name)
}

impl ser::SerializeMap for Filling<'_> {
    type Ok = ();
    type Error = ValueError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), ValueError> {
        match self.count % 2 {
            0 => self.put(None, key),
            _ => Err(ValueError::mismatch("a map's key has no value")),
        }
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), ValueError> {
        match self.count % 2 {
            1 => self.put(None, value),
            _ => Err(ValueError::mismatch("a map's value came before its key")),
        }
    }

    fn end(self) -> Result<(), ValueError> {
        match self.count % 2 {
            0 => {
                let pairs = self.count / 2;
                self.finish(pairs)
            }
            _ => Err(ValueError::mismatch("a map's key has no value")),
        }
    }
}

/// A value stands for its content.
impl Serialize for super::Value {
    fn serialize<S: ser::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => to.serialize_unit(),
            Self::Bool(truth) => to.serialize_bool(*truth),
            Self::UInt(number) => to.serialize_u64(*number),
            Self::Int(number) => to.serialize_i64(*number),
            Self::BigUInt(number) => to.serialize_u128(*number),
            Self::BigInt(number) => to.serialize_i128(*number),
            Self::Float(number) => to.serialize_f64(*number),
            Self::Str(text) => to.serialize_str(text),
            Self::Bytes(bytes) => to.serialize_bytes(bytes),
            Self::List(items) => to.collect_seq(items),
            Self::Map(pairs) => to.collect_map(pairs.iter().map(|(key, value)| (key, value))),
            Self::Some(inner) => to.serialize_some(&**inner),
        }
    }
}

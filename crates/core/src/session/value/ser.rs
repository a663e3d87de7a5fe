//! Any serialisable type into the bytes of a value, in one pass.

use serde::ser::{self, Serialize};

use super::ValueError;
use super::format::{Names, SHORT_COUNT_END, SHORT_TEXT_END, SMALL_UINT_END, kind, too_deep};
use crate::codec::{put_counted_bytes, put_varint};

/// Appends the bytes of `value`, which may open `depth_max` levels.
pub(super) fn write<T: Serialize + ?Sized>(
    value: &T,
    depth_max: usize,
    bytes: &mut Vec<u8>,
) -> Result<(), ValueError> {
    write_in(value, depth_max, bytes, false)
}

/// The same, but each key and each value of the map that `value` is gets the bytes that
/// it has alone, so that [`fields`](super::de::fields) can cut them apart.
pub(super) fn write_fields<T: Serialize + ?Sized>(
    value: &T,
    depth_max: usize,
    bytes: &mut Vec<u8>,
) -> Result<(), ValueError> {
    write_in(value, depth_max, bytes, true)
}

fn write_in<T: Serialize + ?Sized>(
    value: &T,
    depth_max: usize,
    bytes: &mut Vec<u8>,
    apart: bool,
) -> Result<(), ValueError> {
    let mut out = Output {
        bytes: std::mem::take(bytes),
        names: Names::new(),
        next_name: 0,
        apart,
    };
    let written = value.serialize(Writer {
        out: &mut out,
        depth_max,
        left: depth_max,
        flattened: false,
        is_key: false,
    });
    *bytes = out.bytes;
    written
}

/// What was written so far.
struct Output {
    bytes: Vec<u8>,
    /// Where the kind of each name stands.
    names: Names<usize>,
    /// The number of the name that is expected next: the structs of a list have the
    /// same names in the same order.
    next_name: usize,
    /// Whether the contents of the next list or map are numbered apart.
    apart: bool,
}

impl Output {
    fn text(&mut self, text: &str) {
        if text.len() < SHORT_TEXT_END {
            self.bytes.push(kind::SHORT_STR | text.len() as u8);
        } else {
            self.bytes.push(kind::STR);
            put_varint(&mut self.bytes, text.len() as u64);
        }
        self.bytes.extend_from_slice(text.as_bytes());
    }

    /// A text that is the key of a map: its number, where it has one.
    fn name(&mut self, name: &str) {
        if name.len() < SHORT_TEXT_END {
            if let Some(number) = self.number(name) {
                self.next_name = number + 1;
                return self.bytes.push(kind::NAME | number as u8);
            }
            self.names.add(self.bytes.len());
            self.next_name = 0;
        }
        self.text(name);
    }

    fn number(&mut self, name: &str) -> Option<usize> {
        let names = &*self.names.numbered();
        let kind = kind::SHORT_STR | name.len() as u8;
        let is_at = |at: &usize| {
            self.bytes[*at] == kind && self.bytes[at + 1..].starts_with(name.as_bytes())
        };
        match names.get(self.next_name) {
            Some(at) if is_at(at) => Some(self.next_name),
            _ => names.iter().position(is_at),
        }
    }

    /// Forgets what was written from an offset on.
    fn truncate(&mut self, at: usize) {
        self.bytes.truncate(at);
        let names = self.names.numbered();
        let kept = names.partition_point(|name| *name < at);
        self.names.truncate(kept);
    }

    /// A number of as few bytes as hold it, behind the kind that says how many.
    fn whole(&mut self, kind: u8, number: u64) {
        let more = number.checked_ilog2().unwrap_or(0) as u8 / 8;
        let at = self.bytes.len();
        self.bytes.push(kind + more);
        self.bytes.extend_from_slice(&number.to_le_bytes());
        self.bytes.truncate(at + 2 + usize::from(more));
    }
}

/// A list's or a map's kind and count.
fn put_head(out: &mut Vec<u8>, shape: Shape, count: u64) {
    let (long, short) = shape.kinds();
    if count < SHORT_COUNT_END {
        out.push(short | count as u8);
    } else {
        out.push(long);
        put_varint(out, count);
    }
}

#[derive(Clone, Copy)]
enum Shape {
    List,
    Map,
}

impl Shape {
    fn kinds(self) -> (u8, u8) {
        match self {
            Self::List => (kind::LIST, kind::SHORT_LIST),
            Self::Map => (kind::MAP, kind::SHORT_MAP),
        }
    }
}

/// Carries how many more levels may be opened, so that a value that nests
/// without end fails before the stack does.
struct Writer<'a> {
    out: &'a mut Output,
    depth_max: usize,
    left: usize,
    /// Whether it stands in a map whose length serde does not know: what the derive
    /// makes of a struct with a `flatten`.
    flattened: bool,
    /// Whether the value is the key of a map.
    is_key: bool,
}

impl<'a> Writer<'a> {
    #[inline]
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
        inner.out.bytes.push(kind::SHORT_MAP | 1);
        inner.out.name(name);
        if std::mem::take(&mut inner.out.apart) {
            inner.out.names.truncate(0);
        }
        Ok(Self {
            is_key: false,
            ..inner
        })
    }

    #[inline]
    fn fill(self, shape: Shape, count: Option<usize>) -> Result<Filling<'a>, ValueError> {
        let inner = self.deeper()?;
        let head_at = inner.out.bytes.len();
        let announced = count.unwrap_or(0) as u64;
        put_head(&mut inner.out.bytes, shape, announced);
        Ok(Filling {
            items_at: inner.out.bytes.len(),
            apart: std::mem::take(&mut inner.out.apart),
            inner: Writer {
                is_key: false,
                ..inner
            },
            shape,
            head_at,
            announced,
            count: 0,
        })
    }
}

/// A list or map being written behind the count that was announced for it.
struct Filling<'a> {
    inner: Writer<'a>,
    shape: Shape,
    head_at: usize,
    items_at: usize,
    announced: u64,
    /// What was written: in a map, keys and values.
    count: u64,
    apart: bool,
}

impl Filling<'_> {
    /// Appends what a value, behind its name in a struct, is; nothing of one that fails.
    fn put<T: Serialize + ?Sized>(
        &mut self,
        name: Option<&str>,
        value: &T,
        is_key: bool,
    ) -> Result<(), ValueError> {
        let at = self.inner.out.bytes.len();
        self.number_apart();
        if let Some(name) = name {
            self.inner.out.name(name);
            self.number_apart();
        }
        let written = value.serialize(Writer {
            out: &mut *self.inner.out,
            is_key,
            ..self.inner
        });
        match written {
            Ok(()) => self.count += 1,
            Err(_) => self.inner.out.truncate(at),
        }
        written
    }

    fn number_apart(&mut self) {
        if self.apart {
            self.inner.out.names.truncate(0);
        }
    }

    fn finish(self, count: u64) -> Result<(), ValueError> {
        if count != self.announced {
            self.put_right(count);
        }
        Ok(())
    }

    /// Writes another count than the one that was announced.
    #[cold]
    fn put_right(self, count: u64) {
        let mut head = Vec::new();
        put_head(&mut head, self.shape, count);
        let items_at = self.head_at + head.len();
        let Output { bytes, names, .. } = self.inner.out;
        for name in names.numbered() {
            if *name >= self.items_at {
                *name = *name - self.items_at + items_at;
            }
        }
        bytes.splice(self.head_at..self.items_at, head);
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
        let kind = if truth { kind::TRUE } else { kind::FALSE };
        self.out.bytes.push(kind);
        Ok(())
    }
    fn serialize_u64(self, number: u64) -> Result<(), ValueError> {
        if number < SMALL_UINT_END {
            self.out.bytes.push(kind::SMALL_UINT | number as u8);
        } else {
            self.out.whole(kind::UINT, number);
        }
        Ok(())
    }
    fn serialize_i64(self, number: i64) -> Result<(), ValueError> {
        if let Ok(natural) = u64::try_from(number) {
            return self.serialize_u64(natural);
        }
        // The bits of -1 - number.
        self.out.whole(kind::INT, !number as u64);
        Ok(())
    }
    fn serialize_u128(self, number: u128) -> Result<(), ValueError> {
        self.check_wide()?;
        if let Ok(small) = u64::try_from(number) {
            return self.serialize_u64(small);
        }
        self.out.bytes.push(kind::BIG_UINT);
        self.out.bytes.extend_from_slice(&number.to_le_bytes());
        Ok(())
    }
    fn serialize_i128(self, number: i128) -> Result<(), ValueError> {
        self.check_wide()?;
        match (u128::try_from(number), i64::try_from(number)) {
            (Ok(natural), _) => return self.serialize_u128(natural),
            (_, Ok(small)) => return self.serialize_i64(small),
            _ => self.out.bytes.push(kind::BIG_INT),
        }
        self.out.bytes.extend_from_slice(&number.to_le_bytes());
        Ok(())
    }
    fn serialize_f64(self, number: f64) -> Result<(), ValueError> {
        self.out.bytes.push(kind::FLOAT);
        self.out.bytes.extend_from_slice(&number.to_le_bytes());
        Ok(())
    }
    fn serialize_char(self, letter: char) -> Result<(), ValueError> {
        self.serialize_str(letter.encode_utf8(&mut [0; 4]))
    }
    fn serialize_str(self, value: &str) -> Result<(), ValueError> {
        match self.is_key {
            true => self.out.name(value),
            false => self.out.text(value),
        }
        Ok(())
    }
    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), ValueError> {
        self.out.bytes.push(kind::BYTES);
        put_counted_bytes(&mut self.out.bytes, bytes);
        Ok(())
    }
    fn serialize_none(self) -> Result<(), ValueError> {
        self.serialize_unit()
    }
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), ValueError> {
        // Every `Some` costs a level, whether it is written or not, so that what
        // serialises within the limit also decodes within it.
        let inner = self.deeper()?;
        let at = inner.out.bytes.len();
        value.serialize(Writer {
            out: &mut *inner.out,
            ..inner
        })?;
        // What is moved holds no name: it is nothing, within any number of `Some`.
        if matches!(inner.out.bytes.get(at), Some(&(kind::NULL | kind::SOME))) {
            inner.out.bytes.insert(at, kind::SOME);
        }
        Ok(())
    }
    fn serialize_unit(self) -> Result<(), ValueError> {
        self.out.bytes.push(kind::NULL);
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
        self.fill(Shape::List, len)
    }
    fn serialize_tuple(self, len: usize) -> Result<Filling<'a>, ValueError> {
        self.fill(Shape::List, Some(len))
    }
    fn serialize_tuple_struct(
        self,
        _: &'static str,
        len: usize,
    ) -> Result<Filling<'a>, ValueError> {
        self.fill(Shape::List, Some(len))
    }
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Filling<'a>, ValueError> {
        self.variant(variant)?.fill(Shape::List, Some(len))
    }
    fn serialize_map(mut self, len: Option<usize>) -> Result<Filling<'a>, ValueError> {
        self.flattened |= len.is_none();
        self.fill(Shape::Map, len)
    }
    fn serialize_struct(self, _: &'static str, len: usize) -> Result<Filling<'a>, ValueError> {
        self.fill(Shape::Map, Some(len))
    }
    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Filling<'a>, ValueError> {
        self.variant(variant)?.fill(Shape::Map, Some(len))
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
                self.put(name, value, false)
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
            0 => self.put(None, key, true),
            _ => Err(ValueError::mismatch("a map's key has no value")),
        }
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), ValueError> {
        match self.count % 2 {
            1 => self.put(None, value, false),
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

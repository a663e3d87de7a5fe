//! Any serialisable type into a [`Value`].

use serde::ser::{self, Serialize};

use super::{Value, ValueError};
use crate::{Error, ErrorKind};

type Done = Result<Value, ValueError>;

/// Carries how many more levels may be opened, so that a value that nests
/// without end fails before the stack does.
#[derive(Clone, Copy)]
pub(super) struct ValueSerializer {
    depth_max: usize,
    left: usize,
    /// Whether it stands in a map whose length serde does not know: what the derive
    /// makes of a struct with a `flatten`.
    flattened: bool,
}

impl ValueSerializer {
    pub(super) fn new(depth_max: usize) -> Self {
        Self {
            depth_max,
            left: depth_max,
            flattened: false,
        }
    }

    /// Serde's buffer for the fields of a `flatten` holds no 128 bits, whatever the
    /// number: it would be written and could not be read.
    fn check_wide(self) -> Result<(), ValueError> {
        if !self.flattened {
            return Ok(());
        }
        Err(ValueError::mismatch(
            "serde reads no 128-bit integer in a struct with #[serde(flatten)]; \
             store it as text, or in an entry of its own",
        ))
    }

    fn deeper(self) -> Result<Self, ValueError> {
        match self.left.checked_sub(1) {
            Some(left) => Ok(Self { left, ..self }),
            None => Err(ValueError(Error::new(
                ErrorKind::TooLarge,
                format!(
                    "value is nested deeper than nesting_depth_max = {} levels",
                    self.depth_max
                ),
            ))),
        }
    }

    fn tagged(self, variant: &str, value: Value) -> Done {
        Ok(Value::Map(vec![(Value::Str(variant.to_owned()), value)]))
    }
}

/// A list or map being filled, and the variant it belongs to, if any.
pub(super) struct Filling<T> {
    inner: ValueSerializer,
    variant: Option<&'static str>,
    items: Vec<T>,
}

impl<T> Filling<T> {
    fn new(
        outer: ValueSerializer,
        variant: Option<&'static str>,
        len: usize,
    ) -> Result<Self, ValueError> {
        let mut inner = outer.deeper()?;
        if variant.is_some() {
            inner = inner.deeper()?;
        }
        Ok(Self {
            inner,
            variant,
            items: Vec::with_capacity(len.min(1_024)),
        })
    }

    fn finish(self, value: impl FnOnce(Vec<T>) -> Value) -> Done {
        let value = value(self.items);
        match self.variant {
            Some(variant) => self.inner.tagged(variant, value),
            None => Ok(value),
        }
    }
}

fn signed(number: i64) -> Value {
    u64::try_from(number).map_or(Value::Int(number), Value::UInt)
}

impl ser::Serializer for ValueSerializer {
    type Ok = Value;
    type Error = ValueError;
    type SerializeSeq = Filling<Value>;
    type SerializeTuple = Filling<Value>;
    type SerializeTupleStruct = Filling<Value>;
    type SerializeTupleVariant = Filling<Value>;
    type SerializeMap = Filling<(Value, Value)>;
    type SerializeStruct = Filling<(Value, Value)>;
    type SerializeStructVariant = Filling<(Value, Value)>;

    fn serialize_bool(self, v: bool) -> Done {
        Ok(Value::Bool(v))
    }
    fn serialize_i8(self, v: i8) -> Done {
        Ok(signed(v.into()))
    }
    fn serialize_i16(self, v: i16) -> Done {
        Ok(signed(v.into()))
    }
    fn serialize_i32(self, v: i32) -> Done {
        Ok(signed(v.into()))
    }
    fn serialize_i64(self, v: i64) -> Done {
        Ok(signed(v))
    }
    fn serialize_i128(self, v: i128) -> Done {
        self.check_wide()?;
        Ok(match (u128::try_from(v), i64::try_from(v)) {
            (Ok(natural), _) => return self.serialize_u128(natural),
            (_, Ok(small)) => Value::Int(small),
            _ => Value::BigInt(v),
        })
    }
    fn serialize_u8(self, v: u8) -> Done {
        Ok(Value::UInt(v.into()))
    }
    fn serialize_u16(self, v: u16) -> Done {
        Ok(Value::UInt(v.into()))
    }
    fn serialize_u32(self, v: u32) -> Done {
        Ok(Value::UInt(v.into()))
    }
    fn serialize_u64(self, v: u64) -> Done {
        Ok(Value::UInt(v))
    }
    fn serialize_u128(self, v: u128) -> Done {
        self.check_wide()?;
        Ok(u64::try_from(v).map_or(Value::BigUInt(v), Value::UInt))
    }
    fn serialize_f32(self, v: f32) -> Done {
        Ok(Value::Float(v.into()))
    }
    fn serialize_f64(self, v: f64) -> Done {
        Ok(Value::Float(v))
    }
    fn serialize_char(self, v: char) -> Done {
        Ok(Value::Str(v.to_string()))
    }
    fn serialize_str(self, v: &str) -> Done {
        Ok(Value::Str(v.to_owned()))
    }
    fn serialize_bytes(self, v: &[u8]) -> Done {
        Ok(Value::Bytes(v.to_vec()))
    }
    fn serialize_none(self) -> Done {
        Ok(Value::Null)
    }
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Done {
        // The wrapper counts as a level even where it is not written, so that
        // what serialises within the limit also decodes within it.
        let inner = value.serialize(self.deeper()?)?;
        Ok(match inner {
            Value::Null | Value::Some(_) => Value::Some(Box::new(inner)),
            plain => plain,
        })
    }
    fn serialize_unit(self) -> Done {
        Ok(Value::Null)
    }
    fn serialize_unit_struct(self, _: &'static str) -> Done {
        Ok(Value::Null)
    }
    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Done {
        self.serialize_str(variant)
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Done {
        value.serialize(self)
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Done {
        let inner = value.serialize(self.deeper()?)?;
        self.tagged(variant, inner)
    }
    fn serialize_seq(self, len: Option<usize>) -> Result<Self::SerializeSeq, ValueError> {
        Filling::new(self, None, len.unwrap_or(0))
    }
    fn serialize_tuple(self, len: usize) -> Result<Self::SerializeTuple, ValueError> {
        Filling::new(self, None, len)
    }
    fn serialize_tuple_struct(
        self,
        _: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleStruct, ValueError> {
        Filling::new(self, None, len)
    }
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleVariant, ValueError> {
        Filling::new(self, Some(variant), len)
    }
    fn serialize_map(mut self, len: Option<usize>) -> Result<Self::SerializeMap, ValueError> {
        self.flattened |= len.is_none();
        Filling::new(self, None, len.unwrap_or(0))
    }
    fn serialize_struct(
        self,
        _: &'static str,
        len: usize,
    ) -> Result<Self::SerializeStruct, ValueError> {
        Filling::new(self, None, len)
    }
    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeStructVariant, ValueError> {
        Filling::new(self, Some(variant), len)
    }
}

/// Serde tells four kinds of sequence apart; here they are one.
macro_rules! sequences {
    ($($kind:ident::$method:ident),+) => {$(
        impl ser::$kind for Filling<Value> {
            type Ok = Value;
            type Error = ValueError;

            fn $method<T: Serialize + ?Sized>(&mut self, item: &T) -> Result<(), ValueError> {
                self.items.push(item.serialize(self.inner)?);
                Ok(())
            }

            fn end(self) -> Done {
                self.finish(Value::List)
            }
        }
    )+};
}

sequences!(
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field
);

impl ser::SerializeMap for Filling<(Value, Value)> {
    type Ok = Value;
    type Error = ValueError;
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), ValueError> {
        let key = key.serialize(self.inner)?;
        self.items.push((key, Value::Null));
        Ok(())
    }
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), ValueError> {
        let value = value.serialize(self.inner)?;
        let pair = self
            .items
            .last_mut()
            .ok_or_else(|| ValueError::mismatch("a map's value came before its key"))?;
        pair.1 = value;
        Ok(())
    }
    fn end(self) -> Done {
        self.finish(Value::Map)
    }
}

macro_rules! structs {
    ($($kind:ident),+) => {$(
        impl ser::$kind for Filling<(Value, Value)> {
            type Ok = Value;
            type Error = ValueError;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), ValueError> {
                let value = value.serialize(self.inner)?;
                self.items.push((Value::Str(name.to_owned()), value));
                Ok(())
            }

            fn end(self) -> Done {
                self.finish(Value::Map)
            }
        }
    )+};
}

structs!(SerializeStruct, SerializeStructVariant);

/// A value stands for its content.
impl Serialize for Value {
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

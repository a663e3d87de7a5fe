//! A session value with its own shape: what is stored under a name.

mod any;
mod de;
mod format;
mod ser;

use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::{DeserializeOwned, DeserializeSeed};

use crate::session::NESTING_DEPTH_CEILING;
use crate::{Error, ErrorKind};

/// Room for the bytes of most values, so that writing one does not grow it step by step.
const ROOM_MIN: usize = 128;

/// The bytes to store of anything serialisable.
pub(super) fn encode<T: Serialize + ?Sized>(value: &T, depth_max: usize) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    encode_into(&mut bytes, value, depth_max)?;
    Ok(bytes)
}

/// Replaces what `bytes` holds with the bytes of a value.
pub(super) fn encode_into<T: Serialize + ?Sized>(
    bytes: &mut Vec<u8>,
    value: &T,
    depth_max: usize,
) -> Result<(), Error> {
    bytes.clear();
    bytes.reserve(ROOM_MIN);
    append(bytes, value, depth_max)
}

/// Appends the bytes of a value; after an error, some of them.
pub(super) fn append<T: Serialize + ?Sized>(
    bytes: &mut Vec<u8>,
    value: &T,
    depth_max: usize,
) -> Result<(), Error> {
    Ok(ser::write(value, depth_max, bytes)?)
}

/// Stored bytes as a `T`: what [`Value::decode`] and then [`Value::read`] give.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    Ok(decode_seed(bytes, PhantomData)?)
}

pub(super) fn decode_seed<'de, S: DeserializeSeed<'de>>(
    bytes: &'de [u8],
    seed: S,
) -> Result<S::Value, ValueError> {
    de::read(bytes, NESTING_DEPTH_CEILING, seed)
}

/// The names of a struct's fields, or a map's keys if they are text, and the bytes to
/// store of what is under each.
pub(super) fn fields<T: Serialize + ?Sized, B: for<'b> From<&'b [u8]>>(
    value: &T,
    depth_max: usize,
) -> Result<Vec<(String, B)>, Error> {
    let mut bytes = Vec::with_capacity(ROOM_MIN);
    ser::write_fields(value, depth_max, &mut bytes)?;
    let fields = de::fields(&bytes)?.into_iter();
    Ok(fields
        .map(|(name, raw)| (name.to_owned(), raw.into()))
        .collect())
}

/// A stored value, self-describing: it can be printed without the Rust type it
/// came from, read into a struct that has gained or lost fields since, and
/// never read as something it is not.
///
/// Structs become maps from field names, enums the usual externally tagged
/// form. Integers keep their exact value whatever their width was; reading one
/// into a type too small for it is a
/// [`Mismatch`](ErrorKind::Mismatch), as is any other change of type.
///
/// Serde itself reads no `u128` and no `i128` within `#[serde(flatten)]`, nor within an
/// enum that is untagged or internally tagged, whatever the number. A value with one in
/// or beside a `flatten` is refused when it is inserted; such an enum looks like any other
/// value until it is read, which is then a [`Mismatch`](ErrorKind::Mismatch). Store such a
/// number as text.
///
/// A `Value` is itself serialisable as what it stands for: it can be inserted
/// into a session, or written as JSON.
///
/// `Debug` says what kind of value it is and nothing of its content;
/// [`Value::display`] prints all of it, for an operator who asked.
///
/// ```
/// use cloakroom_core::session::Value;
/// use cloakroom_core::ErrorKind;
///
/// let cart = Value::from_serialize(&vec![("tea", 2_u8), ("milk", 1)], 32)?;
/// assert_eq!(cart.display().to_string(), r#"[["tea", 2], ["milk", 1]]"#);
/// assert_eq!(format!("{cart:?}"), "Value(list of 2)");
/// assert_eq!(cart.read::<u64>().unwrap_err().kind(), ErrorKind::Mismatch);
/// # Ok::<(), cloakroom_core::Error>(())
/// ```
///
/// # The bytes of a value
///
/// The first byte is the kind; what follows it depends on the kind. Numbers are
/// little-endian. A count is one byte up to 250; 251, 252 and 253 stand before a count of 2,
/// 4 and 8 bytes.
///
/// | kind | value | what follows |
/// |---|---|---|
/// | `00` | nothing | |
/// | `01`, `02` | false, true | |
/// | `03` | a `Some` around nothing, or around another such `Some` | what is in it |
/// | `04`, `05` | a whole number above `u64::MAX`, below `i64::MIN` | 16 bytes, of a `u128`, an `i128` |
/// | `06` | a floating-point number | 8 bytes, of an `f64` |
/// | `07`, `08` | text of 64 bytes or more, in UTF-8; bytes | their count, and they |
/// | `09` | a list of 32 or more | the count, and the items |
/// | `0a` | a map of 32 or more | the count, and each key with its value behind it |
/// | `10` to `17` | a whole number from 64 | the number in 1 to 8 bytes, as few as hold it |
/// | `18` to `1f` | a negative number `n` | `-1 - n` in 1 to 8 bytes, as few as hold it |
/// | `20` to `3f` | a name: one of the first 32 | |
/// | `40` to `7f` | a whole number from 0 to 63 | |
/// | `80` to `bf` | text of 0 to 63 bytes | the text |
/// | `c0` to `df` | a list of 0 to 31 | the items |
/// | `e0` to `ff` | a map of 0 to 31 | the keys and values |
///
/// A text shorter than 64 bytes that is the key of a map is a name, and so are a struct's
/// field and a variant with content. The first 32 different names of a value are numbered
/// in the order in which they appear in it. Where one of these is a key again, its number
/// stands in the place of its text. So a list of structs holds the names of the fields
/// once, and no byte stands for more than 63 others.
///
/// One value has one sequence of bytes: the shortest. The typed view stores each field of
/// a struct as a value of its own, with its own names.
///
/// ```
/// use cloakroom_core::session::Value;
/// use serde::Serialize;
///
/// #[derive(Serialize)]
/// struct Line {
///     sku: &'static str,
///     qty: u32,
/// }
///
/// let cart = [Line { sku: "tea", qty: 2 }, Line { sku: "milk", qty: 300 }];
/// let bytes = Value::from_serialize(&cart, 32)?.encode();
/// assert_eq!(bytes, [
///     0xc2, // a list of two
///     0xe2, // a map of two
///     0x83, b's', b'k', b'u', // name 0
///     0x83, b't', b'e', b'a',
///     0x83, b'q', b't', b'y', // name 1
///     0x42, // the number 2
///     0xe2, // a map of two
///     0x20, // name 0
///     0x84, b'm', b'i', b'l', b'k',
///     0x21, // name 1
///     0x11, 0x2c, 0x01, // the number 300
/// ]);
/// # Ok::<(), cloakroom_core::Error>(())
/// ```
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// Nothing: `None`, `()`, a unit struct.
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number from zero to `u64::MAX`.
    UInt(u64),
    /// A negative whole number down to `i64::MIN`.
    Int(i64),
    /// A whole number above `u64::MAX`.
    BigUInt(u128),
    /// A whole number below `i64::MIN`.
    BigInt(i128),
    /// A floating-point number; `f32` is widened, which is exact.
    Float(f64),
    /// Text.
    Str(String),
    /// Bytes, where a type asks serde for bytes.
    Bytes(Vec<u8>),
    /// A sequence, tuple or array.
    List(Vec<Value>),
    /// A map or struct, in the order it was written.
    Map(Vec<(Value, Value)>),
    /// A `Some` around a value that would itself read as `None`; every other
    /// `Some` is the value alone.
    Some(Box<Value>),
}

impl Value {
    /// Turns a serialisable value into its stored form.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`] for more than `depth_max` nested levels,
    /// [`ErrorKind::Mismatch`] for what the type itself refuses to serialise.
    pub fn from_serialize<T: Serialize + ?Sized>(
        value: &T,
        depth_max: usize,
    ) -> Result<Self, Error> {
        let bytes = encode(value, depth_max)?;
        Ok(de::read(&bytes, depth_max, PhantomData)?)
    }

    /// Reads the value as a `T`.
    ///
    /// # Errors
    /// [`ErrorKind::Mismatch`] where it is something else.
    pub fn read<T: DeserializeOwned>(self) -> Result<T, Error> {
        Ok(de::read(&self.encode(), usize::MAX, PhantomData)?)
    }

    /// Everything in it, as one line of JSON-like text. It is the user's data:
    /// it belongs in front of an operator, not in a log.
    pub fn display(&self) -> impl fmt::Display + '_ {
        Shown(self)
    }

    /// Reads a value from its stored bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] where the bytes are not one value,
    /// [`ErrorKind::TooLarge`] where it is nested deeper than 128 levels
    /// ([`NESTING_DEPTH_CEILING`]).
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        decode(bytes)
    }

    /// Reads stored bytes as a `T`: what [`decode`](Self::decode) and then
    /// [`read`](Self::read) give, without the value between them.
    ///
    /// # Errors
    /// As both of them.
    pub fn decode_as<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
        decode(bytes)
    }

    /// The bytes to store.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(self, usize::MAX).expect("its counts are exact and its depth is not limited")
    }

    fn kind(&self) -> String {
        match self {
            Self::Null => "nothing".into(),
            Self::Bool(_) => "a truth value".into(),
            Self::UInt(_) | Self::Int(_) | Self::BigUInt(_) | Self::BigInt(_) => {
                "a whole number".into()
            }
            Self::Float(_) => "a floating-point number".into(),
            Self::Str(text) => format!("text of {} bytes", text.len()),
            Self::Bytes(bytes) => format!("{} bytes", bytes.len()),
            Self::List(items) => format!("list of {}", items.len()),
            Self::Map(pairs) => format!("map of {}", pairs.len()),
            Self::Some(_) => "an optional value".into(),
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Value({})", self.kind())
    }
}

struct Shown<'a>(&'a Value);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Null => f.write_str("null"),
            Value::Bool(truth) => write!(f, "{truth}"),
            Value::UInt(number) => write!(f, "{number}"),
            Value::Int(number) => write!(f, "{number}"),
            Value::BigUInt(number) => write!(f, "{number}"),
            Value::BigInt(number) => write!(f, "{number}"),
            Value::Float(number) => write!(f, "{number:?}"),
            Value::Str(text) => write!(f, "{text:?}"),
            Value::Bytes(bytes) => {
                f.write_str("0x")?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
            Value::List(items) => {
                f.write_str("[")?;
                for (index, item) in items.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    write!(f, "{comma}{}", Shown(item))?;
                }
                f.write_str("]")
            }
            Value::Map(pairs) => {
                f.write_str("{")?;
                for (index, (key, value)) in pairs.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    write!(f, "{comma}{}: {}", Shown(key), Shown(value))?;
                }
                f.write_str("}")
            }
            Value::Some(inner) => write!(f, "some({})", Shown(inner)),
        }
    }
}

/// What serde's traits ask of an error; it becomes an [`Error`] at the door.
#[derive(Debug)]
pub struct ValueError(Box<Error>);

impl ValueError {
    fn mismatch(message: impl fmt::Display) -> Self {
        Error::new(ErrorKind::Mismatch, message.to_string()).into()
    }
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for ValueError {}

impl From<ValueError> for Error {
    fn from(error: ValueError) -> Self {
        *error.0
    }
}

impl From<Error> for ValueError {
    fn from(error: Error) -> Self {
        Self(Box::new(error))
    }
}

impl serde::ser::Error for ValueError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::mismatch(message)
    }
}

impl serde::de::Error for ValueError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::mismatch(message)
    }

    // Serde's own text quotes the unexpected value, which is the user's data.
    fn invalid_type(found: serde::de::Unexpected<'_>, expected: &dyn serde::de::Expected) -> Self {
        Self::mismatch(format_args!("found {}, expected {expected}", shape(&found)))
    }

    fn invalid_value(found: serde::de::Unexpected<'_>, expected: &dyn serde::de::Expected) -> Self {
        Self::mismatch(format_args!(
            "found {} out of range, expected {expected}",
            shape(&found)
        ))
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self::mismatch(format_args!(
            "found an unknown variant, expected one of {expected:?}"
        ))
    }
}

fn shape(found: &serde::de::Unexpected<'_>) -> &'static str {
    use serde::de::Unexpected as U;
    match found {
        U::Bool(_) => "a truth value",
        U::Unsigned(_) | U::Signed(_) => "a whole number",
        U::Float(_) => "a floating-point number",
        U::Char(_) | U::Str(_) => "text",
        U::Bytes(_) => "bytes",
        U::Unit | U::Option => "nothing",
        U::Seq => "a list",
        U::Map => "a map",
        _ => "another kind of value",
    }
}

#[cfg(test)]
pub(crate) mod tests;

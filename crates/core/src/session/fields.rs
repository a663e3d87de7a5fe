//! The typed view: a struct whose fields are entries of their own.

use serde::Serialize;
use serde::de::value::{BorrowedStrDeserializer, MapAccessDeserializer};
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error as _, MapAccess, Visitor};

use super::Session;
use super::view::View;
use crate::Error;
use crate::session::{Entries, ValueError, value};

/// The typed view.
///
/// A struct is read and written as a whole, and each field is an entry of its
/// own under `prefix.field`: two requests that change different fields both
/// survive.
///
/// ```
/// use cloakroom_core::session::Session;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Default, Serialize, Deserialize)]
/// struct Visit {
///     pages: u32,
///     theme: Option<String>,
/// }
///
/// let session = Session::detached();
/// session.update_fields("visit", |visit: &mut Visit| visit.pages += 1)?;
/// let visit: Visit = session.get_fields("visit")?.expect("just written");
/// assert_eq!(visit.pages, 1);
/// assert_eq!(session.keys()?, ["visit.pages", "visit.theme"]);
/// # Ok::<(), cloakroom_core::Error>(())
/// ```
impl Session {
    /// The struct under a prefix; `None` where none of its entries is there.
    /// A field without an entry must be an `Option` or have a serde default.
    ///
    /// # Errors
    /// [`Mismatch`](crate::ErrorKind::Mismatch) where an entry is of another type, or one that
    /// the struct needs is missing.
    pub fn get_fields<T: DeserializeOwned>(&self, prefix: &str) -> Result<Option<T>, Error> {
        let entries = {
            let mut state = self.lock();
            let entries = state.view.entries()?;
            state.accessed = true;
            for (name, _) in entries.iter() {
                if field_of(name, prefix).is_some() {
                    state.note_read(name);
                }
            }
            entries
        };
        build(&entries, prefix)
    }

    /// Sets the struct under a prefix. Fields whose value is the stored one are
    /// not written, so that what another request does to them survives.
    ///
    /// # Errors
    /// [`Mismatch`](crate::ErrorKind::Mismatch) where the type is not a struct or a map with
    /// text for its keys.
    pub fn insert_fields<T: Serialize + DeserializeOwned>(
        &self,
        prefix: &str,
        value: &T,
    ) -> Result<(), Error> {
        let fields = self.fields_of(value)?;
        for (field, raw) in &fields.set {
            let name = entry_name(prefix, field);
            if self.lock().view.get(&name) != Some(&**raw) {
                self.insert_raw(name.into(), raw.clone())?;
            }
        }
        let gone = fields.gone(&self.lock().view, prefix)?;
        for name in gone {
            self.remove(&name)?;
        }
        Ok(())
    }

    /// Changes the struct under a prefix in place, beginning with its default
    /// where there is none. As [`update`](Self::update), the closure may run
    /// more than once.
    ///
    /// # Errors
    /// As [`get_fields`](Self::get_fields) and
    /// [`insert_fields`](Self::insert_fields), now or on replay.
    pub fn update_fields<T, F>(&self, prefix: &str, mut change: F) -> Result<(), Error>
    where
        T: Serialize + DeserializeOwned + Default,
        F: FnMut(&mut T) + Send + 'static,
    {
        let prefix = prefix.to_owned();
        self.change_with(move |view| {
            let mut value: T = build(&view.entries()?, &prefix)?.unwrap_or_default();
            change(&mut value);
            let fields = Fields::of(&value, view.limits().depth())?;
            let gone = fields.gone(view, &prefix)?;
            for (field, raw) in fields.set {
                let name = entry_name(&prefix, &field);
                if view.get(&name) != Some(&*raw) {
                    view.set(name.into(), raw)?;
                }
            }
            for name in gone {
                view.remove(&name);
            }
            Ok(())
        })
    }

    fn fields_of<T: Serialize + DeserializeOwned>(&self, value: &T) -> Result<Fields, Error> {
        Fields::of(value, self.shared.context.limits.depth())
    }
}

fn entry_name(prefix: &str, field: &str) -> String {
    format!("{prefix}.{field}")
}

fn field_of<'n>(name: &'n str, prefix: &str) -> Option<&'n str> {
    name.strip_prefix(prefix)?.strip_prefix('.')
}

/// The struct that the entries under a prefix make.
fn build<T: DeserializeOwned>(entries: &Entries, prefix: &str) -> Result<Option<T>, Error> {
    let mut fields = entries
        .iter()
        .filter_map(|(name, raw)| Some((field_of(name, prefix)?, raw)))
        .peekable();
    if fields.peek().is_none() {
        return Ok(None);
    }
    let value = None;
    let made = T::deserialize(Parts { fields, value }).map_err(Error::from);
    // Which field it is stands in what serde says, where one is missing.
    made.map_err(|error| error.of_entry(&format!("{prefix}.*")))
        .map(Some)
}

/// Entries as the map that they are parts of.
struct Parts<'de, I> {
    fields: I,
    /// The value of the field whose name was read last.
    value: Option<&'de [u8]>,
}

impl<'de, I: Iterator<Item = (&'de str, &'de [u8])>> MapAccess<'de> for Parts<'de, I> {
    type Error = ValueError;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, ValueError> {
        let Some((field, raw)) = self.fields.next() else {
            return Ok(None);
        };
        self.value = Some(raw);
        seed.deserialize(BorrowedStrDeserializer::new(field))
            .map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<S::Value, ValueError> {
        let raw = self.value.take();
        let raw = raw.ok_or_else(|| ValueError::custom("a value was read before its name"))?;
        value::decode_seed(raw, seed)
    }
}

impl<'de, I: Iterator<Item = (&'de str, &'de [u8])>> Deserializer<'de> for Parts<'de, I> {
    type Error = ValueError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_map(self)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_some(self)
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
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        MapAccessDeserializer::new(self).deserialize_enum(name, variants, visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

/// A struct taken apart.
struct Fields {
    set: Vec<(String, super::view::Raw)>,
    /// The field names that the type declares; empty for a type that takes any name, as
    /// a map does.
    known: &'static [&'static str],
}

impl Fields {
    fn of<T: Serialize + DeserializeOwned>(value: &T, depth_max: usize) -> Result<Self, Error> {
        Ok(Self {
            set: value::fields(value, depth_max)?,
            known: known_fields::<T>(),
        })
    }

    /// The entries that this value leaves out. Those that a struct does not
    /// know stay: a newer version of the program may have written them.
    fn gone(&self, view: &View, prefix: &str) -> Result<Vec<String>, Error> {
        let left_out = |field: &str| {
            let known = self.known.is_empty() || self.known.contains(&field);
            known && !self.set.iter().any(|(set, _)| set == field)
        };
        Ok(view
            .entries()?
            .iter()
            .filter(|(name, _)| field_of(name, prefix).is_some_and(left_out))
            .map(|(name, _)| name.to_owned())
            .collect())
    }
}

/// The field names that a type asks serde for.
fn known_fields<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut known: &'static [&'static str] = &[];
    // The probe refuses to decode as soon as the type has named its fields.
    let _ = T::deserialize(Ask(&mut known));
    known
}

struct Ask<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Ask<'_> {
    type Error = ValueError;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, ValueError> {
        Err(serde::de::Error::custom("asked for its fields alone"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        *self.0 = fields;
        self.deserialize_any(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        visitor.visit_newtype_struct(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        option unit unit_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

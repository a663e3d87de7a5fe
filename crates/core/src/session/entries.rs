//! A session's entries, read in place from its data.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde::Serialize;

use crate::codec::{Cursor, corrupt, put_counted, put_counted_bytes, put_varint};
use crate::session::value::append;
use crate::session::{Limits, Value};
use crate::store::{Data, Record};
use crate::{Error, ErrorKind};

/// Data that was checked once against the format. Every lookup after that scans
/// borrowed bytes and decodes no value.
#[derive(Clone, Debug)]
pub struct Entries {
    data: Data,
    count: usize,
}

impl Entries {
    /// No entries.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            data: Data::empty(),
            count: 0,
        }
    }

    /// Checks data against the format, decoding no value.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] where the bytes are not entries.
    pub fn open(data: Data) -> Result<Self, Error> {
        let mut count = 0;
        for entry in data.read_entries()? {
            entry?;
            count += 1;
        }
        Ok(Self { data, count })
    }

    /// The data they were read from.
    #[must_use]
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Names and encoded values, in ascending order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        // `open` has checked that the names are text.
        self.iter_bytes()
            .map_while(|(name, value)| Some((std::str::from_utf8(name).ok()?, value)))
    }

    fn iter_bytes(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut cursor = Cursor::new(self.data.as_bytes());
        let _count = cursor.varint();
        // `open` has checked these very bytes, so they end where an entry ends.
        std::iter::from_fn(move || Some((cursor.counted_bytes()?, cursor.counted_bytes()?)))
    }

    /// The encoded value under a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        Some(&self.data.as_bytes()[self.find(name)?])
    }

    /// Where the encoded value under a name is in the data.
    pub(crate) fn find(&self, name: &str) -> Option<Range<usize>> {
        let bytes = self.data.as_bytes();
        let mut cursor = Cursor::new(bytes);
        for _ in 0..cursor.varint()? {
            let candidate = cursor.counted_bytes()?;
            let value = cursor.counted_bytes()?;
            // Text in UTF-8 and its bytes have one order.
            match candidate.cmp(name.as_bytes()) {
                Ordering::Less => {}
                Ordering::Equal => {
                    let end = bytes.len() - cursor.left();
                    return Some(end - value.len()..end);
                }
                Ordering::Greater => return None,
            }
        }
        None
    }

    /// How many there are with changes applied.
    fn count_with(&self, changes: &BTreeMap<Arc<str>, Option<Arc<[u8]>>>) -> usize {
        let mut count = self.count;
        let mut names = self.iter_bytes().map(|(name, _)| name).peekable();
        for (name, value) in changes {
            let name = name.as_bytes();
            while names.next_if(|other| *other < name).is_some() {}
            let stands = names.next_if(|other| *other == name).is_some();
            count = count + usize::from(value.is_some()) - usize::from(stands);
        }
        count
    }

    /// These entries with changes applied: `Some` sets, `None` removes.
    /// Untouched entries are copied as bytes.
    pub(crate) fn merge(
        &self,
        changes: &BTreeMap<Arc<str>, Option<Arc<[u8]>>>,
        limits: &Limits,
    ) -> Result<Self, Error> {
        let lengths = 2;
        let laid = changes
            .iter()
            .map(|(name, value)| lengths + name.len() + value.as_deref().map_or(0, <[u8]>::len));
        let room = self.data.as_bytes().len() + laid.sum::<usize>();
        let count = self.count_with(changes);
        if count > limits.entries_max {
            return Err(too_many_entries(count, limits));
        }
        let mut bytes = Vec::with_capacity(room);
        put_varint(&mut bytes, count as u64);
        let mut put = |name: &[u8], value: &[u8]| {
            put_counted_bytes(&mut bytes, name);
            put_counted_bytes(&mut bytes, value);
        };
        let mut base = self.iter_bytes().peekable();
        for (name, value) in changes {
            let name = name.as_bytes();
            while let Some((untouched, bytes)) = base.next_if(|(other, _)| *other < name) {
                put(untouched, bytes);
            }
            base.next_if(|(other, _)| *other == name);
            if let Some(value) = value {
                put(name, value);
            }
        }
        for (untouched, bytes) in base {
            put(untouched, bytes);
        }
        if bytes.len() > limits.record_bytes_max {
            return Err(too_many_bytes(bytes.len(), limits));
        }
        Ok(Self {
            data: Data::from_bytes(bytes),
            count,
        })
    }
}

/// The entries of some data, checked while they are read: see [`Data::read_entries`].
pub struct ReadEntries<'a> {
    cursor: Cursor<'a>,
    left: usize,
    last: Option<&'a str>,
}

impl<'a> ReadEntries<'a> {
    fn read(&mut self) -> Result<Option<(&'a str, &'a [u8])>, Error> {
        if self.left == 0 {
            return match self.cursor.left() {
                0 => Ok(None),
                _ => Err(corrupt("bytes after the entries")),
            };
        }
        self.left -= 1;
        let name = self
            .cursor
            .counted_bytes()
            .and_then(|name| std::str::from_utf8(name).ok())
            .ok_or_else(|| corrupt("an entry's name is cut or is not UTF-8"))?;
        if self.last.is_some_and(|last| last >= name) {
            return Err(corrupt("entries are out of order"));
        }
        self.last = Some(name);
        let value = self.cursor.counted_bytes();
        let value = value.ok_or_else(|| corrupt("an entry's value is cut"))?;
        Ok(Some((name, value)))
    }
}

impl<'a> Iterator for ReadEntries<'a> {
    type Item = Result<(&'a str, &'a [u8]), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.read();
        if entry.is_err() {
            // What follows damage is not read.
            self.left = 0;
            self.cursor = Cursor::new(&[]);
        }
        entry.transpose()
    }

    /// The count is believed no further than the bytes reach: an entry has two at least.
    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.left.min(self.cursor.left() / 2 + 1)))
    }
}

impl fmt::Debug for ReadEntries<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReadEntries({} left)", self.left)
    }
}

/// Entries built and read without a session, for tools and for moving sessions in.
impl Data {
    /// The data of these names and values, each a [`Value`] or anything else that serde
    /// can serialise. Of a name that comes twice, the last value counts.
    ///
    /// ```
    /// use cloakroom_core::session::{Limits, Value};
    /// use cloakroom_core::store::{Data, Record};
    /// use cloakroom_core::Timestamp;
    ///
    /// let values = [("visits", Value::UInt(3)), ("theme", Value::Str("dark".into()))];
    /// let mut record = Record::new(Timestamp::EPOCH, Timestamp::MAX);
    /// record.data = Data::from_values(values, &Limits::default())?;
    /// assert_eq!(record.values()?["visits"], Value::UInt(3));
    /// # Ok::<(), cloakroom_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`] where they exceed the limits, [`ErrorKind::Mismatch`] for
    /// what a type refuses to serialise.
    pub fn from_values<N: AsRef<str>, V: Serialize>(
        values: impl IntoIterator<Item = (N, V)>,
        limits: &Limits,
    ) -> Result<Self, Error> {
        let mut values: Vec<(N, V)> = values.into_iter().collect();
        // Stable, so that the last value of a name is the one that stays.
        values.sort_by(|(one, _), (other, _)| one.as_ref().cmp(other.as_ref()));
        values.dedup_by(|later, kept| {
            let is_same = later.0.as_ref() == kept.0.as_ref();
            if is_same {
                std::mem::swap(later, kept);
            }
            is_same
        });
        if values.len() > limits.entries_max {
            return Err(too_many_entries(values.len(), limits));
        }
        let mut bytes = Vec::with_capacity(64 * values.len());
        put_varint(&mut bytes, values.len() as u64);
        for (name, value) in &values {
            limits.check_name(name.as_ref())?;
            put_counted_bytes(&mut bytes, name.as_ref().as_bytes());
            put_counted(&mut bytes, |bytes| append(bytes, value, limits.depth()))?;
        }
        if bytes.len() > limits.record_bytes_max {
            return Err(too_many_bytes(bytes.len(), limits));
        }
        Ok(Self::from_bytes(bytes))
    }

    /// Names and encoded values, in ascending order of the names, each checked when it is
    /// reached: for who reads all of them once. Whoever reads some of them checks all with
    /// [`Entries::open`](crate::session::Entries::open) first.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] where the bytes are not entries, here or, as the last item, in
    /// the iteration.
    pub fn read_entries(&self) -> Result<ReadEntries<'_>, Error> {
        let mut cursor = Cursor::new(self.as_bytes());
        let count = cursor
            .varint()
            .and_then(|count| usize::try_from(count).ok())
            .ok_or_else(|| corrupt("entries have no count"))?;
        Ok(ReadEntries {
            cursor,
            left: count,
            last: None,
        })
    }
}

impl Record {
    /// The values in its data, by name.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] where the data is not entries, or is sealed, or where
    /// one of them is no value.
    pub fn values(&self) -> Result<BTreeMap<String, Value>, Error> {
        let entries = Entries::open(self.data.clone())?;
        let values = entries
            .iter()
            .map(|(name, bytes)| Ok((name.to_owned(), Value::decode(bytes)?)));
        values.collect()
    }
}

fn too_many_bytes(bytes: usize, limits: &Limits) -> Error {
    Error::new(
        ErrorKind::TooLarge,
        format!(
            "session data is {bytes} bytes, record_bytes_max is {}",
            limits.record_bytes_max
        ),
    )
}

fn too_many_entries(count: usize, limits: &Limits) -> Error {
    Error::new(
        ErrorKind::TooLarge,
        format!(
            "session has {count} entries, entries_max is {}",
            limits.entries_max
        ),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec;

    type Model = BTreeMap<String, Vec<u8>>;

    fn build(model: &Model) -> Entries {
        let changes = model
            .iter()
            .map(|(name, value)| (Arc::from(name.as_str()), Some(Arc::from(&value[..]))))
            .collect();
        Entries::empty()
            .merge(&changes, &Limits::default())
            .unwrap()
    }

    proptest! {
        #[test]
        fn the_bytes_are_bincodes_pairs(model: Model) {
            let pairs: Vec<(&String, &Vec<u8>)> = model.iter().collect();
            let entries = build(&model);
            let bytes = codec::encode(&pairs).unwrap();
            prop_assert_eq!(entries.data().as_bytes(), &bytes[..]);
        }

        #[test]
        fn merging_is_what_a_map_does(base: Model, changes: BTreeMap<String, Option<Vec<u8>>>) {
            let laid = changes.iter().map(|(n, v)| (Arc::from(n.as_str()), v.as_deref().map(Arc::from))).collect();
            let merged = build(&base).merge(&laid, &Limits::default()).unwrap();
            let mut model = base;
            for (name, value) in changes {
                match value {
                    Some(value) => { model.insert(name, value); }
                    None => { model.remove(&name); }
                }
            }
            prop_assert_eq!(merged.len(), model.len());
            for (name, value) in &model {
                prop_assert_eq!(merged.get(name), Some(&value[..]));
            }
            let reopened = Entries::open(merged.data().clone()).unwrap();
            prop_assert!(reopened.iter().map(|(n, _)| n).eq(model.keys()));
        }

        #[test]
        fn damaged_bytes_are_refused_or_read_without_panic(model: Model, at: prop::sample::Index, to: u8) {
            let mut bytes = build(&model).data().as_bytes().to_vec();
            let at = at.index(bytes.len());
            prop_assert!(Entries::open(Data::from_bytes(&bytes[..at])).is_err());
            bytes[at] = to;
            if let Ok(entries) = Entries::open(Data::from_bytes(bytes)) {
                prop_assert_eq!(entries.iter().count(), entries.len());
            }
        }
    }

    #[test]
    fn entries_out_of_order_or_twice_are_corrupt() {
        for names in [["b", "a"], ["a", "a"]] {
            let bytes = codec::encode(&names.map(|name| (name, "")).to_vec()).unwrap();
            let error = Entries::open(Data::from_bytes(bytes)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt);
        }
    }

    proptest! {
        #[test]
        fn data_of_values_is_what_a_map_holds(values: Vec<(String, u64)>) {
            let data = Data::from_values(values.iter().cloned(), &Limits::default()).unwrap();
            let entries = Entries::open(data).unwrap();
            let model: BTreeMap<String, u64> = values.into_iter().collect();
            let read = entries.iter().map(|(n, v)| (n.to_owned(), Value::decode_as(v).unwrap()));
            prop_assert_eq!(read.collect::<BTreeMap<_, _>>(), model);
        }
    }

    #[test]
    fn data_of_values_keeps_each_limit() {
        let limits = Limits::default().with_entries_max(2).with_name_bytes_max(3);
        let laid = |names: &[&str], limits: &Limits| {
            let data = Data::from_values(names.iter().map(|name| (name, 1)), limits);
            data.map(|data| data.as_bytes().len())
                .map_err(|error| error.kind())
        };
        let too_large = Err(ErrorKind::TooLarge);
        let bytes = laid(&["a", "bcd", "a"], &limits).unwrap();
        assert_eq!(laid(&["a", "b", "c"], &limits), too_large);
        assert_eq!(laid(&["abcd"], &limits), too_large);
        assert_eq!(
            laid(&["a", "bcd"], &limits.with_record_bytes_max(bytes)),
            Ok(bytes)
        );
        assert_eq!(
            laid(&["a", "bcd"], &limits.with_record_bytes_max(bytes - 1)),
            too_large
        );
        let deep = Data::from_values([("a", [[1]])], &limits.with_nesting_depth_max(1));
        assert_eq!(deep.unwrap_err().kind(), ErrorKind::TooLarge);
    }

    #[test]
    fn each_limit_holds_at_the_limit_and_fails_one_past_it() {
        let entries = build(&Model::from([("a".into(), vec![1]), ("b".into(), vec![2])]));
        let bytes = entries.data().as_bytes().len();
        let limits = Limits::default()
            .with_entries_max(2)
            .with_record_bytes_max(bytes);
        let check = |limits: &Limits| {
            let merged = entries.merge(&BTreeMap::new(), limits);
            merged.map(|_| ()).map_err(|error| error.kind())
        };
        assert_eq!(check(&limits), Ok(()));
        let too_large = Err(ErrorKind::TooLarge);
        assert_eq!(check(&limits.with_entries_max(1)), too_large);
        assert_eq!(check(&limits.with_record_bytes_max(bytes - 1)), too_large);
    }
}

//! The dictionary as the handler sees it: the stored entries, overridden by this
//! request's changes.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::session::{Entries, Limits};
use crate::{Error, ErrorKind};

/// An encoded value, shared between the view and the recorded operation.
pub(super) type Raw = Arc<[u8]>;

/// A share of the bytes that hold an encoded value.
pub(super) struct ValueBytes {
    bytes: Raw,
    range: Range<usize>,
}

impl ValueBytes {
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[self.range.clone()]
    }
}

#[derive(Clone, Debug)]
pub(super) struct View {
    base: Entries,
    laid: BTreeMap<Arc<str>, Option<Raw>>,
    /// Whether a `clear` has removed all stored entries.
    cleared: bool,
    asked: Limits,
    /// The asked limits, widened to what is stored already: a session that was stored
    /// under wider limits may shrink, but not grow.
    limits: Limits,
    /// The exact size and number of the merged entries, so that the call that exceeds a
    /// limit fails, and not the end of the request.
    bytes: usize,
    count: usize,
}

fn varint_bytes(value: usize) -> usize {
    match value {
        0..=250 => 1,
        251..=0xffff => 3,
        0x1_0000..=0xffff_ffff => 5,
        _ => 9,
    }
}

fn entry_bytes(name: &str, value: &[u8]) -> usize {
    varint_bytes(name.len()) + name.len() + varint_bytes(value.len()) + value.len()
}

impl View {
    pub(super) fn new(base: Entries, asked: Limits) -> Self {
        let count = base.len();
        let total = base.data().as_bytes().len();
        let bytes = total - varint_bytes(count);
        let limits = asked
            .with_entries_max(asked.entries_max.max(count))
            .with_record_bytes_max(asked.record_bytes_max.max(total));
        Self {
            base,
            laid: BTreeMap::new(),
            cleared: false,
            asked,
            limits,
            bytes,
            count,
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&[u8]> {
        match self.laid.get(name) {
            Some(laid) => laid.as_deref(),
            None => self.base.get(name),
        }
    }

    /// The encoded value under a name, to be read after the session is let go.
    pub(super) fn value_bytes(&self, name: &str) -> Option<ValueBytes> {
        match self.laid.get(name) {
            Some(laid) => laid.clone().map(|bytes| ValueBytes {
                range: 0..bytes.len(),
                bytes,
            }),
            None => self.base.find(name).map(|range| ValueBytes {
                range,
                bytes: self.base.data().share(),
            }),
        }
    }

    /// Whether a read of this name would see what was stored rather than what
    /// this request wrote.
    pub(super) fn reads_through(&self, name: &str) -> bool {
        !self.cleared && !self.laid.contains_key(name)
    }

    pub(super) fn set(&mut self, name: Arc<str>, value: Raw) -> Result<(), Error> {
        self.limits.check_name(&name)?;
        let old = self.get(&name).map(|old| entry_bytes(&name, old));
        let count = self.count + usize::from(old.is_none());
        let bytes = self.bytes - old.unwrap_or(0) + entry_bytes(&name, &value);
        if count > self.limits.entries_max {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!(
                    "session would have {count} entries, entries_max is {}",
                    self.limits.entries_max
                ),
            ));
        }
        let total = bytes + varint_bytes(count);
        if total > self.limits.record_bytes_max {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!(
                    "session data would be {total} bytes, record_bytes_max is {}",
                    self.limits.record_bytes_max
                ),
            ));
        }
        (self.count, self.bytes) = (count, bytes);
        self.laid.insert(name, Some(value));
        Ok(())
    }

    /// Whether there was anything to remove.
    pub(super) fn remove(&mut self, name: &str) -> bool {
        let Some(old) = self.get(name).map(|old| entry_bytes(name, old)) else {
            return false;
        };
        self.count -= 1;
        self.bytes -= old;
        self.laid.insert(Arc::from(name), None);
        true
    }

    /// Sets a value, or removes it.
    pub(super) fn put(&mut self, name: &Arc<str>, value: Option<Raw>) -> Result<(), Error> {
        match value {
            Some(value) => self.set(name.clone(), value),
            None => {
                self.remove(name);
                Ok(())
            }
        }
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new(Entries::empty(), self.asked);
        self.cleared = true;
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Every name and encoded value, in ascending order of the names.
    pub(super) fn entries(&self) -> Result<Entries, Error> {
        if self.laid.is_empty() {
            return Ok(self.base.clone());
        }
        self.base.merge(&self.laid, &self.limits)
    }
}

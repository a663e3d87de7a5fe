//! A session's entries as one shared run of bytes.

use std::fmt;
use std::sync::Arc;

/// The data of a record: opaque bytes to a store, which neither reads nor
/// needs them. Cloning shares them.
///
/// The bytes of an unsealed record are a count, then for each entry, in
/// ascending order of its name, the name and the encoded value, each with its
/// length before it: bincode's encoding of a `Vec<(String, Vec<u8>)>`.
#[derive(Clone)]
pub struct Data(Option<Arc<[u8]>>);

/// What stands for no entries: their count.
const EMPTY: &[u8] = &[0];

impl Data {
    /// No entries.
    #[must_use]
    pub fn empty() -> Self {
        Self(None)
    }

    /// Bytes that came from a store; they are looked at only when the session
    /// is opened.
    #[must_use]
    pub fn from_bytes(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self(Some(bytes.into()))
    }

    pub(crate) fn share(&self) -> Arc<[u8]> {
        self.0.clone().unwrap_or_else(|| EMPTY.into())
    }

    /// The bytes to store.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_deref().unwrap_or(EMPTY)
    }
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Data({} bytes)", self.as_bytes().len())
    }
}

impl PartialEq for Data {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Data {}

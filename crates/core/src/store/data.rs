//! A session's entries as one shared run of bytes.

use std::fmt;
use std::sync::Arc;

/// The data of a record: opaque bytes to a store, which neither reads nor
/// needs them. Cloning shares them.
///
/// The bytes of an unsealed record are a count, then for each entry, in
/// ascending order of its name, the name and the encoded value, each with its
/// length before it: bincode's encoding of a `Vec<(String, Vec<u8>)>`.
#[derive(Clone, PartialEq, Eq)]
pub struct Data(Arc<[u8]>);

impl Data {
    /// No entries.
    #[must_use]
    pub fn empty() -> Self {
        Self(Arc::from([0]))
    }

    /// Bytes that came from a store; they are looked at only when the session
    /// is opened.
    #[must_use]
    pub fn from_bytes(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self(bytes.into())
    }

    pub(crate) fn share(&self) -> Arc<[u8]> {
        self.0.clone()
    }

    /// The bytes to store.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Data({} bytes)", self.0.len())
    }
}

//! A limit on everything that can grow, with its unit in its name.

use crate::{Error, ErrorKind};

/// Limits on what one session may hold. A change that would exceed one fails
/// with [`ErrorKind::TooLarge`](crate::ErrorKind::TooLarge), before any I/O.
///
/// They bind writers alone, and only what grows: a session stored under wider limits
/// stays readable, and may be made smaller.
///
/// ```
/// use cloakroom_core::session::Limits;
///
/// let limits = Limits::default().with_record_bytes_max(4 * 1024);
/// assert_eq!(limits.entries_max, 1_024);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of a session's encoded entries. Default 64 KiB.
    pub record_bytes_max: usize,
    /// Number of entries. Default 1,024.
    pub entries_max: usize,
    /// Bytes of an entry's name, in UTF-8. Default 256.
    pub name_bytes_max: usize,
    /// Levels of lists, maps and structs inside one value. Default 32; what is
    /// above [`NESTING_DEPTH_CEILING`] counts as the ceiling.
    pub nesting_depth_max: usize,
}

/// The deepest nesting that is ever decoded, whatever [`Limits`] says: the
/// stack of the smallest usual thread (2 MiB) holds it many times over.
pub const NESTING_DEPTH_CEILING: usize = 128;

impl Default for Limits {
    fn default() -> Self {
        Self {
            record_bytes_max: 64 * 1024,
            entries_max: 1_024,
            name_bytes_max: 256,
            nesting_depth_max: 32,
        }
    }
}

impl Limits {
    /// The same limits with another [`record_bytes_max`](Self::record_bytes_max).
    #[must_use]
    pub fn with_record_bytes_max(mut self, bytes: usize) -> Self {
        self.record_bytes_max = bytes;
        self
    }

    /// The same limits with another [`entries_max`](Self::entries_max).
    #[must_use]
    pub fn with_entries_max(mut self, entries: usize) -> Self {
        self.entries_max = entries;
        self
    }

    /// The same limits with another [`name_bytes_max`](Self::name_bytes_max).
    #[must_use]
    pub fn with_name_bytes_max(mut self, bytes: usize) -> Self {
        self.name_bytes_max = bytes;
        self
    }

    /// The same limits with another
    /// [`nesting_depth_max`](Self::nesting_depth_max).
    #[must_use]
    pub fn with_nesting_depth_max(mut self, levels: usize) -> Self {
        self.nesting_depth_max = levels;
        self
    }

    pub(crate) fn check_name(&self, name: &str) -> Result<(), Error> {
        if name.len() <= self.name_bytes_max {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::TooLarge,
            format!(
                "entry name is {} bytes, name_bytes_max is {}",
                name.len(),
                self.name_bytes_max
            ),
        ))
    }

    pub(crate) fn depth(&self) -> usize {
        self.nesting_depth_max.min(NESTING_DEPTH_CEILING)
    }
}

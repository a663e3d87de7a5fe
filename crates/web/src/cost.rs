//! What a request cost in the store.

use cloakroom_core::engine::LoadedToken;
use cloakroom_core::store::{Record, Stored};

/// Calls to the store on behalf of one request, and the session data that went
/// through them. An adapter may leave it in the response's extensions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cost {
    /// How often something was loaded.
    pub loads: u32,
    /// How often something was written, touched or deleted.
    pub writes: u32,
    /// Bytes of session data that were loaded.
    pub bytes_loaded: u64,
    /// Bytes of session data that were written.
    pub bytes_written: u64,
}

impl Cost {
    pub(crate) fn load(&mut self, loaded: &Option<LoadedToken>) {
        let record = match loaded {
            Some(LoadedToken {
                stored: Stored::Record(record),
                ..
            }) => Some(record),
            _ => None,
        };
        self.load_record(record);
    }

    pub(crate) fn load_record(&mut self, record: Option<&Record>) {
        self.loads += 1;
        self.bytes_loaded += record.map_or(0, |record| record.data.as_bytes().len() as u64);
    }

    pub(crate) fn write(&mut self, record: &Record) {
        self.writes += 1;
        self.bytes_written += record.data.as_bytes().len() as u64;
    }

    /// Counts a write that carries no data.
    pub(crate) fn touch(&mut self) {
        self.writes += 1;
    }

    /// Counts a list of headers.
    pub(crate) fn list(&mut self) {
        self.loads += 1;
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.loads += other.loads;
        self.writes += other.writes;
        self.bytes_loaded += other.bytes_loaded;
        self.bytes_written += other.bytes_written;
    }
}

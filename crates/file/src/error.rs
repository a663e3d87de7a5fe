//! How the failures of files become errors of the store.

use std::borrow::Cow;
use std::io;
use std::path::Path;

use cloakroom_core::{Error, ErrorKind};

pub(crate) const NAME: &str = "file";

pub(crate) fn unavailable(message: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Unavailable, message).in_store(NAME)
}

pub(crate) fn misconfigured(message: String) -> Error {
    Error::new(ErrorKind::Misconfigured, message).in_store(NAME)
}

/// An operation on a file that failed. The text names the folder alone: the name of a
/// session's file is its digest, which is no one's to read in a log.
pub(crate) fn failed(operation: &str, folder: &Path, source: io::Error) -> Error {
    let (folder, next_step) = (folder.display(), next_step(&source));
    let message = format!("cannot {operation} in {folder}: {source}{next_step}");
    unavailable(message).with_source(source)
}

/// An operation that failed with an error which names its path already.
pub(crate) fn failed_at_path(source: io::Error) -> Error {
    let next_step = next_step(&source);
    unavailable(format!("{source}{next_step}")).with_source(source)
}

/// What the operator can do about it.
pub(crate) fn next_step(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::NotFound => {
            "; see whether a folder of the store was moved or removed: opening the store makes it \
             anew"
        }
        _ => cloakroom_disk::next_step(source),
    }
}

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
    let (folder, advice) = (folder.display(), advice(source.kind()));
    let message = format!("cannot {operation} in {folder}: {source}{advice}");
    unavailable(message).with_source(source)
}

/// An operation that failed with an error which names its path already.
pub(crate) fn failed_at_path(source: io::Error) -> Error {
    let advice = advice(source.kind());
    unavailable(format!("{source}{advice}")).with_source(source)
}

/// What the operator can do about it, where the kind of the failure says that.
pub(crate) fn advice(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; make room on this disk",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "; let the user of this process read and write there"
        }
        io::ErrorKind::NotFound => {
            "; was a folder of the store moved or removed? Opening the store makes it anew"
        }
        _ => "",
    }
}

//! How sled's failures become errors of the store.

use std::borrow::Cow;
use std::io;
use std::path::Path;

use cloakroom_core::{Error, ErrorKind};
use cloakroom_disk::next_step;

pub(crate) const NAME: &str = "sled";

pub(crate) fn unavailable(message: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Unavailable, message).in_store(NAME)
}

/// A failure of sled itself: none of them is about one record.
pub(crate) fn failed(source: sled::Error) -> Error {
    unavailable(format!("the sled database failed: {source}")).with_source(source)
}

/// sled panics on some damage where an error would do.
pub(crate) fn damaged(path: &Path) -> Error {
    unavailable(format!(
        "the database in {} is damaged; restore the folder from a backup, or move it away to \
         begin with an empty one",
        path.display()
    ))
}

/// The log is no longer in its place: what is written to it then, nobody will find again.
pub(crate) fn gone(path: &Path) -> Error {
    unavailable(format!(
        "the database in {} was deleted, moved away or replaced while the store had it open; put \
         it, or a copy, back in its place, where the store opens it by itself, or restart the \
         process to begin with an empty one, which ends all sessions",
        path.display()
    ))
}

/// What a store answers after it was closed.
pub(crate) fn closed(path: &Path) -> Error {
    unavailable(format!(
        "this store of the folder {} was closed; open another one to go on",
        path.display()
    ))
}

/// sled has no kind for a database that somebody else has open; a test holds the text.
pub(crate) fn is_locked(error: &sled::Error) -> bool {
    error.to_string().contains("could not acquire lock")
}

pub(crate) fn not_opened(path: &Path, source: sled::Error) -> Error {
    let shown = path.display();
    if is_locked(&source) {
        let message = format!(
            "another process has {shown} open; stop it, or give this one a folder of its own"
        );
        let error = Error::new(ErrorKind::Locked, message);
        return error.in_store(NAME).with_source(source);
    }
    let message = match &source {
        sled::Error::Io(disk) if disk.kind() != io::ErrorKind::InvalidData => format!(
            "cannot open the database in {shown}: {disk}{}",
            next_step(disk)
        ),
        sled::Error::Corruption { .. } => format!(
            "the folder {shown} holds no database of sled, or a damaged one, whose checksums are \
             wrong; restore it from a backup, or move it away to begin with an empty one, which \
             ends all sessions"
        ),
        _ => format!(
            "the folder {shown} holds no database of sled, or a damaged one: {source}; restore it \
             from a backup, or move it away to begin with an empty one, which ends all sessions"
        ),
    };
    unavailable(message).with_source(source)
}

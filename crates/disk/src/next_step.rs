//! What an operator can do about a disk that refuses something.

use std::fmt;
use std::io;

/// What to do about an error of the disk, to stand behind its text: `; make room on this
/// disk`. Empty where the text says it itself.
#[must_use]
pub fn next_step(error: &io::Error) -> &'static str {
    if error
        .get_ref()
        .is_some_and(|inner| inner.is::<SaysNextStep>())
    {
        return "";
    }
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; make room on this disk",
        io::ErrorKind::PermissionDenied => "; let the user of this process read and write there",
        io::ErrorKind::ReadOnlyFilesystem => {
            "; mount the file system so that it can be written to, or give a path on another"
        }
        io::ErrorKind::NotADirectory => "; give a path on which only folders lie",
        io::ErrorKind::IsADirectory => "; give the path of a file",
        _ => "; see what the log of the system says about this disk",
    }
}

/// The text of an error that ends with what to do.
pub(crate) struct SaysNextStep(pub(crate) String);

/// Without the text: it stands in the message of the error around it, and a `main` that returns
/// that prints both.
impl fmt::Debug for SaysNextStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SaysNextStep(..)")
    }
}

impl fmt::Display for SaysNextStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SaysNextStep {}

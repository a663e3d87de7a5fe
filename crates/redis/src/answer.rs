//! What scripts answer.

use cloakroom_core::{Error, ErrorKind};

use crate::trouble::error;
use crate::wire::strange;

/// The first word of an answer.
pub(crate) fn outcome(words: &[String]) -> Result<&str, Error> {
    words.first().map(String::as_str).ok_or_else(strange)
}

/// The error that a word stands for.
pub(crate) fn refused(word: &str) -> Error {
    match word {
        "GONE" => ErrorKind::Gone.into(),
        "EXISTS" => ErrorKind::Exists.into(),
        "CONFLICT" => ErrorKind::Conflict.into(),
        "CORRUPT" => error(ErrorKind::Corrupt, "no such head"),
        "UNSUPPORTED" => error(
            ErrorKind::Unsupported,
            "what stands there was written by a newer build",
        ),
        _ => strange(),
    }
}

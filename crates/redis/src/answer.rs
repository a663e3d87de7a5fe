//! What scripts answer.

use cloakroom_core::store::ROTATION_HOPS_MAX;
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
        "ROTATED_TOO_OFTEN" => rotated_too_often(),
        _ => strange(),
    }
}

/// What [`RotationPath`](cloakroom_core::store::RotationPath) says of the marks that
/// a script has followed.
fn rotated_too_often() -> Error {
    error(
        ErrorKind::Unavailable,
        format!(
            "the session has moved more than ROTATION_HOPS_MAX = {ROTATION_HOPS_MAX} times \
             while its rotation marks stand; try again when they have expired"
        ),
    )
}

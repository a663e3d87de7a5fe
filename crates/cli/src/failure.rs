//! How the command fails: what it says, and the exit code that a script reads.

use std::fmt;
use std::process::ExitCode;

use cloakroom::{Error, ErrorKind};

/// What the exit codes mean, as `--help` says it.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed for another reason than these
  2  the command line, the store's URL or what it is set to is wrong
  3  what was named is not there, or is not the only one
  4  the store does not answer: try again
  5  another process holds the store: redb and sled belong to one process at a time
  6  not confirmed, so nothing was done
  7  done, but not all holds: a clause of `check` is broken, or records cannot be read";

/// Why the command failed, in the terms of its exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    Failed = 1,
    Usage = 2,
    NotFound = 3,
    Unavailable = 4,
    Locked = 5,
    NotConfirmed = 6,
    NotAll = 7,
}

impl Code {
    pub(crate) fn of(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::Misconfigured => Self::Usage,
            ErrorKind::Unavailable => Self::Unavailable,
            ErrorKind::Locked => Self::Locked,
            _ => Self::Failed,
        }
    }
}

/// A failure: its exit code, and one line for the person who reads it.
#[derive(Debug)]
pub(crate) struct Failure {
    code: Code,
    message: String,
}

impl Failure {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Code::Usage, message)
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code as u8)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = Code::of(&error);
        let hint = match code {
            Code::Locked => {
                "; stop the site that has it open, or let the site do this itself: one process \
                 at a time uses this kind of store"
            }
            _ => "",
        };
        Self::new(code, format!("{error}{hint}"))
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(Code::Failed, error.to_string())
    }
}

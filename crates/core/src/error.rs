//! One error type for every store and every layer.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

/// What went wrong, in the terms a caller can act on.
///
/// Backends map their own failures onto these kinds; nothing else of a
/// failure is part of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// `create` or `rotate` met something at the digest that it would have
    /// overwritten.
    Exists,
    /// The stored revision is not the one the write was based on.
    Conflict,
    /// There is no record to write to: it was deleted, rotated away or swept.
    Gone,
    /// Stored bytes cannot be what this library wrote.
    Corrupt,
    /// Stored bytes are intact, and of a newer format than this build knows.
    Unsupported,
    /// Sealed under a key that this server's key ring does not hold, and so not this
    /// server's to judge: another node may have the key. It opens nothing here, and the
    /// client keeps its token.
    UnknownKey,
    /// A named limit would be exceeded; the message says which and by how much.
    TooLarge,
    /// A session value is of another type than the one asked for, or a type
    /// that cannot be stored.
    Mismatch,
    /// The store did not answer, or failed; a write may or may not have
    /// happened.
    Unavailable,
    /// Another process holds the database.
    Locked,
    /// The configuration cannot work; the message says what to change.
    Misconfigured,
    /// The session was used after its response had left.
    Closed,
    /// A value was read, then overwritten from what was read, while another
    /// request changed it (strict mode only).
    Overwritten,
}

impl ErrorKind {
    /// The kind as lower-case words, as it stands in messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exists => "already exists",
            Self::Conflict => "revision conflict",
            Self::Gone => "record gone",
            Self::Corrupt => "corrupt record",
            Self::Unsupported => "unsupported record version",
            Self::UnknownKey => "sealed under an unknown key",
            Self::TooLarge => "too large",
            Self::Mismatch => "type mismatch",
            Self::Unavailable => "store unavailable",
            Self::Locked => "locked by another process",
            Self::Misconfigured => "misconfigured",
            Self::Closed => "session closed",
            Self::Overwritten => "read value was changed meanwhile",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The error of every fallible operation: a [kind](ErrorKind), the store it
/// came from, a message and the underlying source.
///
/// Cheap to clone (the source is shared), so one failure can be told to every
/// request that waited for the same operation. It never holds a session key,
/// a token or a session value.
///
/// ```
/// use cloakroom_core::{Error, ErrorKind};
///
/// let error = Error::new(ErrorKind::Unavailable, "the disk is full").in_store("sled");
/// assert_eq!(error.kind(), ErrorKind::Unavailable);
/// assert_eq!(error.to_string(), "sled: store unavailable: the disk is full");
/// ```
#[derive(Clone)]
pub struct Error {
    kind: ErrorKind,
    store: Option<&'static str>,
    message: Cow<'static, str>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of this kind. The message says what to do or what was met, and
    /// must hold no secret; it may be empty where the kind says it all.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            store: None,
            message: message.into(),
            source: None,
        }
    }

    /// Names the store the error came from, unless one is named already.
    #[must_use]
    pub fn in_store(mut self, store: &'static str) -> Self {
        self.store.get_or_insert(store);
        self
    }

    /// Attaches the underlying error.
    #[must_use]
    pub fn with_source(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// Says which entry of a session the error is about.
    #[must_use]
    pub(crate) fn of_entry(self, name: &str) -> Self {
        let message = match &*self.message {
            "" => format!("the entry {name:?}"),
            message => format!("the entry {name:?}: {message}"),
        };
        Self {
            message: message.into(),
            ..self
        }
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The store it went wrong in, where it was in a store.
    #[must_use]
    pub fn store(&self) -> Option<&'static str> {
        self.store
    }

    /// The message alone, without store and kind.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Self {
        Self::new(kind, "")
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(store) = self.store {
            write!(f, "{store}: ")?;
        }
        f.write_str(self.kind.as_str())?;
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Error");
        out.field("kind", &self.kind);
        if let Some(store) = self.store {
            out.field("store", &store);
        }
        if !self.message.is_empty() {
            out.field("message", &self.message);
        }
        if let Some(source) = &self.source {
            out.field("source", source);
        }
        out.finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source
            .as_deref()
            .map(|source| source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_store_named_stays_and_the_source_is_reachable() {
        let error = Error::new(ErrorKind::Unavailable, "no answer")
            .with_source(std::io::Error::other("reset by peer"))
            .in_store("sled")
            .in_store("cached");
        assert_eq!(error.store(), Some("sled"));
        assert_eq!(error.to_string(), "sled: store unavailable: no answer");
        assert_eq!(
            StdError::source(&error).map(ToString::to_string).as_deref(),
            Some("reset by peer")
        );
        let shared = error.clone();
        assert_eq!(shared.kind(), ErrorKind::Unavailable);
    }

    #[test]
    fn a_bare_kind_reads_as_a_sentence_of_its_own() {
        assert_eq!(Error::from(ErrorKind::Gone).to_string(), "record gone");
    }
}

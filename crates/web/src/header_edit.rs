//! What an adapter does to the headers of a response.

use std::fmt;

use cloakroom_core::engine::Token;

/// A response header to set or to add.
///
/// One that carries a token, or takes one away, is as secret as the token: `Debug`
/// prints its name alone.
#[derive(Clone, PartialEq, Eq)]
pub struct HeaderEdit {
    name: String,
    value: Token,
    is_secret: bool,
}

impl HeaderEdit {
    /// A header that stands beside others of its name, and whose value is secret.
    pub(crate) fn append_secret(name: &str, value: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            value: Token::new(value),
            is_secret: true,
        }
    }

    /// A header in place of all others of its name.
    pub(crate) fn set(name: &str, value: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            value: Token::new(value),
            is_secret: false,
        }
    }

    /// Its name, in lower case.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its value: ASCII without control characters.
    #[must_use]
    pub fn value(&self) -> &str {
        self.value.expose()
    }

    /// Whether it is added beside the headers of its name, as `Set-Cookie` is;
    /// otherwise it takes their place.
    #[must_use]
    pub fn appends(&self) -> bool {
        self.is_secret
    }

    /// Whether the value is secret: HTTP/2 and /3 must keep it out of their
    /// compression tables, and a log must not hold it.
    #[must_use]
    pub fn is_sensitive(&self) -> bool {
        self.is_secret
    }
}

impl fmt::Debug for HeaderEdit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_secret {
            true => write!(f, "HeaderEdit({}: ..)", self.name),
            false => write!(f, "HeaderEdit({}: {})", self.name, self.value.expose()),
        }
    }
}

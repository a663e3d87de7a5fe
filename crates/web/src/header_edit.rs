//! What an adapter does to the headers of a response.

use std::borrow::Cow;
use std::fmt;

use cloakroom_core::engine::Token;

/// A response header to set or to add.
///
/// One that carries a token, or takes one away, is as secret as the token: `Debug`
/// prints its name alone.
#[derive(Clone, PartialEq, Eq)]
pub struct HeaderEdit {
    name: Cow<'static, str>,
    value: Value,
}

#[derive(Clone, PartialEq, Eq)]
enum Value {
    Plain(Cow<'static, str>),
    /// Added beside the others of its name, and wiped when dropped.
    Secret(Token),
}

impl HeaderEdit {
    /// A header that stands beside others of its name, and whose value is secret.
    pub(crate) fn append_secret(
        name: impl Into<Cow<'static, str>>,
        value: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            value: Value::Secret(Token::new(value)),
        }
    }

    /// A header in place of all others of its name.
    pub(crate) fn set(
        name: impl Into<Cow<'static, str>>,
        value: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            name: name.into(),
            value: Value::Plain(value.into()),
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
        match &self.value {
            Value::Plain(value) => value,
            Value::Secret(value) => value.expose(),
        }
    }

    /// Its value, where it is a constant that needs no copy.
    #[must_use]
    pub fn static_value(&self) -> Option<&'static str> {
        match self.value {
            Value::Plain(Cow::Borrowed(value)) => Some(value),
            _ => None,
        }
    }

    /// Whether it is added beside the headers of its name, as `Set-Cookie` is;
    /// otherwise it takes their place.
    #[must_use]
    pub fn appends(&self) -> bool {
        self.is_sensitive()
    }

    /// Whether the value is secret: HTTP/2 and /3 must keep it out of their
    /// compression tables, and a log must not hold it.
    #[must_use]
    pub fn is_sensitive(&self) -> bool {
        matches!(self.value, Value::Secret(_))
    }
}

impl fmt::Debug for HeaderEdit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Value::Secret(_) => write!(f, "HeaderEdit({}: ..)", self.name),
            Value::Plain(value) => write!(f, "HeaderEdit({}: {value})", self.name),
        }
    }
}

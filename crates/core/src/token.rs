//! What the client holds.

use std::fmt;

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// The longest token that is looked at, in bytes: four cookies of 4,096. A
/// longer one is refused unread.
pub const TOKEN_BYTES_MAX: usize = 16_384;

/// What the client holds: a session key as text, or a whole sealed session.
///
/// As secret as a password: wiped when dropped, compared in constant time, and
/// printed as `Token(..)`. [`Token::expose`] is for the transport alone.
#[derive(Clone)]
pub struct Token(Zeroizing<String>);

impl Token {
    /// Wraps the text that a client sent or will be sent.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself, for the cookie or header that carries it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl PartialEq for Token {
    /// Constant-time for tokens of one length.
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for Token {}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

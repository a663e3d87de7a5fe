//! What the client holds.

use std::fmt;

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::Site;

/// The longest token that is looked at, in bytes: four cookies of 4,096. A
/// longer one is refused unread.
pub const TOKEN_BYTES_MAX: usize = 16_384;

/// What the client holds: a session key as text, or a whole sealed session.
///
/// As secret as a password: wiped when dropped, compared in constant time, and
/// printed as `Token(..)`. [`Token::expose`] is for the transport alone.
#[derive(Clone)]
pub struct Token {
    text: Zeroizing<String>,
    site: Site,
}

impl Token {
    /// Wraps the text that a client sent or will be sent, at the default site.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: Zeroizing::new(text.into()),
            site: Site::default(),
        }
    }

    /// The same token at a site: what it opens there, it opens nowhere else.
    #[must_use]
    pub fn of_site(mut self, site: &Site) -> Self {
        self.site = site.clone();
        self
    }

    /// The site that it belongs to.
    #[must_use]
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// The text itself, for the cookie or header that carries it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }
}

impl PartialEq for Token {
    /// Constant-time for tokens of one length.
    fn eq(&self, other: &Self) -> bool {
        bool::from(self.text.as_bytes().ct_eq(other.text.as_bytes())) && self.site == other.site
    }
}

impl Eq for Token {}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

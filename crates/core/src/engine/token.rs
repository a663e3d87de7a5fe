//! What the client holds.

use std::fmt;
use std::sync::{Arc, OnceLock};

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::Site;
use crate::engine::SessionKey;
use crate::engine::key::KEY_TOKEN_CHARS;
use crate::store::KeyDigest;

/// The longest token that is looked at, in bytes: four cookies of 4,096. A
/// longer one is refused unread.
pub const TOKEN_BYTES_MAX: usize = 16_384;

/// What the client holds: a session key as text, or a whole sealed session.
///
/// As secret as a password: wiped when its last clone is dropped, compared in constant
/// time, and printed as `Token(..)`. [`Token::expose`] is for the transport alone.
#[derive(Clone)]
pub struct Token(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    text: Text,
    site: Site,
    /// The digest of the session key that this is, worked out once; `None` of another token.
    digest: OnceLock<Option<KeyDigest>>,
}

/// The text. That of a session key, which most tokens are, stands in place.
#[derive(Clone)]
enum Text {
    Key(Zeroizing<[u8; KEY_TOKEN_CHARS]>),
    Other(Zeroizing<String>),
}

impl Token {
    /// Wraps the text that a client sent or will be sent, at the default site.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self::of_text(Text::Other(Zeroizing::new(text.into())), Site::default())
    }

    /// The same, copied from a longer text.
    #[must_use]
    pub fn copied(text: &str) -> Self {
        match text.len() {
            KEY_TOKEN_CHARS => Self::of_key(Site::default(), |key| {
                key.copy_from_slice(text.as_bytes());
            }),
            _ => Self::new(text),
        }
    }

    /// The token of a session key. Its text is written where it stays, so that no move leaves a
    /// copy of it behind.
    pub(super) fn of_key(site: Site, write: impl FnOnce(&mut [u8; KEY_TOKEN_CHARS])) -> Self {
        let text = Text::Key(Zeroizing::new([0; KEY_TOKEN_CHARS]));
        let mut token = Self::of_text(text, site);
        match Arc::get_mut(&mut token.0) {
            Some(Inner {
                text: Text::Key(text),
                ..
            }) => write(text),
            _ => unreachable!("the token was made above, with a key's text and no clone"),
        }
        token
    }

    fn of_text(text: Text, site: Site) -> Self {
        Self(Arc::new(Inner {
            text,
            site,
            digest: OnceLock::new(),
        }))
    }

    /// The same token at a site: what it opens there, it opens nowhere else.
    #[must_use]
    pub fn of_site(mut self, site: &Site) -> Self {
        let inner = Arc::make_mut(&mut self.0);
        inner.site = site.clone();
        inner.digest = OnceLock::new();
        self
    }

    /// The site that it belongs to.
    #[must_use]
    pub fn site(&self) -> &Site {
        &self.0.site
    }

    /// The digest of the session key that this token is, as [`SessionKey::from_token`]
    /// reads it; `None` where it is none. Worked out once for all its clones.
    #[must_use]
    pub fn key_digest(&self) -> Option<KeyDigest> {
        let digest = || Some(SessionKey::from_token(self)?.digest());
        *self.0.digest.get_or_init(digest)
    }

    /// The text itself, for the cookie or header that carries it.
    #[must_use]
    pub fn expose(&self) -> &str {
        match &self.0.text {
            Text::Key(text) => {
                str::from_utf8(text.as_slice()).expect("a key's text was copied from a text")
            }
            Text::Other(text) => text,
        }
    }
}

impl PartialEq for Token {
    /// Constant-time for tokens of one length.
    fn eq(&self, other: &Self) -> bool {
        let same_text = self.expose().as_bytes().ct_eq(other.expose().as_bytes());
        bool::from(same_text) && self.site() == other.site()
    }
}

impl Eq for Token {}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

//! The session key, which only the client holds, and its digest, which is all
//! that a store ever sees.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::engine::Token;
use crate::store::KeyDigest;
use crate::{Error, ErrorKind, Site};

/// Bytes of randomness in a [`SessionKey`]: 256 bits.
pub const KEY_BYTES: usize = 32;

/// Characters of a session key as a token: unpadded base64url of 32 bytes.
pub(super) const KEY_TOKEN_CHARS: usize = 43;

/// What is hashed before a derived key, so that it is derived nowhere else.
const DERIVE_DOMAIN: &[u8] = b"cloakroom/derive/v1\0";

/// Where randomness comes from. Only the engine draws from it.
pub trait Entropy: Send + Sync + fmt::Debug + 'static {
    /// Fills the buffer with unpredictable bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] where the source fails; nothing may be
    /// issued then.
    fn fill(&self, buffer: &mut [u8]) -> Result<(), Error>;
}

/// The operating system's generator, through `getrandom`.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), Error> {
        getrandom::fill(buffer).map_err(|source| {
            Error::new(
                ErrorKind::Unavailable,
                format!("the operating system gave no randomness: {source}"),
            )
        })
    }
}

/// 256 random bits that name a session to its client, and to nobody else.
///
/// It is wiped when dropped, cannot be printed or serialised, and is compared
/// in constant time. The one way out is [`SessionKey::to_token`], for the
/// cookie; stores get the [`KeyDigest`].
///
/// ```
/// use cloakroom_core::engine::{OsEntropy, SessionKey};
///
/// let key = SessionKey::generate(&OsEntropy)?;
/// let token = key.to_token();
/// assert_eq!(token.expose().len(), 43);
/// let back = SessionKey::parse(token.expose()).expect("a token just made is well formed");
/// assert_eq!(back.digest(), key.digest());
/// assert_eq!(format!("{key:?}"), "SessionKey(..)");
/// # Ok::<(), cloakroom_core::Error>(())
/// ```
///
/// It has no `Display`:
///
/// ```compile_fail
/// # let key = cloakroom_core::engine::SessionKey::from_bytes([7; 32]);
/// println!("{key}");
/// ```
pub struct SessionKey {
    bytes: Zeroizing<[u8; KEY_BYTES]>,
    site: Site,
}

impl SessionKey {
    /// Draws a new key, of the default site.
    ///
    /// # Errors
    /// What [`Entropy::fill`] gives.
    pub fn generate(entropy: &dyn Entropy) -> Result<Self, Error> {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        entropy.fill(bytes.as_mut_slice())?;
        Ok(Self::new(bytes))
    }

    /// A key of these bytes, of the default site.
    #[must_use]
    pub fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
        Self::new(Zeroizing::new(bytes))
    }

    /// A key that follows from a secret of another library, such as the session
    /// id that a visitor already holds: SHA-256 of `"cloakroom/derive/v1\0"`, the
    /// domain, a zero byte and the secret. It is as hard to guess as the secret.
    #[must_use]
    pub fn derive(domain: &str, secret: &[u8]) -> Self {
        let mut hash = Sha256::new();
        for part in [DERIVE_DOMAIN, domain.as_bytes(), &[0], secret] {
            hash.update(part);
        }
        Self::from_bytes(hash.finalize().into())
    }

    fn new(bytes: Zeroizing<[u8; KEY_BYTES]>) -> Self {
        Self {
            bytes,
            site: Site::default(),
        }
    }

    /// The same key at a site.
    #[must_use]
    pub fn of_site(mut self, site: &Site) -> Self {
        self.site = site.clone();
        self
    }

    /// Reads a key of the default site from the text of a token. `None` for
    /// anything but the one canonical 43-character spelling, so that a key has
    /// exactly one token.
    #[must_use]
    pub fn parse(token: &str) -> Option<Self> {
        if token.len() != KEY_TOKEN_CHARS {
            return None;
        }
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        match URL_SAFE_NO_PAD.decode_slice(token, bytes.as_mut_slice()) {
            Ok(KEY_BYTES) => Some(Self::new(bytes)),
            _ => None,
        }
    }

    /// Reads a key of the token's site from a token, as [`parse`](Self::parse)
    /// does from its text.
    #[must_use]
    pub fn from_token(token: &Token) -> Option<Self> {
        Some(Self::parse(token.expose())?.of_site(token.site()))
    }

    /// The key of a session that is to be written: under a token that is no session key
    /// stands none.
    ///
    /// # Errors
    /// [`ErrorKind::Gone`] where [`from_token`](Self::from_token) reads no key.
    pub fn require(token: &Token) -> Result<Self, Error> {
        Self::from_token(token).ok_or_else(|| ErrorKind::Gone.into())
    }

    /// The token the client gets: 43 characters of base64url without padding.
    #[must_use]
    pub fn to_token(&self) -> Token {
        Token::of_key(self.site.clone(), |text| {
            URL_SAFE_NO_PAD
                .encode_slice(self.bytes.as_slice(), text)
                .expect("32 bytes are 43 characters");
        })
    }

    /// The name under which a store keeps this session.
    #[must_use]
    pub fn digest(&self) -> KeyDigest {
        KeyDigest::new(&self.site, &self.bytes)
    }

    /// The raw bytes, for a store that derives a sealing key from them. They
    /// are as secret as the key: never store, log or send them.
    #[must_use]
    pub fn expose_bytes(&self) -> &[u8; KEY_BYTES] {
        &self.bytes
    }
}

impl PartialEq for SessionKey {
    /// Constant-time.
    fn eq(&self, other: &Self) -> bool {
        bool::from(self.bytes.ct_eq(other.bytes.as_slice())) && self.site == other.site
    }
}

impl Eq for SessionKey {}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_canonical_token_is_a_key() {
        let token = SessionKey::from_bytes([0xfb; 32]).to_token();
        let good = token.expose();
        assert!(SessionKey::parse(good).is_some());
        // The last character carries two spare bits: other spellings of the
        // same bytes must not be other tokens of the same session.
        let mut spare = good.to_owned();
        spare.pop();
        for last in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".chars() {
            let spelling = format!("{spare}{last}");
            let reads = SessionKey::parse(&spelling);
            assert_eq!(
                reads.is_some_and(|key| key == SessionKey::from_bytes([0xfb; 32])),
                spelling == good
            );
        }
        for bad in [
            "",
            "short",
            &format!("{good}="),
            &good[..42],
            &"+".repeat(43),
        ] {
            assert!(SessionKey::parse(bad).is_none(), "{bad:?}");
            let error = SessionKey::require(&Token::new(bad)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Gone, "{bad:?}");
        }
        assert!(SessionKey::parse(&"é".repeat(22)[..]).is_none());
    }

    #[test]
    fn a_key_prints_nothing_of_itself() {
        let key = SessionKey::from_bytes([0x41; 32]);
        let printed = format!("{key:?} {:?}", key.to_token());
        assert!(!printed.contains("QUFB"), "{printed}");
        assert!(!printed.contains("65"), "{printed}");
    }
}

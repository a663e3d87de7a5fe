//! The session key, which only the client holds, and its digest, which is all
//! that a store ever sees.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::{Error, ErrorKind, Token};

/// Bytes of randomness in a [`SessionKey`]: 256 bits.
pub const KEY_BYTES: usize = 32;

/// Characters of a session key as a token: unpadded base64url of 32 bytes.
pub const KEY_TOKEN_CHARS: usize = 43;

/// What is hashed before the key bytes, so that a digest of this library is a
/// digest of nothing else.
const DIGEST_DOMAIN: &[u8] = b"cloakroom/digest/v1\0";

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
/// use cloakroom_core::{OsEntropy, SessionKey};
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
/// # let key = cloakroom_core::SessionKey::from_bytes([7; 32]);
/// println!("{key}");
/// ```
pub struct SessionKey(Zeroizing<[u8; KEY_BYTES]>);

impl SessionKey {
    /// Draws a new key.
    ///
    /// # Errors
    /// What [`Entropy::fill`] gives.
    pub fn generate(entropy: &dyn Entropy) -> Result<Self, Error> {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        entropy.fill(bytes.as_mut_slice())?;
        Ok(Self(bytes))
    }

    /// A key of these bytes, for tests and for sources of keys of one's own.
    #[must_use]
    pub fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Reads a key from a token. `None` for anything but the one canonical
    /// 43-character spelling, so that a key has exactly one token.
    #[must_use]
    pub fn parse(token: &str) -> Option<Self> {
        if token.len() != KEY_TOKEN_CHARS {
            return None;
        }
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        match URL_SAFE_NO_PAD.decode_slice(token, bytes.as_mut_slice()) {
            Ok(KEY_BYTES) => Some(Self(bytes)),
            _ => None,
        }
    }

    /// The token the client gets: 43 characters of base64url without padding.
    #[must_use]
    pub fn to_token(&self) -> Token {
        let mut text = String::with_capacity(KEY_TOKEN_CHARS);
        URL_SAFE_NO_PAD.encode_string(self.0.as_slice(), &mut text);
        Token::new(text)
    }

    /// The name under which a store keeps this session.
    #[must_use]
    pub fn digest(&self) -> KeyDigest {
        let mut hash = Sha256::new();
        hash.update(DIGEST_DOMAIN);
        hash.update(self.0.as_slice());
        KeyDigest(hash.finalize().into())
    }

    /// The raw bytes, for a store that derives a sealing key from them. They
    /// are as secret as the key: never store, log or send them.
    #[must_use]
    pub fn expose_bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

impl PartialEq for SessionKey {
    /// Constant-time.
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(other.0.as_slice()).into()
    }
}

impl Eq for SessionKey {}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKey(..)")
    }
}

/// SHA-256 of `"cloakroom/digest/v1\0"` and the 32 key bytes: the name of a
/// session inside a store.
///
/// Who reads the store learns digests, and a digest opens no session.
/// Test vectors (key bytes, then digest, in hexadecimal):
///
/// ```
/// use cloakroom_core::SessionKey;
///
/// let vector = |byte| SessionKey::from_bytes([byte; 32]).digest().to_hex();
/// assert_eq!(vector(0x00), "f8ba3758fa8ec52a3afe18b11bc97bcb71f9014bfe41e3677c75d00274f024f4");
/// assert_eq!(vector(0xff), "6144713df56a8a136e6744ffbf8af1604c6f6cab701dbef9bff580c1131f33e1");
/// let counting: [u8; 32] = std::array::from_fn(|i| i as u8);
/// assert_eq!(
///     SessionKey::from_bytes(counting).digest().to_hex(),
///     "1d017da082bfe56dd49ecf38712c157a154e3af84f1cad44127f07e6df6b53ec"
/// );
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyDigest([u8; 32]);

impl KeyDigest {
    /// Bytes of a digest.
    pub const BYTES: usize = 32;

    /// From stored bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// The bytes, as a store keeps them.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    /// 64 lower-case hexadecimal characters.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex(&self.0)
    }

    /// Reads what [`KeyDigest::to_hex`] wrote; `None` for anything else,
    /// upper-case letters included.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let text = text.as_bytes();
        if text.len() != 2 * Self::BYTES {
            return None;
        }
        let mut bytes = [0; Self::BYTES];
        for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            *byte = hex_digit(pair[0])? << 4 | hex_digit(pair[1])?;
        }
        Some(Self(bytes))
    }

    /// The first 8 hexadecimal characters: what events and logs carry.
    #[must_use]
    pub fn short(&self) -> String {
        hex(&self.0[..4])
    }
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyDigest({}..)", self.short())
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

fn hex_digit(character: u8) -> Option<u8> {
    match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        _ => None,
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
        }
        assert!(SessionKey::parse(&"é".repeat(22)[..]).is_none());
    }

    #[test]
    fn hexadecimal_round_trips_and_refuses_other_spellings() {
        let digest = SessionKey::from_bytes([1; 32]).digest();
        let text = digest.to_hex();
        assert_eq!(KeyDigest::from_hex(&text), Some(digest));
        assert_eq!(KeyDigest::from_hex(&text.to_uppercase()), None);
        assert_eq!(KeyDigest::from_hex(&text[1..]), None);
        assert_eq!(
            format!("{digest:?}"),
            format!("KeyDigest({}..)", &text[..8])
        );
    }

    #[test]
    fn a_key_prints_nothing_of_itself() {
        let key = SessionKey::from_bytes([0x41; 32]);
        let printed = format!("{key:?} {:?}", key.to_token());
        assert!(!printed.contains("QUFB"), "{printed}");
        assert!(!printed.contains("65"), "{printed}");
    }
}

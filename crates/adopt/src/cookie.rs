//! How a library protects the id in its cookie.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cloakroom_core::{Error, ErrorKind};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

/// Characters of an HMAC-SHA256 in base64, with its padding.
const SIGNATURE_CHARS: usize = 44;

/// What is in a cookie, and what proves it.
pub(crate) struct Opened {
    /// The text that the library put there.
    pub(crate) text: String,
    /// What nobody can make who lacks the key, and is the same for each cookie of one text;
    /// the text itself where there is no key.
    pub(crate) proof: String,
}

/// How the value of a cookie is read.
pub(crate) enum Protection {
    /// The value is the text.
    Plain,
    /// The text behind its HMAC-SHA256, as the cookie crate's `SignedJar` writes it.
    Signed(CookieKey),
    /// The text under AES-256-GCM, as the cookie crate's `PrivateJar` writes it.
    #[cfg(feature = "private-cookies")]
    Private(CookieKey),
    /// `s:`, the text, a dot and its HMAC-SHA256, as Express' cookie-signature writes it.
    /// The first secret signs, and all verify.
    #[cfg(feature = "express-session")]
    Express(Vec<Zeroizing<Vec<u8>>>),
}

impl Protection {
    /// Opens the percent-decoded value of the cookie of a name, which an encrypted one is
    /// bound to.
    #[cfg_attr(not(feature = "private-cookies"), allow(unused_variables))]
    pub(crate) fn open(&self, name: &str, value: &str) -> Option<Opened> {
        match self {
            Self::Plain => Some(Opened {
                text: value.to_owned(),
                proof: value.to_owned(),
            }),
            Self::Signed(key) => {
                let (signature, text) = value.split_at_checked(SIGNATURE_CHARS)?;
                let tag = STANDARD.decode(signature).ok()?;
                verify(&key.0[..32], text, &tag)?;
                Some(Opened {
                    text: text.to_owned(),
                    proof: value.to_owned(),
                })
            }
            #[cfg(feature = "private-cookies")]
            Self::Private(key) => {
                let text = decrypt(&key.0[32..], name, value)?;
                // Each cookie of one id has another nonce, so the value proves it in many
                // spellings.
                let mut mac = Hmac::<Sha256>::new_from_slice(&key.0).ok()?;
                mac.update(text.as_bytes());
                let proof = STANDARD.encode(mac.finalize().into_bytes());
                Some(Opened { text, proof })
            }
            #[cfg(feature = "express-session")]
            Self::Express(secrets) => {
                let (text, signature) = value.strip_prefix("s:")?.rsplit_once('.')?;
                let tag = base64::engine::general_purpose::STANDARD_NO_PAD
                    .decode(signature)
                    .ok()?;
                secrets
                    .iter()
                    .find_map(|secret| verify(secret, text, &tag))?;
                Some(Opened {
                    text: text.to_owned(),
                    proof: value.to_owned(),
                })
            }
        }
    }
}

/// Compares in constant time.
pub(crate) fn verify(key: &[u8], text: &str, tag: &[u8]) -> Option<()> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    mac.update(text.as_bytes());
    mac.verify_slice(tag).ok()
}

#[cfg(feature = "private-cookies")]
fn decrypt(key: &[u8], name: &str, value: &str) -> Option<String> {
    use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
    let mut bytes = Zeroizing::new(STANDARD.decode(value).ok()?);
    let (nonce, sealed) = bytes.split_at_mut_checked(NONCE_LEN)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).ok()?);
    let text = key.open_in_place(nonce, Aad::from(name.as_bytes()), sealed);
    String::from_utf8(text.ok()?.to_vec()).ok()
}

/// The `Key` of the cookie crate that the former site signs or encrypts its cookies with:
/// what `Key::from` and `Key::master` speak of. It is wiped when dropped, and not printed.
pub struct CookieKey(Zeroizing<Vec<u8>>);

impl CookieKey {
    /// From the bytes that the former site gives to `Key::from`, or that `Key::master` gives
    /// back: the first 32 sign, the next 32 encrypt, and what follows counts for nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] under 64 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        match bytes.get(..64) {
            Some(bytes) => Ok(Self(Zeroizing::new(bytes.to_vec()))),
            None => Err(Error::new(
                ErrorKind::Misconfigured,
                format!(
                    "the key of the former site's cookies is 64 bytes at least, and this one is \
                     {}: take the bytes that it gives to `Key::from`",
                    bytes.len()
                ),
            )),
        }
    }
}

impl fmt::Debug for CookieKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CookieKey(..)")
    }
}

//! What `SECRET_KEY` signs: sessions, and the passwords that logins were made with.
//!
//! A signed value is `payload:time:signature`: the time in seconds since the epoch in base 62,
//! and the HMAC-SHA256 of what stands before it in base64url.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cloakroom_core::Timestamp;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::cookie::verify;

/// The salt of `get_session_auth_hash`.
const LOGIN_SALT: &str = "django.contrib.auth.models.AbstractBaseUser.get_session_auth_hash";

/// What sessions are signed for.
#[derive(Clone, Copy)]
pub(super) enum Salt {
    Records,
    Cookies,
}

impl Salt {
    fn text(self) -> &'static str {
        match self {
            Self::Records => "django.contrib.sessions.SessionStore",
            Self::Cookies => "django.contrib.sessions.backends.signed_cookies",
        }
    }
}

type Key = Zeroizing<[u8; 32]>;

/// The keys that follow from `SECRET_KEY` and each of `SECRET_KEY_FALLBACKS`, all of which
/// verify.
pub(super) struct Secrets(Vec<Keys>);

struct Keys {
    sessions: Key,
    logins: Key,
}

impl Secrets {
    pub(super) fn new<S: AsRef<[u8]>>(secrets: impl IntoIterator<Item = S>, salt: Salt) -> Self {
        let keys = secrets.into_iter().map(|secret| Keys {
            sessions: key(&[salt.text(), "signer"], secret.as_ref()),
            logins: key(&[LOGIN_SALT], secret.as_ref()),
        });
        Self(keys.collect())
    }

    /// The payload of a signed value, and when it was signed; `None` where no secret verifies.
    pub(super) fn open<'v>(&self, value: &'v str) -> Option<(&'v str, Timestamp)> {
        let (signed, signature) = value.rsplit_once(':')?;
        let tag = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let mut keys = self.0.iter();
        keys.find_map(|keys| verify(&*keys.sessions, signed, &tag))?;
        let (payload, time) = signed.rsplit_once(':')?;
        let millis = base62(time)?.checked_mul(1_000)?;
        Some((payload, Timestamp::from_millis(millis)))
    }

    /// Whether a login of this `_auth_user_hash` was made with this password, as the database
    /// holds it.
    pub(super) fn is_hash_of(&self, hash: &str, password: &str) -> bool {
        let Some(tag) = hexadecimal(hash) else {
            return false;
        };
        let mut keys = self.0.iter();
        keys.any(|keys| verify(&*keys.logins, password, &tag).is_some())
    }
}

fn key(salt: &[&str], secret: &[u8]) -> Key {
    let mut hash = Sha256::new();
    for part in salt {
        hash.update(part);
    }
    hash.update(secret);
    Zeroizing::new(hash.finalize().into())
}

fn base62(text: &str) -> Option<u64> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'A'..=b'Z' => Some(byte - b'A' + 10),
        b'a'..=b'z' => Some(byte - b'a' + 36),
        _ => None,
    };
    text.bytes().try_fold(0_u64, |number, byte| {
        let digit = u64::from(digit(byte)?);
        number.checked_mul(62)?.checked_add(digit)
    })
}

/// The bytes of lower-case hexadecimal digits.
fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let pairs = text.as_bytes().chunks(2);
    let byte = |pair: &[u8]| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    pairs.map(byte).collect()
}

//! A payload into a token, and back where everything fits.

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cloakroom_core::Error;
use cloakroom_core::engine::{Entropy, TOKEN_BYTES_MAX, Token};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::cipher::{Cipher, KEY_BYTES, NONCE_BYTES, TAG_BYTES};
use crate::envelope::ENVELOPE_BYTES_MIN;
use crate::keyring::{KeyRing, Secret};

const VERSION: u8 = 1;
const KEY_ID_BYTES: usize = 4;
const HEAD_BYTES: usize = 1 + KEY_ID_BYTES + NONCE_BYTES;
const MAC_BYTES: usize = 32;

/// What no other use of the same keys begins with.
const PURPOSE: &[u8] = b"cloakroom/cookie\0";

/// Whether a visitor can read their session. Neither mode opens what the other
/// sealed: the number is bound to the frame, and the keys differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Encrypted = 1,
    Signed = 2,
}

impl Mode {
    fn tag_bytes(self) -> usize {
        match self {
            Self::Encrypted => TAG_BYTES,
            Self::Signed => MAC_BYTES,
        }
    }

    /// Bytes of the token of a payload.
    pub(crate) fn token_bytes(self, payload_bytes: usize) -> usize {
        let frame = HEAD_BYTES + payload_bytes + self.tag_bytes();
        (frame * 4).div_ceil(3)
    }

    /// Whether a text has the shape of a token. Nothing is decoded.
    pub(crate) fn fits(self, text: &str) -> bool {
        // A version of 1 is an `A` and one of the 16 characters from `Q`.
        let of_this_version = matches!(text.as_bytes(), [b'A', b'Q'..=b'Z' | b'a'..=b'f', ..]);
        of_this_version && self.is_of_length(text) && is_base64url(text)
    }

    fn is_of_length(self, text: &str) -> bool {
        let shortest = self.token_bytes(ENVELOPE_BYTES_MIN);
        (shortest..=TOKEN_BYTES_MAX).contains(&text.len()) && text.len() % 4 != 1
    }
}

/// Looks at every byte, whatever it finds: in a random text, a branch for each
/// would be guessed wrong.
fn is_base64url(text: &str) -> bool {
    text.bytes().fold(true, |is, byte| {
        is & (byte.is_ascii_alphanumeric() | (byte == b'-') | (byte == b'_'))
    })
}

type KeyId = [u8; KEY_ID_BYTES];

/// The name of a secret inside a frame.
pub(crate) fn key_id(secret: &Secret) -> KeyId {
    let mut id = KeyId::default();
    derive(secret, b"cloakroom/cookie/v1/key-id", &mut id);
    id
}

fn derive(secret: &Secret, info: &[u8], to: &mut [u8]) {
    Hkdf::<Sha256>::new(None, secret.bytes())
        .expand(info, to)
        .expect("HKDF-SHA256 gives up to 8,160 bytes");
}

/// Seals and opens the tokens of one cookie.
pub(crate) struct Sealer {
    mode: Mode,
    /// The active one first.
    locks: Vec<Lock>,
}

/// One secret, ready for use in one mode under one name.
struct Lock {
    id: KeyId,
    /// What is bound to a frame beside its payload. The name is the one part
    /// without a fixed length, and stands last.
    bound: Vec<u8>,
    key: Key,
}

enum Key {
    Encrypted(Cipher),
    /// Keyed already; cloned for each frame.
    Signed(Box<Hmac<Sha256>>),
}

/// A frame that was opened where it lay.
pub(crate) struct Opened {
    frame: Zeroizing<Vec<u8>>,
    payload: Range<usize>,
    /// Whether a retired key sealed it.
    pub(crate) retired: bool,
}

impl Opened {
    pub(crate) fn payload(&self) -> &[u8] {
        &self.frame[self.payload.clone()]
    }
}

impl Sealer {
    pub(crate) fn new(mode: Mode, cookie: &str, ring: &KeyRing) -> Self {
        let locks = ring.secrets().iter();
        Self {
            mode,
            locks: locks
                .map(|secret| Lock::new(mode, cookie, secret))
                .collect(),
        }
    }

    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    pub(crate) fn retired(&self) -> usize {
        self.locks.len() - 1
    }

    /// Under the active key and a fresh nonce.
    pub(crate) fn seal(&self, entropy: &dyn Entropy, payload: &[u8]) -> Result<Token, Error> {
        let lock = &self.locks[0];
        let mut nonce = [0; NONCE_BYTES];
        entropy.fill(&mut nonce)?;
        let length = HEAD_BYTES + payload.len() + self.mode.tag_bytes();
        let mut frame = Zeroizing::new(Vec::with_capacity(length));
        frame.push(VERSION);
        frame.extend_from_slice(&lock.id);
        frame.extend_from_slice(&nonce);
        frame.extend_from_slice(payload);
        match &lock.key {
            Key::Encrypted(cipher) => {
                let tag = cipher.seal(&nonce, &lock.bound, &mut frame[HEAD_BYTES..])?;
                frame.extend_from_slice(&tag);
            }
            Key::Signed(keyed) => {
                let mac = lock.mac(keyed, &nonce, payload).finalize().into_bytes();
                frame.extend_from_slice(&mac);
            }
        }
        let mut text = String::with_capacity(self.mode.token_bytes(payload.len()));
        URL_SAFE_NO_PAD.encode_string(frame.as_slice(), &mut text);
        Ok(Token::new(text))
    }

    /// `None` for whatever was not sealed in this mode, for this cookie, under
    /// a key of this ring.
    pub(crate) fn open(&self, token: &str) -> Option<Opened> {
        if !self.mode.is_of_length(token) {
            return None;
        }
        let mut frame = Zeroizing::new(URL_SAFE_NO_PAD.decode(token).ok()?);
        let (head, rest) = frame.split_at_mut_checked(HEAD_BYTES)?;
        let (version, head) = head.split_first()?;
        let (id, nonce) = head.split_first_chunk::<KEY_ID_BYTES>()?;
        let nonce: &[u8; NONCE_BYTES] = nonce.try_into().ok()?;
        let sealed = rest.len().checked_sub(self.mode.tag_bytes())?;
        let (payload, tag) = rest.split_at_mut(sealed);
        if *version != VERSION {
            return None;
        }
        // An id is no secret, and there is at most one key of it.
        let at = self.locks.iter().position(|lock| lock.id == *id)?;
        let lock = &self.locks[at];
        let opens = match &lock.key {
            Key::Encrypted(cipher) => {
                let tag: &[u8; TAG_BYTES] = (&*tag).try_into().ok()?;
                cipher.open(nonce, &lock.bound, payload, tag)
            }
            Key::Signed(keyed) => lock.mac(keyed, nonce, payload).verify_slice(tag).is_ok(),
        };
        opens.then(|| Opened {
            frame,
            payload: HEAD_BYTES..HEAD_BYTES + sealed,
            retired: at > 0,
        })
    }
}

impl Lock {
    fn new(mode: Mode, cookie: &str, secret: &Secret) -> Self {
        let id = key_id(secret);
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        let key = match mode {
            Mode::Encrypted => {
                derive(secret, b"cloakroom/cookie/v1/encrypted", key.as_mut_slice());
                Key::Encrypted(Cipher::new(&key))
            }
            Mode::Signed => {
                derive(secret, b"cloakroom/cookie/v1/signed", key.as_mut_slice());
                let keyed = Hmac::new_from_slice(key.as_slice()).expect("any length will do");
                Key::Signed(Box::new(keyed))
            }
        };
        let bound = [PURPOSE, &[VERSION, mode as u8], &id, cookie.as_bytes()].concat();
        Self { id, bound, key }
    }

    fn mac(&self, keyed: &Hmac<Sha256>, nonce: &[u8], payload: &[u8]) -> Hmac<Sha256> {
        let length = u32::try_from(self.bound.len()).expect("a cookie's name is short");
        let mut mac = keyed.clone();
        mac.update(&length.to_le_bytes());
        mac.update(&self.bound);
        mac.update(nonce);
        mac.update(payload);
        mac
    }
}

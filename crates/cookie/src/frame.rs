//! Seals a payload into a token, and opens it again.

use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cloakroom_core::engine::{Entropy, TOKEN_BYTES_MAX, Token};
use cloakroom_core::{Error, ErrorKind, Site};
use cloakroom_keyring::{KEY_ID_BYTES, KeyId, KeyRing, Secret};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::cipher::{Cipher, KEY_BYTES, NONCE_BYTES, TAG_BYTES};
use crate::envelope::{ENVELOPE_BYTES_MIN, Envelope, Frame};
use crate::measure::OpenedUnder;

const VERSION: u8 = 1;
const MAC_BYTES: usize = 32;

/// The associated data of a frame begins with this, and that of no other use does.
const PURPOSE: &[u8] = b"cloakroom/cookie\0";

/// Whether a visitor can read their session. Neither mode opens what the other
/// sealed: the number is bound to the frame, and the keys differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Encrypted = 1,
    Signed = 2,
}

impl Mode {
    /// Version, key id and, where encrypted, the nonce. A MAC needs none.
    fn head_bytes(self) -> usize {
        match self {
            Self::Encrypted => 1 + KEY_ID_BYTES + NONCE_BYTES,
            Self::Signed => 1 + KEY_ID_BYTES,
        }
    }

    fn tag_bytes(self) -> usize {
        match self {
            Self::Encrypted => TAG_BYTES,
            Self::Signed => MAC_BYTES,
        }
    }

    /// Bytes of the token that a payload is sealed into.
    fn token_bytes(self, payload_bytes: usize) -> usize {
        let frame = self.head_bytes() + payload_bytes + self.tag_bytes();
        (frame * 4).div_ceil(3)
    }

    /// Whether a text has the shape of a token. Nothing is decoded.
    pub(crate) fn is_well_formed(self, text: &str) -> bool {
        // In base64url, a first byte of 1 is an `A` and one of 16 characters from `Q` on.
        let of_this_version = matches!(text.as_bytes(), [b'A', b'Q'..=b'Z' | b'a'..=b'f', ..]);
        of_this_version && self.is_of_length(text) && is_base64url(text)
    }

    fn is_of_length(self, text: &str) -> bool {
        let shortest = self.token_bytes(ENVELOPE_BYTES_MIN);
        (shortest..=TOKEN_BYTES_MAX).contains(&text.len()) && text.len() % 4 != 1
    }
}

/// Reads every byte, whatever it finds: in a random text, the processor would often
/// mispredict a branch for each.
fn is_base64url(text: &str) -> bool {
    text.bytes().fold(true, |is, byte| {
        is & (byte.is_ascii_alphanumeric() | (byte == b'-') | (byte == b'_'))
    })
}

/// Seals and opens the tokens of one cookie.
pub(crate) struct Sealer {
    mode: Mode,
    /// The active one first.
    keys: Vec<FrameKey>,
}

/// What one secret gives for one mode and one cookie.
struct FrameKey {
    frame: Frame,
    /// What is authenticated beside the nonce and the payload. The cookie's name is the
    /// one part without a fixed length, and stands last.
    associated: Vec<u8>,
    algorithm: Algorithm,
    /// How many sessions that began under it were opened.
    opened: AtomicU64,
    measure: OpenedUnder,
}

enum Algorithm {
    Encrypted(Cipher),
    /// Has its key already, and is cloned for each frame.
    Signed(Box<Hmac<Sha256>>),
}

/// An authentic frame.
pub(crate) struct Opened {
    pub(crate) envelope: Envelope,
    /// Where in the ring the key stands that it was sealed under.
    pub(crate) key_at: usize,
    /// Whether it would be sealed in the same way now: under the active key, and for the
    /// present cookie.
    pub(crate) is_current: bool,
}

/// What a token was found to be.
#[expect(
    clippy::large_enum_variant,
    reason = "it is matched where it is answered"
)]
pub(crate) enum Found {
    Authentic(Opened),
    /// Sealed under a key that is not in the ring, or made up.
    OfUnknownKey(KeyId),
    /// Not sealed in this mode, for this cookie, under the key that it names.
    Foreign,
}

impl Sealer {
    pub(crate) fn new(mode: Mode, cookie: &str, ring: &KeyRing) -> Self {
        let secrets = ring.secrets().iter();
        let keys = secrets.map(|secret| FrameKey::new(mode, cookie, secret));
        Self {
            mode,
            keys: keys.collect(),
        }
    }

    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    pub(crate) fn retired_keys(&self) -> usize {
        self.keys.len() - 1
    }

    /// Seals under the active key; where encrypted, under a fresh nonce.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`] where the token would be longer than [`TOKEN_BYTES_MAX`],
    /// and what `entropy` fails with.
    pub(crate) fn seal(&self, entropy: &dyn Entropy, envelope: &Envelope) -> Result<Token, Error> {
        let key = &self.keys[0];
        let (head, tag_bytes) = (self.mode.head_bytes(), self.mode.tag_bytes());
        // The one buffer: what is encrypted in place leaves no clear copy behind.
        let mut frame = Vec::with_capacity(head + envelope.bytes_max() + tag_bytes);
        frame.push(VERSION);
        frame.extend_from_slice(&key.frame.key);
        frame.resize(head, 0);
        envelope.encode(&key.frame, &mut frame);
        let token_bytes = self.mode.token_bytes(frame.len() - head);
        if token_bytes > TOKEN_BYTES_MAX {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!(
                    "the sealed session is {token_bytes} bytes, TOKEN_BYTES_MAX is \
                     {TOKEN_BYTES_MAX}: keep less in the session, or use a store on the server"
                ),
            ));
        }
        match &key.algorithm {
            Algorithm::Encrypted(cipher) => {
                let mut nonce = [0; NONCE_BYTES];
                entropy.fill(&mut nonce)?;
                frame[head - NONCE_BYTES..head].copy_from_slice(&nonce);
                let tag = cipher.seal(&nonce, &key.associated, &mut frame[head..])?;
                frame.extend_from_slice(&tag);
            }
            Algorithm::Signed(keyed) => {
                let mac = key.mac(keyed, &frame[head..]).finalize().into_bytes();
                frame.extend_from_slice(&mac);
            }
        }
        let mut text = String::with_capacity(token_bytes);
        URL_SAFE_NO_PAD.encode_string(&frame, &mut text);
        Ok(Token::new(text))
    }

    /// Where in the ring the key of this id stands; the active one is at 0.
    pub(crate) fn position(&self, id: &KeyId) -> Option<usize> {
        self.keys.iter().position(|key| key.frame.key == *id)
    }

    /// Counts a session that began under the key that stands there.
    pub(crate) fn count(&self, at: usize) {
        self.keys[at].opened.fetch_add(1, Ordering::Relaxed);
        self.keys[at].measure.count();
    }

    /// The counts, by key.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (KeyId, u64)> {
        let keys = self.keys.iter();
        keys.map(|key| (key.frame.key, key.opened.load(Ordering::Relaxed)))
    }

    /// The id of the key that stands there.
    pub(crate) fn key_id(&self, at: usize) -> KeyId {
        self.keys[at].frame.key
    }

    /// # Errors
    /// As [`Envelope::decode`], of what is authentic.
    pub(crate) fn open(&self, token: &str) -> Result<Found, Error> {
        let Some(mut frame) = self.decode(token) else {
            return Ok(Found::Foreign);
        };
        match self.authentic(&mut frame) {
            None => Ok(Found::Foreign),
            Some(Authentic::OfUnknownKey(id)) => Ok(Found::OfUnknownKey(id)),
            Some(Authentic::At(at, payload)) => Ok(Found::Authentic(Opened {
                envelope: Envelope::decode(&self.keys[at].frame, payload)?,
                key_at: at,
                is_current: at == 0,
            })),
        }
    }

    /// The id of the key that a token names, whether or not it was sealed under it.
    pub(crate) fn named_key(token: &str) -> Option<KeyId> {
        // Four characters are three bytes: the version, the id, and one more.
        let head = URL_SAFE_NO_PAD.decode(token.get(..8)?).ok()?;
        head.get(1..)?.first_chunk().copied()
    }

    fn decode(&self, token: &str) -> Option<Vec<u8>> {
        let is_of_length = self.mode.is_of_length(token);
        is_of_length.then(|| URL_SAFE_NO_PAD.decode(token).ok())?
    }

    /// Checks a frame and, where encrypted, decrypts it in place. What it holds is wiped no
    /// more than the record that is made of it.
    fn authentic<'f>(&self, frame: &'f mut [u8]) -> Option<Authentic<'f>> {
        let (head, rest) = frame.split_at_mut_checked(self.mode.head_bytes())?;
        let (version, head) = head.split_first()?;
        let (id, nonce) = head.split_first_chunk::<KEY_ID_BYTES>()?;
        let sealed = rest.len().checked_sub(self.mode.tag_bytes())?;
        let (payload, tag) = rest.split_at_mut(sealed);
        if *version != VERSION {
            return None;
        }
        // An id is no secret, and no two keys of a ring have the same one.
        let Some(at) = self.position(id) else {
            return Some(Authentic::OfUnknownKey(*id));
        };
        let key = &self.keys[at];
        let opens = match &key.algorithm {
            Algorithm::Encrypted(cipher) => {
                let nonce: &[u8; NONCE_BYTES] = nonce.try_into().ok()?;
                let tag: &[u8; TAG_BYTES] = (&*tag).try_into().ok()?;
                cipher.open(nonce, &key.associated, payload, tag)
            }
            Algorithm::Signed(keyed) => key.mac(keyed, payload).verify_slice(tag).is_ok(),
        };
        opens.then_some(Authentic::At(at, payload))
    }
}

/// A frame under a known key, which stands there in the ring, with its payload; or one that
/// names an unknown key.
enum Authentic<'f> {
    At(usize, &'f [u8]),
    OfUnknownKey(KeyId),
}

impl FrameKey {
    fn new(mode: Mode, cookie: &str, secret: &Secret) -> Self {
        let id = secret.id();
        let algorithm = match mode {
            Mode::Encrypted => {
                let key = secret.derive("cloakroom/cookie/v1/encrypted");
                Algorithm::Encrypted(Cipher::new(&key))
            }
            Mode::Signed => {
                let key = secret.derive::<KEY_BYTES>("cloakroom/cookie/v1/signed");
                let keyed = Hmac::new_from_slice(key.as_slice());
                let keyed = keyed.expect("HMAC takes a key of any length");
                Algorithm::Signed(Box::new(keyed))
            }
        };
        let associated = [PURPOSE, &[VERSION, mode as u8], &id, cookie.as_bytes()].concat();
        Self {
            frame: Frame {
                key: id,
                site: Site::new(cookie).ok(),
            },
            associated,
            algorithm,
            opened: AtomicU64::new(0),
            measure: OpenedUnder::key(id),
        }
    }

    fn mac(&self, keyed: &Hmac<Sha256>, payload: &[u8]) -> Hmac<Sha256> {
        let length = u32::try_from(self.associated.len()).expect("a cookie's name is short");
        let mut mac = keyed.clone();
        mac.update(&length.to_le_bytes());
        mac.update(&self.associated);
        mac.update(payload);
        mac
    }
}

//! The secrets of a server: one active, which seals, and retired ones, which still open.
//!
//! ```
//! use cloakroom_core::engine::OsEntropy;
//! use cloakroom_keyring::{KeyRing, Secret};
//!
//! // A server reads its key file: `KeyRing::from_file("session.keys")`.
//! let ring = KeyRing::generate(&OsEntropy)?;
//! let ring = ring.with_active(Secret::generate(&OsEntropy)?)?;
//! assert_eq!(format!("{ring:?}"), "KeyRing(1 active, 1 retired)");
//! # Ok::<(), cloakroom_core::Error>(())
//! ```
//!
//! The cookie store seals whole sessions under a ring (`cloakroom-cookie`), and `Sealed`
//! adds one to each session's own key (`cloakroom-sealed`). Both export the types of this
//! crate. They derive different keys, so one ring may serve both.
//!
//! **In the book:** [Key files, and changing a key](https://github.com/cloakroom-rs/cloakroom/blob/main/docs/keys.md).
//!
//! # The key file
//!
//! A [`KeyRing`] is a text file of secrets, the active one first. Make one that the
//! server's user alone can read:
//!
//! ```sh
//! (umask 077 && openssl rand -hex 32 > session.keys)
//! ```
//!
//! or in a program, by [`KeyRing::generate`] and [`KeyRing::to_text`]. To change the
//! active secret, put a new one in front and keep the old one, which is then retired
//! ([`KeyRing::with_active`]):
//!
//! ```sh
//! (umask 077 && { openssl rand -hex 32; cat session.keys; } > new.keys && mv new.keys session.keys)
//! ```
//!
//! and restart the server. Where several servers run, give all of them the new secret
//! as the *second* line first, and move it to the front once each has it: else a server
//! that lacks it does not open what another has sealed. Remove a retired secret when no
//! session that it sealed can be left: after the longest absolute deadline.
//!
//! Where a secret may have been read by somebody, put a new one in front and remove the
//! old one at once. The sessions that it sealed end then.

#![cfg_attr(docsrs, feature(doc_cfg))]

use std::fmt;
use std::fs::File;
use std::io::ErrorKind::NotFound;
use std::io::Read as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cloakroom_core::engine::Entropy;
use cloakroom_core::{Error, ErrorKind};
use cloakroom_disk::check_private_file;
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

/// Bytes of the shortest secret: 256 bits, what the cipher and the digest take.
pub const SECRET_BYTES_MIN: usize = 32;

/// Bytes of the longest secret. More would not make a session safer.
pub const SECRET_BYTES_MAX: usize = 512;

/// The most secrets in a ring. Who retires one a week and lets sessions live for
/// a year needs 53.
pub const RING_KEYS_MAX: usize = 64;

/// Bytes of the longest text that is read as a ring.
pub const RING_TEXT_BYTES_MAX: usize = 64 * 1024;

/// Stands before a secret of more than 32 bytes in a text: without it, 48 bytes of
/// base64url would look like the hexadecimal digits of 32.
const LONG_PREFIX: &str = "base64url:";

/// Bytes of a [`KeyId`].
pub const KEY_ID_BYTES: usize = 4;

/// What names a secret beside the data that it sealed.
pub type KeyId = [u8; KEY_ID_BYTES];

/// One master secret. It is wiped when dropped, and never printed.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Draws 32 random bytes.
    ///
    /// # Errors
    /// What [`Entropy::fill`] gives.
    pub fn generate(entropy: &dyn Entropy) -> Result<Self, Error> {
        let mut bytes = Zeroizing::new(vec![0; SECRET_BYTES_MIN]);
        entropy.fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// Takes random bytes from elsewhere, such as a vault. They must be random:
    /// a passphrase is not, however long.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] under [`SECRET_BYTES_MIN`] and over
    /// [`SECRET_BYTES_MAX`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        if !(SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&bytes.len()) {
            return Err(misconfigured(format!(
                "a secret is {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} random bytes, and this one \
                 is {}",
                bytes.len()
            )));
        }
        if bytes.iter().all(|byte| *byte == 0) {
            return Err(misconfigured(
                "a secret is random bytes, and this one is zeros alone: `openssl rand -hex 32` \
                 draws one",
            ));
        }
        Ok(Self(Zeroizing::new(bytes.to_vec())))
    }

    fn parse(text: &str) -> Option<Self> {
        if let Some(text) = text.strip_prefix(LONG_PREFIX) {
            let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text).ok()?);
            return Self::from_bytes(&bytes).ok();
        }
        let mut bytes = Zeroizing::new(vec![0; SECRET_BYTES_MIN]);
        match text.len() {
            43 => URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()?,
            64 => from_hex(text, &mut bytes)?,
            _ => return None,
        };
        Self::from_bytes(&bytes).ok()
    }

    fn write_to(&self, text: &mut String) {
        if self.0.len() != SECRET_BYTES_MIN {
            text.push_str(LONG_PREFIX);
        }
        URL_SAFE_NO_PAD.encode_string(self.0.as_slice(), text);
    }

    /// The name of this secret: 4 bytes that HKDF-SHA256 derives from it for
    /// `"cloakroom/cookie/v1/key-id"`. So it needs no registry, no two secrets of a ring
    /// have the same, and it says nothing of the secret.
    #[must_use]
    pub fn id(&self) -> KeyId {
        *self.derive("cloakroom/cookie/v1/key-id")
    }

    /// Derives a key for one purpose: HKDF-SHA256 (RFC 5869) without salt, the purpose
    /// as its info. What is derived for two purposes says nothing of each other.
    #[must_use]
    pub fn derive<const BYTES: usize>(&self, purpose: &str) -> Zeroizing<[u8; BYTES]> {
        const { assert!(BYTES <= 255 * 32, "HKDF-SHA256 gives up to 8,160 bytes") };
        let mut derived = Zeroizing::new([0; BYTES]);
        Hkdf::<Sha256>::new(None, &self.0)
            .expand(purpose.as_bytes(), derived.as_mut_slice())
            .expect("HKDF-SHA256 gives up to 8,160 bytes");
        derived
    }
}

fn from_hex(text: &str, bytes: &mut [u8]) -> Option<usize> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes.len())
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The secrets of a site: the active one seals and opens, retired ones open, and the
/// next write seals under the active one.
///
/// # Format
///
/// As a text, one secret a line, the active one first:
///
/// ```text
/// # 2026-11, active
/// rq0tHZ1ZzA0m6ye0Cq0gG4m6RzLwJ8mJvZQn5n0wX1Q
/// # retired in 2026-11; remove after the longest absolute deadline
/// 5f1d7a84db00d2fce00b31a7fc73224f9c3d1e5b8a6f40712e3d4c5b6a798081
/// ```
///
/// A secret is 32 random bytes, as 43 characters of unpadded base64url or as 64
/// hexadecimal digits (`openssl rand -hex 32`). A longer one is written as
/// `base64url:` and its unpadded base64url. A `#` begins a comment that ends with the
/// line; white space and empty lines count for nothing. A comma ends a secret as a
/// line does, for environment variables that cannot hold lines.
///
/// The [crate's page](crate#the-key-file) says how to make a key file, and how to
/// change the active secret.
///
/// A ring is never read from a command line, where every user of the machine
/// could see it.
pub struct KeyRing(Vec<Secret>);

impl KeyRing {
    /// A ring of one active secret.
    #[must_use]
    pub fn new(active: Secret) -> Self {
        Self(vec![active])
    }

    /// A ring of one new secret. Without it no session of the process before opens, so
    /// keep what [`to_text`](Self::to_text) writes.
    ///
    /// # Errors
    /// What [`Entropy::fill`] gives.
    pub fn generate(entropy: &dyn Entropy) -> Result<Self, Error> {
        Secret::generate(entropy).map(Self::new)
    }

    /// The same ring with one more retired secret.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] where it is in the ring already, or the ring
    /// is full ([`RING_KEYS_MAX`]).
    pub fn with_retired(self, retired: Secret) -> Result<Self, Error> {
        let last = self.0.len();
        self.with(last, retired)
    }

    /// The same ring with another active secret; the one that was active is retired.
    ///
    /// ```
    /// use cloakroom_core::engine::OsEntropy;
    /// use cloakroom_keyring::{KeyRing, Secret};
    ///
    /// # let text = KeyRing::generate(&OsEntropy)?.to_text();
    /// let ring = KeyRing::parse(&text)?.with_active(Secret::generate(&OsEntropy)?)?;
    /// let text = ring.to_text(); // the content of the new key file
    /// # Ok::<(), cloakroom_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`with_retired`](Self::with_retired).
    pub fn with_active(self, active: Secret) -> Result<Self, Error> {
        self.with(0, active)
    }

    fn with(mut self, at: usize, secret: Secret) -> Result<Self, Error> {
        if self.0.len() >= RING_KEYS_MAX {
            return Err(misconfigured(format!(
                "a key ring holds {RING_KEYS_MAX} secrets at most: remove the oldest retired ones"
            )));
        }
        let id = secret.id();
        if self.0.iter().any(|known| known.id() == id) {
            return Err(misconfigured(
                "this secret is in the key ring already: each one stands there once",
            ));
        }
        self.0.insert(at, secret);
        Ok(self)
    }

    /// The same ring with the secret of this id as the active one; the one that was active
    /// is retired.
    ///
    /// ```
    /// use cloakroom_core::engine::OsEntropy;
    /// use cloakroom_keyring::{KeyRing, Secret};
    ///
    /// let next = Secret::generate(&OsEntropy)?;
    /// let id = next.id();
    /// let ring = KeyRing::generate(&OsEntropy)?.with_retired(next)?; // on every server first
    /// assert_eq!(ring.activated(&id)?.secrets()[0].id(), id);
    /// # Ok::<(), cloakroom_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] where no secret of the ring has that id.
    pub fn activated(mut self, id: &KeyId) -> Result<Self, Error> {
        let at = self.position(id)?;
        self.0[..=at].rotate_right(1);
        Ok(self)
    }

    /// The same ring without the retired secret of this id: what was sealed under it opens
    /// no more.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] where no secret of the ring has that id, or the active
    /// one has it.
    pub fn without(mut self, id: &KeyId) -> Result<Self, Error> {
        match self.position(id)? {
            0 => Err(misconfigured(
                "the active secret seals what is written now: activate another one before it is \
                 taken out",
            )),
            at => {
                self.0.remove(at);
                Ok(self)
            }
        }
    }

    fn position(&self, id: &KeyId) -> Result<usize, Error> {
        let at = self.0.iter().position(|secret| secret.id() == *id);
        at.ok_or_else(|| misconfigured("no secret of the key ring has this id"))
    }

    /// Writes the [format](Self#format) above, the active secret first, for a key file
    /// or a vault; [`parse`](Self::parse) reads it back.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        // The room for all: a text that grows leaves secrets behind in memory.
        let room = |secret: &Secret| LONG_PREFIX.len() + secret.0.len().div_ceil(3) * 4 + 1;
        let room = self.0.iter().map(room).sum();
        let mut text = Zeroizing::new(String::with_capacity(room));
        for secret in &self.0 {
            secret.write_to(&mut text);
            text.push('\n');
        }
        text
    }

    /// Reads the [format](Self#format) above.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`], with the number of the line and nothing of
    /// what stands in it.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.len() > RING_TEXT_BYTES_MAX {
            return Err(misconfigured(format!(
                "a key ring is a text of {RING_TEXT_BYTES_MAX} bytes at most"
            )));
        }
        let mut ring: Option<Self> = None;
        for (number, line) in (1..).zip(text.lines()) {
            let secrets = line.split('#').next().unwrap_or_default();
            for text in secrets.split(',').map(str::trim) {
                if text.is_empty() {
                    continue;
                }
                let secret = Secret::parse(text).ok_or_else(|| {
                    misconfigured(format!(
                        "line {number} holds no secret: write 43 characters of unpadded \
                         base64url or 64 hexadecimal digits, drawn at random (`openssl rand -hex \
                         32`)"
                    ))
                })?;
                let grown = match ring {
                    None => Ok(Self::new(secret)),
                    Some(ring) => ring.with_retired(secret),
                };
                ring = Some(grown.map_err(|error| {
                    misconfigured(format!("line {number}: {}", error.message()))
                })?);
            }
        }
        ring.ok_or_else(|| {
            misconfigured("the key ring holds no secret: write one with `openssl rand -hex 32`")
        })
    }

    /// Reads a ring from a file that is private: its owner is the user of this process,
    /// or root, and others have no rights to it. Rights of its group are told by an event
    /// at `WARN`. On a system without modes every file is taken.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`], naming the file.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let named = |why: &dyn fmt::Display| {
            misconfigured(format!("the key file {}: {why}", path.display()))
        };
        let mut bytes = Zeroizing::new(Vec::with_capacity(RING_TEXT_BYTES_MAX + 1));
        File::open(path)
            .and_then(|file| {
                check_private_file(&file, path)?;
                let limit = RING_TEXT_BYTES_MAX as u64 + 1;
                file.take(limit).read_to_end(&mut bytes)
            })
            .map_err(|source| match source.kind() {
                NotFound => named(&format_args!(
                    "there is none: make one with `(umask 077 && openssl rand -hex 32 > {})`, and \
                     give each server the same",
                    path.display()
                )),
                _ => named(&source).with_source(source),
            })?;
        let text = std::str::from_utf8(&bytes).map_err(|_| named(&"it is not a text in UTF-8"))?;
        Self::parse(text).map_err(|error| named(&error.message()))
    }

    /// Reads a ring from an environment variable.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`], naming the variable.
    pub fn from_env(variable: &str) -> Result<Self, Error> {
        let named =
            |why: &str| misconfigured(format!("the environment variable {variable}: {why}"));
        let text = std::env::var_os(variable)
            .ok_or_else(|| named("it is not set: it must hold the key ring"))?;
        // The source is dropped: it would hold the text.
        let text = text
            .into_string()
            .map_err(|_| named("it is not a text in UTF-8"))?;
        let text = Zeroizing::new(text);
        Self::parse(&text).map_err(|error| named(error.message()))
    }

    /// The active secret, then the retired ones.
    #[must_use]
    pub fn secrets(&self) -> &[Secret] {
        &self.0
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyRing(1 active, {} retired)", self.0.len() - 1)
    }
}

fn misconfigured(why: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Misconfigured, why)
}

//! The names under which a store keeps sessions.

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::{Site, Subject};

/// SHA-256 of `"cloakroom/digest/v1\0"`, the [`Site`], a zero byte and the 32 key
/// bytes: the name of a session inside a store.
///
/// Who reads the store learns digests, and a digest opens no session. The same key
/// is another session, or none, at another site. Test vectors (site, key bytes,
/// then digest, in hexadecimal):
///
/// ```
/// use cloakroom_core::Site;
/// use cloakroom_core::engine::SessionKey;
///
/// let vector = |site, bytes| {
///     let key = SessionKey::from_bytes(bytes).of_site(&Site::new(site).unwrap());
///     key.digest().to_hex()
/// };
/// let counting: [u8; 32] = std::array::from_fn(|i| i as u8);
/// assert_eq!(vector("", [0x00; 32]), "a9b836b8dbecc19d79d9396f9b91046daa549bbf5e74980f585c34c8635d615b");
/// assert_eq!(vector("", counting), "f17d7be2526fabc96ef9293e0af1a649170138e9c6b12083422c2905306d4839");
/// assert_eq!(vector("__Host-session", counting), "2e2f2e54c47a9c608c3d8623b0a6d6fd9cd58c39676d0700ebee4783625c7def");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyDigest([u8; 32]);

impl KeyDigest {
    pub(crate) fn new(site: &Site, key: &[u8; 32]) -> Self {
        Self(hash(KEY_DOMAIN, site, key))
    }

    /// The first 8 hexadecimal characters: what events and logs carry.
    #[must_use]
    pub fn short(&self) -> String {
        hex(&self.0[..4])
    }
}

/// SHA-256 of `"cloakroom/subject/v1\0"`, the [`Site`], a zero byte and the text of
/// the [`Subject`]: the name under which a store lists the sessions of a subject.
///
/// All stores list by it, so that a subject has one length everywhere and is
/// another one at another site. It hides no subject from who can guess it: who
/// knows a user's id can compute it. Test vectors (site, subject, then digest):
///
/// ```
/// use cloakroom_core::store::SubjectDigest;
/// use cloakroom_core::{Site, Subject};
///
/// let vector = |site, subject: &str| {
///     SubjectDigest::new(&Site::new(site).unwrap(), &Subject::new(subject).unwrap()).to_hex()
/// };
/// assert_eq!(vector("", "user-42"), "5c5a7b4b942dde85f9d67ba1b3dd66c976321e02985ccca6e8d621abda030c11");
/// assert_eq!(vector("__Host-session", "user-42"), "6bb10a52cff1ff26b8776829715a0548f1a0cbbf5f85ff21f82957a093e46396");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubjectDigest([u8; 32]);

impl SubjectDigest {
    /// Of a subject at a site.
    #[must_use]
    pub fn new(site: &Site, subject: &Subject) -> Self {
        Self(hash(SUBJECT_DOMAIN, site, subject.as_str().as_bytes()))
    }
}

/// What every digest can do: 32 bytes, and their text.
macro_rules! digest {
    ($name:ident) => {
        impl $name {
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

            /// Reads what [`to_hex`](Self::to_hex) wrote; `None` for anything else,
            /// upper-case letters included.
            #[must_use]
            pub fn from_hex(text: &str) -> Option<Self> {
                unhex(text).map(Self)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({}..)", stringify!($name), hex(&self.0[..4]))
            }
        }
    };
}

digest!(KeyDigest);
digest!(SubjectDigest);

/// What is hashed first, so that a digest is the digest of nothing else.
const KEY_DOMAIN: &[u8] = b"cloakroom/digest/v1\0";
const SUBJECT_DOMAIN: &[u8] = b"cloakroom/subject/v1\0";

/// The zero byte ends the site, which holds no control character.
fn hash(domain: &[u8], site: &Site, bytes: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in [domain, site.as_str().as_bytes(), &[0], bytes] {
        hash.update(part);
    }
    hash.finalize().into()
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

fn unhex(text: &str) -> Option<[u8; 32]> {
    let text = text.as_bytes();
    if text.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = hex_digit(pair[0])? << 4 | hex_digit(pair[1])?;
    }
    Some(bytes)
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
    fn hexadecimal_round_trips_and_refuses_other_spellings() {
        let digest = KeyDigest::new(&Site::default(), &[1; 32]);
        let text = digest.to_hex();
        assert_eq!(KeyDigest::from_hex(&text), Some(digest));
        assert_eq!(KeyDigest::from_hex(&text.to_uppercase()), None);
        assert_eq!(KeyDigest::from_hex(&text[1..]), None);
        assert_eq!(
            format!("{digest:?}"),
            format!("KeyDigest({}..)", &text[..8])
        );
        let subject = SubjectDigest::from_bytes(*digest.as_bytes());
        assert_eq!(SubjectDigest::from_hex(&text), Some(subject));
    }
}

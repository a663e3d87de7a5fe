//! Seals and opens the data of one record.

use chacha20poly1305::{AeadInOut as _, KeyInit as _, Tag, XChaCha20Poly1305, XNonce};
use cloakroom_core::engine::{Entropy, SessionKey};
use cloakroom_core::store::{Data, Record};
use cloakroom_core::{Error, ErrorKind, Timestamp};
use cloakroom_keyring::{KEY_ID_BYTES, KeyId, KeyRing};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

/// Sealed under the session's key alone.
const VERSION_SESSION_KEY: u8 = 1;
/// Sealed under the session's key and a secret of the server.
const VERSION_KEY_RING: u8 = 2;

const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;

/// Bytes that sealing adds to a session's data, at most: version, key id, nonce and tag.
pub const SEAL_BYTES_MAX: usize = 1 + KEY_ID_BYTES + NONCE_BYTES + TAG_BYTES;

/// Separates the sealing key from whatever else may be derived from a session key.
const INFO_SESSION_KEY: &[u8] = b"cloakroom/seal/v1";
const INFO_KEY_RING: &[u8] = b"cloakroom/seal/v2";
/// What a secret of the ring gives to each session's sealing key.
const PURPOSE: &str = "cloakroom/seal/v2/server-key";

const NO_SERVER_KEY: &str = "the data was sealed without a key of the server, and this store \
    opens only what was sealed with one: it was stored before the store was given its key ring, or \
    somebody has planted it in the store";
const UNKNOWN_SERVER_KEY: &str = "the data was sealed under a key of the server that this store \
    does not have: give it a key ring (`seal_key_file=`) with that secret, which may be a retired \
    one; if none is missing, somebody has changed the data in the store";
const DAMAGED: &str = "the data does not open under its session's key: it was stored before \
    `sealed` was turned on, or somebody has damaged or changed it in the store";

/// The keys of the server, the active one first; none where the session's key alone
/// seals.
#[derive(Default)]
pub(crate) struct ServerKeys(Vec<ServerKey>);

/// What one secret of a key ring gives.
struct ServerKey {
    id: KeyId,
    bytes: Zeroizing<[u8; 32]>,
}

impl ServerKeys {
    pub(crate) fn of(ring: &KeyRing) -> Self {
        let keys = ring.secrets().iter().map(|secret| ServerKey {
            id: secret.id(),
            bytes: secret.derive(PURPOSE),
        });
        Self(keys.collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same record with its data sealed under a fresh nonce.
    pub(crate) fn seal(
        &self,
        entropy: &dyn Entropy,
        key: &SessionKey,
        record: &Record,
    ) -> Result<Record, Error> {
        let server_key = self.0.first();
        let clear = record.data.as_bytes();
        let mut nonce = [0; NONCE_BYTES];
        entropy.fill(&mut nonce)?;
        let mut sealed = Vec::with_capacity(clear.len() + SEAL_BYTES_MAX);
        match server_key {
            None => sealed.push(VERSION_SESSION_KEY),
            Some(server_key) => {
                sealed.push(VERSION_KEY_RING);
                sealed.extend_from_slice(&server_key.id);
            }
        }
        sealed.extend_from_slice(&nonce);
        let begins = sealed.len();
        sealed.extend_from_slice(clear);
        let tag = cipher(key, server_key)
            .encrypt_inout_detached(
                &XNonce::from(nonce),
                &associated_data(key, server_key, record),
                (&mut sealed[begins..]).into(),
            )
            .map_err(|_| Error::from(ErrorKind::TooLarge))?;
        sealed.extend_from_slice(&tag);
        let mut record = record.clone();
        record.data = Data::from_bytes(sealed);
        Ok(record)
    }

    /// The record as it was before it was sealed.
    pub(crate) fn open(&self, key: &SessionKey, mut record: Record) -> Result<Record, Error> {
        let clear = self.open_data(key, &record);
        let clear = clear.map_err(|why| {
            let kind = match why {
                UNKNOWN_SERVER_KEY => ErrorKind::UnknownKey,
                _ => ErrorKind::Corrupt,
            };
            Error::new(kind, why)
        })?;
        record.data = Data::from_bytes(clear.as_slice());
        Ok(record)
    }

    fn open_data(
        &self,
        key: &SessionKey,
        record: &Record,
    ) -> Result<Zeroizing<Vec<u8>>, &'static str> {
        let (server_key, sealed) = match record.data.as_bytes().split_first() {
            Some((&VERSION_SESSION_KEY, rest)) if self.is_empty() => (None, rest),
            Some((&VERSION_SESSION_KEY, _)) => return Err(NO_SERVER_KEY),
            Some((&VERSION_KEY_RING, rest)) => {
                let (id, rest) = rest.split_first_chunk().ok_or(DAMAGED)?;
                // An id is no secret, and no two keys of a ring have the same one.
                let server_key = self.0.iter().find(|known| known.id == *id);
                (Some(server_key.ok_or(UNKNOWN_SERVER_KEY)?), rest)
            }
            _ => return Err(DAMAGED),
        };
        let parts = sealed.split_first_chunk::<NONCE_BYTES>();
        let parts = parts.and_then(|(nonce, rest)| {
            let (sealed, tag) = rest.split_last_chunk::<TAG_BYTES>()?;
            Some((nonce, sealed, tag))
        });
        let (nonce, sealed, tag) = parts.ok_or(DAMAGED)?;
        let mut clear = Zeroizing::new(sealed.to_vec());
        cipher(key, server_key)
            .decrypt_inout_detached(
                &XNonce::from(*nonce),
                &associated_data(key, server_key, record),
                clear.as_mut_slice().into(),
                &Tag::from(*tag),
            )
            .map_err(|_| DAMAGED)?;
        Ok(clear)
    }
}

/// Under the key of one session's data, to which the server adds its own where it has
/// one. Who lacks either of the two cannot compute it.
fn cipher(key: &SessionKey, server_key: Option<&ServerKey>) -> XChaCha20Poly1305 {
    let (salt, info) = match server_key {
        None => (None, INFO_SESSION_KEY),
        Some(server_key) => (Some(server_key.bytes.as_slice()), INFO_KEY_RING),
    };
    let mut sealing = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(salt, key.expose_bytes())
        .expand(info, sealing.as_mut_slice())
        .expect("HKDF-SHA256 gives up to 8,160 bytes");
    XChaCha20Poly1305::new((&*sealing).into())
}

/// What the data is bound to. Each part has a fixed length, states its length, or is the
/// last, so no two records give the same bytes.
fn associated_data(key: &SessionKey, server_key: Option<&ServerKey>, record: &Record) -> Vec<u8> {
    let mut bound = Bound(Vec::with_capacity(128));
    match server_key {
        None => bound.bytes(&[VERSION_SESSION_KEY]),
        Some(server_key) => {
            bound.bytes(&[VERSION_KEY_RING]);
            bound.bytes(&server_key.id);
        }
    }
    bound.bytes(key.digest().as_bytes());
    bound.maybe(record.subject.as_ref(), |bound, subject| {
        bound.text(subject.as_str());
    });
    bound.instant(record.created_at);
    // Version 1 binds no more, and its bytes are a promise.
    if server_key.is_some() {
        bound.maybe(record.absolute_deadline, Bound::instant);
        bound.text(&record.expiry.to_string());
        bound.text(record.site.as_str());
        bound.maybe(record.label.as_ref(), |bound, label| {
            bound.text(label.as_str());
        });
        if let Some(login) = &record.login {
            // It is the last part, so it needs no length.
            bound.bytes(&login.to_bytes());
        }
    }
    bound.0
}

struct Bound(Vec<u8>);

impl Bound {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn instant(&mut self, instant: Timestamp) {
        self.bytes(&instant.as_millis().to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        let length = u16::try_from(text.len()).expect("a text of the header has 256 bytes at most");
        self.bytes(&length.to_le_bytes());
        self.bytes(text.as_bytes());
    }

    fn maybe<T>(&mut self, part: Option<T>, with: impl FnOnce(&mut Self, T)) {
        self.bytes(&[u8::from(part.is_some())]);
        if let Some(part) = part {
            with(self, part);
        }
    }
}

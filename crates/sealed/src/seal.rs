//! Seals and opens the data of one record.

use chacha20poly1305::{AeadInOut as _, KeyInit as _, Tag, XChaCha20Poly1305, XNonce};
use cloakroom_core::engine::{Entropy, SessionKey};
use cloakroom_core::store::{Data, KeyDigest, Record};
use cloakroom_core::{Error, ErrorKind};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

const VERSION: u8 = 1;
const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;
pub(crate) const OVERHEAD_BYTES: usize = 1 + NONCE_BYTES + TAG_BYTES;

/// Separates the sealing key from whatever else may be derived from a session key.
const INFO: &[u8] = b"cloakroom/seal/v1";

/// The key of one session's data, and the digest that the data is bound to.
pub(crate) struct SealingKey {
    cipher: XChaCha20Poly1305,
    digest: KeyDigest,
}

impl SealingKey {
    pub(crate) fn of(key: &SessionKey) -> Self {
        let mut sealing = Zeroizing::new([0; 32]);
        Hkdf::<Sha256>::new(None, key.expose_bytes())
            .expand(INFO, sealing.as_mut_slice())
            .expect("HKDF-SHA256 gives up to 8,160 bytes");
        Self {
            cipher: XChaCha20Poly1305::new((&*sealing).into()),
            digest: key.digest(),
        }
    }

    /// The same record with its data sealed under a fresh nonce.
    pub(crate) fn seal(&self, entropy: &dyn Entropy, record: &Record) -> Result<Record, Error> {
        let clear = record.data.as_bytes();
        let mut nonce = [0; NONCE_BYTES];
        entropy.fill(&mut nonce)?;
        let mut sealed = Vec::with_capacity(clear.len() + OVERHEAD_BYTES);
        sealed.push(VERSION);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(clear);
        let tag = self
            .cipher
            .encrypt_inout_detached(
                &XNonce::from(nonce),
                &self.associated_data(record),
                (&mut sealed[1 + NONCE_BYTES..]).into(),
            )
            .map_err(|_| Error::from(ErrorKind::TooLarge))?;
        sealed.extend_from_slice(&tag);
        let mut record = record.clone();
        record.data = Data::from_bytes(sealed);
        Ok(record)
    }

    /// The record as it was before it was sealed.
    pub(crate) fn open(&self, mut record: Record) -> Result<Record, Error> {
        let clear = self.open_data(&record).ok_or_else(|| {
            Error::new(
                ErrorKind::Corrupt,
                "the data does not open under its session's key: it was stored before `sealed` was \
                 turned on, or somebody has damaged or changed it in the store",
            )
        })?;
        record.data = Data::from_bytes(clear.as_slice());
        Ok(record)
    }

    fn open_data(&self, record: &Record) -> Option<Zeroizing<Vec<u8>>> {
        let (version, rest) = record.data.as_bytes().split_first()?;
        let (nonce, rest) = rest.split_first_chunk::<NONCE_BYTES>()?;
        let (sealed, tag) = rest.split_last_chunk::<TAG_BYTES>()?;
        if *version != VERSION {
            return None;
        }
        let mut clear = Zeroizing::new(sealed.to_vec());
        self.cipher
            .decrypt_inout_detached(
                &XNonce::from(*nonce),
                &self.associated_data(record),
                clear.as_mut_slice().into(),
                &Tag::from(*tag),
            )
            .ok()?;
        Some(clear)
    }

    /// What the data is bound to. Each part has a fixed length, or states its length, so
    /// no two records give the same bytes.
    fn associated_data(&self, record: &Record) -> Vec<u8> {
        let mut associated = vec![VERSION];
        associated.extend_from_slice(self.digest.as_bytes());
        match &record.subject {
            None => associated.push(0),
            Some(subject) => {
                let subject = subject.as_str().as_bytes();
                let length = u16::try_from(subject.len()).expect("a subject has 256 bytes at most");
                associated.push(1);
                associated.extend_from_slice(&length.to_le_bytes());
                associated.extend_from_slice(subject);
            }
        }
        associated.extend_from_slice(&record.created_at.as_millis().to_le_bytes());
        associated
    }
}

//! The payload of a frame: a record, and which session it is a state of.

use cloakroom_core::engine::SessionKey;
use cloakroom_core::store::{KeyDigest, Record, Stored};
use cloakroom_core::{Error, ErrorKind, Timestamp};
use cloakroom_keyring::{KEY_ID_BYTES, KeyId};
use zeroize::Zeroizing;

const ID_BYTES: usize = 16;
const HEAD_BYTES: usize = ID_BYTES + KEY_ID_BYTES + 8 + 8;

/// Bytes of the shortest payload: its head, and the head and CRC of a
/// [`Stored`]'s frame.
pub(crate) const ENVELOPE_BYTES_MIN: usize = HEAD_BYTES + 22;

/// One state of a session, as the client carries it.
pub(crate) struct Envelope {
    /// The session's id: the same in all its states, until a rotation.
    pub(crate) id: [u8; ID_BYTES],
    /// The key under which the session began or logged in. Sealed again under another,
    /// it still ends with this one.
    pub(crate) begun_under: KeyId,
    /// When the session was first issued under that id.
    pub(crate) issued_at: Timestamp,
    /// The epoch of its subject when it logged in.
    pub(crate) epoch: u64,
    pub(crate) record: Record,
}

impl Envelope {
    pub(crate) fn id_of(key: &SessionKey) -> [u8; ID_BYTES] {
        let mut id = [0; ID_BYTES];
        let digest: KeyDigest = key.digest();
        id.copy_from_slice(&digest.as_bytes()[..ID_BYTES]);
        id
    }

    /// The session's name in events and lists: its id, and zeros.
    pub(crate) fn digest(&self) -> KeyDigest {
        let mut digest = [0; KeyDigest::BYTES];
        digest[..ID_BYTES].copy_from_slice(&self.id);
        KeyDigest::from_bytes(digest)
    }

    pub(crate) fn encode(&self) -> Result<Zeroizing<Vec<u8>>, Error> {
        let record = Zeroizing::new(self.record.encode()?);
        let mut payload = Zeroizing::new(Vec::with_capacity(HEAD_BYTES + record.len()));
        payload.extend_from_slice(&self.id);
        payload.extend_from_slice(&self.begun_under);
        payload.extend_from_slice(&self.issued_at.as_millis().to_le_bytes());
        payload.extend_from_slice(&self.epoch.to_le_bytes());
        payload.extend_from_slice(&record);
        Ok(payload)
    }

    /// Reads an authentic payload.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where a newer build wrote the record,
    /// [`ErrorKind::Corrupt`] where no build of ours did.
    pub(crate) fn decode(payload: &[u8]) -> Result<Self, Error> {
        let short = || {
            let why = format!(
                "the payload of an authentic cookie ends after {} bytes, and no build of ours \
                 seals so few: who else seals with this key ring?",
                payload.len()
            );
            Error::new(ErrorKind::Corrupt, why)
        };
        let (id, rest) = payload.split_first_chunk().ok_or_else(short)?;
        let (begun_under, rest) = rest.split_first_chunk().ok_or_else(short)?;
        let (issued_at, rest) = rest.split_first_chunk().ok_or_else(short)?;
        let (epoch, frame) = rest.split_first_chunk().ok_or_else(short)?;
        let record = Stored::decode(frame)?.into_record().ok_or_else(|| {
            let why = "an authentic cookie holds a rotation mark, and no build of ours seals \
                       one: who else seals with this key ring?";
            Error::new(ErrorKind::Corrupt, why)
        })?;
        Ok(Self {
            id: *id,
            begun_under: *begun_under,
            issued_at: Timestamp::from_millis(u64::from_le_bytes(*issued_at)),
            epoch: u64::from_le_bytes(*epoch),
            record,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len() / 2)
            .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
            .collect()
    }

    fn reads(frame: &[u8]) -> ErrorKind {
        let payload = [&[0; HEAD_BYTES], frame].concat();
        Envelope::decode(&payload).err().unwrap().kind()
    }

    /// An old server beside a new one must not log anybody out.
    #[test]
    fn an_authentic_record_of_a_newer_build_is_unsupported() {
        let newer = bytes(concat!(
            "020001000000000000002823000000000000e803000000000000fbe80301fdffffffffffff",
            "ff7f0969646c653a313530300e5f5f486f73742d73657373696f6e01023432011046697265",
            "666f78206f6e204c696e7578050101610100a5a23710"
        ));
        assert_eq!(reads(&newer), ErrorKind::Unsupported);
    }

    #[test]
    fn what_no_build_seals_is_corrupt() {
        let mark = Stored::Rotated {
            to: KeyDigest::from_bytes([7; 32]),
            until: Timestamp::MAX,
        };
        assert_eq!(reads(&mark.encode().unwrap()), ErrorKind::Corrupt);
        assert_eq!(reads(b"not a record"), ErrorKind::Corrupt);
        for end in 0..HEAD_BYTES {
            let cut = Envelope::decode(&[0; HEAD_BYTES][..end]);
            assert_eq!(cut.err().unwrap().kind(), ErrorKind::Corrupt);
        }
    }

    /// What an update, a touch and a key change carry on.
    #[test]
    fn an_envelope_comes_back_whole() {
        let mut record = Record::new(Timestamp::from_millis(1), Timestamp::from_millis(2));
        record.absolute_deadline = Some(Timestamp::MAX);
        let whole = Envelope {
            id: [9; ID_BYTES],
            begun_under: [8; KEY_ID_BYTES],
            issued_at: Timestamp::from_millis(3),
            epoch: u64::MAX,
            record,
        };
        let back = Envelope::decode(&whole.encode().unwrap()).unwrap();
        assert_eq!((back.id, back.issued_at), (whole.id, whole.issued_at));
        assert_eq!(back.begun_under, whole.begun_under);
        assert_eq!((back.epoch, back.record), (whole.epoch, whole.record));
    }
}

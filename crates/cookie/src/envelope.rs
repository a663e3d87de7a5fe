//! The payload of a frame: a record, and which session it is a state of.

use std::sync::Arc;

use cloakroom_core::engine::SessionKey;
use cloakroom_core::store::{Data, KeyDigest, Record, Revision};
use cloakroom_core::{Error, ErrorKind, Label, Login, SessionExpiry, Site, Subject, Timestamp};
use cloakroom_keyring::{KEY_ID_BYTES, KeyId};

const ID_BYTES: usize = 8;

/// Bytes of the shortest payload: flags, id, and six numbers.
pub(crate) const ENVELOPE_BYTES_MIN: usize = 1 + ID_BYTES + 6;

/// Bytes of the longest number.
const NUMBER_BYTES_MAX: usize = 10;

/// The bits of the first byte: which of the parts stand there that may be missing.
const HAS_ABSOLUTE_DEADLINE: u8 = 1;
const HAS_EXPIRY: u8 = 1 << 1;
const HAS_SITE: u8 = 1 << 2;
const HAS_SUBJECT: u8 = 1 << 3;
const HAS_LABEL: u8 = 1 << 4;
const HAS_BEGUN_UNDER: u8 = 1 << 5;
const HAS_LOGIN: u8 = 1 << 6;
const UNKNOWN: u8 = 1 << 7;

/// What a frame says by itself, so that its payload need not.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    /// The key that it is sealed under.
    pub(crate) key: KeyId,
    /// The name of its cookie, where that can be a site's: the engine's default.
    pub(crate) site: Option<Site>,
}

/// One state of a session, as the client carries it.
pub(crate) struct Envelope {
    /// The session's id: the same in all its states, until a rotation.
    pub(crate) id: [u8; ID_BYTES],
    /// The key under which the session began or logged in. Sealed again under another,
    /// it still ends with this one.
    pub(crate) begun_under: KeyId,
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

    /// Room for the payload.
    pub(crate) fn bytes_max(&self) -> usize {
        let record = &self.record;
        let texts = [
            Some(record.site.as_str()),
            record.subject.as_ref().map(Subject::as_str),
            record.label.as_ref().map(Label::as_str),
        ];
        let texts: usize = texts.into_iter().flatten().map(str::len).sum();
        // The longest choice of a lifetime has two numbers of 20 digits.
        let fixed = 1 + ID_BYTES + KEY_ID_BYTES + 11 * NUMBER_BYTES_MAX + 64;
        let login = record
            .login
            .as_deref()
            .map_or(0, |login| login.to_bytes().len());
        fixed + texts + login + record.data.as_bytes().len()
    }

    /// Appends the payload.
    pub(crate) fn encode(&self, frame: &Frame, out: &mut Vec<u8>) {
        let record = &self.record;
        let expiry = match record.expiry {
            SessionExpiry::Default => None,
            chosen => Some(chosen.to_string()),
        };
        let site = (Some(&record.site) != frame.site.as_ref()).then(|| record.site.as_str());
        let subject = record.subject.as_ref().map(Subject::as_str);
        let label = record.label.as_ref().map(Label::as_str);
        let begun_under = (self.begun_under != frame.key).then_some(self.begun_under);
        let login = record.login.as_deref().map(Login::to_bytes);
        let flag = |is: bool, bit: u8| if is { bit } else { 0 };
        out.push(
            flag(record.absolute_deadline.is_some(), HAS_ABSOLUTE_DEADLINE)
                | flag(expiry.is_some(), HAS_EXPIRY)
                | flag(site.is_some(), HAS_SITE)
                | flag(subject.is_some(), HAS_SUBJECT)
                | flag(label.is_some(), HAS_LABEL)
                | flag(begun_under.is_some(), HAS_BEGUN_UNDER)
                | flag(login.is_some(), HAS_LOGIN),
        );
        out.extend_from_slice(&self.id);
        let created_at = record.created_at.as_millis();
        let last_seen_at = record.last_seen_at.as_millis();
        put_number(out, record.revision.as_u64());
        put_number(out, self.epoch);
        put_number(out, u64::from(record.flushes));
        put_number(out, created_at);
        put_distance(out, created_at, last_seen_at);
        put_distance(out, last_seen_at, record.expires_at.as_millis());
        if let Some(end) = record.absolute_deadline {
            put_distance(out, created_at, end.as_millis());
        }
        let texts = [expiry.as_deref(), site, subject, label].map(|text| text.map(str::as_bytes));
        for counted in texts.into_iter().chain([login.as_deref()]).flatten() {
            put_number(out, counted.len() as u64);
            out.extend_from_slice(counted);
        }
        out.extend_from_slice(begun_under.as_ref().map_or(&[], KeyId::as_slice));
        out.extend_from_slice(record.data.as_bytes());
    }

    /// Reads an authentic payload.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where a newer build sealed it, [`ErrorKind::Corrupt`]
    /// where no build of ours did.
    pub(crate) fn decode(frame: &Frame, payload: &[u8]) -> Result<Self, Error> {
        if payload.first().is_some_and(|flags| flags & UNKNOWN != 0) {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "a cookie was sealed by a newer version of Cloakroom: bring this server to it",
            ));
        }
        let unknown = || {
            let why = format!(
                "the payload of an authentic cookie, {} bytes, is not as any build of ours seals \
                 it: who else seals with this key ring?",
                payload.len()
            );
            Error::new(ErrorKind::Corrupt, why)
        };
        let (mut envelope, login) = Self::read(frame, &mut Reader(payload)).ok_or_else(unknown)?;
        envelope.record.login = match login.map(Login::from_bytes).transpose() {
            Ok(login) => login.map(Arc::new),
            Err(error) if error.kind() == ErrorKind::Unsupported => return Err(error),
            Err(_) => return Err(unknown()),
        };
        Ok(envelope)
    }

    /// All but the login, whose bytes have a format of their own.
    fn read<'p>(frame: &Frame, from: &mut Reader<'p>) -> Option<(Self, Option<&'p [u8]>)> {
        let [flags] = from.array()?;
        let has = |bit: u8| flags & bit != 0;
        let id = from.array()?;
        let revision = Revision::from_u64(from.number()?);
        let epoch = from.number()?;
        let flushes = from.number()?.try_into().ok()?;
        let created_at = from.number()?;
        let last_seen_at = from.distance(created_at)?;
        let expires_at = from.distance(last_seen_at)?;
        let mut record = Record::new(
            Timestamp::from_millis(created_at),
            Timestamp::from_millis(expires_at),
        );
        record.revision = revision;
        record.flushes = flushes;
        record.last_seen_at = Timestamp::from_millis(last_seen_at);
        if has(HAS_ABSOLUTE_DEADLINE) {
            let end = from.distance(created_at)?;
            record.absolute_deadline = Some(Timestamp::from_millis(end));
        }
        if has(HAS_EXPIRY) {
            record.expiry = from.text()?.parse().ok()?;
        }
        record.site = match has(HAS_SITE) {
            true => Site::new(from.text()?).ok()?,
            false => frame.site.clone()?,
        };
        if has(HAS_SUBJECT) {
            record.subject = Some(Subject::new(from.text()?).ok()?);
        }
        if has(HAS_LABEL) {
            record.label = Some(Label::new(from.text()?).ok()?);
        }
        let login = match has(HAS_LOGIN) {
            true => Some(from.counted()?),
            false => None,
        };
        let begun_under = match has(HAS_BEGUN_UNDER) {
            true => from.array()?,
            false => frame.key,
        };
        record.data = Data::from_bytes(from.0);
        let envelope = Self {
            id,
            begun_under,
            epoch,
            record,
        };
        Some((envelope, login))
    }
}

/// Seven bits a byte, the lowest first; the highest bit says that another follows.
fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// How far an instant is after another one, or before it where the lowest bit is set. Each
/// pair of instants has a distance: it wraps around.
fn put_distance(out: &mut Vec<u8>, from: u64, to: u64) {
    let distance = to.wrapping_sub(from).cast_signed();
    put_number(out, ((distance << 1) ^ (distance >> 63)).cast_unsigned());
}

/// What is left to read.
struct Reader<'p>(&'p [u8]);

impl<'p> Reader<'p> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..NUMBER_BYTES_MAX as u32).map(|at| 7 * at) {
            let [byte] = self.array()?;
            let bits = u64::from(byte & 0x7f);
            if (bits << shift) >> shift != bits {
                return None;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn distance(&mut self, from: u64) -> Option<u64> {
        let number = self.number()?;
        Some(from.wrapping_add((number >> 1) ^ (number & 1).wrapping_neg()))
    }

    fn text(&mut self) -> Option<&'p str> {
        std::str::from_utf8(self.counted()?).ok()
    }

    fn counted(&mut self) -> Option<&'p [u8]> {
        let bytes = usize::try_from(self.number()?).ok()?;
        let (counted, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(counted)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use cloakroom_core::{Aal, Binding, Expiry};
    use proptest::prelude::*;

    use super::*;

    fn frame() -> Frame {
        Frame {
            key: [8; KEY_ID_BYTES],
            site: Some(Site::new("__Host-session").unwrap()),
        }
    }

    fn encoded(envelope: &Envelope) -> Vec<u8> {
        let mut payload = Vec::with_capacity(envelope.bytes_max());
        let room = payload.capacity();
        envelope.encode(&frame(), &mut payload);
        assert!(payload.len() >= ENVELOPE_BYTES_MIN && payload.capacity() == room);
        payload
    }

    fn assert_comes_back(envelope: &Envelope) {
        let back = Envelope::decode(&frame(), &encoded(envelope)).unwrap();
        assert_eq!((back.id, back.epoch), (envelope.id, envelope.epoch));
        assert_eq!(back.begun_under, envelope.begun_under);
        assert_eq!(back.record, envelope.record);
    }

    fn envelope() -> Envelope {
        let at = Timestamp::from_millis(1_790_000_000_000);
        let mut record = Expiry::default().begin(at);
        record.revision = Revision::FIRST;
        record.site = frame().site.unwrap();
        Envelope {
            id: [9; ID_BYTES],
            begun_under: frame().key,
            epoch: 0,
            record,
        }
    }

    #[test]
    fn a_session_of_the_default_policy_takes_29_bytes_beside_its_data() {
        let envelope = envelope();
        let data = envelope.record.data.as_bytes().len();
        assert_eq!(encoded(&envelope).len() - data, 29);
        assert_comes_back(&envelope);
    }

    /// An old server beside a new one must not log anybody out.
    #[test]
    fn an_authentic_payload_of_a_newer_build_is_unsupported() {
        let mut payload = encoded(&envelope());
        payload[0] |= UNKNOWN;
        let newer = Envelope::decode(&frame(), &payload).err().unwrap();
        assert_eq!(newer.kind(), ErrorKind::Unsupported);
    }

    /// A login has a format of its own, which a newer build may extend alone.
    #[test]
    fn a_login_of_a_newer_build_is_unsupported() {
        let mut envelope = envelope();
        let login = Login::new(&Aal::Two.into(), envelope.record.created_at);
        let bytes = login.to_bytes();
        envelope.record.login = Some(Arc::new(login));
        let mut payload = encoded(&envelope);
        let at = payload.windows(bytes.len()).position(|part| part == bytes);
        payload[at.unwrap()] |= 1 << 7;
        let newer = Envelope::decode(&frame(), &payload).err().unwrap();
        assert_eq!(newer.kind(), ErrorKind::Unsupported);
    }

    #[test]
    fn what_no_build_seals_is_corrupt() {
        let mut whole = envelope();
        whole.record.label = Some(Label::new("Firefox").unwrap());
        whole.record.data = Data::from_bytes([]);
        let whole = encoded(&whole);
        let kind = |payload: &[u8]| Envelope::decode(&frame(), payload).err().unwrap().kind();
        for end in 0..whole.len() {
            assert_eq!(kind(&whole[..end]), ErrorKind::Corrupt, "{end}");
        }
        // A number of more than 64 bits, a choice and a text that are none.
        let head = [&[0][..], &[9; ID_BYTES]].concat();
        for (flags, rest) in [
            (0, &[0xff; 10][..]),
            (0, &[0, 0, 0xff, 0xff, 0xff, 0xff, 0x7f, 0, 0, 0]),
            (HAS_EXPIRY, &[0, 0, 0, 0, 0, 0, 1, b'x']),
            (HAS_SITE, &[0, 0, 0, 0, 0, 0, 1, 0]),
            (HAS_SUBJECT, &[0, 0, 0, 0, 0, 0, 1, 0xff]),
            (HAS_SUBJECT, &[0, 0, 0, 0, 0, 0, 0xff, 0xff, 0x7f, 1]),
        ] {
            let mut payload = [&head[..], rest].concat();
            payload[0] = flags;
            assert_eq!(kind(&payload), ErrorKind::Corrupt, "{rest:?}");
        }
    }

    proptest! {
        /// What an update, a touch and a key change carry on.
        #[test]
        fn an_envelope_comes_back_whole(
            (id, begun_under, epoch, flushes) in any::<([u8; 8], [u8; 4], u64, u32)>(),
            instants: [u64; 4],
            revision: u64,
            (has_absolute, own_key, has_login) in any::<(bool, bool, bool)>(),
            (site, subject, label) in ("[ -~]{0,40}", ".{0,40}", ".{0,40}"),
            choice in 0..5,
            data: Vec<u8>,
        ) {
            let [created, seen, expires, end] = instants.map(Timestamp::from_millis);
            let mut record = Record::new(created, expires);
            record.revision = Revision::from_u64(revision);
            record.last_seen_at = seen;
            record.absolute_deadline = has_absolute.then_some(end);
            let day = Duration::from_secs(86_400);
            record.expiry = match choice {
                0 => SessionExpiry::Default,
                1 => SessionExpiry::Idle(day),
                2 => SessionExpiry::At(end),
                3 => SessionExpiry::BrowserClose,
                _ => SessionExpiry::Own(Expiry::new(day, has_absolute.then_some(2 * day)).unwrap()),
            };
            record.site = Site::new(&site).unwrap();
            record.subject = (!subject.is_empty()).then(|| Subject::new(subject).unwrap());
            record.label = (!label.is_empty()).then(|| Label::new(label).unwrap());
            record.flushes = flushes;
            record.login = has_login.then(|| {
                let mut login = Login::new(&Aal::Two.into(), created);
                login.binding = Some(Box::new(Binding::offered([flushes as u8; 32], created)));
                Arc::new(login)
            });
            record.data = Data::from_bytes(data);
            let begun_under = if own_key { frame().key } else { begun_under };
            assert_comes_back(&Envelope { id, begun_under, epoch, record });
        }

        #[test]
        fn no_payload_is_a_panic(payload: Vec<u8>) {
            let _any_answer = Envelope::decode(&frame(), &payload);
        }
    }
}

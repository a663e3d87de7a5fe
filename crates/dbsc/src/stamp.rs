//! Stamps: an instant with a MAC under the secret of a binding. The bound cookie and each
//! challenge is one, so the server remembers none of them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cloakroom_core::{Binding, Timestamp};
use ring::hmac;

/// What a stamp is for. One that was made for another purpose is forged here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Cookie,
    Registration,
    Refresh,
}

impl Purpose {
    /// Each begins with its length, so that none is the beginning of another's message.
    fn domain(self) -> &'static [u8] {
        match self {
            Self::Cookie => b"\x17cloakroom device cookie",
            Self::Registration => b"\x1dcloakroom device registration",
            Self::Refresh => b"\x18cloakroom device refresh",
        }
    }
}

/// What a text is that may be a stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judged {
    Valid,
    /// It was valid, until then.
    Expired,
    /// It was made under no secret of this binding, or for another purpose.
    Forged,
}

const EXPIRY_BYTES: usize = 8;
const TAG_BYTES: usize = 32;
const STAMP_BYTES: usize = EXPIRY_BYTES + TAG_BYTES;

/// Characters of a stamp.
pub(crate) const STAMP_CHARS: usize = STAMP_BYTES.div_ceil(3) * 4 - 2;

fn key(binding: &Binding) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, binding.secret())
}

fn message(purpose: Purpose, expiry: [u8; EXPIRY_BYTES]) -> Vec<u8> {
    [purpose.domain(), &expiry].concat()
}

/// A stamp that is valid before this instant. The instant is in milliseconds, so that a
/// cookie that is made again is another one: some browsers end a session whose refresh
/// changes nothing.
pub(crate) fn stamp(binding: &Binding, purpose: Purpose, expires: Timestamp) -> String {
    let expiry = expires.as_millis().to_be_bytes();
    let tag = hmac::sign(&key(binding), &message(purpose, expiry));
    let mut bytes = expiry.to_vec();
    bytes.extend_from_slice(tag.as_ref());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Judges a text that a client has sent, in constant time where it has the length of a
/// stamp.
pub(crate) fn judge(binding: &Binding, purpose: Purpose, text: &[u8], now: Timestamp) -> Judged {
    let mut bytes = [0; STAMP_BYTES];
    let is_whole = text.len() == STAMP_CHARS
        && URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) == Ok(STAMP_BYTES);
    if !is_whole {
        return Judged::Forged;
    }
    let (expiry, tag) = bytes.split_at(EXPIRY_BYTES);
    let expiry = <[u8; EXPIRY_BYTES]>::try_from(expiry).expect("it was split there");
    match hmac::verify(&key(binding), &message(purpose, expiry), tag) {
        Err(_) => Judged::Forged,
        Ok(()) if Timestamp::from_millis(u64::from_be_bytes(expiry)) <= now => Judged::Expired,
        Ok(()) => Judged::Valid,
    }
}

/// The name of the session for the browser: it opens nothing, and survives a rotation.
pub(crate) fn session_id(binding: &Binding) -> String {
    let tag = hmac::sign(&key(binding), b"\x13cloakroom device id");
    URL_SAFE_NO_PAD.encode(&tag.as_ref()[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: Binding = Binding::offered([1; 32], Timestamp::EPOCH);
    const OTHER: Binding = Binding::offered([2; 32], Timestamp::EPOCH);

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn a_stamp_is_valid_until_its_instant_for_its_purpose_and_its_binding() {
        let text = stamp(&OURS, Purpose::Cookie, at(1_000));
        assert_eq!(text.len(), STAMP_CHARS);
        let judged = |binding, purpose, now| judge(binding, purpose, text.as_bytes(), at(now));
        assert_eq!(judged(&OURS, Purpose::Cookie, 999), Judged::Valid);
        assert_eq!(judged(&OURS, Purpose::Cookie, 1_000), Judged::Expired);
        assert_eq!(judged(&OURS, Purpose::Refresh, 0), Judged::Forged);
        assert_eq!(judged(&OTHER, Purpose::Cookie, 0), Judged::Forged);
        let bound = OURS.bound_to([4; 65]);
        assert_eq!(judged(&bound, Purpose::Cookie, 0), Judged::Valid);
    }

    #[test]
    fn no_other_text_is_a_stamp() {
        let text = stamp(&OURS, Purpose::Refresh, at(1_000));
        let judged = |text: &str| judge(&OURS, Purpose::Refresh, text.as_bytes(), at(0));
        assert_eq!(judged(&text), Judged::Valid);
        for end in 0..text.len() {
            assert_eq!(judged(&text[..end]), Judged::Forged, "{end}");
        }
        for place in 0..text.len() {
            let other = if &text[place..=place] == "A" {
                "B"
            } else {
                "A"
            };
            let changed = format!("{}{other}{}", &text[..place], &text[place + 1..]);
            assert_eq!(judged(&changed), Judged::Forged, "{place}");
        }
        assert_eq!(judged(&format!("{text}=")), Judged::Forged);
        assert_eq!(judged(&"é".repeat(STAMP_CHARS / 2)), Judged::Forged);
    }

    #[test]
    fn domains_say_their_lengths() {
        for purpose in [Purpose::Cookie, Purpose::Registration, Purpose::Refresh] {
            let domain = purpose.domain();
            assert_eq!(usize::from(domain[0]), domain.len() - 1, "{purpose:?}");
        }
        assert_ne!(session_id(&OURS), session_id(&OTHER));
        assert_eq!(session_id(&OURS).len(), 22);
    }
}

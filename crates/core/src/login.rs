//! How a subject logged in, and what the login is tied to.

use std::fmt;
use std::sync::Arc;

use crate::codec::{Cursor, corrupt, put_counted_bytes, put_varint};
use crate::{Error, ErrorKind, Label, Timestamp};

/// How sure the site is of who is logged in: the authenticator assurance levels of NIST
/// SP 800-63B-4.
///
/// ```
/// use cloakroom_core::Aal;
///
/// assert!(Aal::Two > Aal::One);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Aal {
    /// One factor, such as a password.
    #[default]
    One = 1,
    /// Two factors, or one authenticator that has two, such as a passkey.
    Two = 2,
    /// Two factors, one of them a key that cannot leave its hardware.
    Three = 3,
}

/// How somebody has just proved who they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Authentication {
    /// How sure the site is.
    pub level: Aal,
    /// With what, in the site's own words, such as "password" or "passkey".
    pub method: Option<Label>,
}

impl Authentication {
    /// The same, by this method.
    #[must_use]
    pub fn by(mut self, method: Label) -> Self {
        self.method = Some(method);
        self
    }
}

impl From<Aal> for Authentication {
    fn from(level: Aal) -> Self {
        Self {
            level,
            method: None,
        }
    }
}

/// What a record says of a login, beside whose it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Login {
    /// When the subject last proved who they are, in whole seconds; `None` where nobody
    /// knows, as in a session that was adopted.
    pub authenticated_at: Option<Timestamp>,
    /// How sure the site was then.
    pub level: Aal,
    /// With what it was proved, in the site's own words.
    pub method: Option<Label>,
    /// The session at the identity provider that this one came from.
    pub provider: Option<Box<ProviderSession>>,
    /// The device that this session is bound to, or was offered to.
    pub binding: Option<Box<Binding>>,
}

/// A session at an identity provider, as OpenID Connect names it.
#[derive(Clone, PartialEq, Eq)]
pub struct ProviderSession {
    issuer: Label,
    sid: Label,
}

impl ProviderSession {
    /// From `iss` and `sid` of an ID token.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`] where one is over 256 bytes.
    pub fn new(issuer: &str, sid: &str) -> Result<Self, Error> {
        Ok(Self {
            issuer: Label::new(issuer)?,
            sid: Label::new(sid)?,
        })
    }

    /// The provider's name for itself, `iss`.
    #[must_use]
    pub fn issuer(&self) -> &str {
        self.issuer.as_str()
    }

    /// The provider's name for the session, `sid`.
    #[must_use]
    pub fn sid(&self) -> &str {
        self.sid.as_str()
    }
}

impl fmt::Debug for ProviderSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProviderSession(..)")
    }
}

/// What ties a session to one device.
///
/// It begins as an offer: a random secret, under which challenges and the bound cookie are
/// made. Once the device has answered a challenge, its key takes the place of when that was.
#[derive(Clone, PartialEq, Eq)]
pub struct Binding {
    secret: [u8; Self::SECRET_BYTES],
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    OfferedAt { secs: u64 },
    BoundTo([u8; Binding::KEY_BYTES]),
}

impl Binding {
    /// Bytes of the secret.
    pub const SECRET_BYTES: usize = 32;
    /// Bytes of a public key: a point on P-256, uncompressed (SEC 1, section 2.3.3).
    pub const KEY_BYTES: usize = 65;

    /// A binding that is offered, from this instant on, to whichever device answers first.
    /// Of the instant the whole second is kept in which it ends.
    #[must_use]
    pub const fn offered(secret: [u8; Self::SECRET_BYTES], at: Timestamp) -> Self {
        let secs = at.as_millis().div_ceil(1_000);
        let state = State::OfferedAt { secs };
        Self { secret, state }
    }

    /// The same, bound to the device with this public key.
    #[must_use]
    pub const fn bound_to(mut self, key: [u8; Self::KEY_BYTES]) -> Self {
        self.state = State::BoundTo(key);
        self
    }

    /// The secret. It must not leave the server.
    #[must_use]
    pub fn secret(&self) -> &[u8; Self::SECRET_BYTES] {
        &self.secret
    }

    /// The device's public key; `None` while no device has answered.
    #[must_use]
    pub fn key(&self) -> Option<&[u8; Self::KEY_BYTES]> {
        match &self.state {
            State::BoundTo(key) => Some(key),
            State::OfferedAt { .. } => None,
        }
    }

    /// When it was offered; `None` once a device has answered.
    #[must_use]
    pub fn offered_at(&self) -> Option<Timestamp> {
        match self.state {
            State::OfferedAt { secs } => Some(Timestamp::from_millis(secs.saturating_mul(1_000))),
            State::BoundTo(_) => None,
        }
    }

    /// This binding after a change that was decided on what stood there before: an offer
    /// takes the place of nothing, and a device's key that of no key of the same offer. A
    /// device that answers the offer to a login that is over binds nothing.
    fn changed(stored: Option<&Self>, change: &Self) -> Option<Self> {
        let applies = match stored {
            None => change.key().is_none(),
            Some(stored) => stored.key().is_none() && stored.secret == change.secret,
        };
        match applies {
            true => Some(change.clone()),
            false => stored.cloned(),
        }
    }
}

impl fmt::Debug for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Binding")
            .field("is_bound", &self.key().is_some())
            .finish_non_exhaustive()
    }
}

const LEVEL: u8 = 0b11;
const HAS_INSTANT: u8 = 1 << 2;
const HAS_METHOD: u8 = 1 << 3;
const HAS_PROVIDER: u8 = 1 << 4;
const HAS_SECRET: u8 = 1 << 5;
const HAS_KEY: u8 = 1 << 6;
const UNKNOWN: u8 = 1 << 7;

impl Login {
    /// Of somebody who proves who they are at an instant.
    #[must_use]
    pub fn new(authentication: &Authentication, at: Timestamp) -> Self {
        let whole_seconds = at.as_millis() / 1_000 * 1_000;
        Self {
            authenticated_at: Some(Timestamp::from_millis(whole_seconds)),
            level: authentication.level,
            method: authentication.method.clone(),
            provider: None,
            binding: None,
        }
    }

    /// Its bytes, as every store keeps them. Integers and counts are those of a record's
    /// [frame](crate::store::Stored):
    ///
    /// | content | stands there |
    /// |---|---|
    /// | a byte of flags, from the lowest bit on: the level in two bits; there are an instant, a method, a provider, a secret, a key. The highest bit is 0: a newer build may set it | always |
    /// | the instant, a number of seconds since the epoch | by flag |
    /// | the method, counted bytes | by flag |
    /// | the provider's name and its session's, counted bytes each | by flag |
    /// | the secret of a binding, 32 bytes | by flag |
    /// | when it was offered, a number of seconds since the epoch | with a secret, without a key |
    /// | the device's public key, 65 bytes | by flag |
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let flag = |is: bool, bit: u8| if is { bit } else { 0 };
        let key = self.binding.as_deref().and_then(Binding::key);
        let mut out = vec![
            self.level as u8
                | flag(self.authenticated_at.is_some(), HAS_INSTANT)
                | flag(self.method.is_some(), HAS_METHOD)
                | flag(self.provider.is_some(), HAS_PROVIDER)
                | flag(self.binding.is_some(), HAS_SECRET)
                | flag(key.is_some(), HAS_KEY),
        ];
        if let Some(at) = self.authenticated_at {
            put_varint(&mut out, at.as_millis() / 1_000);
        }
        let provider = self.provider.as_deref();
        let texts = [
            self.method.as_ref().map(Label::as_str),
            provider.map(ProviderSession::issuer),
            provider.map(ProviderSession::sid),
        ];
        for text in texts.into_iter().flatten() {
            put_counted_bytes(&mut out, text.as_bytes());
        }
        if let Some(binding) = &self.binding {
            out.extend_from_slice(&binding.secret);
            match &binding.state {
                State::OfferedAt { secs } => put_varint(&mut out, *secs),
                State::BoundTo(key) => out.extend_from_slice(key),
            }
        }
        out
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where a newer build wrote it, [`ErrorKind::Corrupt`]
    /// where none did.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.first().is_some_and(|flags| flags & UNKNOWN != 0) {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "a login was written by a newer version of Cloakroom: bring this server to it",
            ));
        }
        Self::read(bytes).ok_or_else(|| corrupt("the login of a record cannot be read"))
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let mut from = Cursor::new(bytes);
        let [flags] = from.array()?;
        let has = |bit: u8| flags & bit != 0;
        let mut login = Self {
            level: match flags & LEVEL {
                1 => Aal::One,
                2 => Aal::Two,
                3 => Aal::Three,
                _ => return None,
            },
            ..Self::default()
        };
        if has(HAS_INSTANT) {
            let millis = from.varint()?.checked_mul(1_000)?;
            login.authenticated_at = Some(Timestamp::from_millis(millis));
        }
        let text = |from: &mut Cursor<'_>| {
            let text = std::str::from_utf8(from.counted_bytes()?).ok()?;
            Label::new(text).ok()
        };
        if has(HAS_METHOD) {
            login.method = Some(text(&mut from)?);
        }
        if has(HAS_PROVIDER) {
            let (issuer, sid) = (text(&mut from)?, text(&mut from)?);
            login.provider = Some(Box::new(ProviderSession { issuer, sid }));
        }
        if has(HAS_SECRET) {
            let secret = from.array()?;
            let state = match has(HAS_KEY) {
                true => State::BoundTo(from.array()?),
                false => State::OfferedAt {
                    secs: from.varint()?,
                },
            };
            login.binding = Some(Box::new(Binding { secret, state }));
        } else if has(HAS_KEY) {
            return None;
        }
        (from.left() == 0).then_some(login)
    }

    /// The bytes of each part that it keeps outside of itself.
    pub(crate) fn parts(&self) -> impl Iterator<Item = usize> {
        let provider = self.provider.as_deref();
        let texts = [
            self.method.as_ref().map(Label::as_str),
            provider.map(ProviderSession::issuer),
            provider.map(ProviderSession::sid),
        ];
        let binding = self.binding.as_deref().map(size_of_val);
        let parts = texts.map(|text| text.map(str::len)).into_iter();
        parts.chain([binding, provider.map(size_of_val)]).flatten()
    }
}

/// Changes to a login that a session has recorded: the last of each kind counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct LoginChange {
    pub(crate) authentication: Option<Authentication>,
    pub(crate) provider: Option<Box<ProviderSession>>,
    pub(crate) binding: Option<Box<Binding>>,
    /// Whether whoever logs in has proven the device that the session is bound to.
    pub(crate) is_device_proven: bool,
}

impl LoginChange {
    pub(crate) fn is_some(&self) -> bool {
        self.authentication.is_some() || self.provider.is_some() || self.binding.is_some()
    }

    pub(crate) fn is_binding_alone(&self) -> bool {
        let others = self.authentication.is_some() || self.provider.is_some();
        !others && self.binding.is_some()
    }

    /// Whether it says nothing but how somebody has proved who they are. What is offered to a
    /// device with that goes with it.
    pub(crate) fn is_proof_alone(&self) -> bool {
        let offer = |binding: &Binding| binding.key().is_none();
        self.provider.is_none() && self.binding.as_deref().is_none_or(offer)
    }

    /// Overrides these changes with later ones.
    pub(crate) fn overlay(&mut self, later: Self) {
        self.authentication = later.authentication.or(self.authentication.take());
        self.provider = later.provider.or(self.provider.take());
        self.binding = later.binding.or(self.binding.take());
        self.is_device_proven |= later.is_device_proven;
    }

    /// The login that stands after these changes. Who logs in again keeps the provider's
    /// session, and the device that they have proven: one that is lost must not stay, and an
    /// offer has had its time. Of the login of another subject nothing is stored here.
    pub(crate) fn written(
        &self,
        stored: Option<&Arc<Login>>,
        logs_in: bool,
        now: Timestamp,
    ) -> Option<Arc<Login>> {
        if !logs_in && !self.is_some() {
            return stored.cloned();
        }
        let mut login = match (&self.authentication, logs_in) {
            (Some(authentication), _) => Login::new(authentication, now),
            (None, true) => Login::new(&Authentication::default(), now),
            (None, false) => stored.map_or_else(Login::default, |login| Login::clone(login)),
        };
        let bound = stored
            .and_then(|login| login.binding.as_deref())
            .filter(|bound| !logs_in || (self.is_device_proven && bound.key().is_some()));
        let provider = stored.and_then(|login| login.provider.as_ref());
        let binding = match &self.binding {
            Some(change) => Binding::changed(bound, change),
            None => bound.cloned(),
        };
        login.binding = binding.map(Box::new);
        login.provider = self.provider.as_ref().or(provider).cloned();
        Some(Arc::new(login))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn offer(byte: u8) -> Binding {
        Binding::offered([byte; 32], Timestamp::from_millis(1_790_000_000_001))
    }

    fn whole() -> Login {
        let at = Timestamp::from_millis(1_790_000_000_999);
        let passkey = Authentication::from(Aal::Two).by(Label::new("passkey").unwrap());
        Login {
            provider: Some(Box::new(
                ProviderSession::new("https://id.example", "08a5").unwrap(),
            )),
            binding: Some(Box::new(offer(1).bound_to([4; 65]))),
            ..Login::new(&passkey, at)
        }
    }

    #[test]
    fn a_login_comes_back_and_a_plain_one_takes_six_bytes() {
        let plain = Login::new(
            &Authentication::default(),
            Timestamp::from_millis(1_790_000_000_000),
        );
        assert_eq!(plain.to_bytes().len(), 6);
        let offered = Login {
            binding: Some(Box::new(offer(7))),
            ..Login::default()
        };
        assert_eq!(offered.to_bytes().len(), 1 + 32 + 5);
        for login in [plain, whole(), offered, Login::default()] {
            assert_eq!(Login::from_bytes(&login.to_bytes()).unwrap(), login);
        }
    }

    #[test]
    fn an_offer_says_the_second_in_which_it_was_made_until_a_device_answers() {
        for (millis, secs) in [(0, 0), (1, 1), (1_000, 1), (1_001, 2)] {
            let offer = Binding::offered([1; 32], Timestamp::from_millis(millis));
            let at = Timestamp::from_millis(secs * 1_000);
            assert_eq!(offer.offered_at(), Some(at));
            assert_eq!(offer.bound_to([4; 65]).offered_at(), None);
        }
    }

    #[test]
    fn what_no_build_writes_is_corrupt_and_what_a_newer_one_writes_is_unsupported() {
        let bytes = whole().to_bytes();
        let kind = |bytes: &[u8]| Login::from_bytes(bytes).unwrap_err().kind();
        for end in 0..bytes.len() {
            assert_eq!(kind(&bytes[..end]), ErrorKind::Corrupt, "{end}");
        }
        assert_eq!(kind(&[&bytes[..], &[0]].concat()), ErrorKind::Corrupt);
        // No level, and a key without the secret of its offer.
        assert_eq!(kind(&[0]), ErrorKind::Corrupt);
        assert_eq!(
            kind(&[&[1 | HAS_KEY][..], &[4; 65]].concat()),
            ErrorKind::Corrupt
        );
        assert_eq!(kind(&[1 | UNKNOWN]), ErrorKind::Unsupported);
    }

    #[test]
    fn nothing_of_it_that_is_secret_is_printed() {
        let printed = format!("{:?}", whole());
        for secret in ["passkey", "id.example", "08a5", "1, 1", "4, 4"] {
            assert!(!printed.contains(secret), "{printed}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            if let Ok(login) = Login::from_bytes(&bytes) {
                prop_assert_eq!(Login::from_bytes(&login.to_bytes()).unwrap(), login);
            }
        }
    }

    #[test]
    fn a_device_answers_the_offer_that_stands_and_is_never_replaced() {
        let (offer, other) = (offer(1), offer(2));
        let bound = offer.clone().bound_to([4; 65]);
        let another = offer.clone().bound_to([5; 65]);
        for (stored, change, stands) in [
            (None, &offer, Some(&offer)),
            (None, &bound, None),
            (Some(&offer), &other, Some(&offer)),
            (Some(&offer), &bound, Some(&bound)),
            (Some(&other), &bound, Some(&other)),
            (Some(&bound), &another, Some(&bound)),
        ] {
            assert_eq!(
                Binding::changed(stored, change).as_ref(),
                stands,
                "{change:?}"
            );
        }
    }
}

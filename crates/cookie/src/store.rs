//! The token store whose token is the whole session.

use std::fmt;
use std::sync::Arc;

use cloakroom_core::engine::{
    Entropy, LoadedToken, OsEntropy, SessionKey, Token, TokenStore, Written,
};
use cloakroom_core::store::{BoxFuture, Capabilities, KeyDigest, Record, Revision, Stored};
use cloakroom_core::{Clock, Error, ErrorKind, Subject, SystemClock, Timestamp};

use crate::envelope::Envelope;
use crate::frame::{Mode, Opened, Sealer};
use crate::revocation::unavailable;
use crate::{KeyRing, NAME, Revocation};

/// Bytes of the longest name of a cookie.
const COOKIE_NAME_BYTES_MAX: usize = 256;

/// Sessions sealed in the cookie: a [`TokenStore`] whose token is the whole
/// session. The [crate's page](crate) says what it promises and what it does not.
///
/// It is no [`SessionStore`](cloakroom_core::store::SessionStore): it keeps nothing on
/// the server, so there is nothing to cache and nothing to sweep.
///
/// # Errors
/// `load_token` answers `None` for a token that does not open, and fails with
/// - [`ErrorKind::Unavailable`] where a configured [`Revocation`] does not answer,
/// - [`ErrorKind::Unsupported`] where a newer build sealed an authentic cookie,
/// - [`ErrorKind::Corrupt`] where an authentic cookie holds no session.
///
/// A write judges no deadline, since its caller has loaded the session. It fails with
/// - [`ErrorKind::Gone`] where the presented token does not open,
/// - [`ErrorKind::Conflict`] where the record is not based on that token,
/// - [`ErrorKind::TooLarge`] where the new token would be longer than 16 KiB
///   ([`TOKEN_BYTES_MAX`](cloakroom_core::engine::TOKEN_BYTES_MAX)); the engine measures
///   each token again, by what its cookie policy allows,
/// - [`ErrorKind::Misconfigured`] where there is revocation, and a session with a
///   subject has no absolute deadline,
/// - [`ErrorKind::Unavailable`] without randomness, or without epochs.
pub struct CookieStore {
    cookie: String,
    sealer: Sealer,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    revocation: Option<Arc<dyn Revocation>>,
    logout_ends_all: bool,
}

impl CookieStore {
    /// A store for the cookie of this name, beginning with the defaults:
    /// encrypted, without revocation.
    ///
    /// Give the full name, with its prefix, that the engine's cookie policy uses. It is
    /// bound to each token, so that a token of one cookie does not open as another.
    pub fn builder(cookie: impl Into<String>, ring: &KeyRing) -> CookieStoreBuilder<'_> {
        CookieStoreBuilder {
            cookie: cookie.into(),
            ring,
            mode: Mode::Encrypted,
            clock: Arc::new(SystemClock),
            entropy: Arc::new(OsEntropy),
            revocation: None,
            logout_ends_all: false,
        }
    }

    /// Opens a token. Neither its deadlines nor its epoch are judged.
    fn open(&self, token: &Token) -> Result<Option<(Envelope, Opened)>, Error> {
        let Some(opened) = self.sealer.open(token.expose()) else {
            return Ok(None);
        };
        let envelope = Envelope::decode(opened.payload()).map_err(named)?;
        Ok(Some((envelope, opened)))
    }

    /// The session that a write is based on.
    async fn base(&self, token: &Token) -> Result<Envelope, Error> {
        match self.open(token)? {
            Some((envelope, _)) if !self.is_revoked(&envelope).await? => Ok(envelope),
            _ => Err(Error::from(ErrorKind::Gone).in_store(NAME)),
        }
    }

    fn revocation_of<'s>(
        &'s self,
        record: &'s Record,
    ) -> Option<(&'s dyn Revocation, &'s Subject)> {
        Some((self.revocation.as_deref()?, record.subject.as_ref()?))
    }

    /// Whether the session's epoch is not its subject's. A later one does not open
    /// either: the store of epochs was restored from a backup, and the session could
    /// not be revoked any more.
    async fn is_revoked(&self, envelope: &Envelope) -> Result<bool, Error> {
        let Some((revocation, subject)) = self.revocation_of(&envelope.record) else {
            return Ok(false);
        };
        if envelope.record.absolute_deadline.is_none() {
            return Ok(true);
        }
        let present = revocation.epoch(subject).await.map_err(unavailable)?;
        Ok(present != envelope.epoch)
    }

    /// Whether the session is expired or revoked.
    async fn is_dead(&self, envelope: &Envelope) -> Result<bool, Error> {
        Ok(envelope.record.is_expired(self.clock.now()) || self.is_revoked(envelope).await?)
    }

    /// The epoch to seal. A login (a write that changes the subject or begins the
    /// session anew) takes the present one. Any other write keeps the epoch of the
    /// session it is based on, so that a write which a revocation has overtaken does
    /// not carry the session into the new epoch.
    async fn epoch(&self, base: Option<&Envelope>, record: &Record) -> Result<u64, Error> {
        let same = base.filter(|base| {
            (&base.record.subject, base.record.created_at) == (&record.subject, record.created_at)
        });
        match (same, self.revocation_of(record)) {
            (Some(base), _) => Ok(base.epoch),
            (None, Some((revocation, subject))) => {
                revocation.epoch(subject).await.map_err(unavailable)
            }
            (None, None) => Ok(0),
        }
    }

    /// Ends all sessions of the subject, where a logout is to do so.
    async fn end(&self, record: &Record) -> Result<(), Error> {
        match self.revocation_of(record).filter(|_| self.logout_ends_all) {
            Some((revocation, subject)) => revocation.advance(subject).await.map_err(unavailable),
            None => Ok(()),
        }
    }

    fn issue(&self, envelope: &Envelope) -> Result<Written, Error> {
        let record = &envelope.record;
        if self.revocation_of(record).is_some() && record.absolute_deadline.is_none() {
            return Err(misconfigured(
                "with revocation, a session with a subject needs an absolute deadline, and this \
                 one has none: set `absolute` in the Expiry",
            ));
        }
        let payload = envelope.encode().map_err(named)?;
        let token = self.sealer.seal(&*self.entropy, &payload).map_err(named)?;
        Ok(Written::issued(record.revision, token))
    }

    async fn begin(
        &self,
        key: &SessionKey,
        base: Option<&Envelope>,
        record: Record,
    ) -> Result<Written, Error> {
        let epoch = self.epoch(base, &record).await?;
        self.issue(&Envelope {
            id: Envelope::id_of(key),
            issued_at: self.clock.now(),
            epoch,
            record,
        })
    }
}

impl TokenStore for CookieStore {
    fn is_well_formed(&self, token: &str) -> bool {
        self.sealer.mode().is_well_formed(token)
    }

    /// The sealed session id: the first half of a key's digest, and zeros.
    fn digest_of(&self, token: &Token) -> Option<KeyDigest> {
        let (envelope, _) = self.open(token).ok()??;
        Some(envelope.digest())
    }

    fn load_token<'a>(
        &'a self,
        token: &'a Token,
    ) -> BoxFuture<'a, Result<Option<LoadedToken>, Error>> {
        Box::pin(async move {
            let Some((envelope, opened)) = self.open(token)? else {
                return Ok(None);
            };
            if self.is_dead(&envelope).await? {
                return Ok(None);
            }
            let mut loaded = LoadedToken::new(Stored::Record(envelope.record));
            if opened.by_retired_key {
                let reissue = self.sealer.seal(&*self.entropy, opened.payload());
                loaded.reissue = Some(reissue.map_err(named)?);
            }
            Ok(Some(loaded))
        })
    }

    fn create_token<'a>(
        &'a self,
        key: &'a SessionKey,
        record: &'a Record,
    ) -> BoxFuture<'a, Result<Written, Error>> {
        Box::pin(self.begin(key, None, record.at_revision(Revision::FIRST)))
    }

    fn update_token<'a>(
        &'a self,
        token: &'a Token,
        record: &'a Record,
    ) -> BoxFuture<'a, Result<Written, Error>> {
        Box::pin(async move {
            let base = self.base(token).await?;
            let record = based_on(&base, record)?;
            self.issue(&Envelope {
                epoch: self.epoch(Some(&base), &record).await?,
                record,
                ..base
            })
        })
    }

    fn touch_token<'a>(
        &'a self,
        token: &'a Token,
        record: &'a Record,
    ) -> BoxFuture<'a, Result<Written, Error>> {
        Box::pin(async move {
            let mut base = self.base(token).await?;
            let stored = &mut base.record;
            if stored.revision != record.revision || !stored.touch(record.into()) {
                return Ok(Written::kept(record.revision));
            }
            self.issue(&base)
        })
    }

    /// Leaves no rotation mark: the old token opens until its own deadline. Where the
    /// session leaves its subject, that is a logout of it.
    fn rotate_token<'a>(
        &'a self,
        token: &'a Token,
        new: &'a SessionKey,
        record: &'a Record,
        _mark_until: Timestamp,
    ) -> BoxFuture<'a, Result<Written, Error>> {
        Box::pin(async move {
            let base = self.base(token).await?;
            let record = based_on(&base, record)?;
            let leaves_subject = base.record.subject != record.subject;
            let written = self.begin(new, Some(&base), record).await?;
            if leaves_subject {
                self.end(&base.record).await?;
            }
            Ok(written)
        })
    }

    /// Does nothing, since there is nothing to remove; under
    /// [`logout_ends_all`](CookieStoreBuilder::logout_ends_all), ends all
    /// sessions of the subject.
    fn delete_token<'a>(&'a self, token: &'a Token) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            if !self.logout_ends_all {
                return Ok(());
            }
            match self.open(token)? {
                // An expired or revoked cookie must not end sessions that began after it.
                Some((envelope, _)) if !self.is_dead(&envelope).await? => {
                    self.end(&envelope.record).await
                }
                _ => Ok(()),
            }
        })
    }

    fn token_capabilities(&self) -> Capabilities<'_> {
        Capabilities::NONE
    }
}

impl fmt::Debug for CookieStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CookieStore")
            .field("cookie", &self.cookie)
            .field("mode", &self.sealer.mode())
            .field("retired_keys", &self.sealer.retired_keys())
            .field("revocation", &self.revocation.is_some())
            .field("logout_ends_all", &self.logout_ends_all)
            .finish_non_exhaustive()
    }
}

/// Builds a [`CookieStore`].
#[derive(Debug)]
pub struct CookieStoreBuilder<'r> {
    cookie: String,
    ring: &'r KeyRing,
    mode: Mode,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    revocation: Option<Arc<dyn Revocation>>,
    logout_ends_all: bool,
}

impl CookieStoreBuilder<'_> {
    /// Signs and does not encrypt: visitors can read their sessions, and change
    /// nothing. Cookies that were encrypted before do not open any more, nor the
    /// other way round.
    #[must_use]
    pub fn signed(mut self) -> Self {
        self.mode = Mode::Signed;
        self
    }

    /// The clock that deadlines are judged by. Default: the system's. Where the engine
    /// has another one, the store needs the same.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Where nonces come from. Default: the operating system.
    #[must_use]
    pub fn entropy(mut self, entropy: Arc<dyn Entropy>) -> Self {
        self.entropy = entropy;
        self
    }

    /// Makes it possible to end all sessions of a subject; see [`Revocation`]. A session
    /// with a subject then needs an absolute deadline.
    #[must_use]
    pub fn revocation(mut self, revocation: Arc<dyn Revocation>) -> Self {
        self.revocation = Some(revocation);
        self
    }

    /// Makes each logout (a `delete_token`, or a rotation that leaves the subject) end
    /// all sessions of its subject, on every device. An epoch is of a subject and not of
    /// a session, so no logout can end a copied cookie otherwise. Without this, call
    /// [`Revocation::advance`] to end all sessions. Needs
    /// [`revocation`](Self::revocation).
    #[must_use]
    pub fn logout_ends_all(mut self) -> Self {
        self.logout_ends_all = true;
        self
    }

    /// Derives the keys and checks the limits.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`], saying what cannot work.
    pub fn build(self) -> Result<CookieStore, Error> {
        if self.cookie.is_empty() || self.cookie.len() > COOKIE_NAME_BYTES_MAX {
            return Err(misconfigured(
                "the name of a cookie store's cookie is 1 to 256 bytes, its prefix included: give \
                 the name that the cookie policy uses",
            ));
        }
        if self.logout_ends_all && self.revocation.is_none() {
            return Err(misconfigured(
                "logout_ends_all needs revocation: call revocation() with an EpochStore too",
            ));
        }
        Ok(CookieStore {
            sealer: Sealer::new(self.mode, &self.cookie, self.ring),
            cookie: self.cookie,
            clock: self.clock,
            entropy: self.entropy,
            revocation: self.revocation,
            logout_ends_all: self.logout_ends_all,
        })
    }
}

/// The record at its next revision, where it is based on this session.
fn based_on(base: &Envelope, record: &Record) -> Result<Record, Error> {
    let next = record.next_revision_after(base.record.revision);
    Ok(record.at_revision(next.map_err(named)?))
}

fn misconfigured(why: &'static str) -> Error {
    Error::new(ErrorKind::Misconfigured, why).in_store(NAME)
}

fn named(error: Error) -> Error {
    error.in_store(NAME)
}

//! The store that keeps nothing.

use std::fmt;
use std::sync::Arc;

use cloakroom_core::engine::{
    Entropy, LoadedToken, OsEntropy, SessionKey, TOKEN_BYTES_MAX, Token, TokenStore, Written,
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
/// session. See the [crate's page](crate) for what it promises and what not.
///
/// It is no [`SessionStore`](cloakroom_core::store::SessionStore): there is nothing to
/// cache in front of it, and nothing to sweep.
///
/// # Errors
/// `load_token`: [`ErrorKind::Unavailable`] where a configured [`Revocation`]
/// does not answer, [`ErrorKind::Unsupported`] where a newer build sealed an
/// authentic cookie. Anything else that does not open is `None`.
///
/// Writes: [`ErrorKind::Gone`] where the token presented does not open,
/// [`ErrorKind::Conflict`] where the record is not based on it,
/// [`ErrorKind::TooLarge`] over 16 KiB ([`TOKEN_BYTES_MAX`]); how much less fits into
/// the cookies is the engine's cookie policy to say, and the engine measures it,
/// [`ErrorKind::Misconfigured`] for a subject without an absolute deadline under
/// revocation, [`ErrorKind::Unavailable`] without randomness or epochs. Writes
/// look at no deadline: who calls them has loaded the session.
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
    /// The name is the full one, with its prefix. It is bound to each token, so
    /// that one site's two cookies are never taken for each other; it must be
    /// the one that the engine's cookie policy uses only for that reason.
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

    /// What the token holds, its deadlines not judged.
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

    /// An epoch that runs ahead of its subject's is of a store that was set
    /// back: it could not be revoked any more, so it does not open either.
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

    /// The epoch to seal. Only a login takes the present one, and a login is
    /// what changes the subject or begins the session anew: any other write of a
    /// request that a revocation has overtaken must not carry its session over.
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

    /// What a logout does on the server.
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
                "revocation needs an absolute deadline: give each Expiry one",
            ));
        }
        let payload = envelope.encode().map_err(named)?;
        let length = self.sealer.mode().token_bytes(payload.len());
        if length > TOKEN_BYTES_MAX {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!(
                    "the sealed session is {length} bytes, TOKEN_BYTES_MAX is \
                     {TOKEN_BYTES_MAX}: keep less in the session, or use a store on the server"
                ),
            )
            .in_store(NAME));
        }
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

    async fn load(&self, token: &Token) -> Result<Option<LoadedToken>, Error> {
        let Some((envelope, opened)) = self.open(token)? else {
            return Ok(None);
        };
        if envelope.record.is_expired(self.clock.now()) || self.is_revoked(&envelope).await? {
            return Ok(None);
        }
        let mut loaded = LoadedToken::new(Stored::Record(envelope.record));
        if opened.retired {
            let same = self.sealer.seal(&*self.entropy, opened.payload());
            loaded.reissue = Some(same.map_err(named)?);
        }
        Ok(Some(loaded))
    }

    async fn update(&self, token: &Token, record: &Record) -> Result<Written, Error> {
        let base = self.base(token).await?;
        let next = record
            .next_revision_after(base.record.revision)
            .map_err(named)?;
        self.issue(&Envelope {
            epoch: self.epoch(Some(&base), record).await?,
            record: record.at_revision(next),
            ..base
        })
    }

    async fn rotate(
        &self,
        token: &Token,
        new: &SessionKey,
        record: &Record,
    ) -> Result<Written, Error> {
        let base = self.base(token).await?;
        let next = record
            .next_revision_after(base.record.revision)
            .map_err(named)?;
        let written = self.begin(new, Some(&base), record.at_revision(next));
        let written = written.await?;
        if base.record.subject != record.subject {
            self.end(&base.record).await?;
        }
        Ok(written)
    }

    async fn delete(&self, token: &Token) -> Result<(), Error> {
        if !self.logout_ends_all {
            return Ok(());
        }
        match self.open(token)? {
            // An old cookie must not end what came after it.
            Some((envelope, _))
                if !envelope.record.is_expired(self.clock.now())
                    && !self.is_revoked(&envelope).await? =>
            {
                self.end(&envelope.record).await
            }
            _ => Ok(()),
        }
    }
}

impl TokenStore for CookieStore {
    fn is_well_formed(&self, token: &str) -> bool {
        self.sealer.mode().fits(token)
    }

    /// The session id that is sealed in: the first half of the digest of the key,
    /// and zeros.
    fn digest_of(&self, token: &Token) -> Option<KeyDigest> {
        let (envelope, _) = self.open(token).ok()??;
        Some(envelope.digest())
    }

    fn load_token<'a>(
        &'a self,
        token: &'a Token,
    ) -> BoxFuture<'a, Result<Option<LoadedToken>, Error>> {
        Box::pin(self.load(token))
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
        Box::pin(self.update(token, record))
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

    /// Leaves no mark: the old token opens until its own deadline, unless the
    /// session leaves its subject, which is a logout.
    fn rotate_token<'a>(
        &'a self,
        token: &'a Token,
        new: &'a SessionKey,
        record: &'a Record,
        _mark_until: Timestamp,
    ) -> BoxFuture<'a, Result<Written, Error>> {
        Box::pin(self.rotate(token, new, record))
    }

    /// Does nothing, since there is nothing to remove; under
    /// [`logout_ends_all`](CookieStoreBuilder::logout_ends_all), ends all
    /// sessions of the subject.
    fn delete_token<'a>(&'a self, token: &'a Token) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(self.delete(token))
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
            .field("retired_keys", &self.sealer.retired())
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

    /// What judges the deadlines. Default: the system's clock; give it the
    /// engine's where that has another.
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

    /// Lets all sessions of a subject be ended; see [`Revocation`]. A session
    /// with a subject needs an absolute deadline then.
    #[must_use]
    pub fn revocation(mut self, revocation: Arc<dyn Revocation>) -> Self {
        self.revocation = Some(revocation);
        self
    }

    /// Lets a logout (a `delete_token`, or a rotation that leaves the subject)
    /// end all sessions of its subject, on every device. Epochs know no single
    /// session, so this is the one way in which a logout ends a copied cookie;
    /// without it, call [`Revocation::advance`] where all are to end. Needs
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
                "the name of the cookie is 1 to 256 bytes, its prefix included",
            ));
        }
        if self.logout_ends_all && self.revocation.is_none() {
            return Err(misconfigured(
                "logout_ends_all needs a revocation to end them with",
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

fn misconfigured(why: &'static str) -> Error {
    Error::new(ErrorKind::Misconfigured, why).in_store(NAME)
}

fn named(error: Error) -> Error {
    error.in_store(NAME)
}

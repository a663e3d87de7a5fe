//! The store that keeps nothing.

use std::fmt;
use std::sync::Arc;

use cloakroom_core::{
    Capabilities, Clock, Entropy, Error, ErrorKind, LoadedToken, OsEntropy, Record, Revision,
    SessionKey, Stored, Subject, SystemClock, TOKEN_BYTES_MAX, Timestamp, Token, TokenStore,
    Written,
};

use crate::envelope::{ENVELOPE_BYTES_MIN, Envelope};
use crate::frame::{Mode, Opened, Sealer};
use crate::revocation::unavailable;
use crate::{KeyRing, NAME, Revocation};

/// Bytes of the longest `Set-Cookie` value that every browser takes (RFC 6265,
/// section 6.1).
const COOKIE_BYTES_MAX: usize = 4_096;

/// The most that a cookie for `/` of one host says beside name and value; 400
/// days is the longest age (RFC 6265bis, section 5.5).
const ATTRIBUTES: &str =
    "=; Path=/; Max-Age=34560000; Secure; HttpOnly; SameSite=Strict; Partitioned";

/// Bytes of the longest name of a cookie.
const COOKIE_NAME_BYTES_MAX: usize = 256;

/// Sessions sealed in the cookie: a [`TokenStore`] whose token is the whole
/// session. See the [crate's page](crate) for what it promises and what not.
///
/// It is no [`SessionStore`](cloakroom_core::SessionStore): there is nothing to
/// cache in front of it, and nothing to sweep.
///
/// # Errors
/// `load_token`: [`ErrorKind::Unavailable`] where a configured [`Revocation`]
/// does not answer, [`ErrorKind::Unsupported`] where a newer build sealed an
/// authentic cookie. Anything else that does not open is `None`.
///
/// Writes: [`ErrorKind::Gone`] where the token presented does not open,
/// [`ErrorKind::Conflict`] where the record is not based on it,
/// [`ErrorKind::TooLarge`] over
/// [`token_bytes_max`](CookieStoreBuilder::token_bytes_max),
/// [`ErrorKind::Misconfigured`] for a subject without an absolute deadline under
/// revocation, [`ErrorKind::Unavailable`] without randomness or epochs. Writes
/// look at no deadline: who calls them has loaded the session.
pub struct CookieStore {
    cookie: String,
    sealer: Sealer,
    token_bytes_max: usize,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    revocation: Option<Arc<dyn Revocation>>,
    logout_ends_all: bool,
}

impl CookieStore {
    /// A store for the cookie of this name, beginning with the defaults:
    /// encrypted, 4,096 bytes on the wire, no revocation.
    ///
    /// The name is the full one, with its prefix. It is bound to each token, so
    /// that one site's two cookies are never taken for each other; it must be
    /// the one that the engine's cookie policy uses only for that reason.
    pub fn builder(cookie: impl Into<String>, ring: &KeyRing) -> CookieStoreBuilder<'_> {
        CookieStoreBuilder {
            cookie: cookie.into(),
            ring,
            mode: Mode::Encrypted,
            token_bytes_max: None,
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
        if length > self.token_bytes_max {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!(
                    "the sealed session is {length} bytes, the store's token_bytes_max is {}; \
                     a longer one needs a cookie policy whose chunks_max allows it too",
                    self.token_bytes_max
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
}

impl TokenStore for CookieStore {
    fn is_well_formed(&self, token: &str) -> bool {
        self.sealer.mode().fits(token)
    }

    async fn load_token(&self, token: &Token) -> Result<Option<LoadedToken>, Error> {
        let Some((envelope, opened)) = self.open(token)? else {
            return Ok(None);
        };
        if envelope.record.is_expired(self.clock.now()) || self.is_revoked(&envelope).await? {
            return Ok(None);
        }
        let mut loaded = LoadedToken::new(Stored::Record(envelope.record));
        // Limits bind writers: what was sealed under a wider one stays readable.
        if opened.retired && token.expose().len() <= self.token_bytes_max {
            let same = self.sealer.seal(&*self.entropy, opened.payload());
            loaded.reissue = Some(same.map_err(named)?);
        }
        Ok(Some(loaded))
    }

    async fn create_token(&self, key: &SessionKey, record: &Record) -> Result<Written, Error> {
        self.begin(key, None, record.at_revision(Revision::FIRST))
            .await
    }

    async fn update_token(&self, token: &Token, record: &Record) -> Result<Written, Error> {
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

    async fn touch_token(&self, token: &Token, record: &Record) -> Result<Written, Error> {
        let mut base = self.base(token).await?;
        let stored = &mut base.record;
        if stored.revision != record.revision || !stored.touch(record.into()) {
            return Ok(Written::kept(record.revision));
        }
        self.issue(&base)
    }

    /// Leaves no mark: the old token opens until its own deadline, unless the
    /// session leaves its subject, which is a logout.
    async fn rotate_token(
        &self,
        token: &Token,
        new: &SessionKey,
        record: &Record,
        _mark_until: Timestamp,
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

    /// Does nothing, since there is nothing to remove; under
    /// [`logout_ends_all`](CookieStoreBuilder::logout_ends_all), ends all
    /// sessions of the subject.
    async fn delete_token(&self, token: &Token) -> Result<(), Error> {
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
            .field("token_bytes_max", &self.token_bytes_max)
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
    token_bytes_max: Option<usize>,
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

    /// Bytes of the longest token that is made. The default fills 4,096 bytes
    /// together with the name and the attributes of a cookie for `/`; one with a
    /// Domain or a longer Path has less. Where the engine's cookie policy cuts
    /// tokens into several cookies (its `chunks_max`), give it here what that
    /// policy's `token_bytes_max` says. The policy measures each cookie as it is
    /// sent.
    #[must_use]
    pub fn token_bytes_max(mut self, bytes: usize) -> Self {
        self.token_bytes_max = Some(bytes);
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
        let default = COOKIE_BYTES_MAX - ATTRIBUTES.len() - self.cookie.len();
        let token_bytes_max = self.token_bytes_max.unwrap_or(default);
        let shortest = self.mode.token_bytes(ENVELOPE_BYTES_MIN);
        if !(shortest..=TOKEN_BYTES_MAX).contains(&token_bytes_max) {
            return Err(misconfigured(
                "token_bytes_max holds an empty session at least and TOKEN_BYTES_MAX at most",
            ));
        }
        Ok(CookieStore {
            sealer: Sealer::new(self.mode, &self.cookie, self.ring),
            cookie: self.cookie,
            token_bytes_max,
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

//! The token store whose token is the whole session.

use std::fmt;
use std::sync::Arc;

use cloakroom_core::engine::{
    Entropy, LoadedToken, OsEntropy, SessionKey, Token, TokenStore, Written,
};
use cloakroom_core::store::{
    BoxFuture, Capabilities, ClientSide, EndReason, Ending, KeyDigest, Record, Revision, Stored,
    Tombstone,
};
use cloakroom_core::{Clock, Error, ErrorKind, Site, Subject, SystemClock, Timestamp};

use crate::envelope::Envelope;
use crate::frame::{Found, Mode, Opened, Sealer};
use crate::revocation::unavailable;
use crate::{KeyRing, NAME, Revocation};
use cloakroom_keyring::KeyId;

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
/// - [`ErrorKind::UnknownKey`] where a token names a key that is not in the ring, or holds
///   a session that began under one: another server may have it,
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
    pub(crate) sealer: Sealer,
    /// Those of the cookies that this one replaces.
    formers: Vec<Sealer>,
    pub(crate) clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    revocation: Option<Arc<dyn Revocation>>,
    logout_ends_all: bool,
}

impl CookieStore {
    /// The full name of the cookie.
    #[must_use]
    pub fn cookie(&self) -> &str {
        &self.cookie
    }

    /// A store for the cookie of this name, beginning with the defaults:
    /// encrypted, without revocation.
    ///
    /// Give the full name, with its prefix, that the engine's cookie policy uses. It is
    /// bound to each token, so that a token of one cookie does not open as another.
    pub fn builder(cookie: impl Into<String>, ring: &KeyRing) -> CookieStoreBuilder<'_> {
        CookieStoreBuilder {
            cookie: cookie.into(),
            formers: Vec::new(),
            ring,
            mode: Mode::Encrypted,
            clock: Arc::new(SystemClock),
            entropy: Arc::new(OsEntropy),
            revocation: None,
            logout_ends_all: false,
        }
    }

    /// How many sessions were opened since this store was built, by the key under which
    /// they began or logged in: in the order of the ring, the active one first. A retired
    /// key under which nothing arrives any more can be taken out.
    #[must_use]
    pub fn opened_by_key(&self) -> Vec<(KeyId, u64)> {
        self.sealer.counts().collect()
    }

    /// What a token is. One of a former cookie's name is authentic too.
    pub(crate) fn find(&self, token: &Token) -> Result<Found, Error> {
        Ok(match self.sealer.open(token.expose()).map_err(named)? {
            Found::Foreign => match self.open_former(token)? {
                Some(opened) => Found::Authentic(opened),
                None => Found::Foreign,
            },
            found => found,
        })
    }

    /// Opens a token. Neither its deadlines nor its epoch are judged.
    fn open(&self, token: &Token) -> Result<Option<Opened>, Error> {
        let mut opened = match self.find(token)? {
            Found::Authentic(opened) => opened,
            Found::OfUnknownKey(id) => return Err(unknown(id, "was sealed")),
            Found::Foreign => return Ok(None),
        };
        let envelope = &mut opened.envelope;
        // Two sites may have one name for their cookies, and one ring.
        if envelope.record.site != *token.site() {
            return Ok(None);
        }
        // Whoever has a secret that leaked can make a cookie, and have it sealed again
        // under the next one: it must end when the secret leaves the ring. So no cookie
        // is believed that it began under a later key than it was sealed under.
        match self.sealer.position(&envelope.begun_under) {
            None => return Err(unknown(envelope.begun_under, "holds a session that began")),
            Some(at) if at < opened.key_at => {
                envelope.begun_under = self.sealer.key_id(opened.key_at);
            }
            Some(_) => {}
        }
        Ok(Some(opened))
    }

    fn open_former(&self, token: &Token) -> Result<Option<Opened>, Error> {
        for former in &self.formers {
            if let Found::Authentic(opened) = former.open(token.expose()).map_err(named)? {
                return Ok(Some(Opened {
                    is_current: false,
                    ..opened
                }));
            }
        }
        Ok(None)
    }

    /// The session that a write is based on.
    async fn base(&self, token: &Token) -> Result<Envelope, Error> {
        match self.open(token) {
            Ok(Some(opened)) if !self.is_revoked(&opened.envelope).await? => Ok(opened.envelope),
            Err(error) if error.kind() != ErrorKind::UnknownKey => Err(error),
            _ => Err(Error::from(ErrorKind::Gone).in_store(NAME)),
        }
    }

    fn revocation_of<'s>(
        &'s self,
        record: &'s Record,
    ) -> Option<(&'s dyn Revocation, &'s Site, &'s Subject)> {
        let revocation = self.revocation.as_deref()?;
        Some((revocation, &record.site, record.subject.as_ref()?))
    }

    /// Whether the session's epoch is not its subject's. A later one does not open
    /// either: the store of epochs was restored from a backup, and the session could
    /// not be revoked any more.
    pub(crate) async fn is_revoked(&self, envelope: &Envelope) -> Result<bool, Error> {
        let Some((revocation, site, subject)) = self.revocation_of(&envelope.record) else {
            return Ok(false);
        };
        if envelope.record.absolute_deadline.is_none() {
            return Ok(true);
        }
        let present = revocation.epoch(site, subject).await.map_err(unavailable)?;
        Ok(present != envelope.epoch)
    }

    /// Whether the session is expired or revoked.
    async fn is_dead(&self, envelope: &Envelope) -> Result<bool, Error> {
        Ok(envelope.record.is_expired(self.clock.now()) || self.is_revoked(envelope).await?)
    }

    /// The epoch to seal, and the key under which the session has begun. A login (a write
    /// that changes the subject or begins the session anew) takes the present epoch, and
    /// the present key where no data comes along. Any other write keeps those of the
    /// session it is based on, so that a write which a revocation has overtaken does not
    /// carry the session into the new epoch.
    async fn beginning(
        &self,
        base: Option<&Envelope>,
        record: &Record,
    ) -> Result<(u64, KeyId), Error> {
        let same = base.filter(|base| {
            (&base.record.subject, base.record.created_at) == (&record.subject, record.created_at)
        });
        // Data that comes along may have been forged under the key it came with.
        let with_data = base.filter(|base| base.record.flushes == record.flushes);
        let begun_under = with_data.map_or(self.sealer.key_id(0), |base| base.begun_under);
        match (same, self.revocation_of(record)) {
            (Some(base), _) => Ok((base.epoch, base.begun_under)),
            (None, Some((revocation, site, subject))) => {
                let epoch = revocation.epoch(site, subject).await.map_err(unavailable)?;
                Ok((epoch, begun_under))
            }
            (None, None) => Ok((0, begun_under)),
        }
    }

    /// Ends all sessions of the subject, where a logout is to do so.
    async fn end(&self, record: &Record) -> Result<(), Error> {
        match self.revocation_of(record).filter(|_| self.logout_ends_all) {
            Some((revocation, site, subject)) => {
                revocation.advance(site, subject).await.map_err(unavailable)
            }
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
        let token = self.sealer.seal(&*self.entropy, envelope).map_err(named)?;
        Ok(Written::issued(
            record.revision,
            token.of_site(&record.site),
        ))
    }

    async fn begin(
        &self,
        key: &SessionKey,
        base: Option<&Envelope>,
        record: Record,
    ) -> Result<Written, Error> {
        let (epoch, begun_under) = self.beginning(base, &record).await?;
        self.issue(&Envelope {
            id: Envelope::id_of(key),
            begun_under,
            epoch,
            record,
        })
    }
}

impl TokenStore for CookieStore {
    fn is_well_formed(&self, token: &str) -> bool {
        self.sealer.mode().is_well_formed(token)
    }

    /// The sealed session id: the first 8 bytes of a key's digest, and zeros.
    fn digest_of(&self, token: &Token) -> Option<KeyDigest> {
        Some(self.open(token).ok()??.envelope.digest())
    }

    fn load_token<'a>(
        &'a self,
        token: &'a Token,
    ) -> BoxFuture<'a, Result<Option<LoadedToken>, Error>> {
        Box::pin(async move {
            let Some(opened) = self.open(token)? else {
                return Ok(None);
            };
            let envelope = opened.envelope;
            let now = self.clock.now();
            if envelope.record.is_expired(now) {
                let left = Tombstone::of_expired(&envelope.record, now);
                return Ok(left.map(Stored::Ended).map(LoadedToken::new));
            }
            if self.is_revoked(&envelope).await? {
                let mut ending = Ending::new(EndReason::Epoch, now);
                // When the epoch was advanced is not kept.
                ending.at = Timestamp::EPOCH;
                let tombstone = Tombstone::new(&ending, envelope.record.subject_digest());
                return Ok(Some(LoadedToken::new(Stored::Ended(tombstone))));
            }
            if let Some(at) = self.sealer.position(&envelope.begun_under) {
                self.sealer.count(at);
            }
            let mut reissue = None;
            if !opened.is_current {
                let token = self.sealer.seal(&*self.entropy, &envelope);
                let token = token.map_err(named)?;
                reissue = Some(token.of_site(&envelope.record.site));
            }
            let mut loaded = LoadedToken::new(Stored::Record(envelope.record));
            loaded.reissue = reissue;
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
            let (epoch, begun_under) = self.beginning(Some(&base), &record).await?;
            self.issue(&Envelope {
                epoch,
                begun_under,
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
    /// session leaves its subject, that is a logout of it; where the subject has logged in
    /// again, it ends what a logout would, the old token first, and the new one goes on.
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
            if !leaves_subject && base.record.created_at != record.created_at {
                self.end(&base.record).await?;
            }
            let written = self.begin(new, Some(&base), record).await?;
            if leaves_subject {
                self.end(&base.record).await?;
            }
            Ok(written)
        })
    }

    /// Does nothing, since there is nothing to remove; under
    /// [`logout_ends_all`](CookieStoreBuilder::logout_ends_all), ends all
    /// sessions of the subject. Not where the session ends because of its device
    /// ([`EndReason::BindingFailed`]): whoever has a copy of the cookie could bring that about.
    fn end_token<'a>(
        &'a self,
        token: &'a Token,
        ending: Option<&'a Ending>,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let of_device = |ending: &Ending| ending.because == EndReason::BindingFailed;
            if !self.logout_ends_all || ending.is_some_and(of_device) {
                return Ok(());
            }
            match self.open(token) {
                // An expired or revoked cookie must not end sessions that began after it.
                Ok(Some(opened)) if !self.is_dead(&opened.envelope).await? => {
                    self.end(&opened.envelope.record).await
                }
                // What this server cannot open, it cannot end.
                Err(error) if error.kind() != ErrorKind::UnknownKey => Err(error),
                _ => Ok(()),
            }
        })
    }

    /// Begins the subject's next epoch. How many cookies that ends, nobody knows.
    fn end_sessions_of<'a>(
        &'a self,
        site: &'a Site,
        subject: &'a Subject,
        _: Option<&'a Ending>,
    ) -> BoxFuture<'a, Result<usize, Error>> {
        Box::pin(async move {
            let Some(revocation) = &self.revocation else {
                return Err(misconfigured(
                    "this store keeps no list of a user's sessions, and has no revocation to end \
                     them by: open it with revocation=URL, or build it with revocation()",
                ));
            };
            let advanced = revocation.advance(site, subject).await;
            advanced.map(|()| 0).map_err(unavailable)
        })
    }

    fn token_capabilities(&self) -> Capabilities<'_> {
        let mut side = ClientSide::sealed();
        if self.revocation.is_some() {
            side = side.ending_by_subject(self.logout_ends_all);
        }
        if self.sealer.mode() == Mode::Signed {
            side = side.readable();
        }
        let all = Capabilities::NONE.named("cookie").with_client_side(side);
        match self.revocation.as_ref().and_then(|kept| kept.close()) {
            Some(close) => all.with_close(close),
            None => all,
        }
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
    formers: Vec<String>,
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

    /// Opens the cookies of a former name too, in the same mode and under the same ring,
    /// and seals them again under the present one. The cookie policy must read them as
    /// well: `CookiePolicy::replaces` in `cloakroom-web`.
    #[must_use]
    pub fn replaces(mut self, former: impl Into<String>) -> Self {
        self.formers.push(former.into());
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

    /// Makes each logout (an `end_token`, or a rotation that leaves the subject) end
    /// all sessions of its subject, on every device, and so does each login of the same
    /// subject again, but for the session that it goes on with. An epoch is of a subject and
    /// not of a session, so nothing can end a copied cookie otherwise. Without this, the engine's
    /// `end_sessions_of` ends all sessions. Needs [`revocation`](Self::revocation).
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
            formers: self
                .formers
                .iter()
                .map(|former| Sealer::new(self.mode, former, self.ring))
                .collect(),
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

fn unknown(key: KeyId, what: &str) -> Error {
    let [a, b, c, d] = key;
    let why = format!(
        "a cookie {what} under the key {a:02x}{b:02x}{c:02x}{d:02x}, which is not in this server's \
         key ring: give each server all keys before one is activated, and take out a retired one \
         when no session lives that began under it"
    );
    Error::new(ErrorKind::UnknownKey, why).in_store(NAME)
}

fn misconfigured(why: &'static str) -> Error {
    Error::new(ErrorKind::Misconfigured, why).in_store(NAME)
}

fn named(error: Error) -> Error {
    error.in_store(NAME)
}

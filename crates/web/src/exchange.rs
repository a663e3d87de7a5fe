//! One request and its response: open the session on first use, write it before the
//! headers leave.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use cloakroom_core::engine::{
    Changeset, Commit, Context, LoadedToken, SaveOutcome, Token, TokenStore as _,
};
use cloakroom_core::session::Session;
use cloakroom_core::store::{BoxFuture, KeyDigest, Record, Stored};
use cloakroom_core::{Error, ErrorKind, Timestamp};
use tokio::sync::{Mutex as AsyncMutex, OnceCell};

use crate::decide::{Arrival, Decision, Facts, decide};
use crate::login_limit;
use crate::shared::Shared;
use crate::write::Writer;
use crate::{ClientState, Closing, Cost, Outcome, Presented, Transport};

/// The session of one request. Cheap to clone; all clones are the one request.
///
/// An adapter makes one for each request and puts it where its extractor finds
/// it. The extractor calls [`open`](Self::open); when the handler is done, the
/// adapter calls [`close`](Self::close) and does what it answers. A request
/// that never opens its session costs no I/O and sends no header.
#[derive(Clone)]
pub struct Exchange {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Arc<Shared>,
    me: Weak<Inner>,
    opened: OnceCell<Opened>,
    /// Locked while changes are written, so that a `save` and the end of the request
    /// follow one another.
    saving: AsyncMutex<()>,
    client: Mutex<Client>,
}

struct Opened {
    session: Session,
    arrival: Arrival,
}

/// What the browser holds, and what it is to be told.
#[derive(Default)]
struct Client {
    state: ClientState,
    token: Option<Token>,
    /// The new token of a rotation whose outcome is not known yet.
    candidate: Option<Token>,
    action: CookieAction,
    cost: Cost,
}

#[derive(Default)]
enum CookieAction {
    #[default]
    Nothing,
    Set {
        token: Token,
        age: Option<Duration>,
    },
    Remove,
}

impl Exchange {
    pub(crate) fn new(engine: Arc<Shared>) -> Self {
        Self {
            inner: Arc::new_cyclic(|me| Inner {
                engine,
                me: me.clone(),
                opened: OnceCell::new(),
                saving: AsyncMutex::new(()),
                client: Mutex::new(Client::default()),
            }),
        }
    }

    /// The request's session, loaded on the first call. `headers` are the
    /// values of its [`Transport::request_header`], as they came.
    ///
    /// A token that opens nothing gives a new session, and so does a record
    /// that cannot be decoded.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] where the store does not answer,
    /// [`ErrorKind::Unsupported`] for a record of a newer version. The request
    /// must fail then, and the client keeps its cookie.
    pub async fn open<'h>(
        &self,
        headers: impl Iterator<Item = &'h [u8]>,
    ) -> Result<Session, Error> {
        let engine = &*self.inner.engine;
        let find = || {
            engine.transport.find(headers, |token| {
                token.len() <= engine.token_bytes_max && engine.store.is_well_formed(token)
            })
        };
        self.open_presented(find).await
    }

    /// As [`open`](Self::open), by a token instead of headers: for a job, a socket or
    /// a test. What the client must be told is in the [`Closing`] all the same.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn open_token(&self, token: Token) -> Result<Session, Error> {
        let engine = &*self.inner.engine;
        let find = || Presented {
            count: 1,
            token: Some(token).filter(|token| engine.store.is_well_formed(token.expose())),
            ..Presented::default()
        };
        self.open_presented(find).await
    }

    async fn open_presented(&self, find: impl FnOnce() -> Presented) -> Result<Session, Error> {
        let load = || self.inner.load(find());
        let opened = self.inner.opened.get_or_try_init(load).await?;
        Ok(opened.session.clone())
    }

    /// The session, where it was opened already: for code that cannot wait.
    #[must_use]
    pub fn session(&self) -> Option<Session> {
        let opened = self.inner.opened.get()?;
        Some(opened.session.clone())
    }

    /// How the token travels: which header to open the session with.
    #[must_use]
    pub fn transport(&self) -> &Transport {
        &self.inner.engine.transport
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.inner.engine
    }

    /// The digest of this request's session, as far as it is known now.
    pub(crate) fn digest(&self) -> Option<KeyDigest> {
        let client = self.inner.client();
        self.inner.engine.store.digest_of(client.token.as_ref()?)
    }

    pub(crate) fn count_list(&self) {
        self.inner.client().cost.list();
    }

    pub(crate) fn count_revocation(&self) {
        self.inner.client().cost.touch();
    }

    /// Whether anything has opened the session. Where nothing has, there is
    /// nothing to close.
    #[must_use]
    pub fn is_opened(&self) -> bool {
        self.inner.opened.initialized()
    }

    /// Ends the request: writes what is to be written, and says what to tell
    /// the client. The `outcome` is that of the handler, or simply the HTTP status of
    /// its response.
    pub async fn close(&self, outcome: impl Into<Outcome>) -> Closing {
        let Some(opened) = self.inner.opened.get() else {
            return Closing::nothing();
        };
        let written = self.inner.commit(opened, Some(outcome.into())).await;
        // At the end nobody is left to tell that the session has ended meanwhile.
        let mut failure = written
            .err()
            .filter(|error| error.kind() != ErrorKind::Gone);
        opened.session.close();
        self.inner.resolve_candidate().await;
        let accessed = opened.session.was_accessed();
        let mut client = self.inner.client();
        let policy = &self.inner.engine.transport;
        let token_headers = match &client.action {
            CookieAction::Nothing => Vec::new(),
            CookieAction::Remove => policy.removal(client.state),
            CookieAction::Set { token, age } => policy
                .set(token, *age, client.state)
                .unwrap_or_else(|error| {
                    failure.get_or_insert(error);
                    Vec::new()
                }),
        };
        if let Some(error) = &failure {
            let source = std::error::Error::source(error).map(tracing::field::display);
            tracing::error!(%error, source, "session not saved");
        }
        Closing {
            token_headers,
            varies_on: policy.request_header(),
            accessed,
            failure,
            cost: std::mem::take(&mut client.cost),
        }
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange")
            .field("opened", &self.inner.opened.initialized())
            .finish_non_exhaustive()
    }
}

impl Inner {
    fn client(&self) -> MutexGuard<'_, Client> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn load(&self, presented: Presented) -> Result<Opened, Error> {
        let engine = &*self.engine;
        if presented.count > 1 {
            tracing::warn!(
                tokens = presented.count,
                "several session tokens in one request; the first well-formed one counts"
            );
        }
        if presented.state != ClientState::default() {
            self.client().state = presented.state;
        }
        let now = engine.clock.now();
        let Some(token) = presented.token.map(|token| token.of_site(&engine.site)) else {
            let arrival = match presented.count {
                0 => Arrival::Anonymous,
                _ => Arrival::Malformed,
            };
            return self.begin(None, arrival, now);
        };
        let loaded = match engine.store.load_token(&token).await {
            Ok(loaded) => loaded,
            Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::TooLarge) => {
                self.unreadable(&token, &error);
                None
            }
            Err(error) => return Err(error),
        };
        self.client().cost.load(&loaded);
        match loaded {
            Some(LoadedToken {
                stored: Stored::Record(record),
                reissue,
                ..
            }) if !record.is_expired(now) => {
                let age = engine.cookie_age(&record, now);
                match self.begin(Some(record), Arrival::Stored, now) {
                    Ok(opened) => {
                        let mut client = self.client();
                        client.token = Some(token);
                        // A token that was sealed under a wider limit stays readable, but
                        // it cannot be sent again.
                        let fits = |token: &Token| engine.transport.check_length(token).is_ok();
                        if let Some(fresh) = reissue.filter(fits) {
                            client.token = Some(fresh.clone());
                            client.action = CookieAction::Set { token: fresh, age };
                        }
                        Ok(opened)
                    }
                    Err(error) => {
                        self.unreadable(&token, &error);
                        self.begin(None, Arrival::Missing, now)
                    }
                }
            }
            Some(LoadedToken {
                stored: Stored::Rotated { until, .. },
                ..
            }) if until > now => {
                // A logout under the old token ends the session where it has moved.
                self.client().token = Some(token);
                self.begin(None, Arrival::Rotated, now)
            }
            _ => self.begin(None, Arrival::Missing, now),
        }
    }

    fn begin(
        &self,
        stored: Option<Record>,
        arrival: Arrival,
        now: Timestamp,
    ) -> Result<Opened, Error> {
        let commit: Weak<Inner> = self.me.clone();
        let context = Context::new(now, self.engine.limits, self.engine.expiry)
            .of_site(&self.engine.site)
            .committed_by(commit);
        let session = Session::open(stored, context)?;
        Ok(Opened { session, arrival })
    }

    fn unreadable(&self, token: &Token, error: &Error) {
        tracing::error!(
            session = %self.engine.short(token),
            error = %error,
            "the stored session cannot be read; a new one begins"
        );
    }

    /// Writes what the session has recorded: at the `end` of the request, or early.
    async fn commit(&self, opened: &Opened, end: Option<Outcome>) -> Result<(), Error> {
        let turn = self.saving.lock().await;
        let mut changeset = match end {
            Some(_) => opened.session.last_changeset()?,
            None => opened.session.changeset()?,
        };
        let server_error = end == Some(Outcome::ServerError);
        if server_error {
            changeset.drop_operations();
        }
        let engine = &*self.engine;
        let now = engine.clock.now();
        let touch = changeset
            .stored()
            .filter(|_| !server_error)
            .and_then(|record| {
                let share = engine.touch_share_percent;
                engine.expiry.touch_due(record, now, share)
            });
        let decision = decide(&Facts {
            // A session that an earlier save found gone is treated as one that arrived
            // after its rotation.
            arrival: match changeset.is_dead() {
                true => Arrival::Rotated,
                false => opened.arrival,
            },
            stored: changeset.stored().is_some(),
            accessed: changeset.is_accessed(),
            modified: changeset.is_modified(),
            flushed: changeset.is_flushed(),
            rotate: changeset.wants_rotation(),
            login: changeset.is_login(),
            content: changeset.has_content(),
            touch_due: touch.is_some(),
        });
        let token = self.client().token.clone();
        let mut writer = Writer::new(engine, now);
        let outcome = match (decision, &token) {
            (Decision::Create, _) => writer.create(&mut changeset).await,
            (Decision::Update, Some(token)) => writer.update(token, &mut changeset).await,
            (Decision::Rotate, Some(token)) => {
                self.rotate(&mut writer, token, &mut changeset).await
            }
            (Decision::Touch, Some(token)) => writer.touch(token, &mut changeset, touch).await,
            (Decision::Delete, Some(token)) => writer.delete(token).await,
            (Decision::Drop, _) => SaveOutcome::Gone,
            (Decision::Forget, _) => {
                if end.is_some() {
                    self.client().action = CookieAction::Remove;
                }
                SaveOutcome::Unchanged
            }
            // A stored session always has its token.
            (_, None) | (Decision::Nothing, _) => SaveOutcome::Unchanged,
        };
        self.client().cost.add(writer.cost);
        let login = match &outcome {
            SaveOutcome::Stored {
                token: Some(token),
                record,
            } if changeset.is_login() => engine.login(token, record),
            _ => None,
        };
        self.tell_client(&outcome, &changeset, now, token.as_ref());
        // A handler that saves early learns that its session is gone. At the end of the
        // request the handler is done.
        let is_late = end.is_some() && matches!(outcome, SaveOutcome::Gone);
        let result = match opened.session.settle(changeset, outcome) {
            Err(error) if is_late && error.kind() == ErrorKind::Gone => Ok(()),
            result => result,
        };
        drop(turn);
        // The client part knows what was written by now, so a caller that stops waiting
        // loses the limit alone.
        if let Some(login) = login {
            let cost = login_limit::keep_to_limit(engine, &login).await;
            self.client().cost.add(cost);
        }
        result
    }

    /// Rotates to a new key. The new token is noted as a candidate while the store is
    /// asked, so that the end of the request finds it even if this future is dropped.
    async fn rotate(
        &self,
        writer: &mut Writer<'_>,
        token: &Token,
        changeset: &mut Changeset,
    ) -> SaveOutcome {
        let new = match writer.new_key() {
            Ok(new) => new,
            Err(error) => return SaveOutcome::NotWritten(error),
        };
        self.client().candidate = Some(new.to_token());
        let outcome = writer.rotate(token, &new, changeset).await;
        if !matches!(outcome, SaveOutcome::Unknown(_)) {
            self.client().candidate = None;
        }
        outcome
    }

    /// Loads the candidate of a rotation whose outcome is unknown, and hands its token out
    /// if the rotation did happen.
    async fn resolve_candidate(&self) {
        let Some(token) = self.client().candidate.take() else {
            return;
        };
        let engine = &*self.engine;
        let now = engine.clock.now();
        let mut writer = Writer::new(engine, now);
        let found = writer.look_for(&token).await;
        let mut client = self.client();
        client.cost.add(writer.cost);
        if let Some(record) = found {
            let age = engine.cookie_age(&record, now);
            client.action = CookieAction::Set { token, age };
        }
    }

    /// Notes whether a Set-Cookie must be sent. `changeset` knows the record as it stood
    /// before, and `before` is the token that the client holds.
    fn tell_client(
        &self,
        outcome: &SaveOutcome,
        changeset: &Changeset,
        now: Timestamp,
        before: Option<&Token>,
    ) {
        let mut client = self.client();
        match outcome {
            SaveOutcome::Stored {
                token: Some(token),
                record,
            } => {
                let holds = |record: &Record| {
                    let ends_with_browser = self.engine.expiry.cookie_ends_with_browser(record);
                    (record.expires_at, ends_with_browser)
                };
                let same_cookie = before == Some(token)
                    && changeset
                        .stored()
                        .is_some_and(|stored| holds(stored) == holds(record));
                if !same_cookie {
                    client.action = CookieAction::Set {
                        token: token.clone(),
                        age: self.engine.cookie_age(record, now),
                    };
                }
                client.token = Some(token.clone());
            }
            SaveOutcome::Deleted => {
                client.action = CookieAction::Remove;
                client.token = None;
            }
            SaveOutcome::Gone => {
                let session = before.map_or_else(String::new, |token| self.engine.short(token));
                tracing::warn!(
                    %session,
                    "the session ended or moved meanwhile; this request's changes are dropped"
                );
            }
            SaveOutcome::Stored { token: None, .. }
            | SaveOutcome::Unchanged
            | SaveOutcome::NotWritten(_)
            | SaveOutcome::Unknown(_) => {}
        }
    }
}

impl Commit for Inner {
    fn commit(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async {
            match self.opened.get() {
                Some(opened) => self.commit(opened, None).await,
                None => Ok(()),
            }
        })
    }

    fn id(&self) -> Option<KeyDigest> {
        let token = self.client().token.clone()?;
        self.engine.store.digest_of(&token)
    }
}

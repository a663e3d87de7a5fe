//! One request and its response: open the session on first use, write it before the
//! headers leave.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use cloakroom_core::engine::{
    Changeset, Commit, Context, LoadedToken, SaveOutcome, Token, TokenStore as _,
};
use cloakroom_core::session::Session;
use cloakroom_core::store::{BoxFuture, KeyDigest, Record, Stored, Touch};
use cloakroom_core::{Error, ErrorKind, Timestamp};
use tokio::sync::{Mutex as AsyncMutex, OnceCell};

use crate::carry_out::carry_out;
use crate::decide::{Arrival, Decision, Facts, decide};
use crate::login_limit;
use crate::shared::Shared;
use crate::write::Writer;
use crate::{ClientState, Closing, Cost, Engine, Outcome, Presented, Transport};

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
    /// Whether the request is over: a session that is opened later can only be read.
    over: AtomicBool,
    /// Whether the response is a document, as far as the request says. A mere read
    /// removes a dead cookie in the answer to a document alone.
    is_document: AtomicBool,
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
    /// Which cookies of former policies the browser holds.
    formers: Vec<(usize, ClientState)>,
    /// The present cookie for a session that a former one has opened: set in the answer
    /// to a document.
    successor: CookieAction,
    /// Other tokens of the request that may open a session: a logout ends these too.
    others: Vec<Token>,
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
                over: AtomicBool::new(false),
                is_document: AtomicBool::new(true),
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
        if self.inner.over.load(Ordering::SeqCst) {
            opened.session.refuse_changes();
        }
        Ok(opened.session.clone())
    }

    /// Notes the request's `Sec-Fetch-Dest` header, which an adapter passes on as it came.
    /// A request that does not say that it is for something else counts as one for a
    /// document.
    pub fn note_fetch_dest(&self, header: Option<&[u8]>) {
        let is_document = header.is_none_or(|dest| dest.eq_ignore_ascii_case(b"document"));
        self.inner.is_document.store(is_document, Ordering::Relaxed);
    }

    /// Whether this is an exchange of that engine.
    #[must_use]
    pub fn is_of(&self, engine: &Engine) -> bool {
        engine.is(&self.inner.engine)
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
    ///
    /// A write that ends or moves a session is carried out even if this future, or that of
    /// a [`Session::save`], is dropped, where it runs on tokio: a visitor who logs out and
    /// closes the tab is logged out.
    pub async fn close(&self, outcome: impl Into<Outcome>) -> Closing {
        self.inner.over.store(true, Ordering::SeqCst);
        let Some(opened) = self.inner.opened.get() else {
            return Closing::nothing();
        };
        let written = self.inner.write(Some(outcome.into())).await;
        let mut failure = written.err();
        let accessed = opened.session.was_accessed();
        let mut client = self.inner.client();
        let policy = &self.inner.engine.transport;
        if matches!(client.action, CookieAction::Nothing)
            && self.inner.is_document.load(Ordering::Relaxed)
        {
            client.action = std::mem::take(&mut client.successor);
        }
        let mut token_headers = match &client.action {
            CookieAction::Nothing => Vec::new(),
            CookieAction::Remove => policy.removal(client.state),
            CookieAction::Set { token, age } => policy
                .set(token, *age, client.state)
                .unwrap_or_else(|error| {
                    failure.get_or_insert(error);
                    Vec::new()
                }),
        };
        if !token_headers.is_empty() {
            token_headers.extend(policy.former_removals(&client.formers));
        }
        // What is gone was told when it was found.
        let untold = failure
            .as_ref()
            .filter(|error| error.kind() != ErrorKind::Gone);
        if let Some(error) = untold {
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

    /// Writes what the session has recorded, and closes it at the `end` of the request.
    /// What ends or moves a session is written though nobody waits for it any more.
    async fn write(&self, end: Option<Outcome>) -> Result<(), Error> {
        let Some(opened) = self.opened.get() else {
            return Ok(());
        };
        match self.me.upgrade() {
            Some(inner) if opened.session.ends_or_moves() => {
                carry_out(async move { inner.write_opened(end).await }).await
            }
            _ => self.write_opened(end).await,
        }
    }

    async fn write_opened(&self, end: Option<Outcome>) -> Result<(), Error> {
        let Some(opened) = self.opened.get() else {
            return Ok(());
        };
        let written = self.commit(opened, end).await;
        if end.is_some() {
            opened.session.close();
            self.resolve_candidate().await;
        }
        written
    }

    /// Tries the presented tokens in their order until one opens a session. A dead cookie
    /// may stand before a live one: a site that has changed its cookie's path or domain
    /// gets both.
    async fn load(&self, presented: Presented) -> Result<Opened, Error> {
        let engine = &*self.engine;
        if presented.state != ClientState::default() {
            self.client().state = presented.state;
        }
        if !presented.formers.is_empty() {
            self.client().formers = presented.formers;
        }
        let now = engine.clock.now();
        let mut arrival = match (presented.count, &presented.token) {
            (0, _) => Arrival::Anonymous,
            (_, None) if presented.former_tokens.is_empty() => Arrival::Malformed,
            _ => Arrival::Missing,
        };
        let own = usize::from(presented.token.is_some()) + presented.others.len();
        let tokens = presented.token.into_iter().chain(presented.others);
        let tokens = tokens.chain(presented.former_tokens);
        let mut tokens = tokens.map(|token| token.of_site(&engine.site)).enumerate();
        let mut passed = Vec::new();
        while let Some((at, token)) = tokens.next() {
            let loaded = match self.load_token(&token).await {
                Ok(Some(loaded)) => loaded,
                Ok(None) => continue,
                Err(error) if error.kind() == ErrorKind::UnknownKey => {
                    tracing::warn!(%error, "a session is left to a server that has its key");
                    if arrival == Arrival::Missing {
                        arrival = Arrival::OfUnknownKey;
                    }
                    continue;
                }
                Err(error) => return Err(error),
            };
            match loaded.stored {
                Stored::Record(record) if !engine.expiry.is_expired(&record, now) => {
                    let age = engine.cookie_age(&record, now);
                    match self.begin(Some(record), Arrival::Stored, now) {
                        Ok(opened) => {
                            if at >= own {
                                let token = token.clone();
                                self.client().successor = CookieAction::Set { token, age };
                            }
                            passed.extend(tokens.map(|(_, token)| token));
                            self.hold(token, passed, loaded.reissue, age);
                            return Ok(opened);
                        }
                        Err(error) => self.unreadable(&token, &error),
                    }
                }
                Stored::Rotated { until, .. } if until > now => {
                    arrival = Arrival::Rotated;
                    passed.push(token);
                }
                Stored::Record(_) | Stored::Rotated { .. } => {}
            }
        }
        // A logout under an old token ends the session where it has moved.
        let mut client = self.client();
        let mut passed = passed.into_iter();
        client.token = passed.next();
        client.others = passed.collect();
        drop(client);
        self.begin(None, arrival, now)
    }

    async fn load_token(&self, token: &Token) -> Result<Option<LoadedToken>, Error> {
        let loaded = match self.engine.store.load_token(token).await {
            Ok(loaded) => loaded,
            Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::TooLarge) => {
                self.unreadable(token, &error);
                None
            }
            Err(error) => return Err(error),
        };
        self.client().cost.load(&loaded);
        Ok(loaded)
    }

    /// Notes the token that has opened the session, and the others beside it.
    fn hold(
        &self,
        token: Token,
        others: Vec<Token>,
        reissue: Option<Token>,
        age: Option<Duration>,
    ) {
        let mut client = self.client();
        client.others = others;
        // A token that was sealed under a wider limit stays readable, but it cannot be
        // sent again.
        let fits = |token: &Token| self.engine.transport.check_length(token).is_ok();
        match reissue.filter(fits) {
            Some(fresh) => {
                client.token = Some(fresh.clone());
                client.action = CookieAction::Set { token: fresh, age };
            }
            None => client.token = Some(token),
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
            .filter(|_| !server_error && !changeset.peeks())
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
        let others = match changeset.is_flushed() {
            true => std::mem::take(&mut self.client().others),
            false => Vec::new(),
        };
        let outcome = match writer.remove_all(&others).await {
            Ok(()) => {
                self.carry_out(decision, &mut writer, token.as_ref(), &mut changeset, touch)
                    .await
            }
            Err(error) => SaveOutcome::Unknown(error),
        };
        if decision == Decision::Forget {
            let removes = changeset.is_modified() || self.is_document.load(Ordering::Relaxed);
            if end.is_some() && removes {
                self.client().action = CookieAction::Remove;
            }
        }
        self.client().cost.add(writer.cost);
        let login = match &outcome {
            SaveOutcome::Stored {
                token: Some(token),
                record,
            } if changeset.is_login() => engine.login(token, record),
            _ => None,
        };
        self.tell_client(&outcome, &changeset, now, token.as_ref());
        let is_dropped =
            end.is_some() && engine.drop_late_changes && matches!(outcome, SaveOutcome::Gone);
        let result = match opened.session.settle(changeset, outcome) {
            Err(_) if is_dropped => Ok(()),
            result => result,
        };
        drop(turn);
        // The client part knows what was written by now, so a caller that stops waiting
        // loses the limit alone.
        if let Some(login) = login {
            let (cost, is_ended) = login_limit::keep_to_limit(engine, &login).await;
            let mut client = self.client();
            client.cost.add(cost);
            if is_ended {
                client.action = CookieAction::Remove;
                client.token = None;
            }
        }
        result
    }

    async fn carry_out(
        &self,
        decision: Decision,
        writer: &mut Writer<'_>,
        token: Option<&Token>,
        changeset: &mut Changeset,
        touch: Option<Touch>,
    ) -> SaveOutcome {
        match (decision, token) {
            (Decision::Create, _) => writer.create(changeset).await,
            (Decision::Update, Some(token)) => writer.update(token, changeset).await,
            (Decision::Rotate, Some(token)) => self.rotate(writer, token, changeset).await,
            (Decision::Touch, Some(token)) => writer.touch(token, changeset, touch).await,
            (Decision::Delete, Some(token)) => writer.delete(token).await,
            (Decision::Replace, Some(token)) => writer.replace(token, changeset).await,
            (Decision::Refuse, _) => SaveOutcome::Gone,
            // A stored session always has its token.
            (Decision::Forget | Decision::Nothing, _) | (_, None) => SaveOutcome::Unchanged,
        }
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
                    (record.absolute_deadline, ends_with_browser)
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
                client.successor = CookieAction::Nothing;
                let session = before.map_or_else(String::new, |token| self.engine.short(token));
                tracing::warn!(
                    %session,
                    "the session ended or moved meanwhile; this request's changes are not kept"
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
        Box::pin(self.write(None))
    }

    fn id(&self) -> Option<KeyDigest> {
        let token = self.client().token.clone()?;
        self.engine.store.digest_of(&token)
    }
}

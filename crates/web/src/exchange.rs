//! One request's way through: open on first use, write before the headers
//! leave.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use cloakroom_core::{
    BoxFuture, Changeset, Commit, Context, Error, ErrorKind, KeyDigest, LoadedToken, Record,
    SaveOutcome, Session, SessionKey, Stored, Timestamp, Token, TokenStore as _,
};
use tokio::sync::{Mutex as AsyncMutex, OnceCell};

use crate::decide::{Arrival, Decision, Facts, decide};
use crate::engine::Shared;
use crate::sessions;
use crate::write::{Failure, Outcome, Writer};
use crate::{Cost, Engine, Held, ResponseHeader, Transport, cache_control, vary_on};

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
    engine: Engine,
    me: Weak<Inner>,
    opened: OnceCell<Opened>,
    /// Held while changes are written, so that a `save` and the end of the
    /// request follow one another.
    saving: AsyncMutex<()>,
    outbox: Mutex<Outbox>,
}

struct Opened {
    session: Session,
    arrival: Arrival,
}

/// What the client holds, and what it is to be told.
#[derive(Default)]
struct Outbox {
    held: Held,
    token: Option<Token>,
    /// The new token of a rotation whose outcome is not known yet.
    candidate: Option<Token>,
    outgoing: Outgoing,
    cost: Cost,
}

#[derive(Default)]
enum Outgoing {
    #[default]
    Nothing,
    Set {
        token: Token,
        age: Option<Duration>,
    },
    Remove,
}

impl Exchange {
    pub(crate) fn new(engine: Engine) -> Self {
        Self {
            inner: Arc::new_cyclic(|me| Inner {
                engine,
                me: me.clone(),
                opened: OnceCell::new(),
                saving: AsyncMutex::new(()),
                outbox: Mutex::new(Outbox::default()),
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
        let opened = self
            .inner
            .opened
            .get_or_try_init(|| self.inner.load(headers))
            .await?;
        Ok(opened.session.clone())
    }

    /// How the token travels: which header to open the session with.
    #[must_use]
    pub fn transport(&self) -> &Transport {
        self.inner.engine.transport()
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.inner.engine.shared
    }

    /// Where this request's session stands, as far as it is known now.
    pub(crate) fn digest(&self) -> Option<KeyDigest> {
        let outbox = self.inner.outbox();
        let key = SessionKey::parse(outbox.token.as_ref()?.expose())?;
        Some(key.digest())
    }

    pub(crate) fn count_list(&self) {
        self.inner.outbox().cost.list();
    }

    pub(crate) fn count_revocation(&self) {
        self.inner.outbox().cost.touch();
    }

    /// Whether anything has opened the session. Where nothing has, there is
    /// nothing to close.
    #[must_use]
    pub fn is_opened(&self) -> bool {
        self.inner.opened.initialized()
    }

    /// Ends the request: writes what is to be written, and says what to tell
    /// the client. `status` is the status of the handler's response.
    ///
    /// On a status of 500 or above the changes are dropped, but a rotation and
    /// a flush are written.
    pub async fn close(&self, status: u16) -> Closing {
        let Some(opened) = self.inner.opened.get() else {
            return Closing::nothing();
        };
        let mut failure = self.inner.commit(opened, Some(status)).await.err();
        opened.session.close();
        self.inner.resolve_candidate().await;
        let accessed = opened.session.was_accessed();
        let mut outbox = self.inner.outbox();
        let policy = self.inner.engine.transport();
        let headers =
            match &outbox.outgoing {
                Outgoing::Nothing => Vec::new(),
                Outgoing::Remove => policy.removal(outbox.held),
                Outgoing::Set { token, age } => policy
                    .set(token, *age, outbox.held)
                    .unwrap_or_else(|error| {
                        failure.get_or_insert(error);
                        Vec::new()
                    }),
            };
        if let Some(error) = &failure {
            tracing::error!(error = %error, source = %source(error), "session not saved");
        }
        Closing {
            headers,
            varies_on: policy.request_header(),
            accessed,
            failure,
            cost: std::mem::take(&mut outbox.cost),
        }
    }
}

fn source(error: &Error) -> String {
    std::error::Error::source(error).map_or_else(String::new, ToString::to_string)
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange")
            .field("opened", &self.inner.opened.initialized())
            .finish_non_exhaustive()
    }
}

/// What to tell the client at the end of a request.
#[derive(Debug)]
#[non_exhaustive]
pub struct Closing {
    /// The headers that hand out the token or take it away, each to be added to
    /// the response even beside a failure. None where the client holds what it
    /// should.
    pub headers: Vec<ResponseHeader>,
    /// Whether the response depends on the session.
    pub accessed: bool,
    /// The request header that it then depends on.
    pub varies_on: &'static str,
    /// Why the changes were not written: the response must be replaced by an
    /// error of status [`Closing::status_of`], with the headers above
    /// and nothing of the handler's.
    pub failure: Option<Error>,
    /// What the request cost in the store.
    pub cost: Cost,
}

impl Closing {
    fn nothing() -> Self {
        Self {
            headers: Vec::new(),
            accessed: false,
            varies_on: "Cookie",
            failure: None,
            cost: Cost::default(),
        }
    }

    /// The `Vary` header to set, where the existing one will not do.
    pub fn vary<'h>(&self, existing: impl Iterator<Item = &'h str>) -> Option<String> {
        (self.accessed || !self.headers.is_empty())
            .then(|| vary_on(self.varies_on, existing))
            .flatten()
    }

    /// The `Cache-Control` header to set, where the existing one will not do.
    pub fn cache_control<'h>(
        &self,
        existing: impl Iterator<Item = &'h str>,
    ) -> Option<Cow<'static, str>> {
        let sets_cookie = !self.headers.is_empty();
        (self.accessed || sets_cookie)
            .then(|| cache_control(existing, sets_cookie))
            .flatten()
    }

    /// The status a session error is answered with: 409 for
    /// [`ErrorKind::Overwritten`], else 500.
    #[must_use]
    pub fn status_of(error: &Error) -> u16 {
        match error.kind() {
            ErrorKind::Overwritten => 409,
            _ => 500,
        }
    }
}

impl Inner {
    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn load<'h>(&self, headers: impl Iterator<Item = &'h [u8]>) -> Result<Opened, Error> {
        let engine = &*self.engine.shared;
        let presented = engine.transport.find(headers, |token| {
            token.len() <= engine.token_bytes_max && engine.store.is_well_formed(token)
        });
        if presented.count > 1 {
            tracing::warn!(
                tokens = presented.count,
                "several session tokens in one request; the first well-formed one counts"
            );
        }
        if presented.held != Held::default() {
            self.outbox().held = presented.held;
        }
        let now = engine.clock.now();
        let Some(token) = presented.token else {
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
        self.outbox().cost.load(&loaded);
        match loaded {
            Some(LoadedToken {
                stored: Stored::Record(record),
                reissue,
                ..
            }) if !record.is_expired(now) => {
                let age = age(&record, now);
                match self.begin(Some(record), Arrival::Stored, now) {
                    Ok(opened) => {
                        let mut outbox = self.outbox();
                        outbox.token = Some(token);
                        if let Some(fresh) = reissue {
                            outbox.token = Some(fresh.clone());
                            outbox.outgoing = Outgoing::Set { token: fresh, age };
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
                // A logout under it ends the session where it has moved.
                self.outbox().token = Some(token);
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
        let context = Context::new(
            now,
            self.engine.shared.limits,
            self.engine.shared.expiry,
            commit,
        );
        let session = Session::open(stored, context)?;
        Ok(Opened { session, arrival })
    }

    fn unreadable(&self, token: &Token, error: &Error) {
        tracing::error!(
            session = %crate::write::short(token),
            error = %error,
            "the stored session cannot be read; a new one begins"
        );
    }

    /// Writes what the session has recorded. `status` is that of the response,
    /// `None` for an early save.
    async fn commit(&self, opened: &Opened, status: Option<u16>) -> Result<(), Error> {
        let turn = self.saving.lock().await;
        let mut changeset = match status {
            Some(_) => opened.session.last_changeset()?,
            None => opened.session.changeset()?,
        };
        let server_error = status.is_some_and(|status| status >= 500);
        if server_error {
            changeset.drop_operations();
        }
        let engine = &*self.engine.shared;
        let now = engine.clock.now();
        let touch = changeset
            .stored()
            .filter(|_| !server_error)
            .and_then(|record| {
                let share = engine.touch_share_percent;
                engine.expiry.touch_due(record, now, share)
            });
        let decision = decide(&Facts {
            // A session that an earlier save found gone is as one that arrived
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
        let token = self.outbox().token.clone();
        let mut writer = Writer::new(engine, now);
        let written = match (decision, &token) {
            (Decision::Create, _) => writer.create(&mut changeset).await,
            (Decision::Update, Some(token)) => writer.update(token, &mut changeset).await,
            (Decision::Rotate, Some(token)) => {
                self.rotate(&mut writer, token, &mut changeset).await
            }
            (Decision::Touch, Some(token)) => writer.touch(token, &mut changeset, touch).await,
            (Decision::Delete, Some(token)) => writer.delete(token).await,
            (Decision::Drop, _) => Ok(Outcome::Dead),
            (Decision::Forget, _) => {
                if status.is_some() {
                    self.outbox().outgoing = Outgoing::Remove;
                }
                Ok(Outcome::Unchanged)
            }
            // A stored session always has its token.
            (_, None) | (Decision::Nothing, _) => Ok(Outcome::Unchanged),
        };
        self.outbox().cost.add(writer.cost);
        let login = match &written {
            Ok(Outcome::Stored { token, record, .. }) if changeset.is_login() => {
                engine.login(token, record)
            }
            _ => None,
        };
        let (settled, result) = self.conclude(written, now, token.as_ref());
        // Who saves early wants to know; at the end nobody is left to tell.
        let result = match settled {
            SaveOutcome::Dead if status.is_none() => Err(ErrorKind::Gone.into()),
            _ => result,
        };
        opened.session.settle(changeset, settled)?;
        drop(turn);
        // What was written is told by now, so that whoever stops waiting loses this
        // alone.
        if let Some(login) = login {
            let cost = sessions::keep_to_limit(engine, &login).await;
            self.outbox().cost.add(cost);
        }
        result
    }

    /// The candidate stands in the outbox while the store is asked, so that the
    /// end of the request finds it also where this future is dropped half-way.
    async fn rotate(
        &self,
        writer: &mut Writer<'_>,
        token: &Token,
        changeset: &mut Changeset,
    ) -> Result<Outcome, Failure> {
        let entropy = &*self.engine.shared.entropy;
        let new = SessionKey::generate(entropy).map_err(Failure::NotWritten)?;
        self.outbox().candidate = Some(new.to_token());
        let written = writer.rotate(token, &new, changeset).await;
        if !matches!(written, Err(Failure::Unknown(_))) {
            self.outbox().candidate = None;
        }
        written
    }

    /// Looks for a session whose rotation may have happened, and hands its token
    /// out where it did.
    async fn resolve_candidate(&self) {
        let Some(token) = self.outbox().candidate.take() else {
            return;
        };
        let engine = &*self.engine.shared;
        let now = engine.clock.now();
        let mut writer = Writer::new(engine, now);
        let found = writer.look_for(&token).await;
        let mut outbox = self.outbox();
        outbox.cost.add(writer.cost);
        if let Some(record) = found {
            let age = age(&record, now);
            outbox.outgoing = Outgoing::Set { token, age };
        }
    }

    /// Notes what the client must be told.
    fn conclude(
        &self,
        written: Result<Outcome, Failure>,
        now: Timestamp,
        token: Option<&Token>,
    ) -> (SaveOutcome, Result<(), Error>) {
        let mut outbox = self.outbox();
        match written {
            Ok(Outcome::Unchanged) => (SaveOutcome::Unchanged, Ok(())),
            Ok(Outcome::Stored {
                token,
                record,
                tell,
            }) => {
                if tell {
                    let age = age(&record, now);
                    let token = token.clone();
                    outbox.outgoing = Outgoing::Set { token, age };
                }
                outbox.token = Some(token);
                (SaveOutcome::Stored(record), Ok(()))
            }
            Ok(Outcome::Deleted) => {
                outbox.outgoing = Outgoing::Remove;
                outbox.token = None;
                (SaveOutcome::Deleted, Ok(()))
            }
            Ok(Outcome::Dead) => {
                tracing::warn!(
                    session = %token.map_or_else(String::new, crate::write::short),
                    "the session ended or moved meanwhile; this request's changes are dropped"
                );
                (SaveOutcome::Dead, Ok(()))
            }
            Err(Failure::NotWritten(error)) => (SaveOutcome::Failed, Err(error)),
            Err(Failure::Unknown(error)) => (SaveOutcome::Unknown(error.clone()), Err(error)),
        }
    }
}

/// The age of a cookie whose record was written at `now`.
fn age(record: &Record, now: Timestamp) -> Option<Duration> {
    (!record.ends_with_browser).then(|| record.expires_at.saturating_since(now))
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
}

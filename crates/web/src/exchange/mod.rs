//! One request and its response: open the session on first use, write it before the
//! headers leave.

mod adopting;
mod committing;
mod device;
mod device_endpoint;
mod opening;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cloakroom_core::engine::{Commit, Token, TokenStore as _, Watch};
use cloakroom_core::session::Session;
use cloakroom_core::store::{BoxFuture, KeyDigest};
use cloakroom_core::{Error, ErrorKind};
use tokio::sync::{Mutex as AsyncMutex, OnceCell};

use self::device::DeviceClient;
pub use self::device::{DeviceHints, DeviceProof};
pub use self::device_endpoint::DeviceResponse;
use crate::adopt::FormerCookie;
use crate::carry_out::carry_out;
use crate::decide::Arrival;
use crate::ends::Kept;
use crate::shared::Shared;
use crate::{ClientState, Closing, Cost, Engine, Outcome, Presented, StepUp, Transport};

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
    /// On the heap, since most requests of a site open no session.
    opened: OnceCell<Box<Opened>>,
    /// Whether the request is over: a session that is opened later can only be read.
    over: AtomicBool,
    /// Whether the response is a document, as far as the request says. A mere read
    /// removes a dead cookie in the answer to a document alone.
    is_document: AtomicBool,
    /// Whether the answer sends the visitor on to the login page, which tells them why their
    /// session has ended: by the cookie of before, which this answer leaves alone.
    sends_to_login: AtomicBool,
    /// What its headers say of its device.
    device: device::Noted,
}

struct Opened {
    session: Session,
    arrival: Arrival,
    /// Locked while changes are written, so that a `save` and the end of the request
    /// follow one another.
    saving: AsyncMutex<()>,
    client: Mutex<Client>,
}

impl Opened {
    fn new(session: Session, arrival: Arrival, client: Client) -> Box<Self> {
        Box::new(Self {
            session,
            arrival,
            saving: AsyncMutex::new(()),
            client: Mutex::new(client),
        })
    }

    /// What became of the token. A session that an earlier save has found `dead` is
    /// treated as one that arrived after its rotation.
    fn arrival_of(&self, dead: bool) -> Arrival {
        match dead {
            true => Arrival::Rotated,
            false => self.arrival,
        }
    }

    fn client(&self) -> MutexGuard<'_, Client> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
    /// Whether the answer to a script sets it as well.
    hands_out_always: bool,
    /// Cookies of other libraries that were not looked at.
    adoptable: Vec<FormerCookie>,
    /// The sources whose cookies open nothing beside the present one.
    adopted: Vec<usize>,
    /// Other tokens of the request that may open a session: a logout ends these too.
    others: Vec<Token>,
    /// The new token of a rotation whose outcome is not known yet.
    candidate: Option<Candidate>,
    action: CookieAction,
    /// Whether a session was ended: the answer may tell the browser to forget more than
    /// its cookie.
    has_ended: bool,
    device: DeviceClient,
    cost: Cost,
}

struct Candidate {
    token: Token,
    is_login: bool,
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
            inner: Arc::new(Inner {
                engine,
                opened: OnceCell::new(),
                over: AtomicBool::new(false),
                is_document: AtomicBool::new(true),
                sends_to_login: AtomicBool::new(false),
                device: device::Noted::default(),
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
    pub fn open<'h>(
        &self,
        headers: impl Iterator<Item = &'h [u8]>,
    ) -> impl Future<Output = Result<Session, Error>> + Send {
        self.open_presented(|| self.inner.engine.presented(headers))
    }

    /// As [`open`](Self::open), by a token instead of headers: for a job, a socket or
    /// a test. What the client must be told is in the [`Closing`] all the same.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_token(&self, token: Token) -> impl Future<Output = Result<Session, Error>> + Send {
        let engine = &*self.inner.engine;
        let find = || Presented {
            count: 1,
            token: Some(token).filter(|token| engine.store.is_well_formed(token.expose())),
            ..Presented::default()
        };
        self.open_presented(find)
    }

    /// The future is small, since that of every handler that takes a session holds it: the
    /// load has a place of its own on the heap.
    fn open_presented(
        &self,
        find: impl FnOnce() -> Presented,
    ) -> impl Future<Output = Result<Session, Error>> + Send {
        let inner = &self.inner;
        let load = match inner.opened.get() {
            Some(opened) => Err(opened),
            None => Ok(Box::pin(Inner::load(inner, find()))),
        };
        async move {
            let opened = match load {
                Ok(load) => inner.opened.get_or_try_init(|| load).await?,
                Err(opened) => opened,
            };
            if inner.over.load(Ordering::SeqCst) {
                opened.session.refuse_changes();
            }
            Ok(opened.session.clone())
        }
    }

    /// Notes the request's `Sec-Fetch-Dest` header, which an adapter passes on as it came.
    /// A request that does not say that it is for something else counts as one for a
    /// document.
    pub fn note_fetch_dest(&self, header: Option<&[u8]>) {
        let is_document = is_document(header);
        self.inner.is_document.store(is_document, Ordering::Relaxed);
    }

    /// Notes that the answer sends a visitor who is not logged in to the login page. It leaves
    /// a cookie that opens nothing where it is, so that the login page is told why the session
    /// has [ended](cloakroom_core::session::Session::ended_because), and removes it.
    pub fn note_sent_to_login(&self) {
        self.inner.sends_to_login.store(true, Ordering::Relaxed);
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

    /// Whether the login of this request's session meets what a page asks of it now.
    #[must_use]
    pub fn meets(&self, needs: StepUp) -> bool {
        let login = self.session().and_then(|session| session.login());
        needs.is_met_by(login.as_deref(), self.inner.engine.clock.now())
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.inner.engine
    }

    /// The digest of this request's session, as far as it is known now.
    pub(crate) fn digest(&self) -> Option<KeyDigest> {
        self.inner.digest()
    }

    pub(crate) fn count_list(&self) {
        self.count(Cost::list);
    }

    pub(crate) fn count_revocation(&self) {
        self.count(Cost::touch);
    }

    fn count(&self, what: impl FnOnce(&mut Cost)) {
        if let Some(opened) = self.inner.opened.get() {
            what(&mut opened.client().cost);
        }
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
    /// a [`Session::save`], is dropped, where it runs on tokio: a visitor who closes
    /// the tab while a logout is being written is logged out.
    pub async fn close(&self, outcome: impl Into<Outcome>) -> Closing {
        self.inner.over.store(true, Ordering::SeqCst);
        let Some(opened) = self.inner.opened.get() else {
            return Closing::nothing();
        };
        let outcome = outcome.into();
        self.inner.offer_device(opened, outcome);
        if self.inner.close_unchanged(opened, outcome) {
            return self.closing(opened, None);
        }
        let written = Inner::write(&self.inner, Some(outcome)).await;
        self.closing(opened, written.err())
    }

    /// As [`close`](Self::close), where that takes no call to the store; otherwise `None`,
    /// and `close` is still to be called. It saves an adapter the future of a request that
    /// has only read.
    pub fn close_now(&self, outcome: impl Into<Outcome>) -> Option<Closing> {
        self.inner.over.store(true, Ordering::SeqCst);
        let Some(opened) = self.inner.opened.get() else {
            return Some(Closing::nothing());
        };
        let outcome = outcome.into();
        self.inner.offer_device(opened, outcome);
        let is_closed = self.inner.close_unchanged(opened, outcome);
        is_closed.then(|| self.closing(opened, None))
    }

    /// What to tell the client of a session that is closed.
    fn closing(&self, opened: &Opened, mut failure: Option<Error>) -> Closing {
        let accessed = opened.session.was_accessed();
        // What goes on when the request is over, as a WebSocket, may ask for its session.
        if opened.session.is_held()
            && let Some(watch) = self.inner.watch()
        {
            opened.session.keep_watch(watch);
        }
        let mut client = opened.client();
        let policy = &self.inner.engine.transport;
        if matches!(client.action, CookieAction::Nothing)
            && (client.hands_out_always || self.inner.is_document.load(Ordering::Relaxed))
        {
            client.action = std::mem::take(&mut client.successor);
        }
        client.has_ended |= matches!(client.action, CookieAction::Remove);
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
            token_headers.extend(self.inner.engine.sources.removals(&client.adopted));
        }
        let is_document = self.inner.is_document.load(Ordering::Relaxed);
        if failure.is_none() {
            let device = self
                .inner
                .device_headers(opened, &client, is_document && accessed);
            token_headers.extend(device);
        }
        // What is gone was told when it was found.
        let untold = failure
            .as_ref()
            .filter(|error| error.kind() != ErrorKind::Gone);
        if let Some(error) = untold {
            self.inner.engine.save_failed(client.token.as_ref(), error);
        }
        Closing {
            token_headers,
            varies_on: policy.request_header(),
            no_store: self.inner.engine.no_store,
            clears_site_data: client.has_ended && policy.clears_site_data(),
            accessed,
            failure,
            cost: std::mem::take(&mut client.cost),
        }
    }
}

/// Whether a request with this `Sec-Fetch-Dest` header may be one for a document.
pub(crate) fn is_document(fetch_dest: Option<&[u8]>) -> bool {
    fetch_dest.is_none_or(|dest| dest.eq_ignore_ascii_case(b"document"))
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange")
            .field("opened", &self.inner.opened.initialized())
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// What a request presents, by the values of its [`Transport::request_header`].
    fn presented<'h>(&self, headers: impl Iterator<Item = &'h [u8]>) -> Presented {
        let mut adoptable = Vec::new();
        let bytes_max = self.token_bytes_max;
        let mut bound = self.devices.as_ref().map(|_| Vec::new());
        let headers = headers.inspect(|header| {
            self.sources.look(header, bytes_max, &mut adoptable);
            if let (Some(devices), Some(bound)) = (&self.devices, &mut bound) {
                devices.look(header, bound);
            }
        });
        let presented = self.transport.find(headers, |token| {
            token.len() <= bytes_max && self.store.is_well_formed(token)
        });
        Presented {
            adoptable,
            bound,
            ..presented
        }
    }
}

impl Inner {
    fn digest(&self) -> Option<KeyDigest> {
        let token = self.opened.get()?.client().token.clone()?;
        self.engine.store.digest_of(&token)
    }

    /// Writes what the session has recorded, and closes it at the `end` of the request.
    /// What ends, moves or ties a session is written though nobody waits for it any more.
    async fn write(self: &Arc<Self>, end: Option<Outcome>) -> Result<(), Error> {
        let Some(opened) = self.opened.get() else {
            return Ok(());
        };
        if opened.session.must_be_carried_out() {
            let inner = self.clone();
            let work = async move { inner.write_opened(end).await };
            return Box::pin(carry_out(work)).await;
        }
        self.write_opened(end).await
    }

    async fn write_opened(&self, end: Option<Outcome>) -> Result<(), Error> {
        let Some(opened) = self.opened.get() else {
            return Ok(());
        };
        let written = self.commit(opened, end).await;
        if end.is_some() {
            opened.session.close();
            self.resolve_candidate(opened).await;
        }
        written
    }
}

impl Commit for Inner {
    fn commit(self: Arc<Self>) -> BoxFuture<'static, Result<(), Error>> {
        Box::pin(async move { self.write(None).await })
    }

    fn id(&self) -> Option<KeyDigest> {
        self.digest()
    }

    fn watch(&self) -> Option<Arc<dyn Watch>> {
        let token = self.opened.get()?.client().token.clone()?;
        Some(Arc::new(Kept::new(self.engine.clone(), token)))
    }
}

#[cfg(test)]
mod tests {
    use cloakroom_testkit::MapStore;

    use super::*;

    /// What glibc's `malloc` takes from the lists that each thread has of its own. Anything
    /// larger is sought among what all have freed, and every request would pay for it.
    const SMALL_BYTES: usize = 1_032;

    #[test]
    fn what_a_request_keeps_on_the_heap_is_small() {
        let exchange = Engine::new(MapStore::default()).exchange();
        let load = Inner::load(&exchange.inner, Presented::default());
        assert!(size_of_val(&load) <= SMALL_BYTES);
        assert!(size_of_val(&exchange.close(200)) <= SMALL_BYTES);
        assert!(size_of::<Opened>() <= SMALL_BYTES);
        // A part of the handler's own.
        assert!(size_of_val(&exchange.open([].into_iter())) <= 200);
    }
}

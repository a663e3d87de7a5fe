//! An application and its client in one process, without a network, on a clock that the
//! test moves and a store that records its calls and fails when the test wants it.

use std::sync::{Arc, Mutex, MutexGuard};

use cloakroom::engine::{Closing, TokenStore as _};
use cloakroom::session::Session;
use cloakroom::store::{KeyDigest, Stored};
use cloakroom::{CookiePolicy, Engine, EngineBuilder};
use cloakroom_testkit::{Call, FaultyStore, ManualClock, MapStore, RecordingStore};

/// A [`MapStore`] that records its calls, inside a store that fails as planned.
pub type Store = Arc<FaultyStore<RecordingStore<MapStore>>>;

/// One application and one client of it.
#[derive(Debug)]
pub struct TestApp {
    /// The engine's clock.
    pub clock: Arc<ManualClock>,
    /// The engine's store.
    pub store: Store,
    /// The engine.
    pub engine: Engine,
    cookie: Mutex<Option<String>>,
}

/// A response, as the client sees it, and what it cost.
#[derive(Debug)]
pub struct TestResponse {
    /// The status of the handler, or of the failure that replaced it.
    pub status: u16,
    /// The `Set-Cookie` header.
    pub set_cookie: Option<String>,
    /// The `Vary` header, where the handler has set none.
    pub vary: Option<String>,
    /// The `Cache-Control` header, where the handler has set none.
    pub cache_control: Option<String>,
    /// The calls to the store.
    pub calls: Vec<Call>,
}

impl TestResponse {
    /// Whether the cookie was set to a token.
    #[must_use]
    pub fn sets_token(&self) -> bool {
        let set = self.set_cookie.as_deref();
        set.is_some_and(|set| !set.contains("Max-Age=0"))
    }

    /// Whether the cookie was removed.
    #[must_use]
    pub fn removes_token(&self) -> bool {
        let set = self.set_cookie.as_deref();
        set.is_some_and(|set| set.contains("Max-Age=0"))
    }
}

impl Default for TestApp {
    /// With the engine's defaults.
    fn default() -> Self {
        Self::with(|builder| builder)
    }
}

/// The name of the cookie at a [`TestApp`].
pub const COOKIE: &str = "__Host-session";

impl TestApp {
    /// With options of the engine.
    ///
    /// # Panics
    /// Where the engine refuses them.
    pub fn with(choose: impl FnOnce(EngineBuilder) -> EngineBuilder) -> Self {
        let store = Store::default();
        let clock = Arc::new(ManualClock::default());
        let builder = Engine::builder(store.clone())
            .cookie(CookiePolicy::default())
            .clock(clock.clone());
        Self {
            clock,
            store,
            engine: choose(builder).build().expect("choices that go together"),
            cookie: Mutex::default(),
        }
    }

    /// Its engine, for what ends sessions without a request of theirs.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    fn jar(&self) -> MutexGuard<'_, Option<String>> {
        self.cookie
            .lock()
            .expect("no test panics while it holds the jar")
    }

    /// The client's token.
    #[must_use]
    pub fn token(&self) -> Option<String> {
        self.jar().clone()
    }

    /// Gives the client another token, or none.
    pub fn set_token(&self, token: Option<&str>) {
        *self.jar() = token.map(str::to_owned);
    }

    /// The digest under which the store keeps a token's session.
    #[must_use]
    pub fn digest_of(&self, token: &str) -> Option<KeyDigest> {
        self.engine.store().digest_of(&self.engine.token(token))
    }

    /// The record or rotation mark in the store under a token.
    #[must_use]
    pub fn stored(&self, token: &str) -> Option<Stored> {
        let digest = self.digest_of(token)?;
        self.model().standing().remove(&digest)
    }

    /// How many records and rotation marks the store holds.
    #[must_use]
    pub fn records(&self) -> usize {
        self.model().standing().len()
    }

    /// The innermost store.
    #[must_use]
    pub fn model(&self) -> &MapStore {
        self.store.inner().inner()
    }

    /// A request whose handler answers 200.
    pub async fn visit(&self, handle: impl AsyncFnOnce(Session)) -> TestResponse {
        self.visit_with(200, handle).await
    }

    /// A request whose handler answers with this status.
    pub async fn visit_with(&self, status: u16, handle: impl AsyncFnOnce(Session)) -> TestResponse {
        let cookies = self.token().map(|token| format!("{COOKIE}={token}"));
        let lines: Vec<&[u8]> = cookies.iter().map(String::as_bytes).collect();
        self.request(&lines, status, handle).await
    }

    /// A request with these `Cookie` headers; the client keeps what it is told.
    pub async fn request(
        &self,
        cookies: &[&[u8]],
        status: u16,
        handle: impl AsyncFnOnce(Session),
    ) -> TestResponse {
        self.store.inner().take();
        let exchange = self.engine.exchange();
        let status = match exchange.open(cookies.iter().copied()).await {
            Ok(session) => {
                handle(session).await;
                status
            }
            Err(error) => Closing::status_of(&error),
        };
        let closing = exchange.close(status).await;
        let set_cookie = header(&closing, "set-cookie");
        if let Some(text) = &set_cookie {
            self.keep(text);
        }
        TestResponse {
            status: closing.failure.as_ref().map_or(status, Closing::status_of),
            set_cookie,
            vary: header(&closing, "vary"),
            cache_control: header(&closing, "cache-control"),
            calls: self.store.inner().take(),
        }
    }

    /// A request whose handler never opens its session.
    pub async fn visit_without_session(&self) -> TestResponse {
        self.store.inner().take();
        let closing = self.engine.exchange().close(200).await;
        TestResponse {
            status: 200,
            set_cookie: header(&closing, "set-cookie"),
            vary: header(&closing, "vary"),
            cache_control: header(&closing, "cache-control"),
            calls: self.store.inner().take(),
        }
    }

    fn keep(&self, set_cookie: &str) {
        let (pair, attributes) = set_cookie.split_once(';').unwrap_or((set_cookie, ""));
        let (_, token) = pair.split_once('=').expect("a cookie is a pair");
        let gone = attributes.contains("Max-Age=0");
        *self.jar() = (!gone).then(|| token.to_owned());
    }

    /// A number in the client's session, as another request reads it.
    ///
    /// # Panics
    /// Where the store does not answer.
    pub async fn number(&self, name: &str) -> Option<u64> {
        let mut number = None;
        let answer = self
            .visit(async |session| number = session.get(name).expect("a number"))
            .await;
        assert_eq!(answer.status, 200);
        number
    }
}

/// The one header of this name that the engine adds to a response without headers.
///
/// # Panics
/// Where there are several.
pub fn header(closing: &Closing, name: &str) -> Option<String> {
    let mut values = headers(closing, name);
    assert!(values.len() <= 1, "{closing:?}");
    values.pop()
}

/// The headers of this name that the engine adds to a response without headers.
pub fn headers(closing: &Closing, name: &str) -> Vec<String> {
    let edits = closing.header_edits([]);
    let edits = edits.filter(|edit| edit.name() == name);
    edits.map(|edit| edit.value().to_owned()).collect()
}

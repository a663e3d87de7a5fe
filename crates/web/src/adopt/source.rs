//! Where sessions of another library lie, as the author of a source writes it.

use std::fmt;

use cloakroom_core::engine::Token;
use cloakroom_core::session::Value;
use cloakroom_core::store::BoxFuture;
use cloakroom_core::{Error, SessionExpiry, Subject, Timestamp};

use crate::CookiePolicy;

/// The sessions of another library, which an engine
/// [adopts](crate::EngineBuilder::adopt) one by one as their visitors come.
///
/// A source reads and deletes; it never writes. It is asked only about requests that bring
/// its cookie and no token of the engine that opens a session. The crate `cloakroom-adopt`
/// has sources for tower-sessions, actix-session, express-session and Django.
///
/// ```
/// use cloakroom_core::store::BoxFuture;
/// use cloakroom_core::{Error, Subject, Timestamp};
/// use cloakroom_web::{CookiePolicy, FormerId, FormerSession, FormerSessions, Prefix};
///
/// /// A site that kept nothing but a user's number, in a table of its own.
/// struct Logins {
///     cookie: CookiePolicy,
/// }
///
/// # async fn select(_: &str) -> Result<Option<(u64, u64)>, Error> { Ok(None) }
/// # async fn delete(_: &str) -> Result<(), Error> { Ok(()) }
/// impl FormerSessions for Logins {
///     fn name(&self) -> &str {
///         "logins"
///     }
///     fn cookie(&self) -> &CookiePolicy {
///         &self.cookie
///     }
///     fn read_cookie(&self, value: &str) -> Option<FormerId> {
///         let is_id = value.len() == 32 && value.bytes().all(|byte| byte.is_ascii_hexdigit());
///         is_id.then(|| FormerId::new(value))
///     }
///     fn load<'a>(
///         &'a self,
///         id: &'a FormerId,
///         _now: Timestamp,
///     ) -> BoxFuture<'a, Result<Option<FormerSession>, Error>> {
///         Box::pin(async move {
///             let Some((user, expires_ms)) = select(id.expose()).await? else {
///                 return Ok(None);
///             };
///             let mut session = FormerSession::new(Timestamp::from_millis(expires_ms));
///             session.subject = Some(Subject::new(user.to_string())?);
///             Ok(Some(session))
///         })
///     }
///     fn delete<'a>(&'a self, id: &'a FormerId) -> BoxFuture<'a, Result<(), Error>> {
///         Box::pin(async move { delete(id.expose()).await })
///     }
/// }
/// # let _ = CookiePolicy::builder().prefix(Prefix::None).name("sid");
/// ```
pub trait FormerSessions: Send + Sync + 'static {
    /// What tells this source from others of the engine, and what events call it. It is
    /// hashed into where the engine notes that a session was adopted, so it must stay the
    /// same.
    fn name(&self) -> &str;

    /// Which cookie the library sets, with the attributes that it sets it with: a browser
    /// removes no cookie of another path or domain.
    fn cookie(&self) -> &CookiePolicy;

    /// The id in a cookie's value, which may be anything. `None` for what the library
    /// would not take either: a malformed id, a signature that does not verify.
    fn read_cookie(&self, value: &str) -> Option<FormerId>;

    /// Reads a session. `None` where there is none.
    ///
    /// # Errors
    /// [`Corrupt`](cloakroom_core::ErrorKind::Corrupt) where something stands there that
    /// cannot be read: the visitor gets a new session, and the record stays. Any other
    /// error fails the request, and the visitor keeps the cookie.
    fn load<'a>(
        &'a self,
        id: &'a FormerId,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Option<FormerSession>, Error>>;

    /// Deletes a session that was adopted, or ended since; success where there is none.
    /// It may be called twice.
    ///
    /// # Errors
    /// The request fails, and the visitor keeps the cookie; the next one tries again.
    fn delete<'a>(&'a self, id: &'a FormerId) -> BoxFuture<'a, Result<(), Error>>;
}

/// The id of a former session, as secret as a token: wiped when dropped, and not printed.
#[derive(Clone)]
pub struct FormerId {
    id: Token,
    proof: Token,
}

impl FormerId {
    /// An id that is all that the visitor's cookie holds.
    #[must_use]
    pub fn new(id: impl Into<String>) -> Self {
        let id = Token::new(id);
        Self {
            proof: id.clone(),
            id,
        }
    }

    /// Adds what the cookie proves beside its id, such as its signature. Whoever has read
    /// the ids in a copy of the former store must not be able to make the engine's keys
    /// from them. One session must have one proof, in one spelling.
    #[must_use]
    pub fn proven_by(mut self, proof: impl Into<String>) -> Self {
        self.proof = Token::new(proof);
        self
    }

    /// The id, for the store that has its record.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.id.expose()
    }

    pub(super) fn proof(&self) -> &[u8] {
        self.proof.expose().as_bytes()
    }
}

impl fmt::Debug for FormerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FormerId(..)")
    }
}

/// A session of another library, as far as it can be carried over.
#[non_exhaustive]
pub struct FormerSession {
    /// When it ends if it is not used again. The adopted session ends then, or by the
    /// engine's own lifetimes where these are shorter; its first use moves that on.
    pub expires_at: Timestamp,
    /// Whose session it is, where somebody has logged in.
    pub subject: Option<Subject>,
    /// What it holds.
    pub entries: Vec<(String, Value)>,
    /// How many entries could not be carried over: told by an event.
    pub entries_lost: usize,
    /// What it chose for itself: a cookie that ends with the browser, another idle time.
    pub expiry: SessionExpiry,
}

impl FormerSession {
    /// An empty one of nobody.
    #[must_use]
    pub fn new(expires_at: Timestamp) -> Self {
        Self {
            expires_at,
            subject: None,
            entries: Vec::new(),
            entries_lost: 0,
            expiry: SessionExpiry::Default,
        }
    }
}

impl fmt::Debug for FormerSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FormerSession")
            .field("expires_at", &self.expires_at)
            .field("entries", &self.entries.len())
            .finish_non_exhaustive()
    }
}

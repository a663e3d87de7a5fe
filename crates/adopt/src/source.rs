//! A former site, put together: its cookie, its records, and whose session one is.

use std::fmt;
use std::time::Duration;

use cloakroom_core::session::Value;
use cloakroom_core::store::BoxFuture;
use cloakroom_core::{Error, ErrorKind, Subject, Timestamp};
use cloakroom_web::{CookiePolicy, FormerId, FormerSession, FormerSessions, Prefix, SameSite};
use percent_encoding::percent_decode_str;

use crate::cookie::Protection;
use crate::records::Records;
use crate::{CookieKey, FoundRecord};

/// How long a session without a deadline is taken to live: browsers keep no cookie longer
/// than 400 days.
pub(crate) const LIFETIME_MAX: Duration = Duration::from_secs(400 * 86_400);

/// The longest id that is looked up, in bytes. Those of the libraries are 22, 32 and 64.
const ID_BYTES_MAX: usize = 256;

pub(crate) type SubjectOf = Box<dyn Fn(&FormerSession) -> Option<Subject> + Send + Sync>;

/// The sessions of another library, for [`adopt`](cloakroom_web::EngineBuilder::adopt).
pub struct Source {
    pub(crate) name: String,
    pub(crate) cookie: CookiePolicy,
    pub(crate) protection: Protection,
    pub(crate) place: Place,
    pub(crate) format: Format,
    pub(crate) subject: Option<SubjectOf>,
}

/// Where a session is.
pub(crate) enum Place {
    /// In a store, under its id behind this prefix.
    Records(Box<dyn Records>, String),
    /// In the cookie, which is taken until then.
    #[cfg_attr(not(feature = "private-cookies"), allow(dead_code))]
    Cookie(Timestamp),
}

/// How a library writes ids and records.
pub(crate) struct Format {
    pub(crate) is_id: fn(&str) -> bool,
    pub(crate) read: fn(&FoundRecord, &mut FormerSession) -> Result<(), Error>,
}

impl Source {
    pub(crate) fn new(name: &str, cookie: CookiePolicy, place: Place, format: Format) -> Self {
        Self {
            name: name.to_owned(),
            cookie,
            protection: Protection::Plain,
            place,
            format,
            subject: None,
        }
    }

    /// Another name than the library's, for an engine that adopts from two sites of one
    /// library. It stays the same for as long as sessions are adopted.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The cookie as the former site sets it: name, path, domain, `Secure`, `SameSite`.
    /// Default: as the library does.
    #[must_use]
    pub fn cookie(mut self, cookie: CookiePolicy) -> Self {
        self.cookie = cookie;
        self
    }

    /// The former site signs its cookie: tower-sessions' `with_signed`, actix-session's
    /// `CookieContentSecurity::Signed`.
    #[must_use]
    pub fn signed(mut self, key: CookieKey) -> Self {
        self.protection = Protection::Signed(key);
        self
    }

    /// The former site encrypts its cookie: tower-sessions' `with_private`, actix-session's
    /// `CookieContentSecurity::Private`, which is its default.
    #[cfg(feature = "private-cookies")]
    #[cfg_attr(docsrs, doc(cfg(feature = "private-cookies")))]
    #[must_use]
    pub fn private(mut self, key: CookieKey) -> Self {
        self.protection = Protection::Private(key);
        self
    }

    /// What stands before an id in Redis: connect-redis' `prefix`, by default `sess:`; that of
    /// tower-sessions' `RedisStore::with_prefix`, and what actix-session's `cache_keygen` puts
    /// there, by default nothing.
    #[must_use]
    pub fn key_prefix(mut self, prefix: impl Into<String>) -> Self {
        if let Place::Records(_, before) = &mut self.place {
            *before = prefix.into();
        }
        self
    }

    /// Whose session it is: a closure over the former session, or [`named`]. `None` is
    /// nobody's, and its entries are carried over all the same. Default: nobody's.
    #[must_use]
    pub fn subject(
        mut self,
        subject: impl Fn(&FormerSession) -> Option<Subject> + Send + Sync + 'static,
    ) -> Self {
        self.subject = Some(Box::new(subject));
        self
    }
}

/// The subject that stands under a name, or under names within it, one in the other: text, or
/// a whole number. Anything else is nobody.
///
/// ```
/// use cloakroom_adopt::named;
/// use cloakroom_core::Timestamp;
/// use cloakroom_core::session::Value;
/// use cloakroom_web::FormerSession;
///
/// let mut session = FormerSession::new(Timestamp::MAX);
/// let user = Value::Map(vec![(Value::Str("user".into()), Value::UInt(42))]);
/// session.entries = vec![("passport".into(), user)];
/// let subject = named(["passport", "user"])(&session).expect("somebody is logged in");
/// assert_eq!(subject.as_str(), "42");
/// ```
pub fn named<const N: usize>(
    names: [&'static str; N],
) -> impl Fn(&FormerSession) -> Option<Subject> + Send + Sync + 'static {
    move |session| {
        let (first, within) = names.split_first()?;
        let entries = &session.entries;
        let (_, value) = entries.iter().find(|(name, _)| name == first)?;
        let mut value = value;
        for name in within {
            let Value::Map(pairs) = value else {
                return None;
            };
            let is_named = |key: &Value| matches!(key, Value::Str(key) if key == name);
            value = &pairs.iter().find(|(key, _)| is_named(key))?.1;
        }
        Subject::new(text_of(value)?).ok()
    }
}

/// A user's id as text.
pub(crate) fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::Str(text) if !text.is_empty() => Some(text.clone()),
        Value::UInt(number) => Some(number.to_string()),
        Value::Int(number) => Some(number.to_string()),
        _ => None,
    }
}

impl FormerSessions for Source {
    fn name(&self) -> &str {
        &self.name
    }

    fn cookie(&self) -> &CookiePolicy {
        &self.cookie
    }

    fn read_cookie(&self, value: &str) -> Option<FormerId> {
        let value = percent_decode_str(value).decode_utf8().ok()?;
        let opened = self.protection.open(self.cookie.name(), &value)?;
        match &self.place {
            Place::Records(..) => {
                let is_id = |text: &str| text.len() <= ID_BYTES_MAX && (self.format.is_id)(text);
                let id = is_id(&opened.text).then_some(opened.text)?;
                Some(FormerId::new(id).proven_by(opened.proof))
            }
            // Each encrypted cookie has a nonce of its own. Signed ones of one content are
            // equal, so two visitors would be given one session.
            #[cfg(feature = "private-cookies")]
            Place::Cookie(_) if matches!(self.protection, Protection::Private(_)) => {
                Some(FormerId::new(opened.text).proven_by(value))
            }
            Place::Cookie(_) => None,
        }
    }

    fn load<'a>(
        &'a self,
        id: &'a FormerId,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Option<FormerSession>, Error>> {
        Box::pin(async move {
            let (found, until) = match &self.place {
                Place::Records(records, prefix) => {
                    let key = format!("{prefix}{}", id.expose());
                    let Some(found) = records.get(&key).await? else {
                        return Ok(None);
                    };
                    (found, now.saturating_add(LIFETIME_MAX))
                }
                Place::Cookie(until) => {
                    let bytes = id.expose().as_bytes().to_vec();
                    (FoundRecord::new(bytes), *until)
                }
            };
            let until = found
                .lives_for
                .map_or(until, |lives| until.min(now.saturating_add(lives)));
            let until = found.expires_at.map_or(until, |ends| until.min(ends));
            let mut session = FormerSession::new(until);
            (self.format.read)(&found, &mut session)?;
            session.subject = self.subject.as_ref().and_then(|subject| subject(&session));
            Ok(Some(session))
        })
    }

    fn delete<'a>(&'a self, id: &'a FormerId) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            match &self.place {
                Place::Records(records, prefix) => {
                    let key = format!("{prefix}{}", id.expose());
                    records.delete(&key).await
                }
                Place::Cookie(_) => Ok(()),
            }
        })
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("name", &self.name)
            .field("cookie", &self.cookie.name())
            .finish_non_exhaustive()
    }
}

/// A cookie as libraries set it: `Secure`, `HttpOnly`, for the whole host.
pub(crate) fn cookie(name: &str, same_site: SameSite) -> CookiePolicy {
    let policy = CookiePolicy::builder().prefix(Prefix::None).name(name);
    let policy = policy.same_site(same_site).build();
    policy.expect("a cookie that is Secure may have any name of letters and SameSite")
}

/// The error of a record that cannot be read. The source is left out: it might quote a value.
pub(crate) fn corrupt(why: &'static str) -> Error {
    Error::new(ErrorKind::Corrupt, why)
}

/// Numbers of JSON as a value: a whole one where it has no fraction.
#[cfg(any(
    feature = "actix-session",
    feature = "django",
    feature = "express-session"
))]
pub(crate) fn value_of(json: serde_json::Value) -> Result<Value, Error> {
    /// Levels that are kept as they are; the engine's own limit comes after.
    const DEPTH_MAX: usize = cloakroom_core::session::NESTING_DEPTH_CEILING;
    Value::from_serialize(&json, DEPTH_MAX)
}

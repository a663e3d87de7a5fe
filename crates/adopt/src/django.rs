//! Django: its cookie, its signed sessions, and whether their users are still who they were.

use std::fmt;
use std::time::Duration;

use cloakroom_core::session::Value;
use cloakroom_core::store::BoxFuture;
use cloakroom_core::{Error, SessionExpiry, Subject, Timestamp};
use cloakroom_web::{CookiePolicy, FormerId, FormerSession, FormerSessions, SameSite};
use zeroize::Zeroizing;

use crate::source::{LIFETIME_MAX, SubjectOf, cookie, corrupt, text_of};
use crate::{Records, named};

mod payload;
mod secrets;

use secrets::{Salt, Secrets};

/// Entries that are Django's own, and are not carried over.
const USER_ID: &str = "_auth_user_id";
const USER_HASH: &str = "_auth_user_hash";
const EXPIRY: &str = "_session_expiry";
const OWN: [&str; 4] = [USER_ID, "_auth_user_backend", USER_HASH, EXPIRY];

/// `SESSION_COOKIE_AGE`, where a site does not set it.
const COOKIE_AGE: Duration = Duration::from_secs(14 * 86_400);

type PasswordOf =
    Box<dyn Fn(String) -> BoxFuture<'static, Result<Option<String>, Error>> + Send + Sync>;

/// The sessions of a site of Django 3.1 or newer, of the engines `db`, `cached_db` or `file`:
/// its cookie `sessionid`, and the rows of its table (`SqliteTable::django`,
/// `PostgresTable::django`, `MysqlTable::django`) or its files
/// ([`DjangoFiles`](crate::DjangoFiles)). `secrets` are its `SECRET_KEY` and
/// `SECRET_KEY_FALLBACKS`, all of which verify.
///
/// `password_of` answers what the field `password` of a user holds, by the user's id, or `None`
/// where there is no such user any more, or none who may log in. Django asks that at each
/// request, and ends the sessions of a user whose password has changed: a former session opens
/// only if it was begun with the password that the field holds now. The field must be as Django
/// has written it, so do not hash it anew while sessions are adopted; answer `None` for a user
/// who has changed the password elsewhere since. A visitor who has not logged in is not asked
/// about.
///
/// ```
/// use cloakroom_adopt::{Records, django_sessions};
/// use cloakroom_core::{Error, store::SessionStore};
/// use cloakroom_web::Engine;
///
/// /// `select password from auth_user where id = … and is_active`
/// async fn password_of(user_id: String) -> Result<Option<String>, Error> {
/// #   let _ = user_id;
/// #   Ok(None)
/// }
///
/// fn engine(store: impl SessionStore, former: impl Records, key: &str) -> Result<Engine, Error> {
///     let former = django_sessions(former, [key], password_of);
///     Engine::builder(store).adopt(former).build()
/// }
/// ```
#[must_use]
pub fn django_sessions<S, P, F>(
    records: impl Records,
    secrets: impl IntoIterator<Item = S>,
    password_of: P,
) -> DjangoSessions
where
    S: AsRef<[u8]>,
    P: Fn(String) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Option<String>, Error>> + Send + 'static,
{
    let secrets = Secrets::new(secrets, Salt::Records);
    let place = Place::Records(Box::new(records));
    DjangoSessions::new("django", place, secrets, password_of)
}

/// The sessions that Django keeps in its cookie: the engine `signed_cookies`. The arguments are
/// those of [`django_sessions`].
///
/// Only sessions in which somebody has logged in are adopted: two visitors with the same content
/// may have the same cookie, and would be given one session. The engine remembers which were
/// adopted, so that one that was logged out does not come back with the cookie that it had. An
/// older cookie of the same visitor opens until its [`cookie_age`](DjangoSessions::cookie_age)
/// is over, as it did at the former site.
#[must_use]
pub fn django_cookie<S, P, F>(
    secrets: impl IntoIterator<Item = S>,
    password_of: P,
) -> DjangoSessions
where
    S: AsRef<[u8]>,
    P: Fn(String) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Option<String>, Error>> + Send + 'static,
{
    let secrets = Secrets::new(secrets, Salt::Cookies);
    DjangoSessions::new("django-cookie", Place::Cookie, secrets, password_of)
}

/// The sessions of Django, for [`adopt`](cloakroom_web::EngineBuilder::adopt).
///
/// The subject is the user's id. Django's own entries (`_auth_user_id`, `_auth_user_backend`,
/// `_auth_user_hash`, `_session_expiry`) are not carried over: what `set_expiry` has chosen
/// becomes the lifetime of the session. All other entries are.
pub struct DjangoSessions {
    name: String,
    cookie: CookiePolicy,
    place: Place,
    secrets: Secrets,
    password_of: PasswordOf,
    subject: SubjectOf,
    cookie_age: Duration,
    utc_offset_minutes: i32,
}

enum Place {
    Records(Box<dyn Records>),
    Cookie,
}

impl DjangoSessions {
    fn new<P, F>(name: &str, place: Place, secrets: Secrets, password_of: P) -> Self
    where
        P: Fn(String) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Option<String>, Error>> + Send + 'static,
    {
        Self {
            name: name.to_owned(),
            cookie: cookie("sessionid", SameSite::Lax),
            place,
            secrets,
            password_of: Box::new(move |user| Box::pin(password_of(user))),
            subject: Box::new(named([USER_ID])),
            cookie_age: COOKIE_AGE,
            utc_offset_minutes: 0,
        }
    }

    /// Another name than `django` or `django-cookie`, for an engine that adopts from two sites
    /// of Django. It stays the same for as long as sessions are adopted.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The cookie as the former site sets it: `SESSION_COOKIE_NAME`, `_PATH`, `_DOMAIN`,
    /// `_SECURE`, `_SAMESITE`. Default: `sessionid` for the whole host, with `SameSite=Lax`.
    /// Django sets it without `Secure` unless told so; browsers remove it all the same over
    /// https.
    #[must_use]
    pub fn cookie(mut self, cookie: CookiePolicy) -> Self {
        self.cookie = cookie;
        self
    }

    /// Another subject than the user's id: a closure over the former session, in which
    /// Django's own entries still stand. It is asked where somebody has logged in, after the
    /// password was checked.
    #[must_use]
    pub fn subject(
        mut self,
        subject: impl Fn(&FormerSession) -> Option<Subject> + Send + Sync + 'static,
    ) -> Self {
        self.subject = Box::new(subject);
        self
    }

    /// The former site's `SESSION_COOKIE_AGE`, where it is not two weeks. It says when a
    /// session in a cookie ends at the latest, and one in a file that has chosen nothing by
    /// `set_expiry`; a row of the table has a deadline of its own.
    #[must_use]
    pub fn cookie_age(mut self, age: Duration) -> Self {
        self.cookie_age = age;
        self
    }

    /// For a former site with `USE_TZ = False` over SQLite or MySQL, which writes its deadlines
    /// in the local time of `TIME_ZONE`: how far that is ahead of UTC, in minutes. 60 is Berlin
    /// in winter, -300 New York. Where the clocks have changed since, sessions end an hour
    /// early or late.
    #[must_use]
    pub fn utc_offset_minutes(mut self, minutes: i32) -> Self {
        self.utc_offset_minutes = minutes;
        self
    }

    /// An instant in UTC that the former site has written in its local time.
    fn utc(&self, local: Timestamp) -> Timestamp {
        let ahead = Duration::from_secs(60 * u64::from(self.utc_offset_minutes.unsigned_abs()));
        match self.utc_offset_minutes < 0 {
            true => local.saturating_add(ahead),
            false => Timestamp::EPOCH
                .saturating_add(local.saturating_since(Timestamp::EPOCH.saturating_add(ahead))),
        }
    }

    /// What `set_expiry` has chosen. `row` is the deadline that a row of the table has.
    fn expiry(&self, chosen: &Value, row: Option<Timestamp>) -> Option<SessionExpiry> {
        let secs = match chosen {
            Value::Null => return Some(SessionExpiry::Default),
            Value::UInt(secs) => *secs as f64,
            Value::Int(secs) => *secs as f64,
            Value::Float(secs) => *secs,
            // The row has the same instant, in one spelling.
            Value::Str(text) => {
                let at = row.or_else(|| {
                    let (instant, is_local) = payload::instant(text)?;
                    Some(if is_local { self.utc(instant) } else { instant })
                });
                return at.map(SessionExpiry::At);
            }
            _ => return None,
        };
        match secs {
            0.0 => Some(SessionExpiry::BrowserClose),
            // Whole milliseconds: an idle time of nothing would be none.
            _ if secs >= 0.001 => {
                let longest = LIFETIME_MAX.as_secs_f64();
                let idle = Duration::from_secs_f64(secs.min(longest));
                Some(SessionExpiry::Idle(idle))
            }
            // It had ended when it was written.
            _ => Some(SessionExpiry::At(Timestamp::EPOCH)),
        }
    }

    /// The session in what Django has signed; `None` where it has expired.
    async fn read(
        &self,
        signed: &str,
        row: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Option<FormerSession>, Error> {
        let (payload, signed_at) = self.secrets.open(signed).ok_or_else(|| {
            corrupt(
                "this session of Django is signed with a SECRET_KEY that is not given here, or by \
                 a Django before 3.1",
            )
        })?;
        let (entries, entries_lost) = payload::entries(payload)?;
        let entry = |name: &str| {
            let entry = entries.iter().find(|(entry, _)| entry == name);
            entry.map(|(_, value)| value)
        };
        let row = row.map(|ends| self.utc(ends));
        let chosen = entry(EXPIRY).unwrap_or(&Value::Null);
        let expiry = self.expiry(chosen, row).ok_or_else(|| {
            corrupt("`_session_expiry` of a session of Django is neither seconds nor an instant")
        })?;
        let ends = row.unwrap_or_else(|| {
            let of_age = signed_at.saturating_add(self.cookie_age);
            let chosen = match expiry {
                SessionExpiry::Idle(idle) => signed_at.saturating_add(idle),
                SessionExpiry::At(at) => at,
                _ => return of_age,
            };
            match self.place {
                Place::Records(_) => chosen,
                // Django takes no older cookie, whatever the session has chosen.
                Place::Cookie => chosen.min(of_age),
            }
        });
        let mut session = FormerSession::new(ends.min(now.saturating_add(LIFETIME_MAX)));
        if session.expires_at <= now {
            return Ok(None);
        }
        session.expiry = expiry;
        session.entries_lost = entries_lost;
        let user = entry(USER_ID).and_then(text_of);
        let hash = entry(USER_HASH).and_then(text_of).map(Zeroizing::new);
        session.entries = entries;
        match user {
            Some(user) => {
                self.check_password(user, hash).await?;
                session.subject = (self.subject)(&session);
            }
            None if matches!(self.place, Place::Cookie) => {
                return Err(corrupt(
                    "nobody has logged in to this session in Django's cookie, and two such \
                     visitors may have one cookie",
                ));
            }
            None => {}
        }
        session
            .entries
            .retain(|(name, _)| !OWN.contains(&name.as_str()));
        Ok(Some(session))
    }

    /// Whether the session was begun with the password that its user has now.
    async fn check_password(
        &self,
        user: String,
        hash: Option<Zeroizing<String>>,
    ) -> Result<(), Error> {
        let password = (self.password_of)(user).await?.map(Zeroizing::new);
        let Some(password) = password else {
            return Err(corrupt(
                "the user of this session of Django is no more, or may not log in any more",
            ));
        };
        match hash {
            Some(hash) if self.secrets.is_hash_of(&hash, &password) => Ok(()),
            _ => Err(corrupt(
                "this session of Django was begun with another password than its user has now",
            )),
        }
    }
}

impl FormerSessions for DjangoSessions {
    fn name(&self) -> &str {
        &self.name
    }

    fn cookie(&self) -> &CookiePolicy {
        &self.cookie
    }

    fn read_cookie(&self, value: &str) -> Option<FormerId> {
        let is_taken = match self.place {
            Place::Records(_) => is_key(value),
            Place::Cookie => self.secrets.open(value).is_some(),
        };
        is_taken.then(|| FormerId::new(value))
    }

    fn load<'a>(
        &'a self,
        id: &'a FormerId,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Option<FormerSession>, Error>> {
        Box::pin(async move {
            let Place::Records(records) = &self.place else {
                return self.read(id.expose(), None, now).await;
            };
            let Some(found) = records.get(id.expose()).await? else {
                return Ok(None);
            };
            let signed = std::str::from_utf8(&found.bytes)
                .map_err(|_| corrupt("this is no session of Django: it is no text"))?;
            self.read(signed, found.expires_at, now).await
        })
    }

    fn delete<'a>(&'a self, id: &'a FormerId) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            match &self.place {
                Place::Records(records) => records.delete(id.expose()).await,
                Place::Cookie => Ok(()),
            }
        })
    }
}

impl fmt::Debug for DjangoSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DjangoSessions")
            .field("name", &self.name)
            .field("cookie", &self.cookie.name())
            .finish_non_exhaustive()
    }
}

/// 32 characters of `a-z0-9`. MySQL would find a key in upper case too.
fn is_key(text: &str) -> bool {
    let is_lower = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.len() == 32 && text.bytes().all(is_lower)
}

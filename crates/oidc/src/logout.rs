//! The endpoint to which a provider sends its logouts.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use cloakroom_core::engine::TokenStore as _;
use cloakroom_core::session::Session;
use cloakroom_core::{Error, ErrorKind, Label, ProviderSession, Subject};
use cloakroom_web::{Engine, EventLimit};
use percent_encoding::percent_decode_str;

use crate::answer::{Answer, BoxError, Refused};
use crate::keys::Keys;
use crate::seen::Seen;
use crate::token::{self, Kind, Named, TOKEN_BYTES_MAX};

/// Bytes of the longest request body that is looked at. Let the framework read no more.
pub const BODY_BYTES_MAX: usize = TOKEN_BYTES_MAX + 1024;

type Found = Pin<Box<dyn Future<Output = Result<Option<Subject>, BoxError>> + Send>>;

/// Ends sessions when the identity provider says so. Cheap to clone; all clones are one.
///
/// There is one for each provider and client id. The handler of the address that the provider
/// knows as `backchannel_logout_uri` gives each request to [`receive`](Self::receive); the
/// handler that logs in calls [`tie`](Self::tie).
#[derive(Clone)]
pub struct BackChannelLogout {
    shared: Arc<Shared>,
}

struct Shared {
    engine: Engine,
    issuer: String,
    client_id: String,
    keys: Keys,
    seen: Seen,
    find_subject: Box<dyn Fn(String) -> Found + Send + Sync>,
    refusals: EventLimit,
    failures: EventLimit,
}

impl fmt::Debug for BackChannelLogout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackChannelLogout")
            .field("issuer", &self.shared.issuer)
            .finish_non_exhaustive()
    }
}

impl BackChannelLogout {
    /// Of the provider with this `issuer`, to which the site is this client. The provider's
    /// `sub` is taken for the application's own name of a [`Subject`].
    ///
    /// # Errors
    /// As [`with_subjects`](Self::with_subjects).
    pub fn new(engine: Engine, issuer: &str, client_id: &str, keys: Keys) -> Result<Self, Error> {
        Self::with_subjects(engine, issuer, client_id, keys, async |sub: String| {
            // What can be no subject's name is nobody's.
            Ok::<_, BoxError>(Subject::new(sub).ok())
        })
    }

    /// The same for a site that names its users otherwise: `find_subject` answers whose a
    /// `sub` of the provider is, such as from the site's table of users. It is asked for
    /// tokens that name no session.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] where the engine's store lists no sessions of a subject,
    /// as a cookie store, and [`ErrorKind::TooLarge`] where `issuer` is over 256 bytes.
    pub fn with_subjects<F, A, E>(
        engine: Engine,
        issuer: &str,
        client_id: &str,
        keys: Keys,
        find_subject: F,
    ) -> Result<Self, Error>
    where
        F: Fn(String) -> A + Send + Sync + 'static,
        A: Future<Output = Result<Option<Subject>, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        if engine.store().token_capabilities().subjects.is_none() {
            return Err(Error::new(
                ErrorKind::Misconfigured,
                "a logout from the identity provider needs a store that lists the sessions of a \
                 subject: keep them on the server",
            ));
        }
        ProviderSession::new(issuer, "")?;
        Ok(Self {
            shared: Arc::new(Shared {
                engine,
                issuer: issuer.to_owned(),
                client_id: client_id.to_owned(),
                keys,
                seen: Seen::default(),
                find_subject: Box::new(move |sub| {
                    let found = find_subject(sub);
                    Box::pin(async move { found.await.map_err(Into::into) })
                }),
                refusals: EventLimit::default(),
                failures: EventLimit::default(),
            }),
        })
    }

    /// Ties a login to the session of the provider that it came from: `sid` of its ID token.
    /// Call it in the handler that logs in, after [`set_subject`](Session::set_subject). It is
    /// written with the session, which costs two calls to the store more.
    ///
    /// # Errors
    /// As [`Session::set_provider_session`], and [`ErrorKind::TooLarge`] where `sid` is over 256
    /// bytes.
    pub fn tie(&self, session: &Session, sid: &str) -> Result<(), Error> {
        session.set_provider_session(ProviderSession::new(&self.shared.issuer, sid)?)
    }

    /// Reads what a provider has sent by a POST, ends the sessions that it means, and says what
    /// to answer. `content_type` is the request's header, as it came.
    ///
    /// A form (`application/x-www-form-urlencoded`) holds a `logout_token` of OpenID Connect;
    /// a body of the type `application/secevent+jwt` is a security event of CAEP.
    pub async fn receive(&self, content_type: Option<&str>, body: &[u8]) -> Answer {
        let content_type = content_type.unwrap_or_default();
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        let kind = match essence.eq_ignore_ascii_case("application/secevent+jwt") {
            true => Kind::Event,
            false => Kind::Logout,
        };
        let body = match std::str::from_utf8(body) {
            Ok(body) if body.len() <= BODY_BYTES_MAX => body.trim(),
            _ => return self.answer(kind, Err(Refused::invalid("the request is too long"))),
        };
        let token = match kind {
            Kind::Event => Some(body.to_owned()),
            Kind::Logout => logout_token(body),
        };
        let outcome = match token {
            Some(token) => self.carry_out(&token, kind).await,
            None => Err(Refused::invalid(
                "the request has no logout_token, or several",
            )),
        };
        self.answer(kind, outcome)
    }

    fn answer(&self, kind: Kind, outcome: Result<usize, Refused>) -> Answer {
        self.shared.tell(&outcome);
        Answer::of(kind, outcome)
    }

    async fn carry_out(&self, token: &str, kind: Kind) -> Result<usize, Refused> {
        let shared = &*self.shared;
        let now = shared.engine.now();
        let to_whom = (shared.issuer.as_str(), shared.client_id.as_str());
        let named = token::read(token, kind, to_whom, &shared.keys, now).await?;
        if shared.seen.has(&named.jti) {
            return Err(Refused::invalid("it was carried out before"));
        }
        let ended = shared.end(&named).await;
        let ended = ended.map_err(|why| Refused::failed("the sessions could not be ended", why))?;
        // Afterwards, so that a provider may send again what could not be carried out. Of two
        // at the same time the second finds nothing to end.
        shared.seen.note(named.jti, now);
        Ok(ended)
    }
}

impl Shared {
    fn tell(&self, outcome: &Result<usize, Refused>) {
        let provider = self.issuer.as_str();
        let now = self.engine.now();
        match outcome {
            Ok(ended) => tracing::info!(
                event = "provider_logout",
                provider,
                ended,
                "the identity provider has logged somebody out"
            ),
            Err(refused) => match &refused.failure {
                Some(error) => {
                    if let Some(unlogged) = self.failures.log_at(now) {
                        tracing::error!(
                            event = "provider_logout_failed",
                            provider,
                            why = refused.description,
                            %error,
                            unlogged,
                            "a logout from the identity provider could not be carried out"
                        );
                    }
                }
                None => {
                    if let Some(unlogged) = self.refusals.log_at(now) {
                        tracing::warn!(
                            event = "provider_logout_refused",
                            provider,
                            why = refused.description,
                            unlogged,
                            "what came as a logout from the identity provider was refused"
                        );
                    }
                }
            },
        }
    }

    async fn end(&self, named: &Named) -> Result<usize, BoxError> {
        let subject = match (&named.sid, &named.sub) {
            (Some(sid), _) => {
                // No session is tied to a name that is too long.
                let Ok(of) = ProviderSession::new(&self.issuer, sid) else {
                    return Ok(0);
                };
                return Ok(self.engine.end_provider_session(&of).await?);
            }
            (None, Some(sub)) => (self.find_subject)(sub.clone()).await?,
            (None, None) => None,
        };
        let Some(subject) = subject else {
            return Ok(0);
        };
        let note = Label::new(self.issuer.as_str()).ok();
        Ok(self.engine.end_provider_subject(&subject, note).await?)
    }
}

/// The one `logout_token` of a form.
fn logout_token(form: &str) -> Option<String> {
    let fields = form.split('&').filter_map(|field| field.split_once('='));
    let mut tokens = fields.filter(|(name, _)| *name == "logout_token");
    let (_, token) = tokens.next()?;
    let is_the_only_one = tokens.next().is_none();
    let token = percent_decode_str(token).decode_utf8().ok()?;
    is_the_only_one.then(|| token.into_owned())
}

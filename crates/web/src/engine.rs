//! The engine: everything one application's sessions have in common.

use std::sync::Arc;
use std::time::Duration;

use cloakroom_core::engine::{AnyStore, Entropy, OsEntropy, TOKEN_BYTES_MAX, Token, TokenStore};
use cloakroom_core::session::Limits;
use cloakroom_core::store::{FRAME_BYTES_CEILING, Record, SubjectDigest};
use cloakroom_core::{Clock, Error, ErrorKind, Expiry, Site, Subject, SystemClock, Timestamp};

use crate::adopt::Sources;
use crate::device::{DeviceBinding, Devices};
use crate::ends::{CHECK_EVERY_MIN, Ends};
use crate::events::Events;
use crate::queue::Queue;
use crate::shared::Shared;
use crate::{BearerPolicy, CookiePolicy, Exchange, FormerSessions, Transport};

/// One application's sessions: a store, a cookie policy, lifetimes and limits.
/// Cheap to clone; all clones are the one engine.
///
/// A framework adapter asks it for an [`Exchange`] for each request. The
/// defaults are right for a site on https:
///
/// ```
/// use cloakroom_core::Expiry;
/// use cloakroom_core::store::SessionStore;
/// use cloakroom_web::Engine;
///
/// fn engine(store: impl SessionStore) -> Result<Engine, cloakroom_core::Error> {
///     Engine::builder(store).expiry(Expiry::aal2()).build()
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Engine {
    shared: Arc<Shared>,
}

impl Engine {
    /// An engine with the defaults over a store.
    #[must_use]
    pub fn new<T: TokenStore>(store: T) -> Self {
        Self::builder(store).assemble()
    }

    /// Builds an engine that differs from the defaults.
    #[must_use]
    pub fn builder<T: TokenStore>(store: T) -> EngineBuilder {
        let store = AnyStore::new(store);
        EngineBuilder {
            site: None,
            device_binding: None,
            shared: Shared {
                events: Events::of(&store),
                store,
                transport: Transport::Cookie(CookiePolicy::default()),
                sources: Sources::default(),
                devices: None,
                site: Site::default(),
                token_bytes_max: TOKEN_BYTES_MAX,
                expiry: Expiry::default(),
                limits: Limits::default(),
                touch_share_percent: 10,
                rotation_mark: Duration::from_secs(60),
                renew_key_after: None,
                no_store: false,
                conflict_deadline: Duration::from_secs(2),
                strict_reads: false,
                drop_late_changes: false,
                sessions_per_subject_max: None,
                clock: Arc::new(SystemClock),
                entropy: Arc::new(OsEntropy),
                has_own_entropy: false,
                queue: Queue::default(),
                ends: Arc::default(),
            },
        }
    }

    /// One request and its response. Costs one allocation and no I/O.
    #[must_use]
    pub fn exchange(&self) -> Exchange {
        Exchange::new(self.shared.clone())
    }

    /// A token of this engine's site, by its text: what
    /// [`Exchange::open_token`] opens, and the store's
    /// [`digest_of`](TokenStore::digest_of) names.
    pub fn token(&self, text: impl Into<String>) -> Token {
        Token::new(text).of_site(&self.shared.site)
    }

    /// The name under which the store lists a subject of this engine's site.
    #[must_use]
    pub fn subject_digest(&self, subject: &Subject) -> SubjectDigest {
        SubjectDigest::new(&self.shared.site, subject)
    }

    /// The store, for a page or a command that looks into it.
    #[must_use]
    pub fn store(&self) -> &AnyStore {
        &self.shared.store
    }

    /// The present by this engine's clock, for what compares it with what is stored.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// Whether a record that a [scan](cloakroom_core::store::Scan) has found is a session of
    /// this engine's site that would open now.
    #[must_use]
    pub fn is_live(&self, record: &Record) -> bool {
        let engine = &self.shared;
        record.site == engine.site && !engine.expiry.is_expired(record, engine.clock.now())
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(crate) fn is(&self, shared: &Arc<Shared>) -> bool {
        Arc::ptr_eq(&self.shared, shared)
    }

    /// How the token travels.
    #[must_use]
    pub fn transport(&self) -> &Transport {
        &self.shared.transport
    }
}

/// An upper bound of the bytes that a record's header takes in a frame.
const HEADER_BYTES: usize = 4 * 1024;

/// Builds an [`Engine`].
#[derive(Debug)]
pub struct EngineBuilder {
    /// `None` for the default, which follows from the transport.
    site: Option<Site>,
    device_binding: Option<Arc<dyn DeviceBinding>>,
    shared: Shared,
}

impl EngineBuilder {
    /// How the cookie is named, set and removed. Default:
    /// [`CookiePolicy::default`].
    #[must_use]
    pub fn cookie(mut self, cookie: CookiePolicy) -> Self {
        self.shared.transport = Transport::Cookie(cookie);
        self
    }

    /// Lets the token travel in headers instead of a cookie.
    #[must_use]
    pub fn bearer(mut self, bearer: BearerPolicy) -> Self {
        self.shared.transport = Transport::Bearer(bearer);
        self
    }

    /// The site of this engine's sessions. Engines of different sites may share a store:
    /// nothing of one site opens, is listed, or ends in another. Default: the full name of
    /// the cookie, or `bearer`; two applications that use one cookie name over one store
    /// need sites of their own.
    ///
    /// The site enters the digest of every key, so another site is a new start for all
    /// visitors.
    #[must_use]
    pub fn site(mut self, site: Site) -> Self {
        self.site = Some(site);
        self
    }

    /// Bytes of the longest token that is looked at; a longer one is refused
    /// unread. Default [`TOKEN_BYTES_MAX`].
    #[must_use]
    pub fn token_bytes_max(mut self, bytes: usize) -> Self {
        self.shared.token_bytes_max = bytes;
        self
    }

    /// How long sessions live. Default: [`Expiry::default`].
    #[must_use]
    pub fn expiry(mut self, expiry: Expiry) -> Self {
        self.shared.expiry = expiry;
        self
    }

    /// What one session may hold. Default: [`Limits::default`].
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.shared.limits = limits;
        self
    }

    /// A read moves the deadline once this share of the idle time has passed,
    /// in percent: 0 writes on every read, 100 never before the end. Default
    /// 10.
    #[must_use]
    pub fn touch_share_percent(mut self, percent: u8) -> Self {
        self.shared.touch_share_percent = percent;
        self
    }

    /// How long a rotation mark spares parallel requests that still carry the old
    /// cookie. Default 60 s.
    #[must_use]
    pub fn rotation_mark(mut self, duration: Duration) -> Self {
        self.shared.rotation_mark = duration;
        self
    }

    /// Moves a session that goes on for long to a new key: the first use after each such
    /// time, counted from the login, does it, so that a copied key opens nothing for longer
    /// than this after its owner's last use of it. It costs one write each time.
    ///
    /// A visitor whose answer is lost in just this moment must log in again, and a request
    /// that is sent between the renewal and the arrival of its answer finds no session: take
    /// hours rather than minutes. Default: never; a login always gives a new key.
    #[must_use]
    pub fn renew_key_after(mut self, duration: Duration) -> Self {
        self.shared.renew_key_after = Some(duration);
        self
    }

    /// Answers that depend on the session say `Cache-Control: no-store` where the handler
    /// says nothing, instead of `private`: not even the visitor's browser keeps them.
    /// Default off: pages behind the Back button are then loaded again in most browsers.
    #[must_use]
    pub fn no_store(mut self, no_store: bool) -> Self {
        self.shared.no_store = no_store;
        self
    }

    /// How long a save is tried again where other processes keep changing the
    /// same session. Default 2 s.
    #[must_use]
    pub fn conflict_deadline(mut self, duration: Duration) -> Self {
        self.shared.conflict_deadline = duration;
        self
    }

    /// How often the store is asked for each session whose
    /// [end](cloakroom_core::session::Session::ended) somebody waits for, where the store does
    /// not announce ends by itself, as Redis and PostgreSQL do, or its channel is broken. An
    /// end on another node, and with every store a deadline, is noticed within this time, and
    /// the time that the loads take. Default 5 s: 10,000 sockets are 2,000 loads a second. What
    /// is longer than [`rotation_mark`](Self::rotation_mark) counts as that: a session that
    /// moves to another key is followed by its mark.
    #[must_use]
    pub fn check_ended_every(mut self, duration: Duration) -> Self {
        self.shared.ends = Arc::new(Ends::checked_every(duration));
        self
    }

    /// Answers 409 where a request read a value and then set it while another
    /// request changed it, instead of an event in the log. Judged when the
    /// change is replayed: a value read before an early `save` is not compared
    /// after it. Default off.
    #[must_use]
    pub fn strict_reads(mut self, strict: bool) -> Self {
        self.shared.strict_reads = strict;
        self
    }

    /// Sends the handler's response where the session was ended or moved meanwhile and
    /// this request's changes have nowhere to go, instead of answering 409; the event is
    /// the same. For a site whose background requests write what may be lost. Default
    /// off.
    #[must_use]
    pub fn drop_late_changes(mut self, drop: bool) -> Self {
        self.shared.drop_late_changes = drop;
        self
    }

    /// How many sessions one subject may have at once: a login beyond that ends,
    /// right after it was written, those of the earlier ones that went unused
    /// longest, 16 of them at most. It costs a login one more call to the store for each
    /// page of 256 sessions, of one page more than the limit at most, and one for each
    /// that it ends. Where the store fails between, the login stands, with an event, and
    /// the next one goes on. It looks at so many sessions only, those included that have
    /// expired and that nobody has swept: let something sweep.
    ///
    /// Default: any number, whichever the store. Nobody waits longer because a subject has
    /// many sessions, which are listed in pages and ended in steps; and only the
    /// application knows whether a subject is a person or a program that logs in each
    /// minute.
    #[must_use]
    pub fn sessions_per_subject_max(mut self, sessions: usize) -> Self {
        self.shared.sessions_per_subject_max = Some(sessions);
        self
    }

    /// Adopts the sessions of another library, so that nobody is logged out by the move to
    /// this one. May be called for several sources; the first whose cookie a request brings
    /// is tried first.
    ///
    /// A request that brings a former cookie, and no token of this engine that opens a
    /// session, opens the former session: it is created in this engine's store, its record
    /// is deleted where it lay, and the answer hands out this engine's cookie and removes
    /// the former one. A crash at any point leaves the visitor logged in. Requests at once
    /// adopt once, and a session that was ended does not come back. Requests without a
    /// former cookie cost nothing more.
    ///
    /// - Where the source or the store does not answer, the request fails as by a store that
    ///   is down, and the visitor keeps the former cookie.
    /// - A former session that has ended or expired is a fresh visitor, and the next page
    ///   removes its cookie. Where the cookie's signature does not verify, or its record
    ///   cannot be read, the cookie stays: it may be the configuration that is wrong. An
    ///   event, one a minute at most, says why.
    /// - The former cookie opens the session until the visitor comes back with this engine's
    ///   own, and that at least [`rotation_mark`](Self::rotation_mark) after the adoption.
    ///   Until then the session has an entry of the name `cloakroom.adopted`; where a handler
    ///   clears the session meanwhile, the former cookie goes on opening it.
    /// - A server that is killed at the wrong moment may leave a session that nobody holds a
    ///   key to: it stands in the list of its user until it expires.
    /// - The absolute lifetime counts from the adoption.
    /// - A logout ends the former session too, where its cookie came with the request.
    ///   [`Engine::end_sessions_of`] and the pages of a user's sessions know only sessions
    ///   that were adopted already.
    /// - Requests that run while the former site still does may adopt a session that is
    ///   logged out there in the same moment: stop that site first.
    ///
    /// Take the source out when the last former session has expired.
    #[must_use]
    pub fn adopt(mut self, source: impl FormerSessions) -> Self {
        self.shared.sources.push(source);
        self
    }

    /// Ties the sessions of whoever is logged in to their device, where the browser can do it,
    /// so that a copied cookie is worthless within minutes. Give it that of the
    /// `cloakroom-dbsc` crate, whose page says what it protects, and mount the adapter's
    /// endpoint at its path.
    ///
    /// A login costs nothing more; a session that was logged in before costs one write, once.
    /// Where it cannot be written, that is an event, and the request goes on. No other request
    /// costs more I/O. Default: none.
    #[must_use]
    pub fn device_bound(mut self, binding: impl DeviceBinding) -> Self {
        self.device_binding = Some(Arc::new(binding));
        self
    }

    /// Names the subject in the events of its sessions, as the field `subject`, as it is: for
    /// whom the law or an auditor asks who logged in, and when. It may be personal data, which
    /// the log then holds. Default off.
    #[must_use]
    pub fn subjects_in_events(mut self, named: bool) -> Self {
        self.shared.events.names_subjects = named;
        self
    }

    /// Where the time comes from. Default: the system's clock.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.shared.clock = clock;
        self
    }

    /// Where keys come from. Default: the operating system.
    #[must_use]
    pub fn entropy(mut self, entropy: Arc<dyn Entropy>) -> Self {
        self.shared.entropy = entropy;
        self.shared.has_own_entropy = true;
        self
    }

    /// Checks the choices against each other.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`], saying which one cannot work.
    pub fn build(mut self) -> Result<Engine, Error> {
        let refuse = |why: &'static str| Err(Error::new(ErrorKind::Misconfigured, why));
        if self.shared.touch_share_percent > 100 {
            return refuse("touch_share_percent is 100 at most");
        }
        if self.shared.rotation_mark.is_zero() {
            return refuse("rotation_mark must outlast the requests that run in parallel");
        }
        if self.shared.ends.check_every < CHECK_EVERY_MIN {
            return refuse("check_ended_every is 10 ms at least");
        }
        // Where a session has moved to is known for no longer.
        let check_every = self.shared.ends.check_every.min(self.shared.rotation_mark);
        self.shared.ends = Arc::new(Ends::checked_every(check_every));
        if let Some(after) = self.shared.renew_key_after {
            if after < self.shared.rotation_mark {
                return refuse("renew_key_after is at least as long as rotation_mark");
            }
            let capabilities = self.shared.store.token_capabilities();
            if capabilities.client_side.is_some() {
                return refuse(
                    "renew_key_after needs a store on the server: in a cookie store the token \
                     before would open as well",
                );
            }
        }
        if self.shared.limits.record_bytes_max > FRAME_BYTES_CEILING - HEADER_BYTES {
            return refuse("record_bytes_max leaves no room in a frame: 16 MiB less 4 KiB at most");
        }
        if self.shared.limits.record_bytes_max == 0 || self.shared.limits.entries_max == 0 {
            return refuse("a session must be allowed one entry and one byte at least");
        }
        self.shared.transport.check_formers(self.site.is_some())?;
        if let Some(binding) = &self.device_binding {
            Devices::new(binding.clone(), &self.shared.transport).check(&self.shared.transport)?;
        }
        let Shared {
            sources,
            store,
            transport,
            ..
        } = &mut self.shared;
        sources.check(transport, store)?;
        let site = self.site.clone();
        sources.of_site(&site.unwrap_or_else(|| transport.default_site()))?;
        if let Some(max) = self.shared.sessions_per_subject_max {
            if max == 0 {
                return refuse("sessions_per_subject_max is one at least: the login itself");
            }
            if self.shared.subjects().is_err() {
                return refuse("sessions_per_subject_max needs a store that lists by subject");
            }
        }
        Ok(self.assemble())
    }

    fn assemble(mut self) -> Engine {
        let devices = self.device_binding.take();
        self.shared.devices = devices.map(|binding| Devices::new(binding, &self.shared.transport));
        self.shared.site = self
            .site
            .take()
            .unwrap_or_else(|| self.shared.transport.default_site());
        if let Transport::Cookie(cookie) = &self.shared.transport
            && !cookie.is_secure()
        {
            tracing::warn!(
                event = "cookie_over_http",
                cookie = cookie.name(),
                "the session cookie travels over plain http: for development on this machine only"
            );
        }
        Engine {
            shared: Arc::new(self.shared),
        }
    }
}

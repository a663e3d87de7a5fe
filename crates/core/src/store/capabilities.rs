//! What a store can do beyond keeping records.

use std::fmt;
use std::time::Duration;

use crate::store::{BoxFuture, KeyDigest, NearCache, Revision, Scan, Stored, Subjects};
use crate::{Error, ErrorKind, Timestamp};

/// What a store can do beyond keeping records; `None` is "cannot".
///
/// It is one value, so that a store made of another store passes on one thing, and
/// forgets no capability that is added later.
///
/// ```
/// use cloakroom_core::Error;
/// use cloakroom_core::engine::{AnyStore, TokenStore};
/// use cloakroom_core::store::{Listed, SubjectDigest};
///
/// async fn devices(store: &AnyStore, user: &SubjectDigest) -> Result<Vec<Listed>, Error> {
///     match store.token_capabilities().subjects {
///         Some(subjects) => subjects.sessions_of(user, 1_000).await,
///         None => Ok(Vec::new()), // a cookie store keeps no list
///     }
/// }
/// ```
#[derive(Clone, Copy, Default)]
#[non_exhaustive]
pub struct Capabilities<'a> {
    /// What events and metrics call the store: one lower-case word. A store made of another
    /// passes on that one's; empty where a store has said none.
    pub name: &'static str,
    /// Removing expired records. A store that forgets them by itself needs
    /// none.
    pub sweep: Option<&'a dyn Sweep>,
    /// Listing and ending the sessions of a user.
    pub subjects: Option<&'a dyn Subjects>,
    /// Reading all that the store holds.
    pub scan: Option<&'a dyn Scan>,
    /// Taking over what another store held.
    pub import: Option<&'a dyn Import>,
    /// Telling near caches on other nodes what has changed.
    pub invalidations: Option<&'a dyn Invalidations>,
    /// Letting go of what the store holds open.
    pub close: Option<&'a dyn Close>,
    /// Saying how the near cache does that stands in front; of several, the outermost.
    pub near_cache: Option<&'a dyn NearCache>,
    /// How long a load may go on answering what was ended or changed on another node: the
    /// bound of a near cache, and zero without one.
    pub staleness_max: Duration,
    /// Where the sessions lie with the clients, what that means for their end; `None` for a
    /// store on the server, where an ended session opens no more.
    pub client_side: Option<ClientSide>,
}

/// What can be done about sessions that lie with the clients. Their tokens open until the
/// deadline that is sealed into them, unless something on the server says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientSide {
    /// Whether all sessions of a subject can be ended at once, by
    /// [`end_sessions_of`](crate::engine::TokenStore::end_sessions_of).
    pub ends_by_subject: bool,
    /// Whether a logout, and a login of the same subject again, does that: copies of the
    /// token open nothing afterwards.
    pub ends_at_logout: bool,
    /// Whether whoever holds a token can read the session in it.
    pub is_readable: bool,
}

impl ClientSide {
    /// Of sealed sessions that nothing ends before their deadline.
    #[must_use]
    pub fn sealed() -> Self {
        Self::default()
    }

    /// With an end of all sessions of a subject, and whether a logout is one.
    #[must_use]
    pub fn ending_by_subject(mut self, at_logout: bool) -> Self {
        self.ends_by_subject = true;
        self.ends_at_logout = at_logout;
        self
    }

    /// With data that whoever holds a token can read.
    #[must_use]
    pub fn readable(mut self) -> Self {
        self.is_readable = true;
        self
    }
}

impl Capabilities<'_> {
    /// None of them.
    pub const NONE: Self = Self {
        name: "",
        sweep: None,
        subjects: None,
        scan: None,
        import: None,
        invalidations: None,
        close: None,
        near_cache: None,
        staleness_max: Duration::ZERO,
        client_side: None,
    };
}

impl<'a> Capabilities<'a> {
    /// With the name of the store.
    #[must_use]
    pub fn named(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// With a sweep.
    #[must_use]
    pub fn with_sweep(mut self, sweep: &'a dyn Sweep) -> Self {
        self.sweep = Some(sweep);
        self
    }

    /// With lists by subject.
    #[must_use]
    pub fn with_subjects(mut self, subjects: &'a dyn Subjects) -> Self {
        self.subjects = Some(subjects);
        self
    }

    /// The lists by subject, where the caller can do nothing without them.
    ///
    /// # Errors
    /// [`Misconfigured`](crate::ErrorKind::Misconfigured) where the store keeps none.
    pub fn required_subjects(&self) -> Result<&'a dyn Subjects, Error> {
        self.subjects.ok_or_else(|| {
            Error::new(
                ErrorKind::Misconfigured,
                "this store keeps no list of a user's sessions: keep the sessions in a store \
                 on the server",
            )
        })
    }

    /// With a scan.
    #[must_use]
    pub fn with_scan(mut self, scan: &'a dyn Scan) -> Self {
        self.scan = Some(scan);
        self
    }

    /// With an import.
    #[must_use]
    pub fn with_import(mut self, import: &'a dyn Import) -> Self {
        self.import = Some(import);
        self
    }

    /// With invalidations.
    #[must_use]
    pub fn with_invalidations(mut self, invalidations: &'a dyn Invalidations) -> Self {
        self.invalidations = Some(invalidations);
        self
    }

    /// With a way to close it.
    #[must_use]
    pub fn with_close(mut self, close: &'a dyn Close) -> Self {
        self.close = Some(close);
        self
    }

    /// With a near cache in front.
    #[must_use]
    pub fn with_near_cache(mut self, near_cache: &'a dyn NearCache) -> Self {
        self.near_cache = Some(near_cache);
        self
    }

    /// With a bound on how old an answer may be.
    #[must_use]
    pub fn with_staleness_max(mut self, staleness_max: Duration) -> Self {
        self.staleness_max = staleness_max;
        self
    }

    /// With sessions that lie with the clients.
    #[must_use]
    pub fn with_client_side(mut self, client_side: ClientSide) -> Self {
        self.client_side = Some(client_side);
        self
    }

    /// Whether all sessions of a subject can be ended.
    #[must_use]
    pub fn ends_by_subject(&self) -> bool {
        self.subjects.is_some() || self.client_side.is_some_and(|side| side.ends_by_subject)
    }
}

impl fmt::Debug for Capabilities<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Capabilities")
            .field("name", &self.name)
            .field("sweep", &self.sweep.is_some())
            .field("subjects", &self.subjects.is_some())
            .field("scan", &self.scan.is_some())
            .field("import", &self.import.is_some())
            .field("invalidations", &self.invalidations.is_some())
            .field("close", &self.close.is_some())
            .field("near_cache", &self.near_cache.is_some())
            .field("staleness_max", &self.staleness_max)
            .field("client_side", &self.client_side)
            .finish()
    }
}

/// Removes what has expired, in bounded steps that let others work.
pub trait Sweep: Send + Sync {
    /// Removes at most `max` records, rotation marks and tombstones whose deadline is at or
    /// before `now`. A record and a mark leave a tombstone ([`Stored::swept`]) in a store that
    /// keeps any.
    ///
    /// The deadline is judged again in the same step as the removal, so that a
    /// session touched meanwhile survives. One unreadable record does not stop
    /// the others from being swept.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) where the store does not
    /// answer; what was removed until then stays removed.
    fn sweep(&self, now: Timestamp, max: usize) -> BoxFuture<'_, Result<Swept, Error>>;

    /// The present moment by a clock of the store's own, as a database server on another
    /// machine has one; `None` where it has none. Whoever sweeps by a clock that is wrong
    /// can tell by it.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) where the store does not answer.
    fn own_time(&self) -> BoxFuture<'_, Result<Option<Timestamp>, Error>> {
        Box::pin(std::future::ready(Ok(None)))
    }
}

/// What one step of a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Swept {
    /// How many records, marks and tombstones were removed.
    pub removed: usize,
    /// Whether the step stopped at its limit, and more may be waiting.
    pub more: bool,
}

impl Swept {
    /// So many were removed, and whether more may be waiting.
    #[must_use]
    pub fn new(removed: usize, more: bool) -> Self {
        Self { removed, more }
    }
}

/// Takes over what another store held.
pub trait Import: Send + Sync {
    /// Puts a record, a mark or a tombstone at a digest as it is, its revision included, where
    /// nothing stands; `false` where something does, and then nothing is changed: a session
    /// that has ended here does not come back.
    /// It is as durable as a `create`, and listed under its subject.
    ///
    /// # Errors
    /// As [`SessionStore::create`](crate::store::SessionStore::create), but for
    /// `Exists`.
    fn import<'a>(
        &'a self,
        digest: &'a KeyDigest,
        stored: &'a Stored,
    ) -> BoxFuture<'a, Result<bool, Error>>;
}

/// Announces what other nodes have changed: to near caches, and to those who wait for the
/// end of a session.
///
/// Whoever writes announces: each `rotate`, `end` and `end_sessions`, and each `update` where
/// [`announced`](Self::announced) says so, that any node makes through a store of the same
/// kind reaches every listener at least once, or the listener fails. A touch is not
/// announced, since it ends nothing; nor is a sweep, since the engine judges deadlines.
pub trait Invalidations: Send + Sync {
    /// What reaches a listener.
    fn announced(&self) -> Announced {
        Announced::Writes
    }

    /// Begins to listen: every write made after this call is answered is announced to
    /// the listener.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) where the channel cannot be opened.
    fn listen(&self) -> BoxFuture<'_, Result<Box<dyn Listener>, Error>>;
}

/// Which writes a store announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Announced {
    /// Those after which a session opens no more at its key: it has ended, or moved. That is
    /// enough for whoever waits for its end, and too little for a near cache.
    Ends,
    /// Each update too.
    Writes,
}

/// One listener's end of the channel.
pub trait Listener: Send {
    /// Waits for the next one. Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) where the channel is broken and
    /// some may have been missed; the listener is then of no more use.
    fn next(&mut self) -> BoxFuture<'_, Result<Invalidation, Error>>;
}

/// That a cached record at an older revision than this is out of date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalidation {
    /// Which session.
    pub digest: KeyDigest,
    /// The revision that stands there now; [`Revision::LAST`] where the session
    /// was ended or has moved.
    pub revision: Revision,
}

/// Lets go of what a store holds open: the lock of a file, connections. A store that holds
/// nothing which keeps another from opening it has nothing to close.
pub trait Close: Send + Sync {
    /// Closes the store, for all its clones: writes that were begun are done first. Once
    /// this is answered the store can be opened again, in this process too. Each later call
    /// is [`Unavailable`](crate::ErrorKind::Unavailable), but closing it again is success.
    ///
    /// The store is closed also where the future is dropped.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) where the store may still be open, or
    /// something that may lag, a touch, may not have been kept.
    fn close(&self) -> BoxFuture<'_, Result<(), Error>>;
}

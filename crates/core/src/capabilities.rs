//! What a store can do beyond keeping records.

use std::fmt;

use crate::{BoxFuture, Error, ErrorKind, KeyDigest, Record, Revision, Slot, Subject, Timestamp};

/// What a store can do beyond keeping records; `None` is "cannot".
///
/// ```
/// use cloakroom_core::{AnyStore, Error, Listed, Subject, TokenStore};
///
/// async fn devices(store: &AnyStore, user: &Subject) -> Result<Vec<Listed>, Error> {
///     match store.token_capabilities().subjects {
///         Some(subjects) => subjects.sessions_of(user).await,
///         None => Ok(Vec::new()), // a cookie store keeps no list
///     }
/// }
/// ```
#[derive(Clone, Copy, Default)]
#[non_exhaustive]
pub struct Capabilities<'a> {
    /// Removing expired records. A store that forgets them by itself needs
    /// none.
    pub sweep: Option<&'a dyn Sweep>,
    /// Listing and ending the sessions of a user.
    pub subjects: Option<&'a dyn Subjects>,
    /// Walking over all that the store holds.
    pub scan: Option<&'a dyn Scan>,
    /// Taking over what another store held.
    pub import: Option<&'a dyn Import>,
    /// Telling near caches on other nodes what has changed.
    pub invalidations: Option<&'a dyn Invalidations>,
}

impl Capabilities<'_> {
    /// None of them.
    pub const NONE: Self = Self {
        sweep: None,
        subjects: None,
        scan: None,
        import: None,
        invalidations: None,
    };
}

impl<'a> Capabilities<'a> {
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
}

impl fmt::Debug for Capabilities<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Capabilities")
            .field("sweep", &self.sweep.is_some())
            .field("subjects", &self.subjects.is_some())
            .field("scan", &self.scan.is_some())
            .field("import", &self.import.is_some())
            .field("invalidations", &self.invalidations.is_some())
            .finish()
    }
}

/// Removes what has expired, in bounded steps that let others work.
pub trait Sweep: Send + Sync {
    /// Removes at most `max` records and rotation marks whose deadline is at or
    /// before `now`.
    ///
    /// The deadline is judged again in the same step as the removal, so that a
    /// session touched meanwhile survives. One unreadable record does not stop
    /// the others from being swept.
    ///
    /// # Errors
    /// [`Unavailable`](ErrorKind::Unavailable) where the store does not
    /// answer; what was removed until then stays removed.
    fn sweep(&self, now: Timestamp, max: usize) -> BoxFuture<'_, Result<Swept, Error>>;
}

/// What one step of a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// How many records and marks were removed.
    pub removed: usize,
    /// Whether the step stopped at its limit, and more may be waiting.
    pub more: bool,
}

/// Lists the sessions of a user, and ends them.
///
/// A record that stands is listed under its subject from before the write that
/// put it there is answered, and under nothing else. Where a store keeps an index
/// apart, an entry without its record is harmless: it is passed over, and a sweep
/// takes it.
pub trait Subjects: Send + Sync {
    /// The records of a subject, without their data, in no order. An expired one
    /// may be among them; one that cannot be read is not.
    ///
    /// # Errors
    /// [`Unavailable`](ErrorKind::Unavailable) where the store does not answer.
    fn sessions_of<'a>(&'a self, subject: &'a Subject)
    -> BoxFuture<'a, Result<Vec<Listed>, Error>>;

    /// Ends sessions of a subject, and no one else's, whatever digest it is told;
    /// answers the digests of those it ended.
    ///
    /// Every session of the subject that stood when the call began and was meant
    /// is ended when it is answered, also one that a rotation moves meanwhile, and
    /// one that cannot be read. A session that begins meanwhile may survive.
    /// Rotation marks stay.
    ///
    /// # Errors
    /// [`Unavailable`](ErrorKind::Unavailable) where some of them may still stand.
    fn revoke<'a>(
        &'a self,
        subject: &'a Subject,
        which: Revoke,
    ) -> BoxFuture<'a, Result<Vec<KeyDigest>, Error>>;
}

/// A session in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Where it stands. It opens nothing, and may be shown to its owner.
    pub digest: KeyDigest,
    /// Its header: beginning, last use, deadlines, label. The data is left out.
    pub record: Record,
}

/// Which sessions of a subject to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revoke {
    /// All of them.
    All,
    /// All but the one at this digest: "log out everywhere else". Where that one
    /// has been rotated meanwhile, where it has moved is spared as well.
    AllBut(KeyDigest),
    /// The one at this digest.
    One(KeyDigest),
}

/// Walks over all that a store holds, in pages.
///
/// What stands from the first page to the last is returned once at least. What is
/// written, moved or removed meanwhile may be returned or not, and more than once.
pub trait Scan: Send + Sync {
    /// The next page: some `max` items, fewer or none where the store prefers
    /// that. The scan is over where there is no next cursor.
    ///
    /// # Errors
    /// [`Mismatch`](ErrorKind::Mismatch) for a cursor of another kind of store,
    /// [`Unavailable`](ErrorKind::Unavailable) where the store does not answer;
    /// the same cursor may then be tried again.
    fn scan<'a>(
        &'a self,
        from: Option<&'a ScanCursor>,
        max: usize,
    ) -> BoxFuture<'a, Result<ScanPage, Error>>;
}

/// Where a scan goes on: a text that outlives the process, and has a meaning for
/// its own kind of store alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanCursor(String);

impl ScanCursor {
    /// From its text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Of a store that scans in the order of digests: after this one.
    #[must_use]
    pub fn after(digest: &KeyDigest) -> Self {
        Self(digest.to_hex())
    }

    /// The digest that [`after`](Self::after) was given.
    ///
    /// # Errors
    /// [`Mismatch`](ErrorKind::Mismatch) where it is none.
    pub fn digest(&self) -> Result<KeyDigest, Error> {
        KeyDigest::from_hex(&self.0)
            .ok_or_else(|| Error::new(ErrorKind::Mismatch, "the cursor is of another store"))
    }
}

/// One page of a scan.
#[derive(Debug, Default)]
pub struct ScanPage {
    /// What was found.
    pub items: Vec<Scanned>,
    /// Where to go on; `None` at the end.
    pub next: Option<ScanCursor>,
}

/// What a scan found at a digest.
#[derive(Debug)]
pub struct Scanned {
    /// Where it stands.
    pub digest: KeyDigest,
    /// The record or mark; [`Corrupt`](ErrorKind::Corrupt) or
    /// [`Unsupported`](ErrorKind::Unsupported) where it cannot be read, and the
    /// scan goes on.
    pub slot: Result<Slot, Error>,
}

/// Takes over what another store held.
pub trait Import: Send + Sync {
    /// Puts a record or a mark at a digest as it is, its revision included, where
    /// nothing stands; `false` where something does, and then nothing is changed.
    /// It is as durable as a `create`, and listed under its subject.
    ///
    /// # Errors
    /// As [`SessionStore::create`](crate::SessionStore::create), but for
    /// `Exists`.
    fn import<'a>(
        &'a self,
        digest: &'a KeyDigest,
        slot: &'a Slot,
    ) -> BoxFuture<'a, Result<bool, Error>>;
}

/// Tells near caches what other nodes have changed.
///
/// Whoever writes tells: each `update`, `rotate`, `delete` and `revoke` that any
/// node makes through a store of the same kind is heard by every listener once at
/// least, or the listener fails. A touch is not told, since it takes nothing away;
/// nor is a sweep, since the engine judges deadlines.
pub trait Invalidations: Send + Sync {
    /// Begins to listen: what is written after this is answered is heard.
    ///
    /// # Errors
    /// [`Unavailable`](ErrorKind::Unavailable) where the channel cannot be opened.
    fn listen(&self) -> BoxFuture<'_, Result<Box<dyn Listener>, Error>>;
}

/// One listener's end of the channel.
pub trait Listener: Send {
    /// Waits for the next one. Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`Unavailable`](ErrorKind::Unavailable) where the channel is broken and
    /// some may have been missed; the listener is then of no more use.
    fn next(&mut self) -> BoxFuture<'_, Result<Invalidation, Error>>;
}

/// What is held of this digest at an older revision is out of date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalidation {
    /// Which session.
    pub digest: KeyDigest,
    /// The revision that stands there now; [`Revision::LAST`] where the session
    /// was ended or has moved.
    pub revision: Revision,
}

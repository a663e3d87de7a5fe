//! What a store can do beyond keeping records.

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;

use crate::store::{
    BoxFuture, Data, KeyDigest, LIST_PAGE_ITEMS_MAX, Record, Revision, SCAN_PAGE_BYTES_MAX,
    SCAN_PAGE_ITEMS_MAX, Stored, SubjectDigest,
};
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
}

impl Capabilities<'_> {
    /// None of them.
    pub const NONE: Self = Self {
        sweep: None,
        subjects: None,
        scan: None,
        import: None,
        invalidations: None,
        close: None,
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

    /// With a way to close it.
    #[must_use]
    pub fn with_close(mut self, close: &'a dyn Close) -> Self {
        self.close = Some(close);
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
            .field("close", &self.close.is_some())
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
#[non_exhaustive]
pub struct Swept {
    /// How many records and marks were removed.
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

/// Lists the sessions of a user, and ends them.
///
/// A record is listed under its subject, and under no other, by the time the write
/// that stored it is answered. Where a store keeps its index apart, an orphan (an entry
/// whose session is gone or changed owner) is harmless: lists skip it, and a sweep
/// removes it.
///
/// Nothing bounds the sessions of a subject: neither method may hold up others for longer
/// because a subject has many.
pub trait Subjects: Send + Sync {
    /// The next page of a subject's records, without their data, in no order: at most
    /// [`LIST_PAGE_ITEMS_MAX`](crate::store::LIST_PAGE_ITEMS_MAX), fewer or none where the
    /// store prefers that. The list is over where there is no next cursor. An expired
    /// record may be in it; one that cannot be read is not.
    ///
    /// What stands from the first page to the last is listed, and once where no session of
    /// the subject is written meanwhile. What moves from key to key while one page is read
    /// is listed too, in that page or a later one; what moves between two pages may be
    /// missed, as may what begins or ends.
    ///
    /// # Errors
    /// [`Mismatch`](ErrorKind::Mismatch) for a cursor of another kind of store,
    /// [`Unavailable`](ErrorKind::Unavailable) where the store does not answer; the same
    /// cursor may then be tried again.
    fn list_sessions<'a>(
        &'a self,
        subject: &'a SubjectDigest,
        from: Option<&'a ScanCursor>,
    ) -> BoxFuture<'a, Result<ListPage, Error>>;

    /// The records of a subject, each once: `max` of them, whichever the store comes to
    /// first. It reads page after page, and no more than `max` fill, but those of orphans
    /// and of records that cannot be read.
    ///
    /// # Errors
    /// As [`list_sessions`](Self::list_sessions).
    fn sessions_of<'a>(
        &'a self,
        subject: &'a SubjectDigest,
        max: usize,
    ) -> BoxFuture<'a, Result<Vec<Listed>, Error>> {
        Box::pin(async move {
            let (mut sessions, mut seen) = (Vec::new(), BTreeSet::new());
            let mut from = None;
            loop {
                let page = self.list_sessions(subject, from.as_ref()).await?;
                let fresh = page.sessions.into_iter();
                sessions.extend(fresh.filter(|listed| seen.insert(listed.digest)));
                from = page.next;
                if from.is_none() || sessions.len() >= max {
                    sessions.truncate(max);
                    return Ok(sessions);
                }
            }
        })
    }

    /// Ends sessions of a subject, and no one else's, whatever digest it is told;
    /// answers the digests of those it ended, so that a cache in front drops them.
    ///
    /// Every session of the subject that stood when the call began and was meant
    /// is ended when it is answered, also one that a rotation moves meanwhile, and
    /// one that cannot be read. A session that begins meanwhile may survive.
    /// Rotation marks stay.
    ///
    /// Many sessions are ended in bounded steps, between which others get their turn.
    /// Where the call fails or is dropped between two of them, what was ended stays ended,
    /// and another call goes on from there.
    ///
    /// # Errors
    /// [`Unavailable`](ErrorKind::Unavailable) where some of them may still stand.
    fn revoke<'a>(
        &'a self,
        subject: &'a SubjectDigest,
        which: Revoke,
    ) -> BoxFuture<'a, Result<Vec<KeyDigest>, Error>>;
}

/// One page of a subject's sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListPage {
    /// The sessions.
    pub sessions: Vec<Listed>,
    /// Where to go on; `None` at the end.
    pub next: Option<ScanCursor>,
}

impl ListPage {
    /// A page, and where to go on.
    #[must_use]
    pub fn new(sessions: Vec<Listed>, next: Option<ScanCursor>) -> Self {
        Self { sessions, next }
    }

    /// The next page of a store that reads the entries of its index in the order of
    /// digests, from the entries past the cursor: the digest of each, and the session that
    /// it leads to, if any.
    ///
    /// # Errors
    /// The first that `found` gives.
    pub fn fill<E>(
        found: impl IntoIterator<Item = Result<(KeyDigest, Option<Listed>), E>>,
    ) -> Result<Self, E> {
        let mut page = Self::default();
        for (entry, item) in found.into_iter().take(LIST_PAGE_ITEMS_MAX).enumerate() {
            let (digest, listed) = item?;
            page.sessions.extend(listed);
            if entry + 1 == LIST_PAGE_ITEMS_MAX {
                page.next = Some(ScanCursor::after(&digest));
            }
        }
        Ok(page)
    }
}

/// A session in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listed {
    /// Where it stands. It opens nothing, and may be shown to its owner.
    pub digest: KeyDigest,
    /// Its header: beginning, last use, deadlines, label. The data is left out.
    pub record: Record,
}

impl Listed {
    /// The session at a digest; leaves its data out.
    #[must_use]
    pub fn new(digest: KeyDigest, record: Record) -> Self {
        let data = Data::empty();
        Self {
            digest,
            record: Record { data, ..record },
        }
    }
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

impl Revoke {
    /// Resolves the named digest to the session's current one, which `follow` answers.
    ///
    /// # Errors
    /// What `follow` fails with.
    pub fn resolved<E>(
        self,
        follow: impl FnOnce(&KeyDigest) -> Result<KeyDigest, E>,
    ) -> Result<Self, E> {
        Ok(match self {
            Self::All => Self::All,
            Self::AllBut(kept) => Self::AllBut(follow(&kept)?),
            Self::One(meant) => Self::One(follow(&meant)?),
        })
    }

    /// Whether the session at this digest is to be ended.
    #[must_use]
    pub fn means(&self, digest: &KeyDigest) -> bool {
        match self {
            Self::All => true,
            Self::AllBut(kept) => kept != digest,
            Self::One(meant) => meant == digest,
        }
    }
}

/// What one step of a revocation has done.
#[derive(Clone, Debug)]
pub struct RevokeStep {
    /// The sessions that it has ended.
    pub ended: Vec<KeyDigest>,
    /// What the next step is told: the named session where it is now.
    pub which: Revoke,
    /// Whether it stopped at its limit. Otherwise nothing that is meant stands.
    pub more: bool,
}

impl Revoke {
    /// Revokes in bounded steps, each of which looks at a subject's sessions anew: a store
    /// that ends the first so many of them in one transaction needs no more than this. It
    /// comes to an end, since a step ends many times as many sessions as begin while it
    /// runs.
    ///
    /// # Errors
    /// The first that a step fails with, as [`cut_short`](Self::cut_short) says it.
    pub async fn in_steps<F>(
        mut self,
        mut step: impl FnMut(Self) -> F,
    ) -> Result<Vec<KeyDigest>, Error>
    where
        F: Future<Output = Result<RevokeStep, Error>>,
    {
        let mut ended = Vec::new();
        loop {
            let done = step(self).await;
            let done = done.map_err(|error| Self::cut_short(error, ended.len()))?;
            ended.extend(done.ended);
            self = done.which;
            if !done.more {
                return Ok(ended);
            }
        }
    }

    /// The error of a revocation that failed after so many sessions had been ended: it says
    /// so.
    #[must_use]
    pub fn cut_short(error: Error, ended: usize) -> Error {
        if ended == 0 {
            return error;
        }
        let message = format!(
            "{}; {ended} sessions of the subject were ended before that and stay ended: revoke \
             again to end the rest",
            error.message()
        );
        let told = Error::new(error.kind(), message);
        match error.store() {
            Some(store) => told.in_store(store),
            None => told,
        }
        .with_source(error)
    }
}

/// Reads all that a store holds, in pages.
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

/// Where a scan or a list goes on: a text that outlives the process, and has a meaning
/// for its own kind of store alone.
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

    /// Of a store that reads in the order of digests: after this one.
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
#[non_exhaustive]
pub struct ScanPage {
    /// What was found.
    pub items: Vec<Scanned>,
    /// Where to go on; `None` at the end.
    pub next: Option<ScanCursor>,
}

impl ScanPage {
    /// A page, and where to go on.
    #[must_use]
    pub fn new(items: Vec<Scanned>, next: Option<ScanCursor>) -> Self {
        Self { items, next }
    }

    /// The next page of a store that walks in the order of digests, from what it
    /// finds past the cursor: of `max` items, and no more than
    /// [`SCAN_PAGE_ITEMS_MAX`](crate::store::SCAN_PAGE_ITEMS_MAX) nor much more than
    /// [`SCAN_PAGE_BYTES_MAX`](crate::store::SCAN_PAGE_BYTES_MAX).
    ///
    /// # Errors
    /// The first that `found` gives.
    pub fn fill<E>(
        found: impl IntoIterator<Item = Result<Scanned, E>>,
        max: usize,
    ) -> Result<Self, E> {
        // A page of none would look like the end.
        let max = max.clamp(1, SCAN_PAGE_ITEMS_MAX);
        let mut page = Self::default();
        let mut bytes = 0;
        for item in found {
            let item = item?;
            bytes += item.stored.as_ref().map_or(0, Stored::memory_bytes);
            page.items.push(item);
            if page.items.len() == max || bytes >= SCAN_PAGE_BYTES_MAX {
                let last = page.items.last();
                page.next = last.map(|last| ScanCursor::after(&last.digest));
                break;
            }
        }
        Ok(page)
    }
}

/// What a scan found at a digest.
#[derive(Debug)]
#[non_exhaustive]
pub struct Scanned {
    /// Where it stands.
    pub digest: KeyDigest,
    /// The record or mark; [`Corrupt`](ErrorKind::Corrupt) or
    /// [`Unsupported`](ErrorKind::Unsupported) where it cannot be read, and
    /// [`Unavailable`](ErrorKind::Unavailable) where the store failed at this one
    /// alone: it may hold a session all the same. The scan goes on.
    pub stored: Result<Stored, Error>,
}

impl Scanned {
    /// What was found at a digest.
    #[must_use]
    pub fn new(digest: KeyDigest, stored: Result<Stored, Error>) -> Self {
        Self { digest, stored }
    }
}

/// Takes over what another store held.
pub trait Import: Send + Sync {
    /// Puts a record or a mark at a digest as it is, its revision included, where
    /// nothing stands; `false` where something does, and then nothing is changed.
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

/// Announces to near caches what other nodes have changed.
///
/// Whoever writes announces: each `update`, `rotate`, `delete` and `revoke` that any
/// node makes through a store of the same kind reaches every listener at least once, or
/// the listener fails. A touch is not announced, since it ends nothing; nor is a sweep,
/// since the engine judges deadlines.
pub trait Invalidations: Send + Sync {
    /// Begins to listen: every write made after this call is answered is announced to
    /// the listener.
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
    /// is [`Unavailable`](ErrorKind::Unavailable), but closing it again is success.
    ///
    /// The store is closed also where the future is dropped.
    ///
    /// # Errors
    /// [`Unavailable`](ErrorKind::Unavailable) where the store may still be open, or
    /// something that may lag, a touch, may not have been kept.
    fn close(&self) -> BoxFuture<'_, Result<(), Error>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scanned(number: u8, bytes: usize) -> Result<Scanned, Error> {
        let mut record = Record::new(Timestamp::EPOCH, Timestamp::MAX);
        record.data = Data::from_bytes(vec![number; bytes]);
        let digest = KeyDigest::from_bytes([number; 32]);
        Ok(Scanned::new(digest, Ok(Stored::Record(record))))
    }

    fn page(items: u8, bytes: usize, max: usize) -> (usize, bool) {
        let page = ScanPage::fill((0..items).map(|number| scanned(number, bytes)), max);
        let page = page.unwrap();
        let last = page.items.last().map(|last| last.digest);
        if let Some(next) = &page.next {
            assert_eq!(next.digest().ok(), last);
        }
        (page.items.len(), page.next.is_some())
    }

    #[test]
    fn a_page_ends_at_its_items_or_its_bytes_and_the_last_has_no_next() {
        assert_eq!(page(0, 0, 5), (0, false));
        assert_eq!(page(4, 0, 5), (4, false));
        assert_eq!(page(9, 0, 5), (5, true));
        assert_eq!(page(9, 0, 0), (1, true));
        assert_eq!(page(9, SCAN_PAGE_BYTES_MAX / 2, usize::MAX), (2, true));
        let error = Err(Error::from(ErrorKind::Unavailable));
        let broken = ScanPage::fill([scanned(1, 0), error], 5);
        assert_eq!(broken.unwrap_err().kind(), ErrorKind::Unavailable);
    }

    #[test]
    fn a_page_of_a_list_ends_at_its_entries_whether_or_not_they_lead_to_sessions() {
        let page = |entries: usize| {
            let entry = |number: usize| {
                let digest = KeyDigest::from_bytes([u8::try_from(number).unwrap_or(255); 32]);
                let record = Record::new(Timestamp::EPOCH, Timestamp::MAX);
                let listed = number
                    .is_multiple_of(2)
                    .then(|| Listed::new(digest, record));
                Ok::<_, Error>((digest, listed))
            };
            let page = ListPage::fill((0..entries).map(entry)).unwrap();
            (page.sessions.len(), page.next.is_some())
        };
        assert_eq!(page(0), (0, false));
        assert_eq!(page(3), (2, false));
        assert_eq!(page(LIST_PAGE_ITEMS_MAX - 1), (128, false));
        assert_eq!(page(LIST_PAGE_ITEMS_MAX + 9), (128, true));
    }

    #[test]
    fn a_revocation_that_fails_between_two_steps_says_how_far_it_came() {
        use crate::Error as E;
        let fails_at = |last: usize| {
            let mut steps = 0;
            let revoked = Revoke::All.in_steps(|which| {
                steps += 1;
                std::future::ready(match steps {
                    step if step == last => Err(E::new(ErrorKind::Unavailable, "no answer")),
                    step => Ok(RevokeStep {
                        ended: vec![KeyDigest::from_bytes([7; 32]); 2],
                        which,
                        more: step < 3,
                    }),
                })
            });
            let mut revoked = std::pin::pin!(revoked);
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            match revoked.as_mut().poll(&mut context) {
                std::task::Poll::Ready(done) => done,
                std::task::Poll::Pending => panic!("each step is ready"),
            }
        };
        assert_eq!(fails_at(4).unwrap().len(), 6);
        let error = fails_at(1).unwrap_err();
        assert_eq!(error.message(), "no answer");
        let error = fails_at(3).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(
            error.message().starts_with("no answer; 4 sessions"),
            "{error}"
        );
    }

    #[test]
    fn what_is_revoked_is_judged_where_it_has_moved() {
        let [old, new, other] = [1, 2, 3].map(|byte| KeyDigest::from_bytes([byte; 32]));
        let follow = |digest: &KeyDigest| {
            let mark = |at: &KeyDigest| Ok::<_, Error>((*at == old).then_some(new));
            Stored::resolve_rotations(digest, mark)
        };
        let means = |which: Revoke| {
            let which = which.resolved(follow).unwrap();
            [old, new, other].map(|digest| which.means(&digest))
        };
        assert_eq!(means(Revoke::All), [true, true, true]);
        assert_eq!(means(Revoke::AllBut(old)), [true, false, true]);
        assert_eq!(means(Revoke::AllBut(other)), [true, true, false]);
        assert_eq!(means(Revoke::One(old)), [false, true, false]);
    }
}

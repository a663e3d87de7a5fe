//! The contract of a backend.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::store::{Capabilities, Ending, KeyDigest, Record, Revision, Stored, Touch};
use crate::{Error, Timestamp};

/// A future that can be kept behind `dyn`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a backend does, and all that it must do: keep records under digests.
///
/// A store never sees a session key and never asks the time. It judges no
/// expiry: deadlines are data, and the engine reads them. Write the methods as
/// `async fn`, and prove them with the `cloakroom-testkit` crate: `conformance` asks about
/// clauses 1, 2 and 4, `survives_reopening` about 3. Clauses 5 and 6 depend on the
/// backend: a store tests them itself.
///
/// # Clauses
///
/// 1. **Three occupants.** At a digest stands nothing, a record, a rotation
///    mark, or a tombstone ([`Stored`]). At a mark and at a tombstone, `update`, `touch` and
///    `rotate` answer `Gone`, `create` answers `Exists`; `end` follows a mark, and leaves a
///    tombstone as it is.
/// 2. **Compare-and-swap.** `update` and `rotate` succeed only on the revision
///    they were based on, and the comparison and the write are one step, also
///    against other processes if the store can be shared by them.
/// 3. **Durable first.** What the store promises to keep is kept before the
///    future resolves. `touch` alone may lag: losing one costs idle time.
/// 4. **Whole or not at all.** A future may be dropped at any await point. The
///    store is then as before the call or as after it.
/// 5. **Unknown is an error.** Where a write may or may not have happened, the
///    answer is [`Unavailable`], and the store does not try again on its own.
/// 6. **Damage stays local.** A record that cannot be read fails with
///    [`Corrupt`] or [`Unsupported`] when it is loaded or written to, and stops
///    nothing else, a sweep least of all.
///
/// [`Unavailable`]: crate::ErrorKind::Unavailable
/// [`Corrupt`]: crate::ErrorKind::Corrupt
/// [`Unsupported`]: crate::ErrorKind::Unsupported
///
/// # Example
///
/// A store over a map behind a lock:
///
/// ```
/// use std::collections::HashMap;
/// use std::sync::Mutex;
///
/// use cloakroom_core::store::{
///     Ending, KeyDigest, Record, Revision, SessionStore, Stored, Tombstone, Touch,
/// };
/// use cloakroom_core::{Error, ErrorKind, Timestamp};
///
/// #[derive(Debug, Default)]
/// struct Shelf(Mutex<HashMap<KeyDigest, Stored>>);
///
/// impl Shelf {
///     fn with<T>(&self, work: impl FnOnce(&mut HashMap<KeyDigest, Stored>) -> T) -> T {
///         work(&mut self.0.lock().expect("no method panics while it holds the lock"))
///     }
/// }
///
/// fn current<'a>(
///     map: &'a mut HashMap<KeyDigest, Stored>,
///     digest: &KeyDigest,
/// ) -> Result<&'a mut Record, Error> {
///     match map.get_mut(digest) {
///         Some(Stored::Record(record)) => Ok(record),
///         _ => Err(ErrorKind::Gone.into()),
///     }
/// }
///
/// impl SessionStore for Shelf {
///     async fn load(&self, digest: &KeyDigest) -> Result<Option<Stored>, Error> {
///         Ok(self.with(|map| map.get(digest).cloned()))
///     }
///
///     async fn create(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
///         self.with(|map| {
///             if map.contains_key(digest) {
///                 return Err(ErrorKind::Exists.into());
///             }
///             let record = record.at_revision(Revision::FIRST);
///             map.insert(*digest, Stored::Record(record));
///             Ok(Revision::FIRST)
///         })
///     }
///
///     async fn update(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
///         self.with(|map| {
///             let stored = current(map, digest)?;
///             let next = record.next_revision_after(stored.revision)?;
///             *stored = record.at_revision(next);
///             Ok(next)
///         })
///     }
///
///     async fn touch(
///         &self,
///         digest: &KeyDigest,
///         revision: Revision,
///         touch: Touch,
///     ) -> Result<(), Error> {
///         self.with(|map| {
///             let stored = current(map, digest)?;
///             if stored.revision == revision {
///                 stored.touch(touch);
///             }
///             Ok(())
///         })
///     }
///
///     async fn rotate(
///         &self,
///         old: &KeyDigest,
///         new: &KeyDigest,
///         record: &Record,
///         mark_until: Timestamp,
///     ) -> Result<Revision, Error> {
///         self.with(|map| {
///             let next = record.next_revision_after(current(map, old)?.revision)?;
///             if map.contains_key(new) {
///                 return Err(ErrorKind::Exists.into());
///             }
///             map.insert(*new, Stored::Record(record.at_revision(next)));
///             map.insert(*old, Stored::Rotated { to: *new, until: mark_until });
///             Ok(next)
///         })
///     }
///
///     async fn end(&self, digest: &KeyDigest, ending: Option<&Ending>) -> Result<(), Error> {
///         self.with(|map| {
///             // Marks are followed, and stay.
///             let at = Stored::resolve_rotations(digest, |at| {
///                 Ok::<_, Error>(map.get(at).and_then(Stored::rotated_to))
///             })?;
///             match (map.get(&at), ending) {
///                 (Some(Stored::Record(record)), Some(ending)) => {
///                     let tombstone = Tombstone::new(ending, record.subject_digest());
///                     map.insert(at, Stored::Ended(tombstone));
///                 }
///                 // What ended first stays as it is.
///                 (_, Some(_)) => {}
///                 (_, None) => drop(map.remove(&at)),
///             }
///             Ok(())
///         })
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a store of records under digests",
    label = "this needs a `SessionStore`",
    note = "a store that keeps the session in the client's token, or needs the key itself, is a \
            `TokenStore` alone: the engine takes it, and no store can be put in front of it"
)]
pub trait SessionStore: Send + Sync + 'static {
    /// What stands at the digest.
    ///
    /// An expired record may be returned or not; an evicting or expiring store
    /// answers `None` for what it no longer has.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) or
    /// [`Unsupported`](crate::ErrorKind::Unsupported) where something stands
    /// there that cannot be read; [`Unavailable`](crate::ErrorKind::Unavailable)
    /// where the store cannot tell. `None` means that there is nothing, never
    /// that there was no answer.
    fn load(
        &self,
        digest: &KeyDigest,
    ) -> impl Future<Output = Result<Option<Stored>, Error>> + Send;

    /// Stores a new record as [`Revision::FIRST`], whatever revision it says.
    ///
    /// # Errors
    /// [`Exists`](crate::ErrorKind::Exists) where anything stands there, an
    /// expired record and a rotation mark included: `create` never overwrites.
    fn create(
        &self,
        digest: &KeyDigest,
        record: &Record,
    ) -> impl Future<Output = Result<Revision, Error>> + Send;

    /// Replaces the record, header and data, if its stored revision is still
    /// `record.revision`, and returns the next one.
    ///
    /// # Errors
    /// [`Conflict`](crate::ErrorKind::Conflict) on another revision,
    /// [`Gone`](crate::ErrorKind::Gone) where no record stands: `update` never
    /// creates.
    fn update(
        &self,
        digest: &KeyDigest,
        record: &Record,
    ) -> impl Future<Output = Result<Revision, Error>> + Send;

    /// Notes a use of a record, if its revision is still `revision`: of the
    /// stored and the given instants, each, the later one wins
    /// ([`Record::touch`]), and the revision stays. At another revision nothing
    /// is done, and that is success: whoever wrote it has chosen its deadline.
    ///
    /// # Errors
    /// [`Gone`](crate::ErrorKind::Gone) where no record stands: a touch never
    /// resurrects.
    fn touch(
        &self,
        digest: &KeyDigest,
        revision: Revision,
        touch: Touch,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Moves a session to a new key: compare-and-swap on the record at `old`,
    /// then `record` stands at `new` with the next revision, and a rotation
    /// mark stands at `old` until `mark_until`, which is given since a store never
    /// asks the time.
    ///
    /// One step where the backend can. Where it cannot, `new` is written first
    /// and `old` after, so that at every moment one of the two keys opens the
    /// whole session.
    ///
    /// # Errors
    /// [`Conflict`](crate::ErrorKind::Conflict) on another revision,
    /// [`Gone`](crate::ErrorKind::Gone) where no record stands at `old`,
    /// [`Exists`](crate::ErrorKind::Exists) where anything stands at `new`. On
    /// each of these, both digests are as they were.
    fn rotate(
        &self,
        old: &KeyDigest,
        new: &KeyDigest,
        record: &Record,
        mark_until: Timestamp,
    ) -> impl Future<Output = Result<Revision, Error>> + Send;

    /// Ends the session: puts a tombstone ([`Stored::Ended`]) in the place of the record that
    /// stands there, in one step; without an `ending` it removes what stands there, a
    /// tombstone too, and leaves no trace. Idempotent: nothing there is success, and leaves
    /// nothing; a tombstone there stays as it is, since the first end is the one that counts.
    ///
    /// A rotation mark is followed to where the session has moved, from mark to
    /// mark ([`ROTATION_HOPS_MAX`](crate::store::ROTATION_HOPS_MAX) of them), and the
    /// record there is ended; the marks stay. So a logout that a
    /// rotation overtakes still ends the session, and parallel requests with the
    /// old cookie are still spared.
    ///
    /// A store that cannot remember removes the record: whoever comes back is told that
    /// nobody knows why. It may also forget before [`Ending::until`].
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) where it may still stand.
    fn end(
        &self,
        digest: &KeyDigest,
        ending: Option<&Ending>,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Ends the session and leaves no trace: [`end`](Self::end) without an ending.
    ///
    /// # Errors
    /// As [`end`](Self::end).
    fn delete(&self, digest: &KeyDigest) -> impl Future<Output = Result<(), Error>> + Send {
        self.end(digest, None)
    }

    /// What the store can do beyond this trait. A store made of another store
    /// passes on what the inner one can.
    fn capabilities(&self) -> Capabilities<'_> {
        Capabilities::NONE
    }
}

impl<S: SessionStore> SessionStore for Arc<S> {
    fn load(
        &self,
        digest: &KeyDigest,
    ) -> impl Future<Output = Result<Option<Stored>, Error>> + Send {
        (**self).load(digest)
    }

    fn create(
        &self,
        digest: &KeyDigest,
        record: &Record,
    ) -> impl Future<Output = Result<Revision, Error>> + Send {
        (**self).create(digest, record)
    }

    fn update(
        &self,
        digest: &KeyDigest,
        record: &Record,
    ) -> impl Future<Output = Result<Revision, Error>> + Send {
        (**self).update(digest, record)
    }

    fn touch(
        &self,
        digest: &KeyDigest,
        revision: Revision,
        touch: Touch,
    ) -> impl Future<Output = Result<(), Error>> + Send {
        (**self).touch(digest, revision, touch)
    }

    fn rotate(
        &self,
        old: &KeyDigest,
        new: &KeyDigest,
        record: &Record,
        mark_until: Timestamp,
    ) -> impl Future<Output = Result<Revision, Error>> + Send {
        (**self).rotate(old, new, record, mark_until)
    }

    fn end(
        &self,
        digest: &KeyDigest,
        ending: Option<&Ending>,
    ) -> impl Future<Output = Result<(), Error>> + Send {
        (**self).end(digest, ending)
    }

    fn capabilities(&self) -> Capabilities<'_> {
        (**self).capabilities()
    }
}

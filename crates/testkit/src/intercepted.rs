//! A store whose operations a test intercepts.

use std::any::Any;
use std::fmt;
use std::future::poll_fn;
use std::task::Poll;

use cloakroom_core::store::{
    BoxFuture, Capabilities, Ending, KeyDigest, ListPage, Record, Revision, Revoke, ScanCursor,
    SessionStore, Stored, SubjectDigest, Subjects, Sweep, Swept, Touch,
};
use cloakroom_core::{Error, Timestamp};

/// An operation of a store, by the method of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Call {
    /// [`SessionStore::load`]
    Load,
    /// [`SessionStore::create`]
    Create,
    /// [`SessionStore::update`]
    Update,
    /// [`SessionStore::touch`]
    Touch,
    /// [`SessionStore::rotate`]
    Rotate,
    /// [`SessionStore::delete`]
    Delete,
    /// [`Subjects::list_sessions`]
    ListSessions,
    /// [`Subjects::revoke`]
    Revoke,
    /// [`Sweep::sweep`]
    Sweep,
}

/// An operation that was called, as an [`Intercept`] sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Operation {
    /// Which method.
    pub call: Call,
    /// The digest that it was called with: of a rotation the old one. A list, a
    /// revocation and a sweep have none.
    pub digest: Option<KeyDigest>,
}

/// What the store has answered to an operation.
pub struct Answer(Box<dyn Any + Send>);

impl Answer {
    /// The answer, where it is of this type: an `Option<Stored>` of a load, a
    /// [`Revision`] of a create, an update or a rotation, and so on.
    #[must_use]
    pub fn get<T: Any>(&self) -> Option<&T> {
        self.0.downcast_ref()
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").finish_non_exhaustive()
    }
}

/// The store's own work on an operation; nothing is done until it is polled.
pub type Work<'a> = BoxFuture<'a, Result<Answer, Error>>;

/// What becomes of the operations of an [`InterceptedStore`]. Closures are one.
pub trait Intercept: Send + Sync + 'static {
    /// Carries out an operation: awaits `work`, before or after anything else,
    /// and gives its answer; or fails, with the work done or not.
    fn intercept<'a>(&'a self, operation: Operation, work: Work<'a>) -> Work<'a>;

    /// What the store offers beyond its operations. `offered` is what the store
    /// inside offers, lists and sweeps intercepted.
    fn capabilities<'a>(&'a self, offered: Capabilities<'a>) -> Capabilities<'a> {
        offered
    }
}

impl<F> Intercept for F
where
    F: for<'a> Fn(Operation, Work<'a>) -> Work<'a> + Send + Sync + 'static,
{
    fn intercept<'a>(&'a self, operation: Operation, work: Work<'a>) -> Work<'a> {
        self(operation, work)
    }
}

/// Hands every operation of a store to an [`Intercept`]: to a closure that
/// delays, counts, refuses or loses the answer of the operation that matters to
/// a test, and awaits the others as they are.
///
/// Lists, revocations and sweeps are operations too. Scans, imports and
/// invalidations are those of the store inside.
///
/// ```
/// use cloakroom_core::store::{KeyDigest, SessionStore};
/// use cloakroom_core::ErrorKind;
/// use cloakroom_testkit::{Call, InterceptedStore, MapStore, sample};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// // Each create is done, and its answer is lost.
/// let store = InterceptedStore::from_fn(MapStore::default(), |operation, work| {
///     Box::pin(async move {
///         let answer = work.await?;
///         match operation.call {
///             Call::Create => Err(ErrorKind::Unavailable.into()),
///             _ => Ok(answer),
///         }
///     })
/// });
/// let digest = KeyDigest::from_bytes([0; 32]);
/// assert!(store.create(&digest, &sample("")).await.is_err());
/// assert!(store.load(&digest).await?.is_some());
/// # Ok::<(), cloakroom_core::Error>(()) }).unwrap();
/// ```
#[derive(Default)]
pub struct InterceptedStore<S, I> {
    inner: S,
    intercept: I,
}

impl<S, F> InterceptedStore<S, F>
where
    F: for<'a> Fn(Operation, Work<'a>) -> Work<'a> + Send + Sync + 'static,
{
    /// A store, and the closure to which its operations are handed.
    pub fn from_fn(inner: S, intercept: F) -> Self {
        Self::with(inner, intercept)
    }
}

impl<S, I: Intercept> InterceptedStore<S, I> {
    /// A store, and what becomes of its operations.
    pub fn with(inner: S, intercept: I) -> Self {
        Self { inner, intercept }
    }

    /// The store inside, which nothing intercepts.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// What becomes of the operations.
    pub fn interceptor(&self) -> &I {
        &self.intercept
    }

    async fn run<'a, T: Send + 'static>(
        &'a self,
        call: Call,
        digest: Option<&KeyDigest>,
        work: impl Future<Output = Result<T, Error>> + Send + 'a,
    ) -> Result<T, Error> {
        let digest = digest.copied();
        let operation = Operation { call, digest };
        let work = Box::pin(async move { Ok(Answer(Box::new(work.await?))) });
        let answer = self.intercept.intercept(operation, work).await?.0;
        let answer = answer.downcast();
        Ok(*answer.expect("an operation is answered with the answer to its own work"))
    }
}

impl<S: fmt::Debug, I> fmt::Debug for InterceptedStore<S, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("InterceptedStore");
        shown.field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<S: SessionStore, I: Intercept> SessionStore for InterceptedStore<S, I> {
    async fn load(&self, digest: &KeyDigest) -> Result<Option<Stored>, Error> {
        let work = self.inner.load(digest);
        self.run(Call::Load, Some(digest), work).await
    }

    async fn create(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        let work = self.inner.create(digest, record);
        self.run(Call::Create, Some(digest), work).await
    }

    async fn update(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        let work = self.inner.update(digest, record);
        self.run(Call::Update, Some(digest), work).await
    }

    async fn touch(
        &self,
        digest: &KeyDigest,
        revision: Revision,
        touch: Touch,
    ) -> Result<(), Error> {
        let work = self.inner.touch(digest, revision, touch);
        self.run(Call::Touch, Some(digest), work).await
    }

    async fn rotate(
        &self,
        old: &KeyDigest,
        new: &KeyDigest,
        record: &Record,
        mark_until: Timestamp,
    ) -> Result<Revision, Error> {
        let work = self.inner.rotate(old, new, record, mark_until);
        self.run(Call::Rotate, Some(old), work).await
    }

    async fn end(&self, digest: &KeyDigest, ending: Option<&Ending>) -> Result<(), Error> {
        let work = self.inner.end(digest, ending);
        self.run(Call::Delete, Some(digest), work).await
    }

    fn capabilities(&self) -> Capabilities<'_> {
        let mut offered = self.inner.capabilities();
        if offered.sweep.is_some() {
            offered = offered.with_sweep(self);
        }
        if offered.subjects.is_some() {
            offered = offered.with_subjects(self);
        }
        self.intercept.capabilities(offered)
    }
}

impl<S: SessionStore, I: Intercept> Subjects for InterceptedStore<S, I> {
    fn list_sessions<'a>(
        &'a self,
        subject: &'a SubjectDigest,
        from: Option<&'a ScanCursor>,
    ) -> BoxFuture<'a, Result<ListPage, Error>> {
        Box::pin(self.run(Call::ListSessions, None, async move {
            match self.inner.capabilities().subjects {
                Some(subjects) => subjects.list_sessions(subject, from).await,
                None => Ok(ListPage::default()),
            }
        }))
    }

    fn end_sessions<'a>(
        &'a self,
        subject: &'a SubjectDigest,
        which: Revoke,
        ending: Option<&'a Ending>,
    ) -> BoxFuture<'a, Result<Vec<KeyDigest>, Error>> {
        Box::pin(self.run(Call::Revoke, None, async move {
            match self.inner.capabilities().subjects {
                Some(subjects) => subjects.end_sessions(subject, which, ending).await,
                None => Ok(Vec::new()),
            }
        }))
    }
}

impl<S: SessionStore, I: Intercept> Sweep for InterceptedStore<S, I> {
    fn sweep(&self, now: Timestamp, max: usize) -> BoxFuture<'_, Result<Swept, Error>> {
        Box::pin(self.run(Call::Sweep, None, async move {
            match self.inner.capabilities().sweep {
                Some(sweep) => sweep.sweep(now, max).await,
                None => Ok(Swept::default()),
            }
        }))
    }

    fn own_time(&self) -> BoxFuture<'_, Result<Option<Timestamp>, Error>> {
        match self.inner.capabilities().sweep {
            Some(sweep) => sweep.own_time(),
            None => Box::pin(std::future::ready(Ok(None))),
        }
    }
}

/// A store that needs a runtime, for threads outside one: for
/// [`races`](crate::races) and [`linearizable`](crate::linearizable). `enter`
/// calls what it is given with the runtime entered.
///
/// ```
/// use cloakroom_testkit::{MapStore, in_runtime, races};
///
/// let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// let handle = runtime.handle().clone();
/// let store = in_runtime(MapStore::default(), move |poll| {
///     let _entered = handle.enter();
///     poll();
/// });
/// races(&store, 1);
/// ```
pub fn in_runtime<S: SessionStore>(
    store: S,
    enter: impl Fn(&mut dyn FnMut()) + Send + Sync + 'static,
) -> InterceptedStore<S, impl Intercept> {
    InterceptedStore::with(store, InRuntime(enter))
}

struct InRuntime<E>(E);

impl<E: Fn(&mut dyn FnMut()) + Send + Sync + 'static> Intercept for InRuntime<E> {
    fn intercept<'a>(&'a self, _: Operation, mut work: Work<'a>) -> Work<'a> {
        Box::pin(poll_fn(move |context| {
            let mut polled = Poll::Pending;
            (self.0)(&mut || polled = work.as_mut().poll(context));
            polled
        }))
    }
}

//! A store that fails when it is told to.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cloakroom_core::store::{
    BoxFuture, Capabilities, KeyDigest, Listed, Record, Revision, Revoke, SessionStore, Stored,
    SubjectDigest, Subjects, Sweep, Swept, Touch,
};
use cloakroom_core::{Error, ErrorKind, Timestamp};

/// How an operation fails. Of the first two the caller sees
/// [`ErrorKind::Unavailable`], and cannot tell which it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The work is not done.
    Refuse,
    /// The work is done, and its answer is lost.
    LoseAnswer,
    /// Does nothing, and never answers.
    Hang,
}

/// Fails at the operations it is told to, counted from 0, and works otherwise.
///
/// ```
/// use cloakroom_core::store::{KeyDigest, SessionStore};
/// use cloakroom_core::ErrorKind;
/// use cloakroom_testkit::{Fault, FaultyStore, MapStore};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let store = FaultyStore::new(MapStore::default());
/// store.fail_at(1, Fault::Refuse);
/// let digest = KeyDigest::from_bytes([0; 32]);
/// assert!(store.load(&digest).await.is_ok());
/// assert_eq!(store.load(&digest).await.unwrap_err().kind(), ErrorKind::Unavailable);
/// assert!(store.load(&digest).await.is_ok());
/// assert_eq!(store.operations(), 3);
/// # });
/// ```
#[derive(Debug, Default)]
pub struct FaultyStore<S> {
    inner: S,
    plan: Mutex<Plan>,
}

#[derive(Debug, Default)]
struct Plan {
    operations: usize,
    at: BTreeMap<usize, Fault>,
    always: Option<Fault>,
}

impl<S> FaultyStore<S> {
    /// Around a store, with no fault planned.
    pub fn new(inner: S) -> Self {
        Self {
            inner,
            plan: Mutex::default(),
        }
    }

    /// The store inside, which never fails.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// Plans a fault at the `operation`-th call from the last
    /// [`reset`](Self::reset) on.
    pub fn fail_at(&self, operation: usize, fault: Fault) {
        self.plan().at.insert(operation, fault);
    }

    /// From now on every operation fails, or none but the planned ones.
    pub fn fail_always(&self, fault: Option<Fault>) {
        self.plan().always = fault;
    }

    /// Forgets all planned faults and counts from 0 again.
    pub fn reset(&self) {
        *self.plan() = Plan::default();
    }

    /// How many operations there were.
    pub fn operations(&self) -> usize {
        self.plan().operations
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let fault = {
            let mut plan = self.plan();
            let operation = plan.operations;
            plan.operations += 1;
            plan.at.get(&operation).copied().or(plan.always)
        };
        let failed = Err(Error::new(ErrorKind::Unavailable, "planned fault").in_store("faulty"));
        match fault {
            None => work.await,
            Some(Fault::Refuse) => failed,
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::LoseAnswer) => {
                let _lost = work.await;
                failed
            }
        }
    }
}

impl<S: SessionStore> SessionStore for FaultyStore<S> {
    async fn load(&self, digest: &KeyDigest) -> Result<Option<Stored>, Error> {
        self.run(self.inner.load(digest)).await
    }

    async fn create(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        self.run(self.inner.create(digest, record)).await
    }

    async fn update(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        self.run(self.inner.update(digest, record)).await
    }

    async fn touch(
        &self,
        digest: &KeyDigest,
        revision: Revision,
        touch: Touch,
    ) -> Result<(), Error> {
        self.run(self.inner.touch(digest, revision, touch)).await
    }

    async fn rotate(
        &self,
        old: &KeyDigest,
        new: &KeyDigest,
        record: &Record,
        mark_until: Timestamp,
    ) -> Result<Revision, Error> {
        self.run(self.inner.rotate(old, new, record, mark_until))
            .await
    }

    async fn delete(&self, digest: &KeyDigest) -> Result<(), Error> {
        self.run(self.inner.delete(digest)).await
    }

    fn capabilities(&self) -> Capabilities<'_> {
        let mut all = self.inner.capabilities();
        if all.sweep.is_some() {
            all = all.with_sweep(self);
        }
        if all.subjects.is_some() {
            all = all.with_subjects(self);
        }
        all
    }
}

/// A list and a revocation are operations like the others.
impl<S: SessionStore> Subjects for FaultyStore<S> {
    fn sessions_of<'a>(
        &'a self,
        subject: &'a SubjectDigest,
    ) -> BoxFuture<'a, Result<Vec<Listed>, Error>> {
        Box::pin(self.run(async move {
            match self.inner.capabilities().subjects {
                Some(subjects) => subjects.sessions_of(subject).await,
                None => Ok(Vec::new()),
            }
        }))
    }

    fn revoke<'a>(
        &'a self,
        subject: &'a SubjectDigest,
        which: Revoke,
    ) -> BoxFuture<'a, Result<Vec<KeyDigest>, Error>> {
        Box::pin(self.run(async move {
            match self.inner.capabilities().subjects {
                Some(subjects) => subjects.revoke(subject, which).await,
                None => Ok(Vec::new()),
            }
        }))
    }
}

/// A step of a sweep is an operation like the others.
impl<S: SessionStore> Sweep for FaultyStore<S> {
    fn sweep(&self, now: Timestamp, max: usize) -> BoxFuture<'_, Result<Swept, Error>> {
        Box::pin(self.run(async move {
            match self.inner.capabilities().sweep {
                Some(sweep) => sweep.sweep(now, max).await,
                None => Ok(Swept::default()),
            }
        }))
    }
}

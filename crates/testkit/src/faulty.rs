//! A store that fails at the operations that a test chooses.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cloakroom_core::{Error, ErrorKind};

use crate::intercepted::{Intercept, InterceptedStore, Operation, Work};

/// How an operation fails. To [`Refuse`](Self::Refuse) and
/// [`LoseAnswer`](Self::LoseAnswer) the caller gets the same error,
/// [`ErrorKind::Unavailable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The work is not done.
    Refuse,
    /// The work is done, and its answer is lost.
    LoseAnswer,
    /// Does nothing, and never answers.
    Hang,
}

/// Fails at the operations it is told to, counted from 0, and works otherwise.
/// Lists, revocations and the steps of a sweep are operations like the others.
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
pub type FaultyStore<S> = InterceptedStore<S, Faults>;

/// The faults that are planned for a [`FaultyStore`].
#[derive(Debug, Default)]
pub struct Faults(Mutex<Plan>);

#[derive(Debug, Default)]
struct Plan {
    operations: usize,
    at: BTreeMap<usize, Fault>,
    always: Option<Fault>,
}

impl Faults {
    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an operation, and answers what is planned for it.
    fn next(&self) -> Option<Fault> {
        let mut plan = self.plan();
        let operation = plan.operations;
        plan.operations += 1;
        plan.at.get(&operation).copied().or(plan.always)
    }
}

impl Intercept for Faults {
    fn intercept<'a>(&'a self, _: Operation, work: Work<'a>) -> Work<'a> {
        Box::pin(async move {
            let failed =
                Err(Error::new(ErrorKind::Unavailable, "planned fault").in_store("faulty"));
            match self.next() {
                None => work.await,
                Some(Fault::Refuse) => failed,
                Some(Fault::Hang) => std::future::pending().await,
                Some(Fault::LoseAnswer) => {
                    let _lost = work.await;
                    failed
                }
            }
        })
    }
}

impl<S> FaultyStore<S> {
    /// Around a store, with no fault planned.
    pub fn new(inner: S) -> Self {
        Self::with(inner, Faults::default())
    }

    /// Plans a fault at the `operation`-th call from the last
    /// [`reset`](Self::reset) on.
    pub fn fail_at(&self, operation: usize, fault: Fault) {
        self.interceptor().plan().at.insert(operation, fault);
    }

    /// From now on every operation fails, or none but the planned ones.
    pub fn fail_always(&self, fault: Option<Fault>) {
        self.interceptor().plan().always = fault;
    }

    /// Forgets all planned faults and counts from 0 again.
    pub fn reset(&self) {
        *self.interceptor().plan() = Plan::default();
    }

    /// How many operations there were.
    pub fn operations(&self) -> usize {
        self.interceptor().plan().operations
    }
}

//! A store that remembers its calls.

use std::sync::{Mutex, PoisonError};

use crate::intercepted::{Call, Intercept, InterceptedStore, Operation, Work};

/// Passes every call on and remembers those of the methods of
/// [`SessionStore`](cloakroom_core::store::SessionStore).
///
/// ```
/// use cloakroom_core::store::{KeyDigest, SessionStore};
/// use cloakroom_testkit::{Call, MapStore, RecordingStore};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let store = RecordingStore::new(MapStore::default());
/// store.load(&KeyDigest::from_bytes([0; 32])).await?;
/// assert_eq!(store.take(), [Call::Load]);
/// assert_eq!(store.take(), []);
/// # Ok::<(), cloakroom_core::Error>(()) }).unwrap();
/// ```
pub type RecordingStore<S> = InterceptedStore<S, Recorder>;

/// The calls that a [`RecordingStore`] remembers.
#[derive(Debug, Default)]
pub struct Recorder(Mutex<Vec<Call>>);

impl Intercept for Recorder {
    fn intercept<'a>(&'a self, operation: Operation, work: Work<'a>) -> Work<'a> {
        if let Call::ListSessions | Call::Revoke | Call::Sweep = operation.call {
            return work;
        }
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        calls.push(operation.call);
        work
    }
}

impl<S> RecordingStore<S> {
    /// Around a store.
    pub fn new(inner: S) -> Self {
        Self::with(inner, Recorder::default())
    }

    /// Takes the calls since it was last called, in the order in which they were made.
    pub fn take(&self) -> Vec<Call> {
        let calls = &self.interceptor().0;
        std::mem::take(&mut *calls.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

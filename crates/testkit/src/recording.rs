//! A store that counts what is asked of it.

use std::sync::{Mutex, PoisonError};

use cloakroom_core::store::{
    Capabilities, KeyDigest, Record, Revision, SessionStore, Stored, Touch,
};
use cloakroom_core::{Error, Timestamp};

/// A method of [`SessionStore`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // Each is the method of its name.
pub enum Call {
    Load,
    Create,
    Update,
    Touch,
    Rotate,
    Delete,
}

/// Passes every call on and remembers it.
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
#[derive(Debug, Default)]
pub struct RecordingStore<S> {
    inner: S,
    calls: Mutex<Vec<Call>>,
}

impl<S> RecordingStore<S> {
    /// Around a store.
    pub fn new(inner: S) -> Self {
        Self {
            inner,
            calls: Mutex::default(),
        }
    }

    /// The store inside.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// The calls since this was last asked, in the order they were made.
    pub fn take(&self) -> Vec<Call> {
        std::mem::take(&mut *self.calls.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note(&self, call: Call) {
        self.calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(call);
    }
}

impl<S: SessionStore> SessionStore for RecordingStore<S> {
    async fn load(&self, digest: &KeyDigest) -> Result<Option<Stored>, Error> {
        self.note(Call::Load);
        self.inner.load(digest).await
    }

    async fn create(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        self.note(Call::Create);
        self.inner.create(digest, record).await
    }

    async fn update(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        self.note(Call::Update);
        self.inner.update(digest, record).await
    }

    async fn touch(
        &self,
        digest: &KeyDigest,
        revision: Revision,
        touch: Touch,
    ) -> Result<(), Error> {
        self.note(Call::Touch);
        self.inner.touch(digest, revision, touch).await
    }

    async fn rotate(
        &self,
        old: &KeyDigest,
        new: &KeyDigest,
        record: &Record,
        mark_until: Timestamp,
    ) -> Result<Revision, Error> {
        self.note(Call::Rotate);
        self.inner.rotate(old, new, record, mark_until).await
    }

    async fn delete(&self, digest: &KeyDigest) -> Result<(), Error> {
        self.note(Call::Delete);
        self.inner.delete(digest).await
    }

    fn capabilities(&self) -> Capabilities<'_> {
        self.inner.capabilities()
    }
}

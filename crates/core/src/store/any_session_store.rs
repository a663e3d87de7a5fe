//! A store on digests, chosen at run time.

use std::fmt;
use std::sync::Arc;

use crate::store::{
    BoxFuture, Capabilities, Ending, KeyDigest, Record, Revision, SessionStore, Stored, Touch,
};
use crate::{Error, Timestamp};

/// Any [`SessionStore`], its type forgotten: for what stands on digests, such as a store
/// made of stores, over a backend that is chosen at run time.
///
/// An engine takes [`AnyStore`](crate::engine::AnyStore) instead, which forgets the type of
/// a cookie store and of a sealed one too; those two have no digest to be asked by. This is
/// a [`SessionStore`] itself, so an `AnyStore` can be made of it.
///
/// Cheap to clone; all clones are the one store. Each operation allocates its future.
///
/// ```
/// use cloakroom_core::store::{AnySessionStore, SessionStore};
///
/// /// The first one that is given, or the other.
/// fn chosen(first: Option<impl SessionStore>, other: impl SessionStore) -> AnySessionStore {
///     match first {
///         Some(first) => AnySessionStore::new(first),
///         None => AnySessionStore::new(other),
///     }
/// }
/// ```
#[derive(Clone)]
pub struct AnySessionStore {
    store: Arc<dyn ObjectSafe>,
    type_name: &'static str,
}

impl AnySessionStore {
    /// Forgets the type of a store.
    pub fn new<S: SessionStore>(store: S) -> Self {
        Self {
            store: Arc::new(store),
            type_name: std::any::type_name::<S>(),
        }
    }
}

impl fmt::Debug for AnySessionStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AnySessionStore({})", self.type_name)
    }
}

/// [`SessionStore`] with futures that can be kept behind `dyn`.
trait ObjectSafe: Send + Sync {
    fn load<'a>(&'a self, digest: &'a KeyDigest) -> BoxFuture<'a, Result<Option<Stored>, Error>>;

    fn create<'a>(
        &'a self,
        digest: &'a KeyDigest,
        record: &'a Record,
    ) -> BoxFuture<'a, Result<Revision, Error>>;

    fn update<'a>(
        &'a self,
        digest: &'a KeyDigest,
        record: &'a Record,
    ) -> BoxFuture<'a, Result<Revision, Error>>;

    fn touch<'a>(
        &'a self,
        digest: &'a KeyDigest,
        revision: Revision,
        touch: Touch,
    ) -> BoxFuture<'a, Result<(), Error>>;

    fn rotate<'a>(
        &'a self,
        old: &'a KeyDigest,
        new: &'a KeyDigest,
        record: &'a Record,
        mark_until: Timestamp,
    ) -> BoxFuture<'a, Result<Revision, Error>>;

    fn end<'a>(
        &'a self,
        digest: &'a KeyDigest,
        ending: Option<&'a Ending>,
    ) -> BoxFuture<'a, Result<(), Error>>;

    fn capabilities(&self) -> Capabilities<'_>;
}

impl<S: SessionStore> ObjectSafe for S {
    fn load<'a>(&'a self, digest: &'a KeyDigest) -> BoxFuture<'a, Result<Option<Stored>, Error>> {
        Box::pin(SessionStore::load(self, digest))
    }

    fn create<'a>(
        &'a self,
        digest: &'a KeyDigest,
        record: &'a Record,
    ) -> BoxFuture<'a, Result<Revision, Error>> {
        Box::pin(SessionStore::create(self, digest, record))
    }

    fn update<'a>(
        &'a self,
        digest: &'a KeyDigest,
        record: &'a Record,
    ) -> BoxFuture<'a, Result<Revision, Error>> {
        Box::pin(SessionStore::update(self, digest, record))
    }

    fn touch<'a>(
        &'a self,
        digest: &'a KeyDigest,
        revision: Revision,
        touch: Touch,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(SessionStore::touch(self, digest, revision, touch))
    }

    fn rotate<'a>(
        &'a self,
        old: &'a KeyDigest,
        new: &'a KeyDigest,
        record: &'a Record,
        mark_until: Timestamp,
    ) -> BoxFuture<'a, Result<Revision, Error>> {
        Box::pin(SessionStore::rotate(self, old, new, record, mark_until))
    }

    fn end<'a>(
        &'a self,
        digest: &'a KeyDigest,
        ending: Option<&'a Ending>,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(SessionStore::end(self, digest, ending))
    }

    fn capabilities(&self) -> Capabilities<'_> {
        SessionStore::capabilities(self)
    }
}

impl SessionStore for AnySessionStore {
    async fn load(&self, digest: &KeyDigest) -> Result<Option<Stored>, Error> {
        self.store.load(digest).await
    }

    async fn create(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        self.store.create(digest, record).await
    }

    async fn update(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        self.store.update(digest, record).await
    }

    async fn touch(
        &self,
        digest: &KeyDigest,
        revision: Revision,
        touch: Touch,
    ) -> Result<(), Error> {
        self.store.touch(digest, revision, touch).await
    }

    async fn rotate(
        &self,
        old: &KeyDigest,
        new: &KeyDigest,
        record: &Record,
        mark_until: Timestamp,
    ) -> Result<Revision, Error> {
        self.store.rotate(old, new, record, mark_until).await
    }

    async fn end(&self, digest: &KeyDigest, ending: Option<&Ending>) -> Result<(), Error> {
        self.store.end(digest, ending).await
    }

    fn capabilities(&self) -> Capabilities<'_> {
        self.store.capabilities()
    }
}

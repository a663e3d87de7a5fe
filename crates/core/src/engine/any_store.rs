//! A store chosen at run time.

use std::fmt;
use std::sync::Arc;

use crate::engine::{LoadedToken, SessionKey, Token, TokenStore, Written};
use crate::store::{BoxFuture, Capabilities, Ending, KeyDigest, Record, Revision, Stored};
use crate::{Error, Site, Subject, Timestamp};

/// Any store, its type forgotten: what a backend chosen at run time is held as.
///
/// Cheap to clone; all clones are the one store.
#[derive(Clone)]
pub struct AnyStore {
    store: Arc<dyn TokenStore>,
    type_name: &'static str,
}

impl AnyStore {
    /// Forgets the type of a store. An `AnyStore` is not wrapped again.
    pub fn new<T: TokenStore>(store: T) -> Self {
        store.into_any()
    }

    /// The name of the store's Rust type, with the types that it is made of: for a page or a
    /// log that says what kind of store it is. It holds no address and no path of the store.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        self.type_name
    }

    /// Closes the store, for all its clones: see [`Close`](crate::store::Close). A store
    /// that holds nothing open goes on answering, and this is success.
    ///
    /// A server calls it when its last request is answered, so that the same process can
    /// open the database again, and a sled database has the last touches:
    ///
    /// ```no_run
    /// # async fn example(store: cloakroom_core::engine::AnyStore) -> Result<(), cloakroom_core::Error> {
    /// store.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) where the store may still be open.
    pub async fn close(&self) -> Result<(), Error> {
        match self.token_capabilities().close {
            Some(close) => close.close().await,
            None => Ok(()),
        }
    }

    pub(crate) fn wrap<T: TokenStore>(store: T) -> Self {
        Self {
            store: Arc::new(store),
            type_name: std::any::type_name::<T>(),
        }
    }
}

impl fmt::Debug for AnyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AnyStore({})", self.type_name)
    }
}

impl TokenStore for AnyStore {
    fn is_well_formed(&self, token: &str) -> bool {
        self.store.is_well_formed(token)
    }

    fn digest_of(&self, token: &Token) -> Option<KeyDigest> {
        self.store.digest_of(token)
    }

    fn load_token<'a>(
        &'a self,
        token: &'a Token,
    ) -> BoxFuture<'a, Result<Option<LoadedToken>, Error>> {
        self.store.load_token(token)
    }

    fn create_token<'a>(
        &'a self,
        key: &'a SessionKey,
        record: &'a Record,
    ) -> BoxFuture<'a, Result<Written, Error>> {
        self.store.create_token(key, record)
    }

    fn update_token<'a>(
        &'a self,
        token: &'a Token,
        record: &'a Record,
    ) -> BoxFuture<'a, Result<Written, Error>> {
        self.store.update_token(token, record)
    }

    fn touch_token<'a>(
        &'a self,
        token: &'a Token,
        record: &'a Record,
    ) -> BoxFuture<'a, Result<Written, Error>> {
        self.store.touch_token(token, record)
    }

    fn rotate_token<'a>(
        &'a self,
        token: &'a Token,
        new: &'a SessionKey,
        record: &'a Record,
        mark_until: Timestamp,
    ) -> BoxFuture<'a, Result<Written, Error>> {
        self.store.rotate_token(token, new, record, mark_until)
    }

    fn load_moved<'a>(
        &'a self,
        token: &'a Token,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Option<(KeyDigest, Record)>, Error>> {
        self.store.load_moved(token, now)
    }

    fn update_moved<'a>(
        &'a self,
        digest: &'a KeyDigest,
        record: &'a Record,
    ) -> BoxFuture<'a, Result<Revision, Error>> {
        self.store.update_moved(digest, record)
    }

    fn end_token<'a>(
        &'a self,
        token: &'a Token,
        ending: Option<&'a Ending>,
    ) -> BoxFuture<'a, Result<(), Error>> {
        self.store.end_token(token, ending)
    }

    fn load_at<'a>(
        &'a self,
        digest: &'a KeyDigest,
    ) -> BoxFuture<'a, Result<Option<Stored>, Error>> {
        self.store.load_at(digest)
    }

    fn end_at<'a>(
        &'a self,
        digest: &'a KeyDigest,
        ending: Option<&'a Ending>,
    ) -> BoxFuture<'a, Result<(), Error>> {
        self.store.end_at(digest, ending)
    }

    fn end_sessions_of<'a>(
        &'a self,
        site: &'a Site,
        subject: &'a Subject,
        ending: Option<&'a Ending>,
    ) -> BoxFuture<'a, Result<usize, Error>> {
        self.store.end_sessions_of(site, subject, ending)
    }

    fn token_capabilities(&self) -> Capabilities<'_> {
        self.store.token_capabilities()
    }

    fn into_any(self) -> AnyStore {
        self
    }
}

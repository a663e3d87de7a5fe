//! The token side: what the engine uses.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use crate::{
    BoxFuture, Capabilities, Error, ErrorKind, Record, Revision, SessionKey, SessionStore, Stored,
    Timestamp, Token,
};

/// Something found under a token.
#[derive(Debug)]
#[non_exhaustive]
pub struct LoadedToken {
    /// What stands there.
    pub stored: Stored,
    /// A token to hand out in place of the one presented, where the store
    /// wants it replaced though nothing has changed.
    pub reissue: Option<Token>,
}

impl LoadedToken {
    /// Found, and the client keeps its token.
    #[must_use]
    pub fn new(stored: Stored) -> Self {
        Self {
            stored,
            reissue: None,
        }
    }
}

/// The answer to a write.
#[derive(Debug)]
#[non_exhaustive]
pub struct Written {
    /// The revision the record has now.
    pub revision: Revision,
    /// The token the client must hold from now on, where it is another one.
    pub token: Option<Token>,
}

impl Written {
    /// Written, and the client keeps its token.
    #[must_use]
    pub fn kept(revision: Revision) -> Self {
        Self {
            revision,
            token: None,
        }
    }

    /// Written, and the client must hold this token from now on.
    #[must_use]
    pub fn issued(revision: Revision, token: Token) -> Self {
        Self {
            revision,
            token: Some(token),
        }
    }
}

/// A store as the engine sees it: by the token the client holds.
///
/// Every [`SessionStore`] is one, through the blanket implementation below: its
/// token is the session key, of which the store sees the digest. A store that
/// needs the token itself implements this trait directly: one that keeps the
/// whole session in the cookie, or one that seals records under the key.
///
/// The clauses are those of [`SessionStore`], said of tokens. A token that is
/// not [well formed](TokenStore::is_well_formed) is refused without I/O: it
/// loads nothing, and there is nothing to write to under it.
pub trait TokenStore: Send + Sync + 'static {
    /// Whether the text could be a token of this store; no I/O. `false` is
    /// final, `true` promises nothing.
    fn is_well_formed(&self, token: &str) -> bool;

    /// What stands under the token.
    ///
    /// # Errors
    /// As [`SessionStore::load`].
    fn load_token(
        &self,
        token: &Token,
    ) -> impl Future<Output = Result<Option<LoadedToken>, Error>> + Send;

    /// Stores a new session and says the token to hand out.
    ///
    /// # Errors
    /// As [`SessionStore::create`].
    fn create_token(
        &self,
        key: &SessionKey,
        record: &Record,
    ) -> impl Future<Output = Result<Written, Error>> + Send;

    /// Replaces the session.
    ///
    /// # Errors
    /// As [`SessionStore::update`].
    fn update_token(
        &self,
        token: &Token,
        record: &Record,
    ) -> impl Future<Output = Result<Written, Error>> + Send;

    /// Notes a use: moves the record on to its `last_seen_at` and
    /// `expires_at`; the rest of it is what was loaded, its revision included.
    ///
    /// # Errors
    /// As [`SessionStore::touch`].
    fn touch_token(
        &self,
        token: &Token,
        record: &Record,
    ) -> impl Future<Output = Result<Written, Error>> + Send;

    /// Moves the session to a new key and says the token to hand out.
    ///
    /// # Errors
    /// As [`SessionStore::rotate`].
    fn rotate_token(
        &self,
        token: &Token,
        new: &SessionKey,
        record: &Record,
        mark_until: Timestamp,
    ) -> impl Future<Output = Result<Written, Error>> + Send;

    /// Ends the session.
    ///
    /// # Errors
    /// As [`SessionStore::delete`].
    fn delete_token(&self, token: &Token) -> impl Future<Output = Result<(), Error>> + Send;

    /// What the store can do beyond this trait.
    fn token_capabilities(&self) -> Capabilities<'_>;
}

fn key(token: &Token) -> Result<SessionKey, Error> {
    SessionKey::parse(token.expose()).ok_or_else(|| ErrorKind::Gone.into())
}

impl<S: SessionStore> TokenStore for S {
    fn is_well_formed(&self, token: &str) -> bool {
        SessionKey::parse(token).is_some()
    }

    async fn load_token(&self, token: &Token) -> Result<Option<LoadedToken>, Error> {
        let Some(key) = SessionKey::parse(token.expose()) else {
            return Ok(None);
        };
        Ok(self.load(&key.digest()).await?.map(LoadedToken::new))
    }

    async fn create_token(&self, key: &SessionKey, record: &Record) -> Result<Written, Error> {
        let revision = self.create(&key.digest(), record).await?;
        Ok(Written::issued(revision, key.to_token()))
    }

    async fn update_token(&self, token: &Token, record: &Record) -> Result<Written, Error> {
        let revision = self.update(&key(token)?.digest(), record).await?;
        Ok(Written::kept(revision))
    }

    async fn touch_token(&self, token: &Token, record: &Record) -> Result<Written, Error> {
        let digest = key(token)?.digest();
        self.touch(&digest, record.revision, record.into()).await?;
        Ok(Written::kept(record.revision))
    }

    async fn rotate_token(
        &self,
        token: &Token,
        new: &SessionKey,
        record: &Record,
        mark_until: Timestamp,
    ) -> Result<Written, Error> {
        let old = key(token)?.digest();
        let revision = self.rotate(&old, &new.digest(), record, mark_until).await?;
        Ok(Written::issued(revision, new.to_token()))
    }

    async fn delete_token(&self, token: &Token) -> Result<(), Error> {
        match SessionKey::parse(token.expose()) {
            Some(key) => self.delete(&key.digest()).await,
            None => Ok(()),
        }
    }

    fn token_capabilities(&self) -> Capabilities<'_> {
        self.capabilities()
    }
}

/// Any store, its type forgotten: what a backend chosen at run time is held as.
///
/// Cheap to clone; all clones are the one store. A call costs one allocation
/// more than on the store itself.
#[derive(Clone)]
pub struct AnyStore(Arc<dyn Erased>);

impl AnyStore {
    /// Forgets the type of a store.
    pub fn new<T: TokenStore>(store: T) -> Self {
        Self(Arc::new(store))
    }
}

impl fmt::Debug for AnyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AnyStore({})", self.0.type_name())
    }
}

/// [`TokenStore`] with boxed futures.
trait Erased: Send + Sync {
    fn type_name(&self) -> &'static str;
    fn is_well_formed(&self, token: &str) -> bool;
    fn load<'a>(&'a self, token: &'a Token) -> BoxFuture<'a, Result<Option<LoadedToken>, Error>>;
    fn create<'a>(
        &'a self,
        key: &'a SessionKey,
        record: &'a Record,
    ) -> BoxFuture<'a, Result<Written, Error>>;
    fn update<'a>(
        &'a self,
        token: &'a Token,
        record: &'a Record,
    ) -> BoxFuture<'a, Result<Written, Error>>;
    fn touch<'a>(
        &'a self,
        token: &'a Token,
        record: &'a Record,
    ) -> BoxFuture<'a, Result<Written, Error>>;
    fn rotate<'a>(
        &'a self,
        token: &'a Token,
        new: &'a SessionKey,
        record: &'a Record,
        mark_until: Timestamp,
    ) -> BoxFuture<'a, Result<Written, Error>>;
    fn delete<'a>(&'a self, token: &'a Token) -> BoxFuture<'a, Result<(), Error>>;
    fn capabilities(&self) -> Capabilities<'_>;
}

impl<T: TokenStore> Erased for T {
    fn type_name(&self) -> &'static str {
        std::any::type_name::<T>()
    }

    fn is_well_formed(&self, token: &str) -> bool {
        TokenStore::is_well_formed(self, token)
    }

    fn load<'a>(&'a self, token: &'a Token) -> BoxFuture<'a, Result<Option<LoadedToken>, Error>> {
        Box::pin(self.load_token(token))
    }

    fn create<'a>(
        &'a self,
        key: &'a SessionKey,
        record: &'a Record,
    ) -> BoxFuture<'a, Result<Written, Error>> {
        Box::pin(self.create_token(key, record))
    }

    fn update<'a>(
        &'a self,
        token: &'a Token,
        record: &'a Record,
    ) -> BoxFuture<'a, Result<Written, Error>> {
        Box::pin(self.update_token(token, record))
    }

    fn touch<'a>(
        &'a self,
        token: &'a Token,
        record: &'a Record,
    ) -> BoxFuture<'a, Result<Written, Error>> {
        Box::pin(self.touch_token(token, record))
    }

    fn rotate<'a>(
        &'a self,
        token: &'a Token,
        new: &'a SessionKey,
        record: &'a Record,
        mark_until: Timestamp,
    ) -> BoxFuture<'a, Result<Written, Error>> {
        Box::pin(self.rotate_token(token, new, record, mark_until))
    }

    fn delete<'a>(&'a self, token: &'a Token) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(self.delete_token(token))
    }

    fn capabilities(&self) -> Capabilities<'_> {
        self.token_capabilities()
    }
}

impl TokenStore for AnyStore {
    fn is_well_formed(&self, token: &str) -> bool {
        self.0.is_well_formed(token)
    }

    async fn load_token(&self, token: &Token) -> Result<Option<LoadedToken>, Error> {
        self.0.load(token).await
    }

    async fn create_token(&self, key: &SessionKey, record: &Record) -> Result<Written, Error> {
        self.0.create(key, record).await
    }

    async fn update_token(&self, token: &Token, record: &Record) -> Result<Written, Error> {
        self.0.update(token, record).await
    }

    async fn touch_token(&self, token: &Token, record: &Record) -> Result<Written, Error> {
        self.0.touch(token, record).await
    }

    async fn rotate_token(
        &self,
        token: &Token,
        new: &SessionKey,
        record: &Record,
        mark_until: Timestamp,
    ) -> Result<Written, Error> {
        self.0.rotate(token, new, record, mark_until).await
    }

    async fn delete_token(&self, token: &Token) -> Result<(), Error> {
        self.0.delete(token).await
    }

    fn token_capabilities(&self) -> Capabilities<'_> {
        self.0.capabilities()
    }
}

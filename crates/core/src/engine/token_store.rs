//! The token side: what the engine uses.

use crate::engine::{AnyStore, SessionKey, Token};
use crate::store::{
    BoxFuture, Capabilities, Ending, KeyDigest, Record, Revision, Revoke, RotationPath,
    SessionStore, Stored, SubjectDigest,
};
use crate::{Error, ErrorKind, Site, Subject, Timestamp};

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
///
/// The trait is object-safe: [`AnyStore`] is an `Arc` of it, so that a backend can
/// be chosen at run time.
pub trait TokenStore: Send + Sync + 'static {
    /// Whether the text could be a token of this store; no I/O. `false` is
    /// final, `true` promises nothing.
    fn is_well_formed(&self, token: &str) -> bool;

    /// The digest that the session of a token has in this store's lists and events;
    /// no I/O. `None` where the token is none of this store's.
    ///
    /// Whoever needs a digest asks here, since a token need not be a session key.
    fn digest_of(&self, token: &Token) -> Option<KeyDigest>;

    /// What stands under the token.
    ///
    /// # Errors
    /// As [`SessionStore::load`].
    fn load_token<'a>(
        &'a self,
        token: &'a Token,
    ) -> BoxFuture<'a, Result<Option<LoadedToken>, Error>>;

    /// Stores a new session and says the token to hand out.
    ///
    /// # Errors
    /// As [`SessionStore::create`].
    fn create_token<'a>(
        &'a self,
        key: &'a SessionKey,
        record: &'a Record,
    ) -> BoxFuture<'a, Result<Written, Error>>;

    /// Replaces the session.
    ///
    /// # Errors
    /// As [`SessionStore::update`].
    fn update_token<'a>(
        &'a self,
        token: &'a Token,
        record: &'a Record,
    ) -> BoxFuture<'a, Result<Written, Error>>;

    /// Notes a use: moves the record on to its `last_seen_at` and
    /// `expires_at`; the rest of it is what was loaded, its revision included.
    ///
    /// # Errors
    /// As [`SessionStore::touch`].
    fn touch_token<'a>(
        &'a self,
        token: &'a Token,
        record: &'a Record,
    ) -> BoxFuture<'a, Result<Written, Error>>;

    /// Moves the session to a new key and says the token to hand out.
    ///
    /// # Errors
    /// As [`SessionStore::rotate`].
    fn rotate_token<'a>(
        &'a self,
        token: &'a Token,
        new: &'a SessionKey,
        record: &'a Record,
        mark_until: Timestamp,
    ) -> BoxFuture<'a, Result<Written, Error>>;

    /// Where a rotation has moved the session of this token, and its record there; `None`
    /// where it has not been moved, has ended since, or a mark on the way has expired at
    /// `now`. For changes that were under way
    /// when it was moved: the token itself still opens nothing.
    ///
    /// A store that cannot read the session without its new token answers `None`, as this
    /// default does.
    ///
    /// # Errors
    /// As [`SessionStore::load`], and [`ErrorKind::Unavailable`] where it has moved too
    /// often ([`RotationPath`]).
    fn load_moved<'a>(
        &'a self,
        token: &'a Token,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Option<(KeyDigest, Record)>, Error>> {
        let _ = (token, now);
        Box::pin(async { Ok(None) })
    }

    /// Replaces the session that [`load_moved`](Self::load_moved) has found at a digest.
    ///
    /// # Errors
    /// As [`SessionStore::update`].
    fn update_moved<'a>(
        &'a self,
        digest: &'a KeyDigest,
        record: &'a Record,
    ) -> BoxFuture<'a, Result<Revision, Error>> {
        let _ = (digest, record);
        Box::pin(async { Err(ErrorKind::Gone.into()) })
    }

    /// Ends the session, and remembers the ending as far as the store can.
    ///
    /// # Errors
    /// As [`SessionStore::end`].
    fn end_token<'a>(
        &'a self,
        token: &'a Token,
        ending: Option<&'a Ending>,
    ) -> BoxFuture<'a, Result<(), Error>>;

    /// Ends the session and leaves no trace: [`end_token`](Self::end_token) without an ending.
    ///
    /// # Errors
    /// As [`end_token`](Self::end_token).
    fn delete_token<'a>(&'a self, token: &'a Token) -> BoxFuture<'a, Result<(), Error>> {
        self.end_token(token, None)
    }

    /// What stands at a digest, for whoever asks whether a session lives and has no token of
    /// it. The data of a record may be sealed. Without it, who waits for the
    /// [end of a session](crate::session::Session::ended) learns of this engine's ends alone.
    ///
    /// # Errors
    /// As [`SessionStore::load`], and [`ErrorKind::Misconfigured`] where sessions stand at no
    /// digest, as by default.
    fn load_at<'a>(
        &'a self,
        digest: &'a KeyDigest,
    ) -> BoxFuture<'a, Result<Option<Stored>, Error>> {
        let _ = digest;
        Box::pin(async { Err(no_digests()) })
    }

    /// Ends the session that a [scan](Capabilities::scan) has found at a digest.
    ///
    /// # Errors
    /// As [`SessionStore::end`], and [`ErrorKind::Misconfigured`] where sessions stand at
    /// no digest, as by default.
    fn end_at<'a>(
        &'a self,
        digest: &'a KeyDigest,
        ending: Option<&'a Ending>,
    ) -> BoxFuture<'a, Result<(), Error>> {
        let _ = (digest, ending);
        Box::pin(async { Err(no_digests()) })
    }

    /// Ends all sessions of a subject at a site; answers how many there were, zero where
    /// the store cannot know: the cookie store with revocation. Every other store does what
    /// its [`subjects`](Capabilities::subjects) do, as this default.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] where the store cannot, and what
    /// [`Subjects::end_sessions`](crate::store::Subjects::end_sessions) fails with.
    fn end_sessions_of<'a>(
        &'a self,
        site: &'a Site,
        subject: &'a Subject,
        ending: Option<&'a Ending>,
    ) -> BoxFuture<'a, Result<usize, Error>> {
        Box::pin(async move {
            let subjects = self.token_capabilities().required_subjects()?;
            let subject = SubjectDigest::new(site, subject);
            let ended = subjects.end_sessions(&subject, Revoke::All, ending).await?;
            Ok(ended.len())
        })
    }

    /// What the store can do beyond this trait.
    fn token_capabilities(&self) -> Capabilities<'_>;

    /// The store with its type forgotten. An [`AnyStore`] answers itself, so that
    /// no store is wrapped twice.
    fn into_any(self) -> AnyStore
    where
        Self: Sized,
    {
        AnyStore::wrap(self)
    }
}

impl<S: SessionStore> TokenStore for S {
    fn is_well_formed(&self, token: &str) -> bool {
        SessionKey::parse(token).is_some()
    }

    fn digest_of(&self, token: &Token) -> Option<KeyDigest> {
        token.key_digest()
    }

    fn load_token<'a>(
        &'a self,
        token: &'a Token,
    ) -> BoxFuture<'a, Result<Option<LoadedToken>, Error>> {
        Box::pin(async move {
            let Some(digest) = token.key_digest() else {
                return Ok(None);
            };
            Ok(self.load(&digest).await?.map(LoadedToken::new))
        })
    }

    fn create_token<'a>(
        &'a self,
        key: &'a SessionKey,
        record: &'a Record,
    ) -> BoxFuture<'a, Result<Written, Error>> {
        Box::pin(async move {
            let revision = self.create(&key.digest(), record).await?;
            Ok(Written::issued(revision, key.to_token()))
        })
    }

    fn update_token<'a>(
        &'a self,
        token: &'a Token,
        record: &'a Record,
    ) -> BoxFuture<'a, Result<Written, Error>> {
        Box::pin(async move {
            let revision = self.update(&required(token)?, record).await?;
            Ok(Written::kept(revision))
        })
    }

    fn touch_token<'a>(
        &'a self,
        token: &'a Token,
        record: &'a Record,
    ) -> BoxFuture<'a, Result<Written, Error>> {
        Box::pin(async move {
            let digest = required(token)?;
            self.touch(&digest, record.revision, record.into()).await?;
            Ok(Written::kept(record.revision))
        })
    }

    fn rotate_token<'a>(
        &'a self,
        token: &'a Token,
        new: &'a SessionKey,
        record: &'a Record,
        mark_until: Timestamp,
    ) -> BoxFuture<'a, Result<Written, Error>> {
        Box::pin(async move {
            let old = required(token)?;
            let revision = self.rotate(&old, &new.digest(), record, mark_until).await?;
            Ok(Written::issued(revision, new.to_token()))
        })
    }

    fn load_moved<'a>(
        &'a self,
        token: &'a Token,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Option<(KeyDigest, Record)>, Error>> {
        Box::pin(async move {
            let old = required(token)?;
            let mut path = RotationPath::from(old);
            loop {
                match self.load(path.at()).await? {
                    Some(Stored::Rotated { to, until }) if until > now => path.follow(to)?,
                    Some(Stored::Record(record)) if *path.at() != old => {
                        return Ok(Some((*path.at(), record)));
                    }
                    Some(_) | None => return Ok(None),
                }
            }
        })
    }

    fn update_moved<'a>(
        &'a self,
        digest: &'a KeyDigest,
        record: &'a Record,
    ) -> BoxFuture<'a, Result<Revision, Error>> {
        Box::pin(self.update(digest, record))
    }

    fn end_token<'a>(
        &'a self,
        token: &'a Token,
        ending: Option<&'a Ending>,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            match token.key_digest() {
                Some(digest) => self.end(&digest, ending).await,
                None => Ok(()),
            }
        })
    }

    fn load_at<'a>(
        &'a self,
        digest: &'a KeyDigest,
    ) -> BoxFuture<'a, Result<Option<Stored>, Error>> {
        Box::pin(self.load(digest))
    }

    fn end_at<'a>(
        &'a self,
        digest: &'a KeyDigest,
        ending: Option<&'a Ending>,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(self.end(digest, ending))
    }

    fn token_capabilities(&self) -> Capabilities<'_> {
        self.capabilities()
    }
}

fn no_digests() -> Error {
    Error::new(
        ErrorKind::Misconfigured,
        "this store has no session that could be named by its digest",
    )
}

/// Under a token that is no session key stands no session to write.
fn required(token: &Token) -> Result<KeyDigest, Error> {
    token.key_digest().ok_or_else(|| ErrorKind::Gone.into())
}

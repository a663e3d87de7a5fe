//! Session data encrypted at rest, under a key that only the client holds.
//!
//! A store keeps sessions by the digest of their key. [`Sealed`] stands in front of a
//! store and encrypts each session's data under a key that is derived from the session
//! key itself. So whoever copies the database reads no data, and the server has no key
//! to generate, hand out, rotate or lose: each one lies in a visitor's cookie.
//!
//! ```
//! use cloakroom_core::engine::{OsEntropy, SessionKey, TokenStore};
//! use cloakroom_core::store::Data;
//! use cloakroom_core::{Clock, Expiry, SystemClock};
//! use cloakroom_sealed::Sealed;
//! use cloakroom_testkit::MapStore;
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let store = Sealed::new(MapStore::default()); // any `SessionStore`
//! let key = SessionKey::generate(&OsEntropy)?;
//! let mut record = Expiry::default().begin(SystemClock.now());
//! record.data = Data::from_bytes(&b"a diagnosis"[..]);
//! store.create_token(&key, &record).await?;
//!
//! let loaded = store.load_token(&key.to_token()).await?.expect("just stored");
//! let found = loaded.stored.into_record().expect("a record");
//! assert_eq!(found.data.as_bytes(), b"a diagnosis");
//! # Ok::<(), cloakroom_core::Error>(())
//! # }).unwrap();
//! ```
//!
//! # What is promised
//!
//! - **Who reads the database reads no session data.** It takes the session's key to
//!   read it, and that is in the visitor's cookie alone.
//! - **Who writes the database cannot change the data of a visitor's session unseen.**
//!   Data that was changed, or moved to another digest, another subject or another
//!   beginning, fails to open with [`ErrorKind::Corrupt`].
//!
//! # What is not
//!
//! - **Who writes the database can plant a session of their own making, for any
//!   subject.** They draw a session key, seal data under it as the server would, store
//!   the record with a subject of their choice at the key's digest, and present the key
//!   as a cookie: it opens, and they are logged in as that subject. The server holds no
//!   key that they would lack. Sealing keeps what visitors have stored from those who
//!   read the database; it does not make a database safe that strangers write.
//! - **They can move the deadlines of any session**, change its label, delete it, and
//!   put an older state of it back in its place: of the header, the data is bound to
//!   subject and beginning alone.
//! - **The header stays clear**, since stores, sweeps and lists of a user's sessions
//!   need it: site, subject, label, beginning, last use, deadlines, the expiry that the
//!   session chose, revision. So does the length of the data.
//! - Whoever reads the memory of the server, or a visitor's cookie, reads that
//!   visitor's session.
//! - **A change that a rotation overtakes is refused** (409), where other stores replay it
//!   at the new key: the session opens with its new key alone, which that request does not
//!   have.
//! - An operator cannot read a session either: a page or a tool that shows values
//!   cannot show these.
//!
//! Sessions that were stored before the store was sealed fail with `Corrupt`, which the
//! engine answers with a new session. So do sealed sessions once the store is no longer
//! sealed.
//!
//! # The format
//!
//! `Record::data` holds:
//!
//! | bytes | content |
//! |---|---|
//! | 1 | version, 1 |
//! | 24 | nonce, random |
//! | n | ciphertext, as long as the data |
//! | 16 | tag |
//!
//! It is sealed by XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03, section 2) under
//! the 32 bytes of HKDF-SHA256 (RFC 5869; no salt, ikm = the 32 bytes of the
//! session key, info = `"cloakroom/seal/v1"`). The associated data is, integers
//! little-endian:
//!
//! | bytes | content |
//! |---|---|
//! | 1 | version, 1 |
//! | 32 | digest of the session key |
//! | 1 | 0 without a subject, else 1, and then: |
//! | 2 + n | length of the subject in bytes, and the subject in UTF-8 |
//! | 8 | `created_at`, milliseconds since the epoch |
//!
//! Each write draws a random nonce of 192 bits, so no two writes under one session key
//! use the same one.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod seal;

use std::fmt;
use std::sync::Arc;

use cloakroom_core::engine::{
    Entropy, LoadedToken, OsEntropy, SessionKey, Token, TokenStore, Written,
};
use cloakroom_core::store::{BoxFuture, Capabilities, KeyDigest, Record, SessionStore, Stored};
use cloakroom_core::{Error, ErrorKind, Timestamp};

use crate::seal::SealingKey;

/// Bytes that sealing adds to a session's data: version, nonce and tag.
pub const SEAL_BYTES: usize = seal::OVERHEAD_BYTES;

const NAME: &str = "sealed";

/// A store whose session data is encrypted under each session's own key.
///
/// It is a [`TokenStore`] alone: a [`SessionStore`] sees no keys, so it could
/// not open anything. A cache therefore stands *below* it, `Sealed<Cached<S>>`,
/// and holds sealed data too.
///
/// Its errors are those of the inner store, and two more: [`ErrorKind::Corrupt`] where
/// data does not open, and [`ErrorKind::Unavailable`] where there is no randomness for
/// a nonce; then nothing was written.
pub struct Sealed<S> {
    inner: S,
    entropy: Arc<dyn Entropy>,
}

impl<S: SessionStore> Sealed<S> {
    /// Seals the data of every session that goes into a store.
    pub fn new(inner: S) -> Self {
        Self::with_entropy(inner, Arc::new(OsEntropy))
    }

    /// As [`new`](Self::new), with nonces from another source than the operating system.
    pub fn with_entropy(inner: S, entropy: Arc<dyn Entropy>) -> Self {
        Self { inner, entropy }
    }

    /// The store that keeps the sealed records.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    fn seal(&self, key: &SessionKey, record: &Record) -> Result<Record, Error> {
        SealingKey::of(key)
            .seal(&*self.entropy, record)
            .map_err(|error| error.in_store(NAME))
    }
}

impl<S> fmt::Debug for Sealed<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({})", std::any::type_name::<S>())
    }
}

/// The key of a session that is to be written: a token that is no session key is of
/// none.
fn require_key(token: &Token) -> Result<SessionKey, Error> {
    SessionKey::from_token(token).ok_or_else(|| ErrorKind::Gone.into())
}

impl<S: SessionStore> TokenStore for Sealed<S> {
    fn is_well_formed(&self, token: &str) -> bool {
        SessionKey::parse(token).is_some()
    }

    fn digest_of(&self, token: &Token) -> Option<KeyDigest> {
        Some(SessionKey::from_token(token)?.digest())
    }

    fn load_token<'a>(
        &'a self,
        token: &'a Token,
    ) -> BoxFuture<'a, Result<Option<LoadedToken>, Error>> {
        Box::pin(async move {
            let Some(key) = SessionKey::from_token(token) else {
                return Ok(None);
            };
            let stored = match self.inner.load(&key.digest()).await? {
                Some(Stored::Record(record)) => Stored::Record(
                    SealingKey::of(&key)
                        .open(record)
                        .map_err(|error| error.in_store(NAME))?,
                ),
                Some(mark) => mark,
                None => return Ok(None),
            };
            Ok(Some(LoadedToken::new(stored)))
        })
    }

    fn create_token<'a>(
        &'a self,
        key: &'a SessionKey,
        record: &'a Record,
    ) -> BoxFuture<'a, Result<Written, Error>> {
        Box::pin(async move {
            let sealed = self.seal(key, record)?;
            let revision = self.inner.create(&key.digest(), &sealed).await?;
            Ok(Written::issued(revision, key.to_token()))
        })
    }

    fn update_token<'a>(
        &'a self,
        token: &'a Token,
        record: &'a Record,
    ) -> BoxFuture<'a, Result<Written, Error>> {
        Box::pin(async move {
            let key = require_key(token)?;
            let sealed = self.seal(&key, record)?;
            let revision = self.inner.update(&key.digest(), &sealed).await?;
            Ok(Written::kept(revision))
        })
    }

    /// Is passed on: what a touch changes is not sealed.
    fn touch_token<'a>(
        &'a self,
        token: &'a Token,
        record: &'a Record,
    ) -> BoxFuture<'a, Result<Written, Error>> {
        self.inner.touch_token(token, record)
    }

    fn rotate_token<'a>(
        &'a self,
        token: &'a Token,
        new: &'a SessionKey,
        record: &'a Record,
        mark_until: Timestamp,
    ) -> BoxFuture<'a, Result<Written, Error>> {
        Box::pin(async move {
            let old = require_key(token)?.digest();
            let sealed = self.seal(new, record)?;
            let new_digest = new.digest();
            let revision = self
                .inner
                .rotate(&old, &new_digest, &sealed, mark_until)
                .await?;
            Ok(Written::issued(revision, new.to_token()))
        })
    }

    fn delete_token<'a>(&'a self, token: &'a Token) -> BoxFuture<'a, Result<(), Error>> {
        self.inner.delete_token(token)
    }

    fn token_capabilities(&self) -> Capabilities<'_> {
        self.inner.capabilities()
    }
}

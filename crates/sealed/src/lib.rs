//! Session data encrypted at rest, under a key that only the client holds.
//!
//! A store keeps sessions by the digest of their key. [`Sealed`] stands in front of a
//! store and encrypts each session's data under a key that is derived from the session
//! key itself. So whoever copies the database reads no data: each key lies in a visitor's
//! cookie.
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
//! **In the book:** [Key files, and changing a key](https://github.com/cloakroom-rs/cloakroom/blob/main/docs/keys.md).
//!
//! # With a key of the server
//!
//! Without one, whoever **writes** to the database can log in as anybody: they draw a
//! session key, seal `subject = admin` under it by the format below, store the row, and
//! present the key as a cookie. A [`KeyRing`] stops that. Its active secret enters the
//! key of each session, and no row opens that was sealed without it:
//!
//! ```
//! use cloakroom_core::engine::OsEntropy;
//! use cloakroom_sealed::{KeyRing, Sealed};
//! use cloakroom_testkit::MapStore;
//!
//! // A server reads its key file: `KeyRing::from_file("session.keys")`.
//! let ring = KeyRing::generate(&OsEntropy)?;
//! let store = Sealed::new(MapStore::default()).with_key_ring(&ring);
//! # let _ = store;
//! # Ok::<(), cloakroom_core::Error>(())
//! ```
//!
//! It costs a file to make and to keep: who loses it ends every session.
//! [The key file](cloakroom_keyring#the-key-file) says how to make one and how to change
//! the secret. What a retired secret sealed still opens, and the next write seals it under
//! the active one; a touch seals nothing.
//!
//! Give a store its ring before its first session. There is no choice to go on opening
//! sessions that were sealed without it, since whoever can forge one would forge it then:
//! **turning the ring on logs everybody out once.** Give each deployment a ring of its
//! own, or a session of the test site opens in the real one where a writer copies it.
//!
//! # What is promised
//!
//! - **Who reads the database reads no session data.** It takes the session's key to
//!   read it, and that is in the visitor's cookie alone; with a ring, it takes the ring
//!   too.
//! - **Who writes the database cannot change the data of a visitor's session unseen.**
//!   Data that was changed, or moved to another digest, another subject or another
//!   beginning, fails to open with [`Corrupt`]. With a ring it also fails where the
//!   absolute deadline, the session's own expiry, its site, its label, or how and on which
//!   device its owner has logged in was changed.
//! - **With a ring, who writes the database can make no session.** What opens was sealed
//!   by a server that holds the ring, for that subject.
//!
//! [`Corrupt`]: cloakroom_core::ErrorKind::Corrupt
//!
//! # What is not
//!
//! What a writer of the database can do, and a reader cannot:
//!
//! | a writer can | without a ring | with one |
//! |---|---|---|
//! | make a session of any subject, and open it | yes | no |
//! | read or change data of a session whose key they lack | no | no |
//! | change data of a session whose key they have, such as their own | yes | no |
//! | let a session live beyond its absolute end | yes | no |
//! | say of a session that its owner has proved more, or is bound to no device | yes | no |
//! | move `expires_at` and `last_seen_at`, which a touch moves: a session stays alive unused | for ever | until its absolute end, or for ever where the policy has none |
//! | put an older state of a session back in its place, also of one that was logged out | yes | the same |
//! | delete a session, or put a rotation mark in its place | yes | yes |
//! | make rows that open nothing, and stand in the list of a subject's sessions with any label | yes | yes |
//!
//! The last row is so because a list shows headers, and no session's key is at hand to
//! check them.
//!
//! - **The header stays clear**, since stores, sweeps and lists of a user's sessions
//!   need it: site, subject, label, how its owner has logged in and what that is tied to,
//!   beginning, last use, deadlines, the expiry that the session chose, revision. So does
//!   the length of the data.
//! - Whoever reads the memory of the server, or a visitor's cookie, reads that
//!   visitor's session. Whoever reads the ring and writes to the database can do what a
//!   writer can without one. The ring alone opens no session.
//! - **A change that a rotation overtakes is refused** (409), where other stores replay it
//!   at the new key: the session opens with its new key alone, which that request does not
//!   have.
//! - An operator cannot read a session either: a page or a tool that shows values
//!   cannot show these.
//!
//! Sessions that do not open fail with `Corrupt`, which the engine answers with a new
//! session and an event that says why. These are: sessions that were stored before the
//! store was sealed, or before it had its ring; and sealed sessions once the store is no
//! longer sealed, or has no ring any more. Those of a secret that is not in the ring fail
//! with `UnknownKey`: they open nothing here, and the visitor keeps the cookie, since
//! another node may have that secret.
//!
//! # The format
//!
//! `Record::data` holds, integers little-endian:
//!
//! | bytes | content |
//! |---|---|
//! | 1 | version: 1 without a ring, 2 with one |
//! | 4 | of version 2 alone: key id, which says which secret of the ring |
//! | 24 | nonce, random |
//! | n | ciphertext, as long as the data |
//! | 16 | tag |
//!
//! A store without a ring opens version 1 alone, and a store with one version 2 alone.
//!
//! It is sealed by XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03, section 2) under
//! 32 bytes of HKDF-SHA256 (RFC 5869) over the 32 bytes of the session key:
//!
//! | version | salt | info |
//! |---|---|---|
//! | 1 | none | `"cloakroom/seal/v1"` |
//! | 2 | the server key | `"cloakroom/seal/v2"` |
//!
//! The server key is 32 bytes of HKDF-SHA256 over the secret, without salt, with the info
//! `"cloakroom/seal/v2/server-key"`; the key id is [`Secret::id`]. Who lacks one of the
//! two keys knows nothing of what follows from both: HMAC-SHA256, which HKDF begins with,
//! is taken for a pseudorandom function of either of its inputs, as TLS 1.3 does.
//!
//! The associated data is:
//!
//! | bytes | content |
//! |---|---|
//! | 1 or 5 | version, and key id where there is one |
//! | 32 | digest of the session key, which takes in its site |
//! | maybe text | subject |
//! | 8 | `created_at`, milliseconds since the epoch |
//! | | *and of version 2:* |
//! | maybe 8 | `absolute_deadline`, milliseconds since the epoch |
//! | text | `expiry`, as [`SessionExpiry`](cloakroom_core::SessionExpiry) is printed |
//! | text | `site` |
//! | maybe text | `label` |
//! | the rest | the login, as [`Login::to_bytes`](cloakroom_core::Login::to_bytes) says; nothing where there is none |
//!
//! A text is its length in bytes (2 bytes) and UTF-8. What is maybe there begins with a
//! byte: 0 where it is not there, else 1. Each write draws a random nonce of 192 bits, so
//! no two writes under one session key use the same one.
//!
//! Test vectors, in hexadecimal. Session key 00 01 … 1f, nonce 40 41 … 57, `created_at`
//! 1000, the data is the text `cloakroom`. Version 1, with the subject `42` at the
//! default site:
//!
//! ```text
//! 01404142434445464748494a4b4c4d4e4f5051525354555657
//! ce6bce59d018f74bd70f6789eb64101f85087315358904d6a3
//! ```
//!
//! Version 2 under the secret 80 81 … 9f, first with the subject `42`, the absolute
//! deadline 5000000, the expiry `idle:1500`, the site `__Host-session` and the label
//! `Firefox on Linux`, then with none of these, then with all of them and a login of the
//! second level by `passkey` at 7000:
//!
//! ```text
//! 027b1b305a404142434445464748494a4b4c4d4e4f5051525354555657
//! 6cb3b38b40e0d6a00f32b0d9fca0f4cf7377e190dd9db5a027
//!
//! 027b1b305a404142434445464748494a4b4c4d4e4f5051525354555657
//! 6cb3b38b40e0d6a00f9cbcd61749a4b31a7699dcc80df5c0dc
//!
//! 027b1b305a404142434445464748494a4b4c4d4e4f5051525354555657
//! 6cb3b38b40e0d6a00fca86b2b7e06a82d6fe7ea3dbba33bff5
//! ```

#![cfg_attr(docsrs, feature(doc_cfg))]

mod seal;

use std::fmt;
use std::sync::Arc;

use cloakroom_core::engine::{
    Entropy, LoadedToken, OsEntropy, SessionKey, Token, TokenStore, Written,
};
use cloakroom_core::store::{
    BoxFuture, Capabilities, Ending, KeyDigest, Record, SessionStore, Stored,
};
use cloakroom_core::{Error, Timestamp};

pub use cloakroom_keyring::{KeyRing, Secret};
pub use seal::SEAL_BYTES_MAX;

use crate::seal::ServerKeys;

const NAME: &str = "sealed";

/// A store whose session data is encrypted under each session's own key, and under a key
/// of the server where it has [a ring](Self::with_key_ring).
///
/// It is a [`TokenStore`] alone: a [`SessionStore`] sees no keys, so it could
/// not open anything. A cache therefore stands *below* it, `Sealed<Cached<S>>`,
/// and holds sealed data too.
///
/// Its errors are those of the inner store, and three more: [`Corrupt`] where data does
/// not open, [`UnknownKey`] where it was sealed under a secret that is not in the ring,
/// and [`Unavailable`] where there is no randomness for a nonce; then nothing was written.
///
/// [`UnknownKey`]: cloakroom_core::ErrorKind::UnknownKey
/// [`Corrupt`]: cloakroom_core::ErrorKind::Corrupt
/// [`Unavailable`]: cloakroom_core::ErrorKind::Unavailable
pub struct Sealed<S> {
    inner: S,
    entropy: Arc<dyn Entropy>,
    server_keys: ServerKeys,
}

impl<S: SessionStore> Sealed<S> {
    /// Seals the data of every session that goes into a store.
    pub fn new(inner: S) -> Self {
        Self::with_entropy(inner, Arc::new(OsEntropy))
    }

    /// As [`new`](Self::new), with nonces from another source than the operating system.
    pub fn with_entropy(inner: S, entropy: Arc<dyn Entropy>) -> Self {
        Self {
            inner,
            entropy,
            server_keys: ServerKeys::default(),
        }
    }

    /// Adds the active secret of a ring to the key of each session, so that a writer of
    /// the database can make no session. What was sealed without a ring does not open
    /// then: the [crate's page](crate#with-a-key-of-the-server) says what follows.
    #[must_use]
    pub fn with_key_ring(mut self, ring: &KeyRing) -> Self {
        self.server_keys = ServerKeys::of(ring);
        self
    }

    /// The store that keeps the sealed records.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    fn seal(&self, key: &SessionKey, record: &Record) -> Result<Record, Error> {
        self.server_keys
            .seal(&*self.entropy, key, record)
            .map_err(|error| error.in_store(NAME))
    }
}

impl<S> fmt::Debug for Sealed<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({})", std::any::type_name::<S>())
    }
}

impl<S: SessionStore> TokenStore for Sealed<S> {
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
            let Some(key) = SessionKey::from_token(token) else {
                return Ok(None);
            };
            let stored = match self.inner.load(&key.digest()).await? {
                Some(Stored::Record(record)) => Stored::Record(
                    self.server_keys
                        .open(&key, record)
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
            let key = SessionKey::require(token)?;
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
            let old = SessionKey::require(token)?.digest();
            let sealed = self.seal(new, record)?;
            let new_digest = new.digest();
            let revision = self
                .inner
                .rotate(&old, &new_digest, &sealed, mark_until)
                .await?;
            Ok(Written::issued(revision, new.to_token()))
        })
    }

    fn end_token<'a>(
        &'a self,
        token: &'a Token,
        ending: Option<&'a Ending>,
    ) -> BoxFuture<'a, Result<(), Error>> {
        self.inner.end_token(token, ending)
    }

    fn load_at<'a>(
        &'a self,
        digest: &'a KeyDigest,
    ) -> BoxFuture<'a, Result<Option<Stored>, Error>> {
        self.inner.load_at(digest)
    }

    fn end_at<'a>(
        &'a self,
        digest: &'a KeyDigest,
        ending: Option<&'a Ending>,
    ) -> BoxFuture<'a, Result<(), Error>> {
        self.inner.end_at(digest, ending)
    }

    fn token_capabilities(&self) -> Capabilities<'_> {
        self.inner.capabilities()
    }
}

//! Sessions sealed in the cookie itself: nothing on the server, and nothing on
//! the server that could take one back. A cookie cannot compare and swap: of two
//! requests that change a session at once, the one whose response comes last
//! wins. It cannot be recalled either: a copied cookie opens until its deadline,
//! after a logout too, unless [revocation](Revocation) is configured. Where
//! either matters, use a store.
//!
//! ```
//! use cloakroom_cookie::{CookieStore, KeyRing, Secret};
//! use cloakroom_core::engine::{OsEntropy, SessionKey, TokenStore};
//! use cloakroom_core::{Clock, Expiry, SystemClock};
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! // Once: a line for the key file. At each start: `KeyRing::from_file`.
//! let line = Secret::generate(&OsEntropy)?.to_text();
//! let ring = KeyRing::parse(&line)?;
//!
//! // The full name of the cookie: what the engine's cookie policy says.
//! let store = CookieStore::builder("__Host-session", &ring).build()?;
//! let key = SessionKey::generate(&OsEntropy)?;
//! let record = Expiry::default().begin(SystemClock.now());
//! let written = store.create_token(&key, &record).await?;
//!
//! let token = written.token.expect("the whole session");
//! let loaded = store.load_token(&token).await?.expect("it opens");
//! assert_eq!(loaded.stored.into_record(), Some(record.at_revision(written.revision)));
//! # Ok::<(), cloakroom_core::Error>(())
//! # }).unwrap();
//! ```
//!
//! # What is promised
//!
//! * Nobody without a key of the ring reads or makes a cookie. (A
//!   [signed](CookieStoreBuilder::signed) one can be read by its visitor.)
//! * A cookie opens in the mode, under the name and with the keys that are
//!   configured, or not at all. The mode comes from the configuration and never
//!   from the cookie; the key is picked by its id; nothing is tried in turn, and
//!   there is no weaker format to fall back to.
//! * A cookie that does not open, whatever was done to it, is a token that
//!   nobody was given: `load_token` finds nothing, and there is no error.
//! * The deadlines are sealed in. A cookie replayed after its idle deadline or
//!   its absolute one does not open, whatever the browser was told.
//! * A session opened under a retired key is sealed again under the active one:
//!   the same session, with the deadlines it had.
//! * No token is made that is longer than 16 KiB. What fits into one cookie, or into
//!   up to four where the engine's cookie policy cuts tokens into chunks (`chunks_max`
//!   in `cloakroom-web`), the engine measures before anything is sent.
//!
//! # What is not
//!
//! * No compare-and-swap, as said: `update_token` and `rotate_token` only see
//!   whether the record is based on the very token presented.
//! * No revocation of its own. `delete_token` does nothing on the server: the
//!   browser is told to forget the cookie, and a copy of it still opens. With
//!   [`Revocation`] all sessions of a subject can be ended at once, at each
//!   [logout](CookieStoreBuilder::logout_ends_all) too; never one alone, and
//!   never one that has no subject.
//! * The length of a cookie tells the length of its session.
//! * An older cookie of a session is as good as the latest. Do not keep in one
//!   what a visitor must not put back: a balance, a count of attempts.
//!
//! # The frame
//!
//! A token is the unpadded base64url of these bytes, integers little-endian:
//!
//! | bytes | content |
//! |---|---|
//! | 1 | version, 1 |
//! | 4 | key id |
//! | 24 | nonce, random |
//! | n | payload; encrypted, or clear in signed mode |
//! | 16 or 32 | tag: Poly1305 where encrypted, HMAC-SHA256 where signed |
//!
//! and the payload, authentic before a byte of it is read:
//!
//! | bytes | content |
//! |---|---|
//! | 16 | session id: the first bytes of the digest of the key that `create` or `rotate` was given |
//! | 8 | issued at: when that was, milliseconds since the epoch |
//! | 8 | the subject's epoch then; 0 without revocation |
//! | n | the [record's frame](cloakroom_core::store::Stored), deadlines and revision in it |
//!
//! Each secret of the ring gives, by HKDF-SHA256 (RFC 5869) without salt, three
//! things that say nothing of each other: 32 bytes for
//! `"cloakroom/cookie/v1/encrypted"`, 32 for `"cloakroom/cookie/v1/signed"` and
//! the key id, 4 bytes for `"cloakroom/cookie/v1/key-id"`. An id derived from
//! the key needs no registry, and cannot be given to two keys by mistake; a ring
//! in which two ids meet by chance (one in 2^32) is refused.
//!
//! What is bound to a frame beside its payload is `"cloakroom/cookie\0"`, the
//! version, the mode (1 encrypted, 2 signed), the key id, and the cookie's name.
//! Encrypted mode is XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03, section 2)
//! with that as additional data; signed mode is HMAC-SHA256 (RFC 2104) over the
//! length of that in 4 bytes, that, the nonce, and the payload.
//!
//! # Features
//!
//! `ring`: the same bytes through [ring](https://crates.io/crates/ring), which
//! is faster on cookies and needs a C compiler. It changes nothing else, and two
//! servers with and without it open each other's cookies.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod cipher;
mod envelope;
mod frame;
mod keyring;
mod revocation;
mod store;

pub use keyring::{KeyRing, RING_KEYS_MAX, RING_TEXT_BYTES_MAX, SECRET_BYTES_MIN, Secret};
pub use revocation::{EpochStore, Revocation};
pub use store::{CookieStore, CookieStoreBuilder};

const NAME: &str = "cookie";

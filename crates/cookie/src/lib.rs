//! Sessions sealed in the cookie itself: the server keeps nothing.
//!
//! There is no compare-and-swap: of two requests that change a session at once, the
//! one whose response comes last wins; so does one that only reads, where it notes the use
//! in the cookie. And the server cannot end a session: a copied
//! cookie opens until its deadline, after a logout too, unless
//! [revocation](Revocation) is configured. Where either matters, use a store.
//!
//! ```
//! use cloakroom_cookie::{CookieStore, KeyRing};
//! use cloakroom_core::engine::{OsEntropy, SessionKey, TokenStore};
//! use cloakroom_core::{Clock, Expiry, SystemClock};
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! // A server reads its key file: `KeyRing::from_file("session.keys")`.
//! let ring = KeyRing::generate(&OsEntropy)?;
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
//! **In the book:** [What a cookie cannot do](https://github.com/cloakroom-rs/cloakroom/blob/main/docs/stores.md#what-a-cookie-cannot-do).
//!
//! # What is promised
//!
//! * Who has no secret of the [ring](KeyRing) can neither read nor make a cookie. (A
//!   [signed](CookieStoreBuilder::signed) one can be read by its visitor.)
//! * A cookie opens in the mode, under the name and with the keys that are
//!   configured, or not at all. The mode comes from the configuration and never
//!   from the cookie; the key is picked by its id; nothing is tried in turn, and
//!   there is no weaker format to fall back to.
//! * A cookie that does not open, whatever was done to it, is as good as none:
//!   `load_token` finds nothing, and there is no error. One that names a key which is not
//!   in the ring is not this server's to judge ([`UnknownKey`]): it opens nothing, and the
//!   engine leaves it to the browser, since another node may have that key.
//! * The deadlines are sealed in. A cookie replayed after its idle deadline or
//!   its absolute one does not open, whatever the browser was told. So this store, unlike
//!   others, judges deadlines itself, and its [clock](CookieStoreBuilder::clock) must be
//!   the engine's.
//! * A session that a retired key opens is sealed again under the active one: the same
//!   session, with the deadlines it had. It ends all the same when the key leaves the ring
//!   under which it began or logged in: what was forged under a secret that leaked does
//!   not outlive it.
//! * No token is longer than 16 KiB. Before anything is sent, the engine measures
//!   whether the token fits into one cookie, or into up to four where its cookie policy
//!   cuts tokens into chunks (`chunks_max` in `cloakroom-web`).
//!
//! # What is not
//!
//! * There is no compare-and-swap: `update_token` and `rotate_token` only see whether
//!   the record is based on the token that was presented.
//! * Without [`Revocation`] the server ends no session. `delete_token` does nothing
//!   there: the browser is told to remove the cookie, and a copy of it still opens. With
//!   revocation, all sessions of a subject can be ended at once, at each
//!   [logout](CookieStoreBuilder::logout_ends_all) too, but not one of them alone, and
//!   not a session without a subject: an epoch is a number for each subject, and knows no
//!   session.
//! * The length of a cookie tells the length of its session.
//! * A proxy with small buffers does not pass a long cookie on: nginx answers a response
//!   with more than 4 KiB of headers with a 502, unless its `proxy_buffer_size` is raised
//!   to 16k. `CookiePolicyBuilder::behind_default_proxies` in `cloakroom-web` keeps below
//!   that.
//! * An older cookie of a session opens as well as its latest. Keep nothing in it that
//!   a visitor must not set back, such as a balance or a count of attempts.
//!
//! [`UnknownKey`]: cloakroom_core::ErrorKind::UnknownKey
//!
//! # Changing the key
//!
//! Three steps, each on all servers before the next, so that no server meets a cookie whose
//! key it lacks:
//!
//! 1. **Distribute**: add the new secret to the ring as a retired one, below the others.
//! 2. **Activate**: move it to the top. The one before stays below it: the ring is read
//!    from the latest key to the oldest.
//! 3. **Retire**: when no session lives any more that began under the old key, take it out.
//!    That is after the absolute lifetime at the latest; [`CookieStore::opened_by_key`]
//!    counts what still arrives.
//!
//! A secret that leaked is taken out at once; who logged in under it logs in again.
//!
//! # The frame
//!
//! A token is the unpadded base64url of these bytes, integers little-endian:
//!
//! | bytes | content |
//! |---|---|
//! | 1 | version, 1 |
//! | 4 | key id |
//! | 24 or 0 | nonce, random, where encrypted |
//! | n | payload: encrypted, or clear in signed mode |
//! | 16 or 32 | tag: Poly1305 where encrypted, HMAC-SHA256 where signed |
//!
//! The payload is read only once it is known to be authentic. A number has seven bits in
//! each byte, the lowest first, and the highest bit set where another byte follows; a
//! distance of two instants is twice the milliseconds from one to the other, or twice those
//! the other way round less one; a text is UTF-8 after the number of its bytes:
//!
//! | content | stands there |
//! |---|---|
//! | a byte of flags, from the lowest bit on: there is an absolute deadline, a lifetime, a site, a subject, a label, a key id, a login. The other bit is 0: a newer build may set it | always |
//! | session id, 8 bytes: the first of the digest of the key that `create` or `rotate` was given | always |
//! | revision, a number | always |
//! | the subject's epoch when it logged in, a number; 0 without revocation | always |
//! | how often the session was flushed, a number | always |
//! | `created_at`, a number of milliseconds since the epoch | always |
//! | `last_seen_at`, a distance from `created_at` | always |
//! | `expires_at`, a distance from `last_seen_at` | always |
//! | the absolute deadline, a distance from `created_at` | by flag |
//! | the lifetime that the session chose, a text as [`SessionExpiry`] writes it | by flag |
//! | the site, a text | where it is not the cookie's name |
//! | the subject, a text | by flag |
//! | the label, a text | by flag |
//! | the login, as [`Login::to_bytes`](cloakroom_core::Login::to_bytes) says, after the number of its bytes | by flag |
//! | id of the key under which the session began, or logged in last, 4 bytes | where it is not the frame's |
//! | the session's data, to the end | always |
//!
//! [`SessionExpiry`]: cloakroom_core::SessionExpiry
//!
//! HKDF-SHA256 (RFC 5869) without salt derives three values from each secret of the
//! ring, none of which tells another: 32 bytes for `"cloakroom/cookie/v1/encrypted"`, 32
//! for `"cloakroom/cookie/v1/signed"`, and 4 for `"cloakroom/cookie/v1/key-id"`, the key
//! id. A derived id needs no registry, and cannot be given to two secrets by mistake. A
//! ring in which two ids are equal by chance (one in 2^32) is refused.
//!
//! The associated data of a frame is `"cloakroom/cookie\0"`, the version, the mode (1
//! encrypted, 2 signed), the key id, and the cookie's name. Encrypted mode is
//! XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03, section 2) with this associated data.
//! Signed mode is HMAC-SHA256 (RFC 2104) over the length of the associated data in 4
//! bytes, the associated data, and the payload.
//!
//! # Features
//!
//! `ring`: the same bytes through [ring](https://crates.io/crates/ring), which needs a C
//! compiler and seals or opens a session of 400 bytes in less than half the time: 1.7 µs
//! instead of 3.9 in the benches. It changes nothing else, and two servers with and without
//! it open each other's cookies.
//!
//! The crate `cloakroom` turns it on by default, since most who have TLS in their tree build
//! ring already, and the portable cipher alone takes longer than all that `PrivateJar` of
//! the crate `cookie` does. Without its default features, the cookie store builds wherever
//! Rust does.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod cipher;
mod envelope;
mod frame;
mod inspect;
mod measure;
mod revocation;
mod store;

pub use cloakroom_keyring::{
    KeyId, KeyRing, RING_KEYS_MAX, RING_TEXT_BYTES_MAX, SECRET_BYTES_MAX, SECRET_BYTES_MIN, Secret,
};
pub use inspect::{Inspected, Verdict};
pub use revocation::{EpochStore, Revocation};
pub use store::{CookieStore, CookieStoreBuilder};

const NAME: &str = "cookie";

//! The core of the Cloakroom session engine.
//!
//! This crate has no I/O, no async runtime and no HTTP; its one feature, `actix-web`, makes
//! its [`Error`] one that a handler of actix-web may fail with. Each of its readers has a
//! door of their own:
//!
//! - [`session`] is for the **application**: the [`Session`](session::Session)
//!   dictionary, which records what is done to it, and the values in it.
//! - [`store`] is for the **author of a store**: the contract of a backend
//!   ([`SessionStore`](store::SessionStore)), the [`Record`](store::Record) that it
//!   keeps, and what it may offer beyond that
//!   ([`Capabilities`](store::Capabilities)).
//! - [`engine`] is for the **author of an engine or an adapter**: keys, tokens, and
//!   a store as the engine sees it ([`TokenStore`](engine::TokenStore),
//!   [`AnyStore`](engine::AnyStore)).
//!
//! The words that all of them use stand at the root. An application depends on the
//! `cloakroom` facade instead; a backend author depends on this crate and, for its
//! tests, on `cloakroom-testkit`. See [`SessionStore`](store::SessionStore) for a
//! whole backend as an example.
//!
//! ```
//! use cloakroom_core::engine::{OsEntropy, SessionKey};
//! use cloakroom_core::store::Stored;
//! use cloakroom_core::{Clock, Expiry, SystemClock};
//!
//! # fn main() -> Result<(), cloakroom_core::Error> {
//! let key = SessionKey::generate(&OsEntropy)?; // for the client
//! let digest = key.digest(); // for the store
//! let record = Expiry::default().begin(SystemClock.now());
//! let frame = record.encode()?; // what lies under the digest
//! assert_eq!(Stored::decode(&frame)?, Stored::Record(record));
//! assert_eq!(digest.short().len(), 8); // what a log may say
//! # Ok(())
//! # }
//! ```
//!
//! **In the book:** [The ideas on one page](https://github.com/cloakroom-rs/cloakroom/blob/main/docs/concepts.md).

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "actix-web")]
mod actix;
mod codec;
pub mod engine;
mod error;
mod expiry;
mod login;
pub mod session;
pub mod store;
mod subject;
mod time;

pub use error::{Error, ErrorKind};
pub use expiry::{Expiry, NoSessionExpiry, SessionExpiry};
pub use login::{Aal, Authentication, Binding, Login, ProviderSession};
pub use subject::{Label, SUBJECT_BYTES_MAX, Site, Subject};
pub use time::{Clock, SystemClock, Timestamp};

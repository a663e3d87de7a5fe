//! The words of the Cloakroom session engine.
//!
//! This crate has no I/O, no async runtime and no HTTP. It holds what all the
//! others speak of: the contract of a backend ([`SessionStore`]), the side of
//! it that the engine uses ([`TokenStore`], [`AnyStore`]), the [`Session`]
//! dictionary that records operations and replays them, keys
//! ([`SessionKey`], [`KeyDigest`]), the stored [`Record`] and its encoding
//! ([`Stored`], [`Value`]), lifetimes ([`Expiry`]), what some stores can do beyond the
//! contract ([`Capabilities`]) and the one [`Error`].
//!
//! An application uses the `cloakroom` facade instead; a backend author depends
//! on this crate and, for its tests, on `cloakroom-testkit`. See
//! [`SessionStore`] for a whole backend as an example.
//!
//! ```
//! use cloakroom_core::{Clock, Expiry, OsEntropy, SessionKey, Stored, SystemClock};
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

#![cfg_attr(docsrs, feature(doc_cfg))]

mod capabilities;
mod codec;
mod data;
mod error;
mod expiry;
mod frame;
mod key;
mod limits;
mod record;
mod session;
mod store;
mod time;
mod token;
mod token_store;
mod value;

pub use capabilities::{
    Capabilities, Import, Invalidation, Invalidations, Listed, Listener, Revoke, Scan, ScanCursor,
    ScanPage, Scanned, Subjects, Sweep, Swept,
};
pub use data::{Data, Entries};
pub use error::{Error, ErrorKind};
pub use expiry::{Expiry, SessionExpiry};
pub use frame::{FrameHead, FrameKind, Stored};
pub use key::{Entropy, KEY_BYTES, KEY_TOKEN_CHARS, KeyDigest, OsEntropy, SessionKey};
pub use limits::{
    FRAME_BYTES_CEILING, Limits, NESTING_DEPTH_CEILING, ROTATION_HOPS_MAX, SCAN_PAGE_BYTES_MAX,
    SCAN_PAGE_ITEMS_MAX, SUBJECT_BYTES_MAX,
};
pub use record::{Label, Record, Revision, Subject, Touch};
pub use session::{Changeset, Commit, Context, SaveOutcome, Session};
pub use store::{BoxFuture, SessionStore};
pub use time::{Clock, SystemClock, Timestamp};
pub use token::{TOKEN_BYTES_MAX, Token};
pub use token_store::{AnyStore, LoadedToken, TokenStore, Written};
pub use value::{Value, ValueError};

//! Moving to Cloakroom from another session library, without logging anybody out.
//!
//! An engine that is [told of the former sessions](cloakroom_web::EngineBuilder::adopt)
//! adopts each when its visitor comes: the session is created in the engine's store, the
//! visitor gets the engine's cookie, the former cookie and the former record are removed,
//! and whoever was logged in stays logged in. This crate says how three libraries keep their
//! sessions:
//!
//! | from | feature | begin with |
//! |---|---|---|
//! | tower-sessions 0.14 and 0.15, over its SQLite, PostgreSQL, MySQL or Redis store | `tower-sessions` | [`tower_sessions()`] |
//! | actix-session 0.9 to 0.11, over Redis | `actix-session` | [`actix_session()`] |
//! | actix-session, all in the encrypted cookie | `actix-session` | [`actix_cookie()`] |
//! | express-session with connect-redis | `express-session` | [`express_session()`] |
//!
//! The features `sqlite`, `postgres`, `mysql` and `redis` are for where the records lie;
//! anything else is an implementation of [`Records`], and of another library one of
//! [`FormerSessions`](cloakroom_web::FormerSessions).
//!
//! ```
//! use cloakroom_adopt::{Records, named};
//! use cloakroom_core::{Error, Site};
//! use cloakroom_core::store::SessionStore;
//! use cloakroom_web::Engine;
//!
//! # #[cfg(feature = "tower-sessions")]
//! fn engine(store: impl SessionStore, former: impl Records) -> Result<Engine, Error> {
//!     let source = cloakroom_adopt::tower_sessions(former).subject(named(["user_id"]));
//!     Engine::builder(store).adopt(source).build()
//! }
//! ```
//!
//! # A move, step by step
//!
//! 1. Decide whose sessions they are: by default they are nobody's, and keep their values.
//!    [`Source::subject`] takes the name under which the former site keeps a user's id
//!    (`user_id`; of actix-identity `actix_identity.user_id`; of passport `passport`, then
//!    `user`; of axum-login `axum-login.data`, then `user_id`), so that Cloakroom can list
//!    and end the sessions of a user.
//! 2. Give the source the cookie as the former site sets it ([`Source::cookie`]), and its
//!    key or secrets. A browser removes no cookie of another path or domain.
//! 3. Give the new site the handlers of the old one. Values keep their names and shapes: what
//!    was inserted as a `u64` or as a struct is read as one. Numbers of Express are whole
//!    ones where they have no fraction.
//! 4. Stop the former site, then start the new one: a logout at the former site that runs in
//!    the same moment as an adoption may come to nothing. Where both must run for a while,
//!    send each visitor to one of them alone.
//! 5. A password reset ends what was adopted. Former sessions that nobody has come back with
//!    are known to no list; where the application can tell that one is too old to be
//!    trusted (as by axum-login's hash of the password), check it in the handler as before,
//!    or delete the former records.
//! 6. When the last former session has expired, take the source out, and drop the table or
//!    the keys of what nobody has come back for.
//!
//! # What is not carried over
//!
//! Entries that exceed the engine's [limits](cloakroom_core::session::Limits): an event says
//! how many. The beginning of the session: its absolute lifetime counts from the adoption.
//! Flash messages of other crates stay the entries that they were.
//!
//! # Decisions
//!
//! **Nothing is written to the former store, and deleted only after the session was
//! adopted.** The engine's [`EngineBuilder::adopt`](cloakroom_web::EngineBuilder::adopt) says
//! in which order, and what is tested.
//!
//! **A former record is read as its library reads it,** and refused where that would refuse
//! it: an id in another spelling, a signature under a secret that is not given.

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "actix-session")]
mod actix;
#[cfg_attr(
    not(any(
        feature = "actix-session",
        feature = "express-session",
        feature = "tower-sessions"
    )),
    allow(dead_code) // Each library uses its part.
)]
mod cookie;
#[cfg(feature = "express-session")]
mod express;
mod records;
#[cfg_attr(
    not(any(
        feature = "actix-session",
        feature = "express-session",
        feature = "tower-sessions"
    )),
    allow(dead_code) // Each library uses its part.
)]
mod source;
#[cfg(feature = "tower-sessions")]
mod tower;

#[cfg(feature = "actix-session")]
#[cfg_attr(docsrs, doc(cfg(feature = "actix-session")))]
pub use actix::{actix_cookie, actix_session};
pub use cookie::CookieKey;
#[cfg(feature = "express-session")]
#[cfg_attr(docsrs, doc(cfg(feature = "express-session")))]
pub use express::express_session;
#[cfg(feature = "mysql")]
#[cfg_attr(docsrs, doc(cfg(feature = "mysql")))]
pub use records::MysqlTable;
#[cfg(feature = "postgres")]
#[cfg_attr(docsrs, doc(cfg(feature = "postgres")))]
pub use records::PostgresTable;
#[cfg(feature = "redis")]
#[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
pub use records::RedisKeys;
#[cfg(feature = "sqlite")]
#[cfg_attr(docsrs, doc(cfg(feature = "sqlite")))]
pub use records::SqliteTable;
pub use records::{FoundRecord, Records};
pub use source::{Source, named};
#[cfg(feature = "tower-sessions")]
#[cfg_attr(docsrs, doc(cfg(feature = "tower-sessions")))]
pub use tower::tower_sessions;

//! Moving to Cloakroom from another session library, without logging anybody out.
//!
//! An engine that is [told of the former sessions](cloakroom_web::EngineBuilder::adopt)
//! adopts each when its visitor comes: the session is created in the engine's store, the
//! visitor gets the engine's cookie, the former cookie and the former record are removed,
//! and whoever was logged in stays logged in. This crate says how four libraries keep their
//! sessions:
//!
//! | from | feature | begin with |
//! |---|---|---|
//! | tower-sessions 0.14 and 0.15, over its SQLite, PostgreSQL, MySQL or Redis store | `tower-sessions` | [`tower_sessions()`] |
//! | actix-session 0.9 to 0.11, over Redis | `actix-session` | [`actix_session()`] |
//! | actix-session, all in the encrypted cookie | `actix-session` | [`actix_cookie()`] |
//! | express-session with connect-redis | `express-session` | [`express_session()`] |
//! | Django, over its table in SQLite, PostgreSQL or MySQL, or over its files | `django` | [`django_sessions()`] |
//! | Django, all in the signed cookie | `django` | [`django_cookie()`] |
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
//! **In the book:** [a move, step by step](https://github.com/cloakroom-rs/cloakroom/blob/main/docs/moving.md),
//! and what is not carried over.
//!
//! # Decisions
//!
//! **Nothing is written to the former store, and deleted only after the session was
//! adopted.** The engine's [`EngineBuilder::adopt`](cloakroom_web::EngineBuilder::adopt) says
//! in which order, and what is tested.
//!
//! **A former record is read as its library reads it,** and refused where that would refuse
//! it: an id in another spelling, a signature under a secret that is not given, a login with a
//! password that has been changed since.

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "actix-session")]
mod actix;
#[cfg_attr(
    not(any(
        feature = "actix-session",
        feature = "express-session",
        feature = "tower-sessions"
    )),
    allow(dead_code) // Each library uses its part, and Django few.
)]
mod cookie;
#[cfg(feature = "django")]
mod django;
#[cfg(feature = "express-session")]
mod express;
mod records;
#[cfg_attr(
    not(any(
        feature = "actix-session",
        feature = "express-session",
        feature = "tower-sessions"
    )),
    allow(dead_code) // Each library uses its part, and Django few.
)]
mod source;
#[cfg(feature = "tower-sessions")]
mod tower;

#[cfg(feature = "actix-session")]
#[cfg_attr(docsrs, doc(cfg(feature = "actix-session")))]
pub use actix::{actix_cookie, actix_session};
pub use cookie::CookieKey;
#[cfg(feature = "django")]
#[cfg_attr(docsrs, doc(cfg(feature = "django")))]
pub use django::{DjangoSessions, django_cookie, django_sessions};
#[cfg(feature = "express-session")]
#[cfg_attr(docsrs, doc(cfg(feature = "express-session")))]
pub use express::express_session;
#[cfg(feature = "django")]
#[cfg_attr(docsrs, doc(cfg(feature = "django")))]
pub use records::DjangoFiles;
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

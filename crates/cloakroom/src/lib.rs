//! Cloakroom: a session storage engine for Rust web services.
//!
//! You hand in your coat and get a ticket. The cookie is the ticket; a store
//! keeps the coat. No operation is lost when requests overlap, a session that
//! was logged out stays dead, and what lies in the database opens nothing.
//!
//! ```no_run
//! # #[cfg(all(feature = "axum", feature = "redb"))]
//! # mod example {
//! use axum::{Router, routing::get};
//! use cloakroom::Engine;
//! use cloakroom::axum::{Session, SessionError, SessionLayer};
//!
//! async fn count(session: Session) -> Result<String, SessionError> {
//!     session.update("visits", |visits: &mut u64| *visits += 1)?;
//!     let visits: u64 = session.get("visits")?.unwrap_or(0);
//!     Ok(format!("You have been here {visits} times."))
//! }
//!
//! # async fn serve() -> Result<(), Box<dyn std::error::Error>> {
//! let store = cloakroom::open("redb:./sessions.redb").await?;
//! let app: Router = Router::new()
//!     .route("/", get(count))
//!     .layer(SessionLayer::new(Engine::new(store)));
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//! axum::serve(listener, app).await?;
//! # Ok(()) }
//! # }
//! ```
//!
//! **The book** has [a page for each question](https://github.com/cloakroom-rs/cloakroom/blob/main/docs/introduction.md), and begins with a site with
//! logins in ten minutes, [on axum](https://github.com/cloakroom-rs/cloakroom/blob/main/docs/start-axum.md) and
//! [on actix-web](https://github.com/cloakroom-rs/cloakroom/blob/main/docs/start-actix.md).
//!
//! # Where to look
//!
//! What an application uses stands in the root, beside the module of its framework:
//! [`axum`], [`actix`], or [`tower`] for any other on http 1. [`session`] has the session
//! itself, free of any framework; [`stores`] the stores by type; [`store`] is for who writes
//! a store, [`engine`] for who writes an adapter, a job or a tool.
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `memory` (default) | [`stores::MemoryStore`], `memory:` |
//! | `file` | [`stores::FileStore`], `file:PATH` |
//! | `sled` | [`stores::SledStore`], `sled:PATH` |
//! | `redb` | [`stores::RedbStore`], `redb:PATH`; needs Rust 1.90 |
//! | `sqlite` | [`stores::SqliteStore`], `sqlite:PATH` |
//! | `postgres`, `mysql` | [`stores::SqlStore`], `postgres://…`, `mysql://…`; need Rust 1.94 |
//! | `sql-tls` | the same over TLS |
//! | `redis` | [`stores::RedisStore`], `redis://…`, a single server or a cluster |
//! | `redis-tls` | the same over TLS, `rediss://…` |
//! | `cookie` | [`cookie`]: sessions sealed in the cookie itself, `cookie:` |
//! | `cookie-ring` | the same, and ring as its cipher without the default features too |
//! | `dbsc` | [`dbsc`]: sessions bound to a device, so that a copied cookie is worthless within minutes |
//! | `cached` | [`stores::Cached`]: a near cache in front of any store |
//! | `metrics` | counts and times what the engine, a near cache and the sweep do, through the [`metrics`](https://docs.rs/metrics) facade: [events and metrics](https://github.com/cloakroom-rs/cloakroom/blob/main/docs/events.md) |
//! | `migrating` | [`stores::Migrating`]: moves sessions from one store to another while the site runs, `migrating_from=URL` |
//! | `sealed` | [`stores::Sealed`]: data encrypted at rest, in front of any store, `sealed=true` |
//! | `axum` | [`axum`]: a layer and extractors |
//! | `tower` | [`tower`]: the layer for any tower service of http 1: hyper, warp, tonic, Leptos, Dioxus |
//! | `actix` | [`actix`]: a middleware and extractors for actix-web |
//! | `sweeper` | [`Sweeper`]: removes expired sessions in the background |
//!
//! A feature adds names and dependencies of its own; it changes nothing else. By default,
//! `cookie` seals through ring, which needs a C compiler; with `default-features = false` it
//! makes the same bytes by a slower cipher that builds wherever Rust does.

#![cfg_attr(docsrs, feature(doc_cfg))]

/// The quickstart of the README, compiled.
#[cfg(all(
    doctest,
    feature = "actix",
    feature = "axum",
    feature = "redb",
    feature = "sweeper"
))]
#[doc = include_str!("../../../README.md")]
mod readme {}

#[allow(dead_code)] // Without a backend there is nothing to put layers around.
mod layers;
mod open;
#[allow(dead_code)] // Each store takes some of them.
mod options;
#[allow(dead_code, unused_imports)] // Each server has its feature.
mod servers;
#[cfg(feature = "sweeper")]
mod sweeper;

pub use cloakroom_core::engine::AnyStore;
pub use cloakroom_core::session::Limits;
pub use cloakroom_core::store::AnySessionStore;
pub use cloakroom_core::{
    Aal, Authentication, Clock, Error, ErrorKind, Expiry, Label, Login, ProviderSession,
    SessionExpiry, Site, Subject, SystemClock, Timestamp,
};
pub use cloakroom_web::{
    BearerPolicy, CookiePolicy, CookiePolicyBuilder, Engine, EngineBuilder, Prefix, SameSite,
    SessionInfo, is_local_path,
};
#[cfg(feature = "cookie")]
#[cfg_attr(docsrs, doc(cfg(feature = "cookie")))]
pub use open::open_cookie_store;
pub use open::{open, open_session_store};
#[cfg(feature = "sweeper")]
#[cfg_attr(docsrs, doc(cfg(feature = "sweeper")))]
pub use sweeper::{SweepReport, Sweeper};

/// The session itself, free of any framework: for code between the handlers, for
/// tools, and for tests.
///
/// A handler's argument is the session of its framework's module, such as
/// `cloakroom::axum::Session`, which dereferences to the one here.
pub mod session {
    pub use cloakroom_core::session::*;
}

/// For the author of a store: the contract, and what a store keeps.
pub mod store {
    pub use cloakroom_core::store::*;
}

/// For the author of an adapter, a job or a tool: keys, tokens, and a request's way
/// through the engine.
pub mod engine {
    pub use cloakroom_core::Binding;
    pub use cloakroom_core::engine::*;
    pub use cloakroom_web::{
        BoundCookie, COOKIE_BYTES_MAX, COOKIE_CHUNKS_MAX, ClientState, Closing, Cost, DeviceAnswer,
        DeviceBinding, DeviceDeed, DeviceHints, DeviceOffer, DeviceProof, DeviceRequest,
        DeviceResponse, DeviceSession, DeviceVerdict, Exchange, FormerId, FormerSession,
        FormerSessions, HeaderEdit, Outcome, Presented, SESSIONS_LISTED_MAX, ShownDevice, Skipped,
        SubjectSessions, Transport,
    };
}

/// What security standards ask of sessions, and whether an engine does it:
/// [`Engine::audit`].
pub mod audit {
    pub use cloakroom_web::{Audit, Finding, Profile, UnknownProfile, Verdict};
}

/// The stores by type, for what their URLs cannot say.
pub mod stores {
    #[cfg(feature = "cached")]
    #[cfg_attr(docsrs, doc(cfg(feature = "cached")))]
    pub use cloakroom_cached::{Cached, OnDisconnect};
    #[cfg(any(
        feature = "cookie",
        feature = "file",
        feature = "redb",
        feature = "sled",
        feature = "sqlite"
    ))]
    pub use cloakroom_disk::refuse_group_rights;
    #[cfg(feature = "file")]
    #[cfg_attr(docsrs, doc(cfg(feature = "file")))]
    pub use cloakroom_file::{Durability, FileStore};
    #[cfg(feature = "memory")]
    #[cfg_attr(docsrs, doc(cfg(feature = "memory")))]
    pub use cloakroom_memory::MemoryStore;
    #[cfg(feature = "migrating")]
    #[cfg_attr(docsrs, doc(cfg(feature = "migrating")))]
    pub use cloakroom_migrating::{Copied, Migrating};
    #[cfg(feature = "redb")]
    #[cfg_attr(docsrs, doc(cfg(feature = "redb")))]
    pub use cloakroom_redb::RedbStore;
    #[cfg(feature = "redis")]
    #[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
    pub use cloakroom_redis::{RedisBuilder, RedisStore};
    #[cfg(feature = "sealed")]
    #[cfg_attr(docsrs, doc(cfg(feature = "sealed")))]
    pub use cloakroom_sealed::{KeyRing, Sealed, Secret};
    #[cfg(feature = "sled")]
    #[cfg_attr(docsrs, doc(cfg(feature = "sled")))]
    pub use cloakroom_sled::SledStore;
    #[cfg(any(feature = "mysql", feature = "postgres"))]
    #[cfg_attr(docsrs, doc(cfg(any(feature = "mysql", feature = "postgres"))))]
    pub use cloakroom_sql::{SqlStore, SqlStoreBuilder};
    #[cfg(feature = "sqlite")]
    #[cfg_attr(docsrs, doc(cfg(feature = "sqlite")))]
    pub use cloakroom_sqlite::{SqliteStore, SqliteStoreBuilder, Synchronous};
}

#[cfg(feature = "actix")]
#[cfg_attr(docsrs, doc(cfg(feature = "actix")))]
pub use cloakroom_actix as actix;
#[cfg(feature = "axum")]
#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
pub use cloakroom_axum as axum;
#[cfg(feature = "cookie")]
#[cfg_attr(docsrs, doc(cfg(feature = "cookie")))]
pub use cloakroom_cookie as cookie;
#[cfg(feature = "dbsc")]
#[cfg_attr(docsrs, doc(cfg(feature = "dbsc")))]
pub use cloakroom_dbsc as dbsc;
#[cfg(feature = "tower")]
#[cfg_attr(docsrs, doc(cfg(feature = "tower")))]
pub use cloakroom_tower as tower;

//! Everything HTTP of the Cloakroom session engine that is not a framework.
//!
//! An adapter for a framework is thin: for each request it takes an
//! [`Exchange`] from the [`Engine`], lets its extractor [open](Exchange::open)
//! it with the request's `Cookie` headers, and at the end does what
//! [`Exchange::close`] answers. Headers are text here, so adapters for
//! frameworks of different `http` versions share all of it.
//!
//! How the token travels is the [`Transport`]'s, a [`CookiePolicy`] or a
//! [`BearerPolicy`]. What the response must say, [`Closing::header_edits`] lists.
//! [`SubjectSessions`] is behind every page "where am I logged in".
//!
//! ```
//! use cloakroom_core::store::SessionStore;
//! use cloakroom_core::Error;
//! use cloakroom_web::{Closing, Engine};
//!
//! async fn request(store: impl SessionStore) -> Result<Closing, Error> {
//!     let engine = Engine::new(store);
//!     let exchange = engine.exchange();
//!     // In the extractor, with what the browser sent:
//!     let session = exchange.open([&b"theme=dark"[..]].into_iter()).await?;
//!     // In the handler:
//!     session.update("visits", |visits: &mut u64| *visits += 1)?;
//!     // With the handler's response:
//!     Ok(exchange.close(200).await)
//! }
//! ```

#![cfg_attr(docsrs, feature(doc_cfg))]

mod bearer;
mod closing;
mod cookie;
mod cost;
mod decide;
mod engine;
mod exchange;
mod header_edit;
mod headers;
mod login_limit;
mod queue;
mod sessions;
mod shared;
mod transport;
mod write;

pub use bearer::BearerPolicy;
pub use closing::{Closing, Outcome};
pub use cookie::{
    COOKIE_BYTES_MAX, COOKIE_CHUNKS_MAX, ClientState, CookiePolicy, CookiePolicyBuilder, Prefix,
    SameSite,
};
pub use cost::Cost;
pub use engine::{Engine, EngineBuilder};
pub use exchange::Exchange;
pub use header_edit::HeaderEdit;
pub use sessions::{SessionInfo, SubjectSessions};
pub use transport::{Presented, Transport};

//! Everything HTTP of the Cloakroom session engine that is not a framework.
//!
//! An adapter for a framework is thin: for each request it takes an
//! [`Exchange`] from the [`Engine`], lets its extractor [open](Exchange::open)
//! it with the request's `Cookie` headers, and at the end does what
//! [`Exchange::close`] answers. Headers are text here, so adapters for
//! frameworks of different `http` versions share all of it.
//!
//! What happens at the end of a request is decided by one pure function,
//! [`decide`]; how the token travels is the [`Transport`]'s, a [`CookiePolicy`] or
//! a [`BearerPolicy`]; which other
//! headers go along, [`vary_on`] and [`cache_control`] say. [`SubjectSessions`] is
//! behind every page "where am I logged in".
//!
//! ```
//! use cloakroom_core::{Error, SessionStore};
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
mod cookie;
mod cost;
mod decide;
mod engine;
mod exchange;
mod headers;
mod queue;
mod sessions;
mod transport;
mod write;

pub use bearer::BearerPolicy;
pub use cookie::{
    COOKIE_AGE_MAX, COOKIE_BYTES_MAX, COOKIE_CHUNKS_MAX, CookiePolicy, CookiePolicyBuilder, Held,
    Prefix, SameSite,
};
pub use cost::Cost;
pub use decide::{Arrival, Decision, Facts, decide};
pub use engine::{Engine, EngineBuilder};
pub use exchange::{Closing, Exchange};
pub use headers::{cache_control, vary_on};
pub use sessions::{SessionInfo, SubjectSessions};
pub use transport::{Presented, ResponseHeader, Transport};

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
//!
//! **In the book:** [A page answers 500 or 409](https://github.com/cloakroom-rs/cloakroom/blob/main/docs/errors.md).
//!
//! # In the field
//!
//! - **Two applications on one host need two names** for their cookies: browsers keep
//!   cookies by host, and not by port, so one would overwrite the other's.
//! - **A cookie for pages and a bearer token for an API are two engines**, each with a
//!   layer around its own routes, over one store. Their sites differ, so neither opens the
//!   other's sessions.
//! - **A bearer token crosses origins** where the API sends
//!   `Access-Control-Expose-Headers: x-session-token`; without it, a script cannot read the
//!   header.
//! - **A form that another site sends** carries no `SameSite=Lax` cookie. A page that
//!   writes to the session then begins a new one, and its cookie replaces the visitor's.
//!   Refuse a POST whose `Sec-Fetch-Site` is `cross-site` before it gets there.
//! - **The Back button shows pages from the browser's memory**, after a logout too. A page
//!   that must not be shown again sends `Cache-Control: no-store`, which the engine leaves
//!   as it is, or sends for all that depend on the session
//!   ([`no_store`](EngineBuilder::no_store)); and the answer to a logout may clear what the
//!   browser keeps ([`clear_site_data`](CookiePolicyBuilder::clear_site_data)).
//! - **An auditor asks** what the sessions do: [`Engine::audit`] answers by the numbers of
//!   OWASP ASVS, NIST SP 800-63B and PCI DSS.
//!
//! # Decisions
//!
//! **Cookie and record agree on the deadline.** A write moves the deadline by the same rule
//! as a touch: once a tenth of the idle time has passed
//! ([`touch_share_percent`](EngineBuilder::touch_share_percent)). So not every write sends
//! the cookie again, and the cookie ends when the record does.
//!
//! **A flush that is followed by changes is one rotation** into the new content. It is one
//! step, and parallel requests find a rotation mark instead of nothing.
//!
//! **Logins of a subject have one order, the same on every node:** by beginning, then by
//! digest. A [limit](EngineBuilder::sessions_per_subject_max) is enforced after a login was
//! written, and in this order, so that of two logins at the same time one stands.
//!
//! **Limits bind writers alone, and only what grows.** A session that was stored under
//! wider limits can still be read, and made smaller.
//!
//! **Beside a token, a handler's `Cache-Control` gets `private` added** where it says
//! neither that nor `no-store`; `public` and `s-maxage` give way to `no-store`. Otherwise a
//! shared cache might keep one visitor's token for the next.
//!
//! **Chunks of two tokens are never mixed.** The whole cookie counts before chunks. A reply
//! that sets chunks removes the whole cookie, and one that removes the token removes the
//! first chunk too, without which no others are joined. So of two replies that overlap,
//! the later one counts. A reply that sets no cookie leaves stale chunks alone, since
//! another reply may have just set them.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod adopt;
mod audit;
mod bearer;
mod carry_out;
mod closing;
mod cookie;
mod cost;
mod decide;
mod device;
mod ends;
mod engine;
mod event_limit;
mod events;
mod everybody;
mod exchange;
mod header_edit;
mod headers;
mod login_limit;
mod login_page;
mod measure;
mod of_subject;
mod provider;
mod queue;
mod sessions;
mod shared;
mod step_up;
mod store_calls;
mod transport;
mod write;

pub use adopt::{FormerId, FormerSession, FormerSessions};
pub use audit::{Audit, Finding, Profile, UnknownProfile, Verdict};
pub use bearer::BearerPolicy;
pub use closing::{Closing, HeaderEdits, Outcome};
pub use cookie::{
    COOKIE_BYTES_MAX, COOKIE_CHUNKS_MAX, ClientState, CookiePolicy, CookiePolicyBuilder, Prefix,
    SameSite,
};
pub use cost::Cost;
pub use device::{
    BoundCookie, DeviceAnswer, DeviceBinding, DeviceDeed, DeviceOffer, DeviceRequest,
    DeviceSession, DeviceVerdict, ShownDevice, Skipped,
};
pub use engine::{Engine, EngineBuilder};
pub use event_limit::EventLimit;
pub use exchange::{DeviceHints, DeviceProof, DeviceResponse, Exchange};
pub use header_edit::HeaderEdit;
pub use login_page::{LoginPage, is_local_path};
pub use of_subject::{SESSIONS_LISTED_MAX, SessionInfo};
pub use sessions::SubjectSessions;
pub use step_up::{Aal2, Aal3, Level, MaxAge, Minutes, StepUp};
pub use transport::{Presented, Transport};

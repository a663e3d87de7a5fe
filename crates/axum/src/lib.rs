//! Cloakroom sessions for axum: [`SessionLayer`], and the extractors [`Session`],
//! [`LoggedIn`], [`Fresh`], [`AtLeast`], [`Typed`] and [`SubjectSessions`].
//!
//! ```
//! use axum::{Router, routing::get};
//! use cloakroom_axum::{Engine, Session, SessionError, SessionLayer};
//!
//! async fn count(session: Session) -> Result<String, SessionError> {
//!     session.update("visits", |visits: &mut u64| *visits += 1)?;
//!     Ok(format!("visit {}", session.get::<u64>("visits")?.unwrap_or(1)))
//! }
//!
//! fn app(store: impl cloakroom_core::store::SessionStore) -> Router {
//!     Router::new()
//!         .route("/", get(count))
//!         .layer(SessionLayer::new(Engine::new(store)))
//! }
//! ```
//!
//! The session is loaded when a handler that asks for it is called, and written
//! before the response headers leave. A request whose handlers do not ask for
//! it costs no I/O and gets no header. All policy lives in [`cloakroom_web`]; the
//! layer is that of [`cloakroom_tower`], whose page says what counts as a failure.
//!
//! **In the book:** [A site with logins in ten minutes](https://github.com/cloakroom-rs/cloakroom/blob/main/docs/start-axum.md).

#![cfg_attr(docsrs, feature(doc_cfg))]

mod device;
mod extract;
mod login;
mod step_up;
mod typed;

pub use cloakroom_tower::{SessionFuture, SessionLayer, SessionService};
pub use cloakroom_web::{Aal2, Aal3, Cost, Engine, Level, MaxAge, Minutes, SessionInfo, StepUp};
pub use device::{Bound, NotBound, device_endpoint};
pub use extract::{Session, SessionError, SubjectSessions};
pub use login::{LoggedIn, NotLoggedIn};
pub use step_up::{AtLeast, Fresh};
pub use typed::Typed;

//! Cloakroom sessions for actix-web: [`SessionMiddleware`], and the extractors [`Session`],
//! [`LoggedIn`], [`Fresh`], [`AtLeast`], [`Typed`] and [`SubjectSessions`].
//!
//! ```no_run
//! use actix_web::{App, HttpServer, web};
//! use cloakroom_actix::{Engine, Session, SessionMiddleware};
//!
//! async fn count(session: Session) -> actix_web::Result<String> {
//!     session.update("visits", |visits: &mut u64| *visits += 1)?;
//!     Ok(format!("visit {}", session.get::<u64>("visits")?.unwrap_or(1)))
//! }
//!
//! async fn serve(store: impl cloakroom_core::store::SessionStore) -> std::io::Result<()> {
//!     let engine = Engine::new(store);
//!     HttpServer::new(move || {
//!         App::new()
//!             .wrap(SessionMiddleware::new(engine.clone()))
//!             .route("/", web::get().to(count))
//!     })
//!     .bind("127.0.0.1:3000")?
//!     .run()
//!     .await
//! }
//! ```
//!
//! The session is loaded when a handler that asks for it is called, and written
//! before the response headers leave. A request whose handlers do not ask for
//! it costs no I/O and gets no header. All policy lives in [`cloakroom_web`];
//! this crate only carries headers to and fro.
//!
//! **Open the store and build the engine outside the closure of `HttpServer::new`**, as
//! above: it is called once for each worker, and requests of one session that reach two
//! engines wait for each other in the store instead of in the process. A store on a server
//! has its connections on the runtime where it was opened: that of `main` outlives the
//! workers, each of which has one of its own.
//!
//! **In the book:** [A site with logins in ten minutes](https://github.com/cloakroom-rs/cloakroom/blob/main/docs/start-actix.md).
//!
//! # A guard, or a middleware of your own
//!
//! They are not asynchronous, or stand before the handler: [`SessionExt`] finds the session in
//! what they hold. For a guard, the middleware must load each session
//! [eagerly](SessionMiddleware::eager).
//!
//! # A test of a handler
//!
//! A [detached](cloakroom_core::session::Session::detached) session saves into itself:
//!
//! ```
//! use cloakroom_actix::Session;
//! use cloakroom_core::session::Session as Detached;
//!
//! async fn count(session: Session) -> actix_web::Result<String> {
//!     session.update("visits", |visits: &mut u64| *visits += 1)?;
//!     Ok(format!("visit {}", session.get::<u64>("visits")?.unwrap_or(1)))
//! }
//!
//! # actix_web::rt::System::new().block_on(async {
//! let session = Session::from(Detached::detached());
//! session.insert("visits", 6)?;
//! assert_eq!(count(session.clone()).await?, "visit 7");
//! assert_eq!(session.get::<u64>("visits")?, Some(7));
//! # Ok::<(), actix_web::Error>(()) }).unwrap();
//! ```

#![cfg_attr(docsrs, feature(doc_cfg))]

mod device;
mod error;
mod extract;
mod login;
mod middleware;
mod session_ext;
mod step_up;
mod typed;

pub use cloakroom_web::{Aal2, Aal3, Engine, Level, MaxAge, Minutes, SessionInfo, StepUp};
pub use device::{Bound, NotBound, device_endpoint};
pub use error::SessionError;
pub use extract::{Session, SubjectSessions};
pub use login::{LoggedIn, NotLoggedIn};
pub use middleware::{SessionFuture, SessionMiddleware, SessionService};
pub use session_ext::SessionExt;
pub use step_up::{AtLeast, Fresh};
pub use typed::Typed;

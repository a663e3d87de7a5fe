//! Cloakroom sessions for any tower service of http 1: [`SessionLayer`] around it, and
//! [`RequestSession`] within it. hyper, warp, tonic, Leptos and Dioxus are served by it;
//! `cloakroom-axum` adds axum's extractors.
//!
//! ```no_run
//! use cloakroom_tower::{Engine, RequestSession as _, SessionError, SessionLayer};
//! use http_body_util::Full;
//! use hyper::body::{Bytes, Incoming};
//! use hyper::{Request, Response, server::conn::http1};
//! use hyper_util::rt::TokioIo;
//! use hyper_util::service::TowerToHyperService;
//! use tower::{ServiceBuilder, service_fn};
//!
//! type Page = Response<Full<Bytes>>;
//!
//! async fn count(request: Request<Incoming>) -> Result<Page, SessionError> {
//!     let session = request.session().await?;
//!     session.update("visits", |visits: &mut u64| *visits += 1)?;
//!     let visits: u64 = session.get("visits")?.unwrap_or(0);
//!     Ok(Response::new(format!("visit {visits}").into()))
//! }
//!
//! async fn serve(store: impl cloakroom_core::store::SessionStore) -> std::io::Result<()> {
//!     let app = ServiceBuilder::new()
//!         .layer(SessionLayer::new(Engine::new(store)))
//!         .service(service_fn(async |request| -> Result<Page, hyper::Error> {
//!             Ok(count(request).await.unwrap_or_else(SessionError::into_response))
//!         }));
//!     let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//!     loop {
//!         let (stream, _) = listener.accept().await?;
//!         let app = TowerToHyperService::new(app.clone());
//!         tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), app));
//!     }
//! }
//! ```
//!
//! The session is loaded when a handler asks for it, and written before the response
//! headers leave. A request whose handlers do not ask for it costs no I/O and gets no
//! header. All policy lives in [`cloakroom_web`]; this crate carries headers to and fro.
//!
//! **In the book:** [The ideas on one page](https://github.com/cloakroom-rs/cloakroom/blob/main/docs/concepts.md).
//!
//! # What counts as a failure
//!
//! **A response of status 500 and above** drops the request's changes; a login's move to a
//! new key and a logout are written all the same.
//!
//! **An error of the inner service** is passed on as it is. Nobody has a response to carry
//! a cookie then, so the changes are dropped and the session stays under the key that the
//! client has: a login's move is not written either. A logout is. What a handler saved by
//! [`Session::save`](cloakroom_core::session::Session::save) before it failed stays saved,
//! and where that was a move to a new key, the client never learns it. A service that can
//! make a response of its errors does so inside the layer.
//!
//! **A panic, or a request that is given up** before its response, writes nothing.
//!
//! **A session that cannot be saved** replaces the response by one of status 500 without a
//! body, or 409 where the session ended or moved meanwhile. What failed is in the log.
//!
//! # gRPC
//!
//! A gRPC call is answered with HTTP 200 whether it succeeds or not; a response whose
//! `Content-Type` begins with `application/grpc` counts by its `grpc-status` instead.
//! `UNKNOWN`, `DEADLINE_EXCEEDED`, `UNIMPLEMENTED`, `INTERNAL`, `UNAVAILABLE` and
//! `DATA_LOSS` count as a 500, and so does a status that is no number; any other is the
//! client's, and its changes are written. **A stream counts by its head:** the session is
//! written before its head leaves, when the status in its trailers is not known yet.
//!
//! A gRPC response whose session cannot be saved is replaced by one that has a status and
//! no message: `UNAVAILABLE` (14) where the store does not answer, `ABORTED` (10) where
//! HTTP says 409, else `INTERNAL` (13).
//!
//! A handler of tonic sees its request in parts, which will do:
//!
//! ```
//! # use http::{Extensions, HeaderMap};
//! use cloakroom_tower::{NotLoggedIn, RequestSession as _};
//!
//! // With tonic: `(request.extensions(), request.metadata().as_ref())`.
//! async fn whose(request: (&Extensions, &HeaderMap)) -> Result<String, NotLoggedIn> {
//!     let (_, subject) = request.logged_in().await?;
//!     Ok(subject.as_str().to_owned())
//! }
//! ```

#![cfg_attr(docsrs, feature(doc_cfg))]

mod error;
mod layer;
mod login;
mod outcome;
mod request;

pub use cloakroom_web::{Cost, Engine, SessionInfo, StepUp, SubjectSessions};
pub use error::SessionError;
pub use layer::{SessionFuture, SessionLayer, SessionService, edit_headers};
pub use login::{NotBound, NotLoggedIn};
pub use request::{RequestSession, open};

//! A page for those who run a site: who is logged in, why sessions have ended, how the store
//! does; and ending a session, all of a user's, or everybody's.
//!
//! [`AdminPage`] is a router to mount where the site wants it. It asks the site of every
//! request whether it is an administrator's, and shows nothing to anybody else:
//!
//! ```
//! use axum::Router;
//! use axum::http::request::Parts;
//! use cloakroom::Engine;
//! use cloakroom::axum::{Session, SessionError, SessionLayer};
//! use cloakroom_admin::{AdminPage, Administrator};
//!
//! async fn administrator(session: Session, _: Parts) -> Result<Option<Administrator>, SessionError> {
//!     let name: Option<String> = session.get("administrator")?;
//!     Ok(name.map(Administrator::new))
//! }
//!
//! fn site(engine: Engine) -> Router {
//!     let admin = AdminPage::new(engine.clone(), administrator);
//!     Router::new()
//!         .nest("/admin/sessions", admin.into_router())
//!         .layer(SessionLayer::new(engine))
//! }
//! ```
//!
//! **In the book:** [A page for administrators](https://github.com/cloakroom-rs/cloakroom/blob/main/docs/admin.md).
//!
//! # What it shows, and what it never does
//!
//! The pages hold no key, no token and no value of a session. A session is named by the first
//! 8 characters of its digest, as in the log; a form holds the whole digest, which opens
//! nothing. The pages hold what the site has given to Cloakroom to be shown: user ids that the
//! administrator has searched for, labels, notes.
//!
//! Counts come from reading the store through, [`SCAN_ITEMS_MAX`] entries at most and for
//! [`SCAN_TIME_MAX`] at most, and the page says where it stopped early. What stores remember of
//! sessions that have ended, they remember for a day; a tombstone does not say of which site it
//! is, so where several sites share a store, ends of all of them are counted.
//!
//! # What it trusts
//!
//! - The session of whoever asks is that of the [`SessionLayer`](cloakroom::axum::SessionLayer)
//!   around the router. It may be another engine's than the one whose sessions are shown.
//! - A form counts where it brings the token that stands in the administrator's session
//!   ([`SESSION_ENTRY`], which the first page writes), and where no other site has sent it.
//! - The pages have no scripts, are not cached, and cannot be framed. A `Content-Security-Policy`
//!   that the site sets over theirs takes their style away.
//!
//! Each end is an event at `INFO` with the name of the administrator.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod act;
mod answer;
mod guard;
mod html;
mod moment;
mod overview;
mod reason;
mod subject;
mod survey;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use cloakroom::axum::Session;
use cloakroom::{Engine, SweepReport};

pub use crate::survey::{SCAN_ITEMS_MAX, SCAN_TIME_MAX};

/// The entry of an administrator's session that holds the token of the page's forms. A site
/// that shows what a session holds leaves it out; one that takes a privilege away removes it.
pub const SESSION_ENTRY: &str = "cloakroom.admin";

/// Bytes of the longest form that is read.
const FORM_BYTES_MAX: usize = 16 * 1024;

/// Who an administrator is, as the page and the log name them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Administrator {
    name: String,
}

impl Administrator {
    /// Of this name.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

type Asked = Pin<Box<dyn Future<Output = Result<Option<Administrator>, Response>> + Send>>;

/// The page, before it is mounted.
pub struct AdminPage {
    shared: Shared,
}

/// What all requests share.
struct Shared {
    engine: Engine,
    administrator: Box<dyn Fn(Session, Parts) -> Asked + Send + Sync>,
    sweep_report: Option<Box<dyn Fn() -> SweepReport + Send + Sync>>,
}

impl fmt::Debug for AdminPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminPage").finish_non_exhaustive()
    }
}

impl AdminPage {
    /// A page about the sessions of this engine.
    ///
    /// `administrator` is asked of every request, with the session of whoever sent it and the
    /// head of the request. It answers who the administrator is, or `None`, and the page is then
    /// a 403; an error is sent as it is, such as a redirect to the site's own login.
    pub fn new<F, A, E>(engine: Engine, administrator: F) -> Self
    where
        F: Fn(Session, Parts) -> A + Send + Sync + 'static,
        A: Future<Output = Result<Option<Administrator>, E>> + Send + 'static,
        E: IntoResponse,
    {
        let administrator = move |session, parts| -> Asked {
            let asked = administrator(session, parts);
            Box::pin(async move { asked.await.map_err(IntoResponse::into_response) })
        };
        Self {
            shared: Shared {
                engine,
                administrator: Box::new(administrator),
                sweep_report: None,
            },
        }
    }

    /// Shows what the sweeper does: give it
    /// [`Sweeper::reporter`](cloakroom::Sweeper::reporter).
    #[must_use]
    pub fn sweep_reports(
        mut self,
        report: impl Fn() -> SweepReport + Send + Sync + 'static,
    ) -> Self {
        self.shared.sweep_report = Some(Box::new(report));
        self
    }

    /// The router, to be nested at an address of the site, inside a
    /// [`SessionLayer`](cloakroom::axum::SessionLayer).
    pub fn into_router<S: Clone + Send + Sync + 'static>(self) -> Router<S> {
        let shared = Arc::new(self.shared);
        let answer = move |request: Request| {
            let shared = shared.clone();
            async move { answer::answer(&shared, request).await }
        };
        // One address, so that all links of the pages are relative to wherever it is mounted.
        Router::new()
            .route("/", any(answer.clone()))
            .fallback(answer)
            .layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
    }
}

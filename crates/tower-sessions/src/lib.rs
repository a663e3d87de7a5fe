//! Cloakroom's stores for [tower-sessions] 0.14 and 0.15, and for what stands on it, such as
//! [axum-login] 0.18.
//!
//! A site keeps its handlers, its layer and its cookie, and gives its layer another store:
//!
//! ```
//! # #[cfg(feature = "v0_14")]
//! # fn example() {
//! # use tower_sessions_0_14 as tower_sessions;
//! use cloakroom_memory::MemoryStore;
//! use cloakroom_tower_sessions::{CloakroomStore, axum_login_subject};
//! use tower_sessions::SessionManagerLayer;
//!
//! // Any store of Cloakroom that keeps sessions on the server.
//! let store = MemoryStore::builder().build();
//! let store = CloakroomStore::builder(store)
//!     .subject(axum_login_subject) // whose session it is, for lists and logouts elsewhere
//!     .build();
//! let layer = SessionManagerLayer::new(store.clone());
//! # let _ = layer;
//! # }
//! ```
//!
//! `cloakroom::open_session_store(url)` opens such a store by its URL.
//!
//! The feature `v0_14` is on by default: axum-login and the published stores of databases
//! stand on that version. `v0_15` is for tower-sessions 0.15; both may be on at once.
//!
//! [tower-sessions]: https://docs.rs/tower-sessions
//! [axum-login]: https://docs.rs/axum-login
//!
//! **In the book:** [Coming from tower-sessions](https://github.com/cloakroom-rs/cloakroom/blob/main/docs/tower-sessions.md).
//!
//! # How it works
//!
//! A record that is loaded carries one entry beside the application's, named
//! `cloakroom/loaded`: its revision, and a hash of each entry as it was. `save` is one
//! compare-and-swap on that revision. Where another request was faster, the difference
//! between what was loaded and what is to be saved is replayed on what stands there now.
//! `save` never creates a session: where it has ended, expired or moved, that is an
//! `Error::Backend`, the layer answers 500 without a cookie, and nothing is written.
//!
//! Their `cycle_id` calls `delete`, and later `create`. Their `flush` calls `delete` too,
//! and the store cannot tell which of them it was. So `delete` ends the session at once for
//! everybody, and keeps its data for a minute: a `create` whose record says that it was
//! loaded from there makes a rotation of the two, with a rotation mark under the old id.
//! A second `delete` removes the data.
//!
//! The reserved entry is not stored and never leaves the process, so that no client can make
//! one up. An application meets it only where it calls the store itself, and in the data
//! that the closure of [`subject`](CloakroomStoreBuilder::subject) is given; an entry of its
//! own by that name is not stored. A session that was rotated with no entries is stored, where
//! tower-sessions would remove its cookie.
//!
//! A request is a load and, where it changed something, an update; a conflict is a load and
//! an update more. A rotation is two loads and two writes, a logout a load and a write. Over
//! our in-memory store a load takes some 1.4 times as long as over theirs, since theirs keeps
//! records as they are and ours keeps bytes, and a save some 1.2 times; with two threads at
//! once, which wait for each other's lock there, some 0.5 and 0.3 times (`examples/ratio.rs`).
//!
//! # What goes wrong without it, and does not here
//!
//! Each line is a test of that name in `tests/defects.rs`. Those marked with a star are also
//! run over the in-memory store of tower-sessions, which shows the defect.
//!
//! | situation | over their stores | here | test |
//! |---|---|---|---|
//! | two requests at once change different entries | one change is lost | both are kept | `changes_of_two_requests_both_survive` * |
//! | one request removes an entry, another saves | the entry is back | it stays removed | `what_a_request_removes_is_not_put_back_by_another` * |
//! | a handler saves, another request saves, the response saves again | the other's change is lost | it is kept | `a_second_save_of_a_request_keeps_what_another_saved_between` * |
//! | a slow request saves after a logout | the session lives again | the save fails | `a_slow_request_does_not_bring_a_logged_out_session_back` * |
//! | a slow request saves after a login has moved the session | the old id opens a session again | the save fails | `a_late_request_does_not_bring_the_old_id_back_after_a_rotation` * |
//! | a request saves while another rotates the session | its change is lost | it moves along | `a_rotation_keeps_what_another_request_has_saved` * |
//! | a request with the old id overlaps a login | its answer removes the new cookie | the cookie stays | `a_request_with_the_old_id_leaves_the_new_cookie_alone` * |
//! | a client makes up an id, and the handler calls `clear` first | the id becomes a session | the save fails | `an_id_of_the_clients_making_becomes_no_session` * |
//! | a handler writes after `flush` | the session stands under the logged-out id | under a new one | `what_follows_a_logout_stands_under_another_id` * |
//! | sessions of a user are ended while one of them rotates | there is no such list | nothing of it comes back | `a_session_that_was_ended_elsewhere_does_not_come_back_by_a_rotation` |
//! | the answer of the database to a rotation is lost | the visitor is logged out | the session is found under its new id | `a_rotation_whose_answer_is_lost_is_found` |
//! | the database is copied | it holds ids that log in | it holds digests of them | `a_copy_of_the_database_holds_no_id` |
//! | a session expires while a request goes on | the save renews it | the save fails | `an_expired_session_opens_nothing_and_a_save_does_not_renew_it` |
//! | a record is damaged | each request of its visitor is a 500 | a fresh session and an event | `a_damaged_record_is_a_fresh_session` |
//! | the database fails during a sweep | no sweep follows | an event, and the next one sweeps | `the_sweep_goes_on_after_a_failure` |
//! | a session grows | without a limit | to 64 KiB, then the save fails and nothing is changed | `a_session_that_grows_past_a_limit_is_an_error_and_keeps_what_it_was` |
//!
//! That a planted id gains nothing by its visitor's login, in requests that were under way
//! neither, is a test of `tests/login.rs`, over each store.
//!
//! # What survives the foreign trait, and what does not
//!
//! | promise of Cloakroom | here | why |
//! |---|---|---|
//! | changes to different entries all survive | yes | the difference of the entries is known |
//! | concurrent `update`s of a counter all count | no: the later save of one entry wins | a handler gives values, and no closure to run again |
//! | a logged-out session stays dead | yes | `save` never creates |
//! | a change that has nowhere to go is a 409 | a 500 | their layer has one answer to an error |
//! | changes under way when a session moves are written where it is now | they fail | after a success their layer sends the cookie of the old id, which would log the visitor out |
//! | a change to a session that is gone begins a new one | after a load, yes; where the handler calls `clear` first, the save fails | `save` cannot choose another id, and one that a client made up must become no session |
//! | a login moves the session | yes | their `cycle_id` |
//! | logging in as somebody else starts from nothing | no | axum-login keeps the session and its id; call `flush` before |
//! | two logins of one session at once | both log in; the later one may find nothing of the session from before | following the first one would give its session to whoever knows the old id |
//! | a rotation that fails leaves the old session | no: the visitor is logged out | the old id was ended by `delete`; the same after a handler that rotates and answers 5xx, since their layer does not save then |
//! | the data of a logged-out session is removed at once | it opens nothing at once, and is removed after a minute, by the next sweep, or by a second `delete` | `delete` may be the first half of a rotation |
//! | an absolute deadline | no | their one `expiry_date` moves at each save: have the application keep the time of the login, and judge it |
//! | reading keeps a session alive | no | their layer saves only what was changed, unless `always_save` is chosen |
//! | a request that touches no session costs nothing | tower-sessions: yes. axum-login loads in each request that has a cookie | |
//! | a failing store is a 500, not a logout | yes | a load that fails is an error |
//! | lists and logouts elsewhere, by subject | yes, by a closure | [`sessions_of`](CloakroomStore::sessions_of), [`end_sessions_of`](CloakroomStore::end_sessions_of) |
//! | 256 bits in a cookie | 128 bits | their id is an `i128`; that is enough not to be guessed |
//! | ids are never printed | no | their `Session` and `Record` print id and data with `Debug` |
//! | the cookie is removed with the attributes it was set with | not `Secure`: a browser keeps a cookie named `__Host-…` after a logout | their layer sends the removal; the id in it opens nothing |
//! | responses that depend on the session are kept from shared caches | no | their layer sends neither `Vary` nor `Cache-Control` |
//! | numbers of any size | as serde_json has them: 64 bits | a larger one is an error when it is inserted |
//!
//! For ten seconds after a `delete`, and for a minute after a rotation, a request with the
//! old id finds an empty session and its cookie stays; what such a request changes, and
//! `always_save` too, is an error.
//!
//! Do not put their `CachingSessionStore` in front: it hands out what it keeps with an old
//! revision, and each save is then replayed from an old state. `cloakroom-cached` goes
//! below this store.

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(not(any(feature = "v0_14", feature = "v0_15")))]
compile_error!("choose a version of tower-sessions by a feature: `v0_14`, `v0_15` or both");

mod implement;
mod loaded;
mod saved;
mod store;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use cloakroom_core::engine::SessionKey;
use cloakroom_core::session::Limits;
use cloakroom_core::store::{
    EndReason, Ending, KeyDigest, Listed, Revoke, SessionStore, SubjectDigest,
};
use cloakroom_core::{Clock, Error, Site, Subject, SystemClock};

type SubjectOf = dyn Fn(&HashMap<String, serde_json::Value>) -> Option<Subject> + Send + Sync;

/// A store of ours as a store of tower-sessions. Cheap to clone; all clones are the one
/// store.
pub struct CloakroomStore<S> {
    inner: Arc<Inner<S>>,
}

struct Inner<S> {
    store: S,
    site: Site,
    subject: Option<Box<SubjectOf>>,
    limits: Limits,
    clock: Arc<dyn Clock>,
    /// Of the next record that is handed out.
    nonce: AtomicU64,
    saves: saved::Saves,
}

/// What makes a [`CloakroomStore`]: see [`CloakroomStore::builder`].
pub struct CloakroomStoreBuilder<S> {
    store: S,
    site: Site,
    subject: Option<Box<SubjectOf>>,
    limits: Limits,
    clock: Arc<dyn Clock>,
}

impl<S: SessionStore> CloakroomStore<S> {
    /// The store with nothing chosen: no subject, so that no list of a user's sessions is
    /// kept.
    pub fn new(store: S) -> Self {
        Self::builder(store).build()
    }

    /// Where a subject, a site or limits are chosen.
    pub fn builder(store: S) -> CloakroomStoreBuilder<S> {
        CloakroomStoreBuilder {
            store,
            site: Site::default(),
            subject: None,
            limits: Limits::default(),
            clock: Arc::new(SystemClock),
        }
    }

    /// The digest under which the session with this id is stored: of a session of
    /// tower-sessions, `session.id().map(|id| store.digest_of(id.0))`.
    ///
    /// It is the digest of a [`SessionKey`] of the 16 bytes `"tower-sessions/1"` and the 16
    /// of the id, little-endian as in their cookie. It opens no session.
    #[must_use]
    pub fn digest_of(&self, id: i128) -> KeyDigest {
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(b"tower-sessions/1");
        bytes[16..].copy_from_slice(&id.to_le_bytes());
        SessionKey::from_bytes(bytes)
            .of_site(&self.inner.site)
            .digest()
    }

    /// The sessions of a subject, at most `max`, without their data. Those that have expired
    /// count until they are swept.
    ///
    /// # Errors
    /// [`Misconfigured`](cloakroom_core::ErrorKind::Misconfigured) where the store keeps
    /// no lists, [`Unavailable`](cloakroom_core::ErrorKind::Unavailable) where it does not
    /// answer.
    pub async fn sessions_of(&self, subject: &Subject, max: usize) -> Result<Vec<Listed>, Error> {
        let subjects = self.inner.store.capabilities().required_subjects()?;
        let subject = SubjectDigest::new(&self.inner.site, subject);
        let mut sessions = subjects.sessions_of(&subject, max).await?;
        let now = self.inner.clock.now();
        sessions.retain(|listed| !listed.record.is_expired(now));
        Ok(sessions)
    }

    /// Ends sessions of a subject: all of them, one, or all but one. What still goes on
    /// with one of them cannot save.
    ///
    /// # Errors
    /// As [`sessions_of`](Self::sessions_of). The message says how many were ended before.
    pub async fn end_sessions_of(&self, subject: &Subject, which: Revoke) -> Result<(), Error> {
        let subjects = self.inner.store.capabilities().required_subjects()?;
        let subject = SubjectDigest::new(&self.inner.site, subject);
        let ending = Ending::new(EndReason::LoggedOutElsewhere, self.inner.clock.now());
        let ended = subjects.end_sessions(&subject, which, Some(&ending));
        ended.await?;
        Ok(())
    }
}

impl<S> CloakroomStoreBuilder<S> {
    /// Says whose session one is, by its entries: called at each save. A session of `None`
    /// is in no list.
    #[must_use]
    pub fn subject<F>(mut self, subject: F) -> Self
    where
        F: Fn(&HashMap<String, serde_json::Value>) -> Option<Subject> + Send + Sync + 'static,
    {
        self.subject = Some(Box::new(subject));
        self
    }

    /// The site that the sessions belong to: two applications over one store need two, or
    /// user 42 of one is user 42 of the other.
    #[must_use]
    pub fn site(mut self, site: Site) -> Self {
        self.site = site;
        self
    }

    /// Limits on what a session may hold, where 64 KiB and 1,024 entries are too few.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Another clock, for tests. tower-sessions itself asks the system's.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The store.
    pub fn build(self) -> CloakroomStore<S> {
        CloakroomStore {
            inner: Arc::new(Inner {
                store: self.store,
                site: self.site,
                subject: self.subject,
                limits: self.limits,
                clock: self.clock,
                nonce: AtomicU64::new(0),
                saves: saved::Saves::default(),
            }),
        }
    }
}

/// Whose session it is where axum-login keeps the user, under its default name
/// `axum-login.data`: for [`CloakroomStoreBuilder::subject`].
///
/// A user id that is text is the subject itself; any other is its JSON. `None` where nobody
/// is logged in, and for an id of more than 256 bytes.
#[must_use]
pub fn axum_login_subject(data: &HashMap<String, serde_json::Value>) -> Option<Subject> {
    let id = match data.get("axum-login.data")?.get("user_id")? {
        serde_json::Value::Null => return None,
        serde_json::Value::String(id) => id.clone(),
        id => id.to_string(),
    };
    Subject::new(id).ok()
}

impl<S> Clone for CloakroomStore<S> {
    fn clone(&self) -> Self {
        let inner = Arc::clone(&self.inner);
        Self { inner }
    }
}

impl<S> fmt::Debug for CloakroomStore<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CloakroomStore({})", std::any::type_name::<S>())
    }
}

impl<S> fmt::Debug for CloakroomStoreBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CloakroomStoreBuilder({})", std::any::type_name::<S>())
    }
}

//! What all exchanges of one engine share.

use std::sync::Arc;
use std::time::Duration;

use cloakroom_core::engine::{AnyStore, Entropy, Token, TokenStore as _};
use cloakroom_core::session::Limits;
use cloakroom_core::store::{KeyDigest, Record, Subjects};
use cloakroom_core::{Clock, Error, Expiry, Site, Timestamp};

use crate::Transport;
use crate::adopt::Sources;
use crate::cookie::COOKIE_AGE_MAX;
use crate::device::Devices;
use crate::ends::Ends;
use crate::events::Events;
use crate::queue::Queue;

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) store: AnyStore,
    pub(crate) transport: Transport,
    /// Former sessions of other libraries.
    pub(crate) sources: Sources,
    /// What ties sessions to devices, if anything does.
    pub(crate) devices: Option<Devices>,
    /// Keeps the sessions of two applications over one store apart.
    pub(crate) site: Site,
    pub(crate) token_bytes_max: usize,
    pub(crate) expiry: Expiry,
    pub(crate) limits: Limits,
    pub(crate) touch_share_percent: u8,
    pub(crate) rotation_mark: Duration,
    pub(crate) renew_key_after: Option<Duration>,
    pub(crate) no_store: bool,
    pub(crate) conflict_deadline: Duration,
    pub(crate) strict_reads: bool,
    pub(crate) drop_late_changes: bool,
    pub(crate) sessions_per_subject_max: Option<usize>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    /// Whether keys come from elsewhere than the operating system.
    pub(crate) has_own_entropy: bool,
    pub(crate) queue: Queue,
    pub(crate) events: Events,
    /// Those who wait for the ends of sessions.
    pub(crate) ends: Arc<Ends>,
}

impl Shared {
    /// The store's lists by subject.
    pub(crate) fn subjects(&self) -> Result<&dyn Subjects, Error> {
        self.store.token_capabilities().required_subjects()
    }

    /// What an event says of a session: the first characters of its digest, where that is
    /// known.
    pub(crate) fn short(&self, token: &Token) -> Option<String> {
        let digest = self.store.digest_of(token);
        digest.as_ref().map(KeyDigest::short)
    }

    /// The age of a cookie whose record was written at `now`; `None` where the cookie
    /// ends with the browser. It comes from the absolute end, which no use moves, so that
    /// a touch has nothing to tell the browser; without one it is the longest there is.
    pub(crate) fn cookie_age(&self, record: &Record, now: Timestamp) -> Option<Duration> {
        let is_persistent = !self.expiry.cookie_ends_with_browser(record);
        is_persistent.then(|| {
            let end = record.absolute_deadline;
            end.map_or(COOKIE_AGE_MAX, |end| end.saturating_since(now))
        })
    }
}

//! What the engine tells: the one place where something that happens becomes an event of
//! `tracing` and a measure. docs/events.md lists both, and a test holds that page against what
//! is told.

use std::sync::atomic::AtomicBool;

use cloakroom_core::engine::{AnyStore, Changeset, SaveOutcome, Token, TokenStore as _};
use cloakroom_core::session::{Ended, Session};
use cloakroom_core::store::{EndReason, KeyDigest, Record, SubjectDigest};
use cloakroom_core::{Error, Subject, Timestamp};

use crate::decide::Decision;
use crate::event_limit::EventLimit;
use crate::measure::{Counted, Measures, Refused};
use crate::shared::Shared;

/// What the events of one engine have in common.
#[derive(Debug)]
pub(crate) struct Events {
    pub(crate) store: &'static str,
    is_client_side: bool,
    /// Whether events name the subject.
    pub(crate) names_subjects: bool,
    pub(crate) measures: Measures,
    pub(crate) is_failing: AtomicBool,
    /// Whether the log has been told that the store does not answer.
    pub(crate) is_failing_told: AtomicBool,
    pub(crate) outages: EventLimit,
    unknown_keys: EventLimit,
    not_adopted: EventLimit,
    unproven_devices: EventLimit,
}

impl Events {
    pub(crate) fn of(store: &AnyStore) -> Self {
        let capabilities = store.token_capabilities();
        Self {
            store: capabilities.name,
            is_client_side: capabilities.client_side.is_some(),
            names_subjects: false,
            measures: Measures::of(capabilities.name),
            is_failing: AtomicBool::new(false),
            is_failing_told: AtomicBool::new(false),
            outages: EventLimit::default(),
            unknown_keys: EventLimit::default(),
            not_adopted: EventLimit::default(),
            unproven_devices: EventLimit::default(),
        }
    }

    fn subject<'s>(&self, subject: Option<&'s Subject>) -> Option<&'s str> {
        let told = subject.filter(|_| self.names_subjects);
        told.map(Subject::as_str)
    }
}

/// A token or a digest whose first characters an event says.
pub(crate) trait Named {
    fn short(&self, engine: &Shared) -> Option<String>;

    fn digest(&self, engine: &Shared) -> Option<KeyDigest>;
}

impl Named for Token {
    fn short(&self, engine: &Shared) -> Option<String> {
        engine.short(self)
    }

    fn digest(&self, engine: &Shared) -> Option<KeyDigest> {
        engine.store.digest_of(self)
    }
}

impl Named for KeyDigest {
    fn short(&self, _: &Shared) -> Option<String> {
        Some(KeyDigest::short(self))
    }

    fn digest(&self, _: &Shared) -> Option<KeyDigest> {
        Some(*self)
    }
}

/// What happens to sessions.
impl Shared {
    pub(crate) fn opened(&self, token: &Token, session: &Session) {
        tracing::debug!(
            event = "session_opened",
            session = self.short(token),
            store = self.events.store,
            subject = self.events.subject(session.subject().as_ref()),
            "a request has opened its session"
        );
    }

    pub(crate) fn created(&self, token: &Token, record: &Record) {
        self.events.measures.count(Counted::Created);
        tracing::debug!(
            event = "session_created",
            session = self.short(token),
            store = self.events.store,
            subject = self.events.subject(record.subject.as_ref()),
            "a session has been stored for the first time"
        );
    }

    /// Tells what was saved.
    pub(crate) fn committed(
        &self,
        decision: Decision,
        changeset: &Changeset,
        outcome: &SaveOutcome,
        before: Option<&Token>,
    ) {
        let (token, record) = match outcome {
            SaveOutcome::Stored {
                token: Some(token),
                record,
            } => (token, record),
            SaveOutcome::Gone => return self.late_write(before),
            _ => return,
        };
        let former = changeset.stored();
        match (former, before) {
            (Some(former), Some(before)) if changeset.is_flushed() => {
                let subject = former.subject.as_ref();
                let ended = Ended::new(end_of_flushed(changeset)).at(self.clock.now());
                self.ended(before, &ended, subject);
                self.created(token, record);
            }
            (Some(_), Some(before)) => {
                if matches!(decision, Decision::Rotate | Decision::Renew) {
                    self.rotated(before, token);
                }
                self.tell_waiting_of_write(before, token, record);
            }
            (Some(_), None) => {}
            (None, _) => self.created(token, record),
        }
        if changeset.is_login() {
            self.logged_in(
                token,
                record,
                former.and_then(|former| former.subject.as_ref()),
            );
        }
    }

    fn rotated(&self, before: &Token, now: &Token) {
        self.events.measures.count(Counted::Rotated);
        tracing::debug!(
            event = "session_rotated",
            session = self.short(now),
            former = self.short(before),
            store = self.events.store,
            "a session has moved to a new key"
        );
    }

    pub(crate) fn logged_in(&self, token: &Token, record: &Record, former: Option<&Subject>) {
        let subject = record.subject.as_ref();
        self.events.measures.count(Counted::Login);
        tracing::info!(
            event = "login",
            session = self.short(token),
            store = self.events.store,
            subject = self.events.subject(subject),
            "somebody has logged in"
        );
        if former.is_none() || former == subject {
            return;
        }
        self.events.measures.count(Counted::PrivilegeChanged);
        tracing::info!(
            event = "privilege_changed",
            session = self.short(token),
            store = self.events.store,
            subject = self.events.subject(subject),
            "somebody has logged in over somebody else, whose session has ended"
        );
    }

    /// Tells those who wait for its end that a session was written, and where it is now.
    fn tell_waiting_of_write(&self, before: &Token, token: &Token, record: &Record) {
        if self.ends.is_empty() {
            return;
        }
        let digests = [before, token].map(|token| self.store.digest_of(token));
        if let [Some(before), Some(now)] = digests {
            self.ends
                .written(&before, &now, token, record, &self.expiry);
        }
    }

    /// Tells those who wait for the end of a session that it has ended.
    pub(crate) fn tell_waiting(&self, of: &impl Named, ended: &Ended) {
        if !self.ends.is_empty()
            && let Some(digest) = of.digest(self)
        {
            self.ends.ended(&digest, ended);
        }
    }

    /// Tells that a session has ended.
    pub(crate) fn ended(&self, of: &impl Named, ended: &Ended, subject: Option<&Subject>) {
        self.tell_waiting(of, ended);
        let reason = ended.because;
        self.events.measures.ended(reason, 1);
        tracing::info!(
            event = "session_ended",
            session = of.short(self),
            reason = reason.as_str(),
            store = self.events.store,
            subject = self.events.subject(subject),
            "a session has ended"
        );
    }

    /// Tells that sessions have ended that are not known one by one.
    pub(crate) fn several_ended(
        &self,
        sessions: usize,
        reason: EndReason,
        subject: Option<&Subject>,
    ) {
        if let Some(subject) = subject {
            self.ends.ended_of(&SubjectDigest::new(&self.site, subject));
        }
        self.events.measures.ended(reason, sessions as u64);
        tracing::info!(
            event = "sessions_ended",
            sessions,
            reason = reason.as_str(),
            store = self.events.store,
            subject = self.events.subject(subject),
            "sessions have ended together"
        );
    }

    /// Tells that a token beside the session's was logged out with it. Whether it opened
    /// anything is not known, and a client may send any.
    pub(crate) fn other_token_ended(&self, token: &Token, ended: &Ended) {
        self.tell_waiting(token, ended);
        tracing::debug!(
            event = "other_token_ended",
            session = self.short(token),
            store = self.events.store,
            "another token of the request was logged out with its session"
        );
    }

    pub(crate) fn limit_kept(&self, login: &KeyDigest, ended: usize, max: usize) {
        tracing::info!(
            event = "session_limit",
            session = %KeyDigest::short(login),
            ended,
            max,
            store = self.events.store,
            "a login has reached sessions_per_subject_max, and sessions of its subject have ended"
        );
    }

    pub(crate) fn limit_not_kept(&self, login: &KeyDigest, error: &Error) {
        tracing::error!(
            event = "session_limit_failed",
            session = %KeyDigest::short(login),
            store = self.events.store,
            %error,
            "sessions_per_subject_max could not be kept to"
        );
    }

    pub(crate) fn adoption_lost_entries(&self, source: &str, token: &Token, entries: usize) {
        tracing::warn!(
            event = "adoption_lost_entries",
            source,
            session = self.short(token),
            store = self.events.store,
            entries,
            "entries of an adopted session were not carried over: they are no values of ours, \
             or exceed the engine's limits"
        );
    }

    pub(crate) fn not_parted(&self, token: &Token, error: &Error) {
        tracing::warn!(
            event = "former_cookie_still_opens",
            session = self.short(token),
            store = self.events.store,
            %error,
            "a former cookie still opens its session"
        );
    }
}

/// The devices that sessions are bound to.
impl Shared {
    pub(crate) fn device_bound(&self, token: &Token, subject: Option<&Subject>) {
        self.events.measures.device("bound");
        tracing::info!(
            event = "device_bound",
            session = self.short(token),
            store = self.events.store,
            subject = self.events.subject(subject),
            "a session has been bound to a device"
        );
    }

    pub(crate) fn device_refreshed(&self, token: &Token) {
        self.events.measures.device("refreshed");
        tracing::debug!(
            event = "device_refreshed",
            session = self.short(token),
            store = self.events.store,
            "the device of a session has proven itself, and has a new bound cookie"
        );
    }

    /// Tells that a request has not proven its device, and whether it was refused. A client
    /// may send any number of them.
    pub(crate) fn device_unproven(
        &self,
        token: &Token,
        why: &'static str,
        is_refused: bool,
        now: Timestamp,
    ) {
        self.events.measures.device(why);
        if let Some(unlogged) = self.events.unproven_devices.log_at(now) {
            tracing::warn!(
                event = "device_unproven",
                session = self.short(token),
                store = self.events.store,
                why,
                refused = is_refused,
                unlogged,
                "a request for a session has not proven the device that it must come from"
            );
        }
    }

    pub(crate) fn device_not_offered(&self, token: &Token, error: &Error) {
        tracing::warn!(
            event = "device_not_offered",
            session = self.short(token),
            store = self.events.store,
            %error,
            "that a session is offered to a device could not be written"
        );
    }
}

/// Why a session ended that was flushed and begins anew.
pub(crate) fn end_of_flushed(changeset: &Changeset) -> EndReason {
    match changeset.is_login() {
        true => EndReason::Flushed,
        false => EndReason::LoggedOut,
    }
}

/// What opens no session. A client can send as much of it as it likes, so each of these is
/// below the level that is usually logged, or told once a minute at most.
impl Shared {
    pub(crate) fn malformed(&self) {
        let reason = Refused::Malformed;
        self.events.measures.refused(reason);
        tracing::debug!(
            event = "token_refused",
            reason = reason.as_str(),
            store = self.events.store,
            "a request brought a token that is none of this store's"
        );
    }

    /// A token under which nothing stands.
    pub(crate) fn not_found(&self, token: &Token) {
        let reason = match self.events.is_client_side {
            true => Refused::Forged,
            false => Refused::Ended(EndReason::Unknown),
        };
        self.refused(token, reason);
    }

    /// A token whose session has ended for this reason.
    pub(crate) fn refused_after(&self, token: &Token, reason: EndReason) {
        self.refused(token, Refused::Ended(reason));
    }

    fn refused(&self, token: &Token, reason: Refused) {
        self.events.measures.refused(reason);
        tracing::debug!(
            event = "token_refused",
            session = self.short(token),
            reason = reason.as_str(),
            store = self.events.store,
            "a request brought a token that opens no session"
        );
    }

    pub(crate) fn of_unknown_key(&self, token: &Token, error: &Error, now: Timestamp) {
        self.refused_after(token, EndReason::KeyUnknown);
        if let Some(unlogged) = self.events.unknown_keys.log_at(now) {
            tracing::warn!(
                event = "unknown_key",
                store = self.events.store,
                %error,
                unlogged,
                "a token names a key that this server does not have; another server may have it"
            );
        }
    }

    pub(crate) fn unreadable(&self, token: &Token, error: &Error) {
        self.events
            .measures
            .refused(Refused::Ended(EndReason::Damaged));
        tracing::error!(
            event = "session_unreadable",
            session = self.short(token),
            reason = EndReason::Damaged.as_str(),
            store = self.events.store,
            error = %error,
            "the stored session cannot be read; a new one begins"
        );
    }

    pub(crate) fn not_adopted(
        &self,
        source: Option<&str>,
        reason: &dyn std::fmt::Display,
        now: Timestamp,
    ) {
        if let Some(unlogged) = self.events.not_adopted.log_at(now) {
            tracing::warn!(
                event = "session_not_adopted",
                source,
                why = %reason,
                unlogged,
                "a former session was not adopted"
            );
        }
    }
}

/// How writing goes.
impl Shared {
    /// Another request was first, and the changes were replayed on what it left.
    pub(crate) fn replayed(&self, token: &Token) {
        self.events.measures.count(Counted::Conflict);
        tracing::debug!(
            event = "conflict_replayed",
            session = self.short(token),
            store = self.events.store,
            "another request was first, and the changes were made again on what it left"
        );
    }

    pub(crate) fn overwritten(&self, token: &Token, entries: usize) {
        tracing::warn!(
            event = "value_overwritten",
            session = self.short(token),
            store = self.events.store,
            entries,
            "a value that was read, then set had been changed by another request; use `update`"
        );
    }

    fn late_write(&self, before: Option<&Token>) {
        self.events.measures.count(Counted::LateWrite);
        tracing::warn!(
            event = "late_write",
            session = before.and_then(|token| self.short(token)),
            store = self.events.store,
            "the session ended or moved meanwhile; this request's changes are not kept"
        );
    }

    pub(crate) fn save_failed(&self, token: Option<&Token>, error: &Error) {
        self.events.measures.count(Counted::SaveFailed);
        let source = std::error::Error::source(error).map(tracing::field::display);
        tracing::error!(
            event = "save_failed",
            session = token.and_then(|token| self.short(token)),
            store = self.events.store,
            %error,
            source,
            "session not saved"
        );
    }

    pub(crate) fn touch_failed(&self, token: &Token, error: &Error) {
        tracing::warn!(
            event = "touch_failed",
            session = self.short(token),
            store = self.events.store,
            %error,
            "touch failed"
        );
    }

    pub(crate) fn not_renewed(&self, token: &Token, error: &Error) {
        tracing::warn!(
            event = "renewal_failed",
            session = self.short(token),
            store = self.events.store,
            %error,
            "the session's key was not renewed"
        );
    }
}

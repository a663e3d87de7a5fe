//! A session's changes on their way to the store: the engine's side.

use std::sync::Arc;

use super::op::Pending;
use super::view::View;
use crate::engine::Token;
use crate::session::{Entries, Limits};
use crate::store::Record;
use crate::{Error, Expiry, Site, Timestamp};

/// The changes of a session, taken out to be written.
///
/// An engine takes one with [`Session::changeset`](crate::session::Session::changeset), writes
/// what it says, and hands it back with
/// [`Session::settle`](crate::session::Session::settle). A changeset that is never handed
/// back (its future was dropped half-way) leaves the session refusing to be
/// saved again, since the outcome of the write is unknown.
#[derive(Debug)]
pub struct Changeset {
    pub(super) stored: Option<Record>,
    /// What was stored when this request read it; replay compares with it.
    pub(super) read: Entries,
    pub(super) entries: Entries,
    pub(super) pending: Pending,
    pub(super) accessed: bool,
    pub(super) modified: bool,
    pub(super) peeks: bool,
    pub(super) dead: bool,
    pub(super) limits: Limits,
    /// Which site a new record belongs to.
    pub(super) site: Site,
}

/// A session that has recorded no change, as [`Session::close_unchanged`] shows it.
///
/// [`Session::close_unchanged`]: crate::session::Session::close_unchanged
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Unchanged<'s> {
    /// The record as it was loaded or last saved.
    pub stored: Option<&'s Record>,
    /// As [`Changeset::is_accessed`].
    pub accessed: bool,
    /// As [`Changeset::peeks`].
    pub peeks: bool,
    /// As [`Changeset::is_dead`].
    pub dead: bool,
}

/// What became of a save, from the writer to the session: told with
/// [`Session::settle`](crate::session::Session::settle).
#[derive(Debug)]
pub enum SaveOutcome {
    /// Nothing was to be written.
    Unchanged,
    /// The record stands in the store as given.
    Stored {
        /// The record, at the revision that was stored.
        record: Record,
        /// The token that opens it; `None` for a session that is its own store, and for
        /// one that was moved meanwhile, whose new token this client is not told.
        token: Option<Token>,
    },
    /// The stored session was flushed; what is changed from now on begins a new
    /// one.
    Deleted,
    /// The session was ended or moved elsewhere, and this request's changes have nowhere
    /// to go, nor have those still to come, but for a login.
    Gone,
    /// Nothing was written; the changes wait for another save.
    NotWritten(Error),
    /// It may have been written or not; every later save fails the same way.
    Unknown(Error),
}

impl Changeset {
    /// The record the changes are based on, `None` for a new session.
    #[must_use]
    pub fn stored(&self) -> Option<&Record> {
        self.stored.as_ref()
    }

    /// Whether the dictionary was read or written (Django's `accessed`).
    #[must_use]
    pub fn is_accessed(&self) -> bool {
        self.accessed
    }

    /// Whether anything was changed (Django's `modified`).
    #[must_use]
    pub fn is_modified(&self) -> bool {
        self.modified
    }

    /// Whether this request only [peeks](crate::session::Session::peek): what it reads
    /// is no use of the session.
    #[must_use]
    pub fn peeks(&self) -> bool {
        self.peeks
    }

    /// Whether the stored session is to be ended.
    #[must_use]
    pub fn is_flushed(&self) -> bool {
        self.pending.flushed
    }

    /// Whether an earlier save found that the session was ended or moved
    /// elsewhere.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.dead
    }

    /// Whether the session is to move to a new key.
    #[must_use]
    pub fn wants_rotation(&self) -> bool {
        self.pending.rotate
    }

    /// Whether somebody logs in with these changes.
    #[must_use]
    pub fn is_login(&self) -> bool {
        self.pending.header.subject.is_some()
    }

    /// Whether it is a change to the [binding](crate::session::Session::bind), and nothing
    /// else.
    #[must_use]
    pub fn is_binding_alone(&self) -> bool {
        self.pending.is_binding_alone()
    }

    /// Whether these changes say that whoever was logged in has proved it again, and nobody
    /// logs in: what belongs to the session as it was, and to no other.
    #[must_use]
    pub fn is_step_up(&self) -> bool {
        self.is_login() && self.pending.header.is_step_up
    }

    /// Whether they say nothing else, and `moved`, where another request has moved the session
    /// to meanwhile, says the same: of a form that is sent twice the second changes nothing.
    #[must_use]
    pub fn is_said_by(&self, moved: &Record) -> bool {
        let Some(before) = self.stored.as_ref().filter(|_| self.is_step_up()) else {
            return false;
        };
        let level = |record: &Record| record.login.as_ref().map(|login| login.level);
        let proved_at = |record: &Record| record.login.as_ref()?.authenticated_at;
        let wanted = self.pending.header.login.authentication.as_ref();
        self.pending.is_proof_alone()
            && before.subject == moved.subject
            && before.flushes == moved.flushes
            && wanted.map(|how| how.level) <= level(moved)
            && proved_at(before) < proved_at(moved)
    }

    /// Whether there is anything that a new record would hold: entries, a
    /// subject, a label or an expiry of its own.
    #[must_use]
    pub fn has_content(&self) -> bool {
        !self.entries.is_empty() || self.pending.header.has_content()
    }

    /// Forgets all changes but a flush and a rotation, and bases what is left
    /// on the stored data: what a response with a server error commits.
    pub fn drop_operations(&mut self) {
        let (flushed, rotate) = (self.pending.flushed, self.pending.rotate);
        self.pending = Pending {
            flushed,
            rotate: rotate && !flushed,
            ..Pending::default()
        };
        self.entries = if flushed {
            Entries::empty()
        } else {
            self.read.clone()
        };
        self.modified = flushed || rotate;
    }

    /// Forgets all changes but a flush: what is committed where no response can tell the
    /// client a new token.
    pub fn drop_all_but_flush(&mut self) {
        self.pending.rotate = false;
        self.drop_operations();
    }

    /// Forgets the stored session: what is left begins a new one.
    ///
    /// # Errors
    /// What a closure given to `update` returns on missing values.
    pub fn detach(&mut self) -> Result<(), Error> {
        let mut view = View::new(Entries::empty(), self.limits);
        self.pending.replay(&mut view)?;
        self.entries = view.entries()?;
        self.stored = None;
        self.read = Entries::empty();
        Ok(())
    }

    /// Applies the changes to the record as another request has left it, and
    /// returns the names that were read, then overwritten, and had changed in
    /// between.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) where the fresh record
    /// cannot be read, [`ErrorKind::TooLarge`](crate::ErrorKind::TooLarge)
    /// where both requests' changes do not fit together, and what a closure
    /// given to `update` meets.
    pub fn replay(&mut self, fresh: Record) -> Result<Vec<Arc<str>>, Error> {
        let fresh_entries = Entries::open(fresh.data.clone())?;
        if let (Some(wanted), Some(there)) = (&self.pending.header.subject, &fresh.subject)
            && wanted != there
        {
            self.pending.flushed = true;
        }
        let overwritten = self.pending.overwritten(&self.read, &fresh_entries);
        let base = if self.pending.flushed {
            Entries::empty()
        } else {
            fresh_entries.clone()
        };
        let mut view = View::new(base, self.limits);
        self.pending.replay(&mut view)?;
        self.entries = view.entries()?;
        self.read = fresh_entries;
        self.stored = Some(fresh);
        Ok(overwritten)
    }

    /// What this request has seen of the session: its record, and the entries with this
    /// request's changes.
    #[must_use]
    pub fn seen(&self) -> (Option<Record>, Entries) {
        (self.stored.clone(), self.entries.clone())
    }

    /// Goes back to what this request has seen, after a [`replay`](Self::replay) on a
    /// record that it must not see.
    pub fn go_back_to(&mut self, (stored, entries): (Option<Record>, Entries)) {
        self.stored = stored;
        self.entries = entries;
    }

    /// The record to write: the stored one, or one that begins now, with the
    /// changes in it. Its deadline moves where this use moves it by at least
    /// `touch_share_percent` of the idle time, or where its expiry was changed,
    /// so that it moves together with the client's copy of it.
    #[must_use]
    pub fn record(&self, policy: &Expiry, now: Timestamp, touch_share_percent: u8) -> Record {
        let kept = self.stored.as_ref().filter(|_| !self.pending.flushed);
        let header = &self.pending.header;
        let mut record = header.written(kept, policy, now, touch_share_percent);
        match &self.stored {
            Some(stored) => {
                record.revision = stored.revision;
                record.site = stored.site.clone();
                record.flushes = stored.flushes.wrapping_add(self.pending.flushed.into());
            }
            None => record.site = self.site.clone(),
        }
        record.data = self.entries.data().clone();
        record
    }
}

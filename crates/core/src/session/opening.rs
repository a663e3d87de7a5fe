//! Opening a session, taking its changes out, closing it: what an engine calls.

use std::sync::Arc;

use super::Session;
use super::changeset::{Changeset, SaveOutcome, Unchanged};
use super::commit::Context;
use super::op::Pending;
use super::state::Phase;
use super::view::View;
use crate::session::Entries;
use crate::store::Record;
use crate::{Error, ErrorKind, Login, Subject};

/// How a session stands, as [`Session::standing`] tells it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Standing {
    /// Who is logged in.
    pub subject: Option<Subject>,
    /// How they have logged in, and what the session is tied to.
    pub login: Option<Arc<Login>>,
    /// As [`Changeset::peeks`].
    pub peeks: bool,
}

/// For engines; a handler gets its session from the framework's extractor.
impl Session {
    /// Opens a loaded record, or a new session where there is none.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] where the record's data is not entries.
    pub fn open(stored: Option<Record>, context: Context) -> Result<Self, Error> {
        let entries = match &stored {
            Some(record) => Entries::open(record.data.clone())?,
            None => Entries::empty(),
        };
        Ok(Self::with(stored, entries, context))
    }

    /// Takes the changes out to be written. Changes made until the changeset is
    /// settled are kept apart and applied afterwards.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] after [`close`](Self::close); the error of an
    /// earlier write whose outcome is unknown; [`ErrorKind::TooLarge`] where
    /// the entries exceed the limits.
    pub fn changeset(&self) -> Result<Changeset, Error> {
        self.take_changeset(Phase::Saving)
    }

    /// As [`changeset`](Self::changeset), for the end of the request: from here on
    /// changes are refused, since nothing would write them.
    ///
    /// # Errors
    /// As [`changeset`](Self::changeset).
    pub fn last_changeset(&self) -> Result<Changeset, Error> {
        self.take_changeset(Phase::Closing)
    }

    fn take_changeset(&self, next: Phase) -> Result<Changeset, Error> {
        let mut state = self.lock();
        match &state.phase {
            Phase::Open if state.over && matches!(next, Phase::Saving) => {
                return Err(ErrorKind::Closed.into());
            }
            Phase::Open => {}
            Phase::Broken(error) => return Err(error.clone()),
            Phase::Closed => return Err(ErrorKind::Closed.into()),
            Phase::Saving | Phase::Closing => {
                return Err(Error::new(
                    ErrorKind::Unavailable,
                    "an earlier save was abandoned half-way; its outcome is unknown",
                ));
            }
        }
        let entries = state.view.entries()?;
        let pending = std::mem::take(&mut state.pending);
        state.out = Some((pending.header.clone(), pending.flushed));
        state.phase = next;
        Ok(Changeset {
            stored: state.stored.clone(),
            read: state.read.clone(),
            entries,
            pending,
            accessed: state.accessed,
            modified: std::mem::take(&mut state.modified),
            peeks: state.peeks,
            dead: state.dead,
            limits: self.shared.context.limits,
            site: self.shared.context.site.clone(),
        })
    }

    /// Ends a session that has recorded nothing, without a changeset. `judge` says whether
    /// there is nothing else to write either, such as a touch; its `None` leaves the session
    /// as it is, and so does a change that was recorded.
    pub fn close_unchanged<T>(&self, judge: impl FnOnce(Unchanged<'_>) -> Option<T>) -> Option<T> {
        let mut state = self.lock();
        let is_open = matches!(state.phase, Phase::Open);
        if !is_open || state.modified || state.pending.is_modified() {
            return None;
        }
        let judged = judge(Unchanged {
            stored: state.stored.as_ref(),
            accessed: state.accessed,
            peeks: state.peeks,
            dead: state.dead,
        })?;
        state.phase = Phase::Closed;
        Some(judged)
    }

    /// Returns a changeset together with the outcome of its write.
    ///
    /// # Errors
    /// [`ErrorKind::Gone`] where the session was ended or moved and the changes have nowhere to go, and the
    /// error of an outcome that has one. [`ErrorKind::TooLarge`] or
    /// [`ErrorKind::Mismatch`] where changes made while the changeset was out do not
    /// apply to what was stored; they are dropped.
    pub fn settle(&self, changeset: Changeset, outcome: SaveOutcome) -> Result<(), Error> {
        match outcome {
            SaveOutcome::Stored { record, .. } => {
                self.go_on(changeset.entries, Some(record), false)
            }
            SaveOutcome::Deleted => self.go_on(Entries::empty(), None, false),
            SaveOutcome::Gone => {
                self.go_on(Entries::empty(), None, true)?;
                Err(ErrorKind::Gone.into())
            }
            SaveOutcome::Unchanged => {
                self.reopen(Phase::Open, None);
                Ok(())
            }
            SaveOutcome::NotWritten(error) => {
                self.reopen(Phase::Open, Some(changeset.pending));
                Err(error)
            }
            SaveOutcome::Unknown(error) => {
                self.reopen(Phase::Broken(error.clone()), None);
                Err(error)
            }
        }
    }

    /// Continues after a write: changes that were made while it ran are replayed on the
    /// record that it wrote.
    fn go_on(&self, read: Entries, stored: Option<Record>, dead: bool) -> Result<(), Error> {
        let limits = self.shared.context.limits;
        {
            let mut state = self.lock();
            if matches!(state.phase, Phase::Closed) {
                return Ok(());
            }
            state.read = read.clone();
            state.stored = stored;
            state.dead = dead;
            state.out = None;
        }
        // The recorded closures are the caller's code, so they run without the lock.
        // Changes made meanwhile are replayed in the next round.
        let mut view = View::new(read.clone(), limits);
        let mut followed = Pending::default();
        loop {
            let mut later = {
                let mut state = self.lock();
                let later = std::mem::take(&mut state.pending);
                if !later.is_modified() {
                    followed.append(later);
                    state.resume(view, followed);
                    return Ok(());
                }
                later
            };
            if later.flushed {
                view.clear();
            }
            if let Err(error) = later.replay(&mut view) {
                self.lock()
                    .resume(View::new(read, limits), Pending::default());
                return Err(error);
            }
            followed.append(later);
        }
    }

    /// Continues after a write that changed nothing, or whose outcome is unknown.
    /// `unwritten` changes wait for the next save, before those made meanwhile.
    fn reopen(&self, phase: Phase, unwritten: Option<Pending>) {
        let mut state = self.lock();
        if matches!(state.phase, Phase::Closed) {
            return;
        }
        state.phase = phase;
        state.out = None;
        if let Some(unwritten) = unwritten {
            let later = std::mem::replace(&mut state.pending, unwritten);
            state.pending.append(later);
            state.modified = state.pending.is_modified();
        }
    }

    /// How the session stands with the changes of this request, for an engine: to ask is no
    /// use of it.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let state = self.lock();
        let context = &self.shared.context;
        let subject = state.subject().cloned();
        let login = subject.as_ref().and_then(|_| {
            let header = state.header(&context.expiry, context.now);
            header.login
        });
        Standing {
            subject,
            login,
            peeks: state.peeks,
        }
    }

    /// Whether the dictionary was read or written, at any time in this request.
    #[must_use]
    pub fn was_accessed(&self) -> bool {
        self.lock().accessed
    }

    /// Whether the recorded changes end the session, move it to another key, or tie it to a
    /// session of an identity provider: what is to be written to its end, though nobody waits
    /// for it any more.
    #[must_use]
    pub fn must_be_carried_out(&self) -> bool {
        let pending = &self.lock().pending;
        pending.flushed || pending.rotate || pending.header.login.provider.is_some()
    }

    /// Refuses all changes and early saves from now on: the end of the request writes
    /// what was recorded before, if it has not written already.
    pub fn refuse_changes(&self) {
        self.lock().over = true;
    }

    /// Refuses all changes from now on: the response has left.
    pub fn close(&self) {
        self.lock().phase = Phase::Closed;
    }
}

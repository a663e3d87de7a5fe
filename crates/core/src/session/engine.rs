//! Opening a session, taking its changes out, closing it: what an engine calls.

use super::op::Pending;
use super::state::{Context, Phase};
use super::view::View;
use super::{Draft, Session, Settled};
use crate::{Entries, Error, ErrorKind, Record};

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

    /// Takes the changes out to be written. Reads and changes made until the
    /// draft is settled are kept apart and applied afterwards.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] after [`close`](Self::close); the error of an
    /// earlier write whose outcome is unknown; [`ErrorKind::TooLarge`] where
    /// the entries exceed the limits.
    pub fn draft(&self) -> Result<Draft, Error> {
        let mut state = self.lock();
        match &state.phase {
            Phase::Open | Phase::Dead => {}
            Phase::Broken(error) => return Err(error.clone()),
            Phase::Closed => return Err(ErrorKind::Closed.into()),
            Phase::Saving => {
                return Err(Error::new(
                    ErrorKind::Unavailable,
                    "an earlier save was abandoned half-way; its outcome is unknown",
                ));
            }
        }
        if matches!(state.phase, Phase::Dead) {
            state.pending = Pending::default();
            state.modified = false;
        }
        let draft = Draft {
            stored: state.stored.clone(),
            read: state.read.clone(),
            entries: state.view.entries()?,
            pending: std::mem::take(&mut state.pending),
            accessed: state.accessed,
            modified: std::mem::take(&mut state.modified),
            limits: self.shared.context.limits,
        };
        if !matches!(state.phase, Phase::Dead) {
            state.phase = Phase::Saving;
            state.out = Some((draft.pending.header.clone(), draft.pending.flushed));
        }
        Ok(draft)
    }

    /// Hands a draft back with what became of it.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`] or [`ErrorKind::Mismatch`] where changes made
    /// while the draft was out do not apply to what was stored.
    pub fn settle(&self, draft: Draft, outcome: Settled) -> Result<(), Error> {
        let (read, stored) = match outcome {
            Settled::Stored(record) => (draft.entries, Some(record)),
            Settled::Deleted => (Entries::empty(), None),
            other => {
                self.settle_unwritten(draft, other);
                return Ok(());
            }
        };
        // What was changed while the draft was out follows on what was written.
        // Its closures are the caller's code: they run without the lock, and
        // what is changed meanwhile follows in turn.
        let mut view = View::new(read.clone(), self.shared.context.limits);
        let mut followed = Pending::default();
        loop {
            let mut state = self.lock();
            let mut later = std::mem::take(&mut state.pending);
            if !later.is_modified() || matches!(state.phase, Phase::Closed | Phase::Dead) {
                followed.append(later);
                if matches!(state.phase, Phase::Saving) {
                    state.phase = Phase::Open;
                }
                state.pending = followed;
                state.out = None;
                state.read = read;
                state.stored = stored;
                state.view = view;
                state.edits += 1;
                return Ok(());
            }
            drop(state);
            if later.flushed {
                view.clear();
            }
            later.replay(&mut view)?;
            followed.append(later);
        }
    }

    fn settle_unwritten(&self, draft: Draft, outcome: Settled) {
        let mut state = self.lock();
        if matches!(state.phase, Phase::Closed | Phase::Dead) {
            return;
        }
        state.phase = Phase::Open;
        state.out = None;
        match outcome {
            Settled::Unchanged | Settled::Stored(_) | Settled::Deleted => {}
            Settled::Dead => {
                state.stored = None;
                state.phase = Phase::Dead;
            }
            Settled::Failed => {
                let later = std::mem::replace(&mut state.pending, draft.pending);
                state.pending.append(later);
                state.modified = state.pending.is_modified();
            }
            Settled::Unknown(error) => state.phase = Phase::Broken(error),
        }
    }

    /// Whether the dictionary was read or written, at any time in this request.
    #[must_use]
    pub fn was_accessed(&self) -> bool {
        self.lock().accessed
    }

    /// Refuses all changes from now on: the response has left.
    pub fn close(&self) {
        self.lock().phase = Phase::Closed;
    }
}

//! What all handles of one session share.

use std::sync::{Mutex, Weak};

use super::Commit;
use super::op::{Op, Pending};
use super::view::View;
use crate::{Entries, Error, Limits, Record, Subject, Timestamp};

pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    pub(super) commit: Option<Weak<dyn Commit>>,
    pub(super) limits: Limits,
}

pub(super) struct State {
    pub(super) stored: Option<Record>,
    /// The stored entries as they were read.
    pub(super) read: Entries,
    pub(super) view: View,
    pub(super) pending: Pending,
    pub(super) accessed: bool,
    pub(super) modified: bool,
    pub(super) opened_at: Timestamp,
    pub(super) phase: Phase,
    /// Counts changes of the view, so that `update` can run its closure
    /// without holding the lock.
    pub(super) edits: u64,
}

pub(super) enum Phase {
    Open,
    /// A draft is out.
    Saving,
    /// The session ended elsewhere: changes are accepted and dropped.
    Dead,
    Broken(Error),
    Closed,
}

impl State {
    pub(super) fn note_read(&mut self, name: &str) {
        self.accessed = true;
        if self.view.reads_through(name) && !self.pending.reads.contains(name) {
            self.pending.reads.insert(name.into());
        }
    }

    pub(super) fn subject(&self) -> Option<&Subject> {
        let stored = self
            .stored
            .as_ref()
            .filter(|_| !self.pending.flushed)
            .and_then(|record| record.subject.as_ref());
        self.pending.header.subject.as_ref().or(stored)
    }

    pub(super) fn record(&mut self, op: Op) {
        self.pending.push(op);
        self.mark_changed();
    }

    pub(super) fn mark_changed(&mut self) {
        self.accessed = true;
        self.modified = true;
        self.edits += 1;
    }

    pub(super) fn flush(&mut self) {
        self.view.clear();
        self.pending = Pending {
            flushed: true,
            ..Pending::default()
        };
        self.mark_changed();
    }

    /// The view of what is stored now with what is still pending.
    pub(super) fn rebuild(&mut self, limits: Limits) -> Result<(), Error> {
        self.view = View::new(self.read.clone(), limits);
        self.edits += 1;
        if self.pending.flushed {
            self.view.clear();
        }
        let mut pending = std::mem::take(&mut self.pending);
        let applied = pending.replay(&mut self.view);
        self.pending = pending;
        applied
    }

    /// When the engine opened the session; "now" for everything a handler asks.
    pub(super) fn opened_at(&self) -> Timestamp {
        self.opened_at
    }
}

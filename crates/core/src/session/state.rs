//! What all handles of one session share.

use std::sync::{Arc, Mutex};

use super::commit::{Context, Watch};
use super::op::{HeaderChange, Op, Pending};
use super::view::View;
use crate::session::Entries;
use crate::store::Record;
use crate::{Error, Expiry, Label, Subject, Timestamp};

pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    pub(super) context: Context,
}

pub(super) struct State {
    pub(super) stored: Option<Record>,
    /// The stored entries as this request loaded them; replay compares with them.
    pub(super) read: Entries,
    pub(super) view: View,
    pub(super) pending: Pending,
    /// The header changes of a changeset that is being written, and whether it
    /// flushes.
    pub(super) out: Option<(HeaderChange, bool)>,
    pub(super) accessed: bool,
    pub(super) modified: bool,
    /// Whether reads are no use of the session in this request.
    pub(super) peeks: bool,
    pub(super) phase: Phase,
    /// Whether the request is over: what was recorded can still be written, and nothing
    /// is recorded any more.
    pub(super) over: bool,
    /// Whether the session was ended or moved elsewhere: a login begins a new
    /// one, every other change is dropped.
    pub(super) dead: bool,
    /// Counts changes of the view, so that `update` can run its closure
    /// without holding the lock.
    pub(super) edits: u64,
    /// What knows of its end when the request is over.
    pub(super) watch: Option<Arc<dyn Watch>>,
}

pub(super) enum Phase {
    Open,
    /// A changeset is being written.
    Saving,
    /// The last changeset of the request is being written: a change made now could not
    /// be written any more.
    Closing,
    Broken(Error),
    Closed,
}

impl State {
    pub(super) fn note_read(&mut self, name: &str) {
        self.accessed = true;
        if self.view.reads_through(name) {
            self.pending.reads.add(name);
        }
    }

    pub(super) fn subject(&self) -> Option<&Subject> {
        let (header, stored) = self.header_parts();
        let stored = stored.and_then(|record| record.subject.as_ref());
        header
            .iter()
            .find_map(|header| header.subject.as_ref())
            .or(stored)
    }

    pub(super) fn label(&self) -> Option<&Label> {
        let (header, stored) = self.header_parts();
        let stored = stored.and_then(|record| record.label.as_ref());
        header
            .iter()
            .find_map(|header| header.label.as_ref())
            .or(stored)
    }

    /// Pending header changes, the latest first, and the stored header below them. A
    /// flush cuts off all that came before it.
    fn header_parts(&self) -> (Vec<&HeaderChange>, Option<&Record>) {
        let mut parts = vec![&self.pending.header];
        let mut flushed = self.pending.flushed;
        if let Some((header, out_flushed)) = self.out.as_ref().filter(|_| !flushed) {
            parts.push(header);
            flushed = *out_flushed;
        }
        (parts, self.stored.as_ref().filter(|_| !flushed))
    }

    /// Continues after a write with the changes that were made while it ran.
    pub(super) fn resume(&mut self, view: View, pending: Pending) {
        self.view = view;
        self.modified = pending.is_modified();
        self.pending = pending;
        self.edits += 1;
        if matches!(self.phase, Phase::Saving | Phase::Closing) {
            self.phase = Phase::Open;
        }
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

    /// The header as a save at `now` would write it.
    pub(super) fn header(&self, policy: &Expiry, now: Timestamp) -> Record {
        let (parts, stored) = self.header_parts();
        let mut merged = HeaderChange::default();
        for part in parts.into_iter().rev() {
            merged.overlay(part.clone());
        }
        merged.written(stored, policy, now, 0)
    }
}

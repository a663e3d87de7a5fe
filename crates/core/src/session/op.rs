//! The operations a session records, and how each is replayed.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use super::view::{Raw, View};
use crate::login::LoginChange;
use crate::session::Entries;
use crate::store::Record;
use crate::{Error, Expiry, Label, SessionExpiry, Subject, Timestamp};

/// A closure of the caller's that a replay runs again on the fresh view.
pub(super) type Change = Box<dyn FnMut(&mut View) -> Result<(), Error> + Send>;

/// One recorded change to the dictionary.
///
/// If another request has changed the record meanwhile, the operations of this
/// request are applied, in their order, to the record that the other one wrote.
pub(super) enum Op {
    /// Replay: sets the same value, whatever stands there.
    Set(Arc<str>, Raw),
    /// Replay: removes whatever stands there.
    Remove(Arc<str>),
    /// Replay: removes everything, also what the other request added.
    Clear,
    /// Replay: sets the value only where none stands.
    SetIfAbsent(Arc<str>, Raw),
    /// Replay: runs the closure on what stands there then.
    Update(Change),
}

impl Op {
    fn apply(&mut self, view: &mut View) -> Result<(), Error> {
        match self {
            Self::Set(name, value) => view.set(name.clone(), value.clone()),
            Self::SetIfAbsent(name, value) => match view.get(name) {
                Some(_) => Ok(()),
                None => view.set(name.clone(), value.clone()),
            },
            Self::Remove(name) => {
                view.remove(name);
                Ok(())
            }
            Self::Clear => {
                view.clear();
                Ok(())
            }
            Self::Update(change) => change(view),
        }
    }

    /// The name that this operation overwrites without looking.
    fn overwrites(&self) -> Option<&Arc<str>> {
        match self {
            Self::Set(name, _) | Self::Remove(name) => Some(name),
            Self::Clear | Self::SetIfAbsent(..) | Self::Update(_) => None,
        }
    }
}

/// A set of names, of which it knows a hash of 64 bits each (FNV-1a). Of two names with one hash
/// both count as read, where one was: a warning, or a 409 of who asks for it, too many.
#[derive(Default)]
pub(super) struct Names(BTreeSet<u64>);

impl Names {
    pub(super) fn add(&mut self, name: &str) {
        self.0.insert(Self::hash(name));
    }

    fn contains(&self, name: &str) -> bool {
        self.0.contains(&Self::hash(name))
    }

    fn hash(name: &str) -> u64 {
        name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        })
    }
}

/// Everything a session has recorded since it was loaded or last saved.
#[derive(Default)]
pub(super) struct Pending {
    pub(super) ops: Vec<Op>,
    /// Names whose stored value was read. An operation that then sets one of them
    /// without looking may lose what another request wrote.
    pub(super) reads: Names,
    pub(super) header: HeaderChange,
    pub(super) flushed: bool,
    pub(super) rotate: bool,
}

/// Changes to the header: the last of each kind counts, on replay as well.
#[derive(Clone, Debug, Default)]
pub(super) struct HeaderChange {
    pub(super) subject: Option<Subject>,
    /// Whether that subject was logged in before, and has proved it again.
    pub(super) is_step_up: bool,
    pub(super) label: Option<Label>,
    pub(super) expiry: Option<SessionExpiry>,
    pub(super) login: LoginChange,
}

impl HeaderChange {
    pub(super) fn is_some(&self) -> bool {
        self.subject.is_some()
            || self.label.is_some()
            || self.expiry.is_some()
            || self.login.is_some()
    }

    fn is_binding_alone(&self) -> bool {
        let others = self.subject.is_some() || self.label.is_some() || self.expiry.is_some();
        !others && self.login.is_binding_alone()
    }

    /// Whether a new record would hold anything of it: the configured expiry is what it
    /// would have anyway.
    pub(super) fn has_content(&self) -> bool {
        let chosen = self.expiry.unwrap_or(SessionExpiry::Default);
        self.subject.is_some() || self.label.is_some() || chosen != SessionExpiry::Default
    }

    /// Overrides these changes with later ones.
    pub(super) fn overlay(&mut self, later: Self) {
        if later.subject.is_some() {
            self.is_step_up = later.is_step_up && (self.is_step_up || self.subject.is_none());
        }
        self.subject = later.subject.or(self.subject.take());
        self.label = later.label.or(self.label.take());
        self.expiry = later.expiry.or(self.expiry.take());
        self.login.overlay(later.login);
    }

    /// The stored header, or that of a session that begins now, with these changes in
    /// it. The deadline moves if the expiry or the subject changed, or if this use moves
    /// it by the share of the idle time that is worth a write.
    pub(super) fn written(
        &self,
        stored: Option<&Record>,
        policy: &Expiry,
        now: Timestamp,
        touch_share_percent: u8,
    ) -> Record {
        let mut record = stored.cloned().unwrap_or_else(|| policy.begin(now));
        if let Some(subject) = &self.subject {
            policy.begin_anew(&mut record, now);
            record.subject = Some(subject.clone());
        }
        // What nobody has logged in to is bound to nothing.
        if record.subject.is_some() {
            let logs_in = self.subject.is_some();
            record.login = self.login.written(record.login.as_ref(), logs_in, now);
        }
        if let Some(label) = &self.label {
            record.label = Some(label.clone());
        }
        if let Some(choice) = self.expiry {
            policy.apply(choice, &mut record);
        }
        record.last_seen_at = record.last_seen_at.max(now);
        if self.subject.is_some() || self.expiry.is_some() {
            policy.slide(&mut record, now);
        } else {
            policy.slide_by(&mut record, now, touch_share_percent);
        }
        record
    }
}

impl Pending {
    pub(super) fn is_modified(&self) -> bool {
        !self.ops.is_empty() || self.header.is_some() || self.flushed || self.rotate
    }

    pub(super) fn is_binding_alone(&self) -> bool {
        let others = !self.ops.is_empty() || self.flushed || self.rotate;
        !others && self.header.is_binding_alone()
    }

    /// Whether nothing is recorded but whose the session is, and how that was proved.
    pub(super) fn is_proof_alone(&self) -> bool {
        let HeaderChange { label, expiry, .. } = &self.header;
        self.ops.is_empty()
            && !self.flushed
            && label.is_none()
            && expiry.is_none()
            && self.header.login.is_proof_alone()
    }

    /// Appends an operation; a set directly over a set of the same name takes
    /// its place.
    pub(super) fn push(&mut self, op: Op) {
        if let (Some(Op::Set(last, value)), Op::Set(name, newer)) = (self.ops.last_mut(), &op)
            && last == name
        {
            *value = newer.clone();
        } else {
            self.ops.push(op);
        }
    }

    /// Appends what was recorded later.
    pub(super) fn append(&mut self, later: Self) {
        if later.flushed {
            *self = Self {
                rotate: self.rotate,
                ..later
            };
            return;
        }
        self.ops.extend(later.ops);
        self.reads.0.extend(later.reads.0);
        self.rotate |= later.rotate;
        self.header.overlay(later.header);
    }

    /// Applies the operations to entries that may not be the ones they were
    /// recorded on.
    pub(super) fn replay(&mut self, view: &mut View) -> Result<(), Error> {
        self.ops.iter_mut().try_for_each(|op| op.apply(view))
    }

    /// Names that were read, then set or removed, and whose stored value is no
    /// longer the one that was read.
    pub(super) fn overwritten(&self, read: &Entries, fresh: &Entries) -> Vec<Arc<str>> {
        let names: BTreeSet<_> = self.ops.iter().filter_map(Op::overwrites).collect();
        names
            .into_iter()
            .filter(|name| self.reads.contains(name) && read.get(name) != fresh.get(name))
            .cloned()
            .collect()
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending")
            .field("operations", &self.ops.len())
            .field("flushed", &self.flushed)
            .field("rotate", &self.rotate)
            .finish_non_exhaustive()
    }
}

//! Which of two states of a session is the older one.

use std::cmp::Ordering;

use cloakroom_core::Timestamp;
use cloakroom_core::store::{Revision, Stored, Touch};

/// Orders the states of what stands under one digest: by revision, and by last use
/// where the revision is the same, since a touch leaves the revision alone.
#[derive(Clone, Copy)]
pub(crate) struct Version {
    revision: Revision,
    touch: Touch,
}

impl Version {
    /// Of what a load has found. A rotation mark, or nothing at all, comes after every
    /// record: no session returns to a digest that it has left.
    pub(crate) fn of(found: Option<&Stored>) -> Self {
        match found {
            Some(Stored::Record(record)) => Self {
                revision: record.revision,
                touch: record.into(),
            },
            Some(Stored::Rotated { .. } | Stored::Ended(_)) | None => Self {
                revision: Revision::LAST,
                touch: touch_at(Timestamp::MAX),
            },
        }
    }

    /// Of what an invalidation announces. It says nothing about touches, so a record
    /// of this revision is not older, whenever it was used.
    pub(crate) fn announced(revision: Revision) -> Self {
        Self {
            revision,
            touch: touch_at(Timestamp::EPOCH),
        }
    }

    pub(crate) fn is_older_than(self, other: Self) -> bool {
        match self.revision.cmp(&other.revision) {
            Ordering::Less => true,
            Ordering::Equal => self.touch.later(other.touch) != self.touch,
            Ordering::Greater => false,
        }
    }

    pub(crate) fn later(self, other: Self) -> Self {
        match self.revision.cmp(&other.revision) {
            Ordering::Less => other,
            Ordering::Equal => Self {
                touch: self.touch.later(other.touch),
                ..self
            },
            Ordering::Greater => self,
        }
    }
}

fn touch_at(instant: Timestamp) -> Touch {
    Touch {
        last_seen_at: instant,
        expires_at: instant,
    }
}

//! What a store keeps.

use std::sync::Arc;

use crate::store::{Data, SubjectDigest};
use crate::{Error, ErrorKind, Label, Login, SessionExpiry, Site, Subject, Timestamp};

/// Counts the writes to a record; compare-and-swap compares it.
///
/// `create` stores 1; `update` and `rotate` store one more than what they
/// found. `touch` leaves it alone, so that a reader never disturbs a writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(u64);

impl Revision {
    /// Of a record no store has seen yet.
    pub const NONE: Self = Self(0);
    /// Of a record just created.
    pub const FIRST: Self = Self(1);

    /// After every other revision. An invalidation uses it for a session that was
    /// ended or has moved.
    pub const LAST: Self = Self(u64::MAX);

    /// From a stored number.
    #[must_use]
    pub const fn from_u64(number: u64) -> Self {
        Self(number)
    }

    /// As a number to store.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The revision after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

/// What a touch moves: the time of the last use, and the deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touch {
    /// When it was used.
    pub last_seen_at: Timestamp,
    /// The deadline that follows from it.
    pub expires_at: Timestamp,
}

impl Touch {
    /// The later of each of the two instants.
    #[must_use]
    pub fn later(self, other: Self) -> Self {
        Self {
            last_seen_at: self.last_seen_at.max(other.last_seen_at),
            expires_at: self.expires_at.max(other.expires_at),
        }
    }
}

impl From<&Record> for Touch {
    fn from(record: &Record) -> Self {
        Self {
            last_seen_at: record.last_seen_at,
            expires_at: record.expires_at,
        }
    }
}

/// A session as a store keeps it: a header that the engine and the sweep read,
/// and data that neither needs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// The revision this record was loaded at or last written as.
    pub revision: Revision,
    /// When the session began; a login begins it anew.
    pub created_at: Timestamp,
    /// When it was last used. A use that changes nothing is written only once a share of
    /// the idle time has passed, so this may lag by that share. A touch moves it also near
    /// the absolute deadline, where `expires_at` moves no more: the list that its owner
    /// sees must say that the session is in use.
    pub last_seen_at: Timestamp,
    /// From this instant on the record is dead, whatever else it says.
    pub expires_at: Timestamp,
    /// The instant that no activity moves `expires_at` past.
    pub absolute_deadline: Option<Timestamp>,
    /// What this session chose for itself. Everything else about its lifetime
    /// follows from the policy of the engine that opens it.
    pub expiry: SessionExpiry,
    /// Which site it belongs to.
    pub site: Site,
    /// Whose session it is, once somebody has logged in.
    pub subject: Option<Subject>,
    /// What to show its owner in a list.
    pub label: Option<Label>,
    /// How often the session left its data behind on its way here: a rotation that
    /// follows a flush adds one. A change that arrives after a rotation follows the
    /// session only where this number is still the same.
    pub flushes: u32,
    /// How its subject logged in, and what that is tied to.
    pub login: Option<Arc<Login>>,
    /// The session's entries, or their sealed form.
    pub data: Data,
}

impl Record {
    /// A record with no subject and no data that lives until `expires_at`.
    #[must_use]
    pub fn new(created_at: Timestamp, expires_at: Timestamp) -> Self {
        Self {
            revision: Revision::NONE,
            created_at,
            last_seen_at: created_at,
            expires_at,
            absolute_deadline: None,
            expiry: SessionExpiry::Default,
            site: Site::default(),
            subject: None,
            label: None,
            flushes: 0,
            login: None,
            data: Data::empty(),
        }
    }

    /// Whether it is dead at `now`: past its deadline, or past the absolute one
    /// whatever the other says. The deadline itself is past.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at <= now || self.absolute_deadline.is_some_and(|end| end <= now)
    }

    /// The same record at another revision, as a store keeps it.
    #[must_use]
    pub fn at_revision(&self, revision: Revision) -> Self {
        Self {
            revision,
            ..self.clone()
        }
    }

    /// Whether `moved` is this session at another key, with its data and with no more
    /// rights: neither what followed a flush, nor what a login has begun anew.
    #[must_use]
    pub fn is_continued_by(&self, moved: &Self) -> bool {
        self.flushes == moved.flushes
            && self.subject == moved.subject
            && self.created_at == moved.created_at
    }

    /// The name of its subject within its site, under which a store lists it.
    #[must_use]
    pub fn subject_digest(&self) -> Option<SubjectDigest> {
        let subject = self.subject.as_ref()?;
        Some(SubjectDigest::new(&self.site, subject))
    }

    /// Applies a touch; answers whether it moved anything.
    pub fn touch(&mut self, touch: Touch) -> bool {
        let stored = Touch::from(&*self);
        let moved = stored.later(touch);
        self.last_seen_at = moved.last_seen_at;
        self.expires_at = moved.expires_at;
        moved != stored
    }

    /// The comparison of compare-and-swap: answers the next revision if this record is
    /// based on the stored one.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] where it is based on another revision.
    pub fn next_revision_after(&self, stored: Revision) -> Result<Revision, Error> {
        if self.revision == stored {
            Ok(stored.next())
        } else {
            Err(ErrorKind::Conflict.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_dead_past_either_of_its_deadlines() {
        let at = Timestamp::from_millis;
        let mut record = Record::new(at(0), at(10));
        assert!(!record.is_expired(at(9)) && record.is_expired(at(10)));
        record.absolute_deadline = Some(at(5));
        assert!(!record.is_expired(at(4)) && record.is_expired(at(5)));
    }

    #[test]
    fn a_session_goes_on_with_its_data_and_no_more_rights() {
        let record = |flushes, subject: Option<&str>| Record {
            flushes,
            subject: subject.map(|subject| Subject::new(subject).unwrap()),
            ..Record::new(Timestamp::EPOCH, Timestamp::MAX)
        };
        let mut again = record(1, Some("ada"));
        again.created_at = Timestamp::from_millis(1);
        for (before, moved, goes_on) in [
            (record(1, None), record(1, None), true),
            (record(1, None), record(1, Some("ada")), false),
            (record(1, Some("ada")), record(1, Some("ada")), true),
            (record(1, Some("ada")), record(2, Some("ada")), false),
            (record(1, Some("ada")), record(1, Some("bob")), false),
            (record(1, Some("ada")), record(1, None), false),
            (record(1, Some("ada")), again, false),
        ] {
            assert_eq!(before.is_continued_by(&moved), goes_on, "{moved:?}");
        }
    }

    #[test]
    fn subject_and_label_are_not_printed() {
        let mut record = Record::new(Timestamp::EPOCH, Timestamp::EPOCH);
        record.subject = Some(Subject::new("42").unwrap());
        record.label = Some(Label::new("Firefox on Linux").unwrap());
        let printed = format!("{record:?}");
        assert!(
            !printed.contains("Firefox") && !printed.contains("42"),
            "{printed}"
        );
    }
}

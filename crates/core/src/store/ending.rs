//! Why a session has ended, and what a store remembers of it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::store::{KeyDigest, Record, Stored, SubjectDigest};
use crate::{Error, ErrorKind, Label, Timestamp};

/// How long a tombstone stands at most: a day. Who comes back later with the cookie of a
/// session that has ended is told nothing of it.
pub const TOMBSTONE_AGE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

macro_rules! end_reasons {
    ($($(#[$doc:meta])* $variant:ident => $name:literal),+ $(,)?) => {
        /// Why a session has ended. Every end has one of these reasons.
        ///
        /// Its name ([`as_str`](Self::as_str)) is the same in a store, in an event, in a metric
        /// and in what the command prints.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum EndReason {
            $($(#[$doc])* $variant,)+
        }

        impl EndReason {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name: lower-case words joined by `_`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

end_reasons! {
    /// Its visitor logged out with it.
    LoggedOut => "logged_out",
    /// Its owner ended it from another of their sessions, whose label is the note; or logged
    /// out at their identity provider, whose name is the note.
    LoggedOutElsewhere => "logged_out_elsewhere",
    /// An administrator ended it, or the application did so for one. The note is theirs.
    EndedByAdministrator => "ended_by_administrator",
    /// All sessions of its owner were ended, as after a password was reset.
    AllEnded => "all_ended",
    /// Its owner logged in elsewhere, and has no more sessions than the limit allows.
    SessionLimit => "session_limit",
    /// It was not used for its idle time.
    Idle => "idle",
    /// It reached its absolute deadline.
    Absolute => "absolute",
    /// It moved to another key, and the time is over in which its former key leads there.
    Rotated => "rotated",
    /// Somebody else logged in with it, and it began anew.
    Flushed => "flushed",
    /// The store had no more room for it.
    Evicted => "evicted",
    /// What the store or the cookie held could not be read.
    Damaged => "damaged",
    /// It is of a version that this build does not know.
    Unsupported => "unsupported",
    /// It is sealed under a key that this server does not have, or has no more.
    KeyUnknown => "key_unknown",
    /// It is older than the last time that all sessions of its owner were ended: what a
    /// cookie store with revocation knows.
    Epoch => "epoch",
    /// It was used without the device that it is bound to.
    BindingFailed => "binding_failed",
    /// It belonged to another library, and has become a session of ours.
    Adopted => "adopted",
    /// It has moved to another store.
    Migrated => "migrated",
    /// Nobody remembers.
    Unknown => "unknown",
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for EndReason {
    type Err = Error;

    /// Reads a name.
    ///
    /// # Errors
    /// [`ErrorKind::Mismatch`] for any other text.
    fn from_str(name: &str) -> Result<Self, Error> {
        let reason = Self::ALL.iter().find(|reason| reason.as_str() == name);
        reason
            .copied()
            .ok_or_else(|| Error::new(ErrorKind::Mismatch, "this is no reason of an end"))
    }
}

/// That a session is to end, and what its store is to remember of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ending {
    /// Why.
    pub because: EndReason,
    /// When.
    pub at: Timestamp,
    /// Until when the store remembers it.
    pub until: Timestamp,
    /// What to tell whoever comes back with it, such as the name of the device on which it was
    /// ended. It holds no secret.
    pub note: Option<Label>,
}

impl Ending {
    /// An end now, remembered for as long as ends are: [`TOMBSTONE_AGE_MAX`].
    #[must_use]
    pub fn new(because: EndReason, at: Timestamp) -> Self {
        Self {
            because,
            at,
            until: at.saturating_add(TOMBSTONE_AGE_MAX),
            note: None,
        }
    }

    /// With a note.
    #[must_use]
    pub fn with_note(mut self, note: Option<Label>) -> Self {
        self.note = note;
        self
    }
}

/// What a store remembers of a session that has ended: why, when, and the digest of whose it
/// was. Nothing else of it is left.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tombstone {
    /// Why it ended.
    pub because: EndReason,
    /// When it ended; [`Timestamp::EPOCH`] where nobody knows.
    pub at: Timestamp,
    /// When a sweep may remove the tombstone.
    pub until: Timestamp,
    /// Whose session it was, where that is known.
    pub subject: Option<SubjectDigest>,
    /// What to tell whoever comes back with it.
    pub note: Option<Label>,
}

impl Tombstone {
    /// Of a session of this subject.
    #[must_use]
    pub fn new(ending: &Ending, subject: Option<SubjectDigest>) -> Self {
        Self {
            because: ending.because,
            at: ending.at,
            until: ending.until,
            subject,
            note: ending.note.clone(),
        }
    }

    /// What a sweep at `now` leaves of a record that has expired: `None` where that was more
    /// than [`TOMBSTONE_AGE_MAX`] ago.
    #[must_use]
    pub fn of_expired(record: &Record, now: Timestamp) -> Option<Self> {
        let at = record.expires_at;
        let because = match record.absolute_deadline {
            Some(deadline) if deadline <= at => EndReason::Absolute,
            _ => EndReason::Idle,
        };
        let ending = Ending::new(because, at);
        (ending.until > now).then(|| Self::new(&ending, record.subject_digest()))
    }

    /// What a sweep at `now` leaves of a rotation mark that stood until `until`: `None` where
    /// that was more than [`TOMBSTONE_AGE_MAX`] ago, and for a mark that was due at once,
    /// at [`Timestamp::EPOCH`], since it is of no session's key.
    #[must_use]
    pub fn of_mark(until: Timestamp, now: Timestamp) -> Option<Self> {
        let ending = Ending::new(EndReason::Rotated, until);
        let is_remembered = ending.until > now && until > Timestamp::EPOCH;
        is_remembered.then(|| Self::new(&ending, None))
    }
}

impl Stored {
    /// What a sweep at `now` puts in the place of what has expired; `None` where it removes it:
    /// a tombstone, and what expired more than [`TOMBSTONE_AGE_MAX`] ago.
    #[must_use]
    pub fn swept(&self, now: Timestamp) -> Option<Tombstone> {
        match self {
            Self::Record(record) => Tombstone::of_expired(record, now),
            Self::Rotated { until, .. } => Tombstone::of_mark(*until, now),
            Self::Ended(_) => None,
        }
    }

    /// Where the session that stood here has moved, if it is a rotation mark.
    #[must_use]
    pub fn rotated_to(&self) -> Option<KeyDigest> {
        match self {
            Self::Rotated { to, .. } => Some(*to),
            Self::Record(_) | Self::Ended(_) => None,
        }
    }

    /// Under which subject a store lists what stands here: a record alone is listed.
    #[must_use]
    pub fn listed_under(&self) -> Option<SubjectDigest> {
        match self {
            Self::Record(record) => record.subject_digest(),
            Self::Rotated { .. } | Self::Ended(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Subject;

    #[test]
    fn every_reason_is_read_by_its_name() {
        for reason in EndReason::ALL {
            assert_eq!(reason.as_str().parse::<EndReason>().ok(), Some(*reason));
            let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
            assert!(reason.as_str().chars().all(is_name), "{reason}");
        }
        assert!("logged out".parse::<EndReason>().is_err());
    }

    #[test]
    fn a_sweep_leaves_why_a_session_expired_for_a_day_and_no_longer() {
        let at = Timestamp::from_millis;
        let day = u64::try_from(TOMBSTONE_AGE_MAX.as_millis()).unwrap();
        let mut record = Record::new(at(0), at(1_000));
        record.subject = Some(Subject::new("ada").unwrap());
        let swept = |record: &Record, now| Stored::Record(record.clone()).swept(at(now));
        let tombstone = swept(&record, 1_000).unwrap();
        assert_eq!(tombstone.because, EndReason::Idle);
        assert_eq!(
            (tombstone.at, tombstone.until),
            (at(1_000), at(1_000 + day))
        );
        assert_eq!(tombstone.subject, record.subject_digest());
        assert_eq!(
            swept(&record, 999 + day).map(|left| left.at),
            Some(at(1_000))
        );
        assert_eq!(swept(&record, 1_000 + day), None);
        record.absolute_deadline = Some(at(1_000));
        let tombstone = swept(&record, 1_000).unwrap();
        assert_eq!(tombstone.because, EndReason::Absolute);
        record.absolute_deadline = Some(at(1_001));
        assert_eq!(swept(&record, 1_000).unwrap().because, EndReason::Idle);
        let mark = Stored::Rotated {
            to: KeyDigest::from_bytes([7; 32]),
            until: at(5),
        };
        assert_eq!(mark.swept(at(5)).unwrap().because, EndReason::Rotated);
        assert_eq!(mark.swept(at(5 + day)), None);
        assert_eq!(Tombstone::of_mark(at(0), at(0)), None);
        assert_eq!(Stored::Ended(tombstone).swept(at(5)), None);
    }
}

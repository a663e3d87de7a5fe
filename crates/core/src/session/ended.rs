//! How the session before has ended.

use super::Session;
use crate::store::{EndReason, Ending, Tombstone};
use crate::{Label, Timestamp};

/// How the session has ended that a client still comes with.
///
/// ```
/// use cloakroom_core::session::Session;
/// use cloakroom_core::store::EndReason;
///
/// fn message(session: &Session) -> &'static str {
///     match session.ended_because().map(|ended| ended.because) {
///         Some(EndReason::Idle) => "You were logged out, since you were away for long.",
///         Some(EndReason::LoggedOutElsewhere) => "You were logged out from another device.",
///         _ => "Please log in.",
///     }
/// }
///
/// assert_eq!(message(&Session::detached()), "Please log in.");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ended {
    /// Why.
    pub because: EndReason,
    /// When, where that is known.
    pub at: Option<Timestamp>,
    /// What the one who ended it has left to be told, such as the name of the device on which
    /// that was done.
    pub note: Option<Label>,
}

impl Ended {
    /// For this reason; nothing more is known.
    #[must_use]
    pub fn new(because: EndReason) -> Self {
        Self {
            because,
            at: None,
            note: None,
        }
    }

    /// At this instant.
    #[must_use]
    pub fn at(mut self, at: Timestamp) -> Self {
        self.at = Some(at);
        self
    }
}

impl From<Tombstone> for Ended {
    fn from(tombstone: Tombstone) -> Self {
        Self {
            because: tombstone.because,
            at: Some(tombstone.at).filter(|at| *at > Timestamp::EPOCH),
            note: tombstone.note,
        }
    }
}

impl From<&Ending> for Ended {
    fn from(ending: &Ending) -> Self {
        Self {
            because: ending.because,
            at: Some(ending.at),
            note: ending.note.clone(),
        }
    }
}

impl Session {
    /// How the session has ended that this request's client came with: for a page that says
    /// "you were logged out on your phone at 14:03". `None` where the client came with no
    /// token, or with one that opens this session.
    ///
    /// It is known in the first request after the end, whose answer to a document removes the
    /// cookie. [`EndReason::Unknown`] where nobody remembers: after a day, and in a store that
    /// forgets by itself. To ask is a read of the session, since the page depends on it.
    #[must_use]
    pub fn ended_because(&self) -> Option<Ended> {
        self.lock().accessed = true;
        self.shared.context.ended.clone()
    }
}

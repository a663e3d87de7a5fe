//! What to do with a session when its request ends: one pure function.

/// What became of the request's token when it was loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// There was none.
    #[default]
    Anonymous,
    /// No token of this store; refused without I/O.
    Malformed,
    /// Nothing stands under it, or nothing that can still be opened.
    Missing,
    /// It was sealed under a key that this server does not have; another one may.
    OfUnknownKey,
    /// Its session has just moved to another key.
    Rotated,
    /// Its session is bound to a device, which this request has not proven.
    Unproven,
    /// It opened a session.
    Stored,
}

/// All that the decision depends on. By default nothing has happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// What the token was found to be.
    pub(crate) arrival: Arrival,
    /// Whether a record stands in the store, as far as this request knows.
    pub(crate) stored: bool,
    /// Whether the session was read or written.
    pub(crate) accessed: bool,
    /// Whether anything was changed.
    pub(crate) modified: bool,
    /// Whether the stored session is to end.
    pub(crate) flushed: bool,
    /// Whether it is to move to a new key.
    pub(crate) rotate: bool,
    /// Whether somebody logs in.
    pub(crate) login: bool,
    /// Whether a new record would hold anything.
    pub(crate) content: bool,
    /// Whether the deadline is worth moving.
    pub(crate) touch_due: bool,
    /// Whether the session has had its key for long enough.
    pub(crate) renewal_due: bool,
}

/// What to do with the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Nothing.
    Nothing,
    /// Nothing, and the browser's cookie opens nothing: remove it.
    Forget,
    /// The changes have nowhere to go: the session had moved before this request came.
    Refuse,
    /// Store a new session under a new key.
    Create,
    /// Write the changed session.
    Update,
    /// Move its deadline.
    Touch,
    /// Move it to a new key, as it is or with the login that follows a flush.
    Rotate,
    /// Move it to a new key because of its age, with what was changed.
    Renew,
    /// End it.
    Delete,
    /// End the session, wherever it has moved, and store a new one with what follows the flush.
    Replace,
}

/// Decides. The rules, first match first:
///
/// 1. A stored session that was flushed is ended, and what came after the flush begins a new
///    one; where that is a login, it is rotated into it.
/// 2. A stored session is rotated where that was asked for, renewed where it was used
///    and that is due, updated where it was modified, touched where it was read and a
///    touch is due.
/// 3. Without a stored session, changes that leave something to keep create
///    one; but under a token whose session has just been rotated, only a login
///    does: anything else would wipe the fresh cookie with an older request.
///    A logout there ends the session where it has moved, and what follows the logout, a
///    login too, begins a new one. The same under a token whose device is not proven: the
///    browser may prove it with its next request, and must still have its cookie then.
/// 4. A session that was used and opened nothing removes its cookie, unless a
///    rotation mark stands there, or another server may have the key that it was sealed
///    under: then a logout alone removes it.
#[must_use]
pub(crate) fn decide(facts: &Facts) -> Decision {
    let used = facts.accessed || facts.modified;
    if facts.stored {
        return match facts {
            // Who logs in over another login does both in one step.
            Facts {
                flushed: true,
                login: true,
                ..
            } => Decision::Rotate,
            // A logout that leaves something behind, as a message, is one whatever becomes of
            // that: the store may have no more room.
            Facts {
                flushed: true,
                content: true,
                ..
            } => Decision::Replace,
            Facts { flushed: true, .. } => Decision::Delete,
            Facts { rotate: true, .. } => Decision::Rotate,
            Facts {
                renewal_due: true, ..
            } if used => Decision::Renew,
            Facts { modified: true, .. } => Decision::Update,
            Facts {
                touch_due: true, ..
            } if used => Decision::Touch,
            _ => Decision::Nothing,
        };
    }
    let stands_elsewhere = matches!(facts.arrival, Arrival::Rotated | Arrival::Unproven);
    if stands_elsewhere && (facts.flushed || !facts.login) {
        return match facts {
            Facts {
                flushed: true,
                content: true,
                ..
            } => Decision::Replace,
            Facts { flushed: true, .. } => Decision::Delete,
            Facts {
                modified: true,
                content: true,
                ..
            } => Decision::Refuse,
            _ => Decision::Nothing,
        };
    }
    if facts.modified && facts.content {
        return Decision::Create;
    }
    match facts.arrival {
        Arrival::Missing | Arrival::Malformed if used => Decision::Forget,
        Arrival::OfUnknownKey if facts.flushed => Decision::Forget,
        _ => Decision::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNTOUCHED: Facts = Facts {
        arrival: Arrival::Anonymous,
        stored: false,
        accessed: false,
        modified: false,
        flushed: false,
        rotate: false,
        login: false,
        content: false,
        touch_due: false,
        renewal_due: false,
    };
    const READ: Facts = Facts {
        accessed: true,
        ..UNTOUCHED
    };
    const WRITTEN: Facts = Facts {
        modified: true,
        content: true,
        ..READ
    };
    const CLEARED: Facts = Facts {
        content: false,
        ..WRITTEN
    };
    const LOGIN: Facts = Facts {
        login: true,
        rotate: true,
        ..WRITTEN
    };

    fn from(arrival: Arrival, facts: Facts) -> Decision {
        decide(&Facts {
            arrival,
            stored: arrival == Arrival::Stored,
            ..facts
        })
    }

    #[test]
    fn the_table() {
        use Arrival::*;
        use Decision::*;
        let flushed = Facts {
            flushed: true,
            ..CLEARED
        };
        let flushed_then_written = Facts {
            flushed: true,
            ..WRITTEN
        };
        let cycled = Facts {
            rotate: true,
            ..WRITTEN
        };
        let cycled_empty = Facts {
            rotate: true,
            ..CLEARED
        };
        let read_late = Facts {
            touch_due: true,
            ..READ
        };
        let untouched_late = Facts {
            touch_due: true,
            ..UNTOUCHED
        };
        let read_old = Facts {
            renewal_due: true,
            ..read_late
        };
        let written_old = Facts {
            renewal_due: true,
            ..WRITTEN
        };
        let table: [(&str, Facts, [Decision; 7]); 14] = [
            // Arrivals:             Anonymous Malformed Missing OfUnknownKey Rotated Unproven Stored
            (
                "untouched",
                UNTOUCHED,
                [
                    Nothing, Nothing, Nothing, Nothing, Nothing, Nothing, Nothing,
                ],
            ),
            (
                "untouched, late",
                untouched_late,
                [
                    Nothing, Nothing, Nothing, Nothing, Nothing, Nothing, Nothing,
                ],
            ),
            (
                "read",
                READ,
                [Nothing, Forget, Forget, Nothing, Nothing, Nothing, Nothing],
            ),
            (
                "read, late",
                read_late,
                [Nothing, Forget, Forget, Nothing, Nothing, Nothing, Touch],
            ),
            (
                "read, with an old key",
                read_old,
                [Nothing, Forget, Forget, Nothing, Nothing, Nothing, Renew],
            ),
            (
                "written, with an old key",
                written_old,
                [Create, Create, Create, Create, Refuse, Refuse, Renew],
            ),
            (
                "written",
                WRITTEN,
                [Create, Create, Create, Create, Refuse, Refuse, Update],
            ),
            (
                "cleared",
                CLEARED,
                [Nothing, Forget, Forget, Nothing, Nothing, Nothing, Update],
            ),
            (
                "login",
                LOGIN,
                [Create, Create, Create, Create, Create, Create, Rotate],
            ),
            (
                "cycled",
                cycled,
                [Create, Create, Create, Create, Refuse, Refuse, Rotate],
            ),
            (
                "cycled, empty",
                cycled_empty,
                [Nothing, Forget, Forget, Nothing, Nothing, Nothing, Rotate],
            ),
            (
                "flushed",
                flushed,
                [Nothing, Forget, Forget, Forget, Delete, Delete, Delete],
            ),
            (
                "flushed, then written",
                flushed_then_written,
                [Create, Create, Create, Create, Replace, Replace, Replace],
            ),
            (
                "flushed, then logged in",
                Facts {
                    flushed: true,
                    ..LOGIN
                },
                [Create, Create, Create, Create, Replace, Replace, Rotate],
            ),
        ];
        for (name, facts, decisions) in table {
            let arrivals = [
                Anonymous,
                Malformed,
                Missing,
                OfUnknownKey,
                Rotated,
                Unproven,
                Stored,
            ];
            for (arrival, decision) in arrivals.into_iter().zip(decisions) {
                assert_eq!(from(arrival, facts), decision, "{name} on {arrival:?}");
            }
        }
    }
}

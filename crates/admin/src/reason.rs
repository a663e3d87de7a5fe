//! Why sessions end, for whoever runs the site.

use cloakroom::store::EndReason;

/// A reason in a few words. Its name, as in the log, stands beside it.
pub(crate) fn words(because: EndReason) -> &'static str {
    match because {
        EndReason::LoggedOut => "Logged out",
        EndReason::LoggedOutElsewhere => "Logged out by its owner, from another session",
        EndReason::EndedByAdministrator => "Ended by an administrator",
        EndReason::AllEnded => "Ended with all sessions of its owner, or of the site",
        EndReason::SessionLimit => "Its owner had reached the limit of sessions",
        EndReason::Idle => "Not used for its idle time",
        EndReason::Absolute => "Reached its absolute deadline",
        EndReason::Rotated => "A former key of a session that has moved on",
        EndReason::Flushed => "Somebody logged in over it",
        EndReason::Evicted => "The store had no more room",
        EndReason::Damaged => "What was stored could not be read",
        EndReason::Unsupported => "Stored by a newer version",
        EndReason::KeyUnknown => "Sealed under a key that this server does not have",
        EndReason::Epoch => "Older than the last end of all sessions of its owner",
        EndReason::BindingFailed => "Used without the device that it was bound to",
        EndReason::Adopted => "Became a session of Cloakroom",
        EndReason::Migrated => "Moved to another store",
        _ => "Nobody remembers",
    }
}

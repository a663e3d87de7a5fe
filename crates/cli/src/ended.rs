//! Why a session is no more, in a sentence.

use cloakroom::store::EndReason;

/// What an operator, or the user who asks them, reads of a reason.
pub(crate) fn sentence(because: EndReason) -> &'static str {
    match because {
        EndReason::LoggedOut => "its visitor logged out",
        EndReason::LoggedOutElsewhere => "its owner ended it from another of their sessions",
        EndReason::EndedByAdministrator => "an administrator ended it",
        EndReason::AllEnded => "all sessions of its owner were ended",
        EndReason::SessionLimit => {
            "its owner logged in elsewhere, and has no more sessions than the limit allows"
        }
        EndReason::Idle => "it was not used for its idle time",
        EndReason::Absolute => "it reached its absolute deadline",
        EndReason::Rotated => {
            "it moved to another key, and the time is over in which this one leads there"
        }
        EndReason::Flushed => "somebody else logged in with it",
        EndReason::Evicted => "the store had no more room for it",
        EndReason::Damaged => "what was stored of it could not be read",
        EndReason::Unsupported => "it was of a version that the site's build does not know",
        EndReason::KeyUnknown => "it was sealed under a key that the server does not have",
        EndReason::Epoch => "it was older than the last time that all of its owner's were ended",
        EndReason::BindingFailed => "it was used without the device that it is bound to",
        EndReason::Adopted => "it was another library's, and has become a session of ours",
        EndReason::Migrated => "it has moved to another store",
        _ => "nobody remembers why",
    }
}

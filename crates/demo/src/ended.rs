//! Why the session has ended that a visitor comes back with, in words of theirs.

use cloakroom::session::Ended;
use cloakroom::store::EndReason;
use maud::{Markup, html};

use crate::moment::time_of_day;

/// What the page says that they come back to. They are told once: the answer removes the
/// cookie.
pub(crate) fn told(ended: &Ended) -> Markup {
    let at = html! { @if let Some(at) = ended.at { " at " (time_of_day(at)) } };
    html! {
        p.ended role="status" {
            b { (sentence(ended, &at)) }
            @if let Some(note) = note(ended) { " Their message: “" bdi { (note) } "”" }
        }
    }
}

/// What whoever has ended it wanted to be told, where that is no device.
fn note(ended: &Ended) -> Option<&str> {
    let is_told = matches!(
        ended.because,
        EndReason::EndedByAdministrator | EndReason::AllEnded
    );
    ended
        .note
        .as_ref()
        .filter(|_| is_told)
        .map(|note| note.as_str())
}

fn sentence(ended: &Ended, at: &Markup) -> Markup {
    let device = ended.note.as_ref().map(|label| label.as_str());
    match ended.because {
        EndReason::LoggedOut => html! { "You logged out" (at) "." },
        EndReason::LoggedOutElsewhere => html! {
            "You were logged out" (at) " from "
            @match device { Some(device) => (device), None => "another browser" }
            ", where you are logged in too."
        },
        EndReason::EndedByAdministrator => html! { "An administrator logged you out" (at) "." },
        EndReason::AllEnded | EndReason::Epoch => html! {
            "You were logged out everywhere" (at) "."
        },
        EndReason::SessionLimit => html! {
            "You were logged out here" (at)
            ", since you are logged in elsewhere as often as this site allows."
        },
        EndReason::Idle => html! {
            "Your session ended" (at) ", since you had been away for long."
        },
        EndReason::Absolute => html! {
            "Your session ended" (at) ", since it had lasted as long as one may."
        },
        EndReason::Flushed => html! {
            "Your session ended" (at) ", since somebody else logged in with this browser."
        },
        EndReason::Rotated => html! {
            "Your browser came with a cookie that has been replaced since, so you are not logged in."
        },
        EndReason::Evicted => html! {
            "Your session ended" (at) ", since this site had no more room for it."
        },
        EndReason::BindingFailed => html! {
            "You were logged out" (at) ", since this is not the device that you logged in on."
        },
        EndReason::Damaged | EndReason::KeyUnknown | EndReason::Unsupported => html! {
            "This site can no longer read your session, so you are not logged in."
        },
        EndReason::Adopted | EndReason::Migrated => html! {
            "Your session moved when this site did, and your browser came with its former cookie."
        },
        _ => html! {
            "Your session has ended. It may be long ago: this site does not remember why."
        },
    }
}

#[cfg(test)]
mod tests {
    use cloakroom::{Label, Timestamp};

    use super::*;

    fn told_of(because: EndReason, note: Option<&str>) -> String {
        let mut ended = Ended::new(because).at(Timestamp::from_millis(14 * 3_600_000 + 180_000));
        ended.note = note.map(|note| Label::new(note).unwrap());
        told(&ended).into_string()
    }

    #[test]
    fn each_reason_is_a_sentence_of_its_own_kind() {
        for because in EndReason::ALL {
            let told = told_of(*because, None);
            assert!(
                told.contains("our session") || told.contains("ou "),
                "{told}"
            );
            assert!(told.contains(".</b></p>"), "{told}");
            assert!(!told.contains(because.as_str()), "{told}");
        }
        let told = told_of(EndReason::LoggedOutElsewhere, Some("Firefox on Linux"));
        assert!(
            told.contains("You were logged out at 14:03 UTC from Firefox on Linux, where"),
            "{told}"
        );
        let told = told_of(EndReason::EndedByAdministrator, Some("<b>"));
        assert!(told.contains("logged you out at 14:03 UTC.</b>"), "{told}");
        assert!(told.contains("“<bdi>&lt;b&gt;</bdi>”"), "{told}");
        let told = told_of(EndReason::Unknown, Some("never told"));
        assert!(!told.contains("never told"), "{told}");
    }
}

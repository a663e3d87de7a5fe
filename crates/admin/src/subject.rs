//! The page of one user: where they are logged in, and how their sessions have ended.

use axum::http::StatusCode;
use axum::response::Response;
use cloakroom::engine::{SESSIONS_LISTED_MAX, TokenStore as _};
use cloakroom::{SessionInfo, Subject};
use maud::{Markup, html};

use crate::answer::Visit;
use crate::html::{Page, done, form, note_field};
use crate::moment::{counted, grouped, instant};
use crate::overview::{ends, search, what_is_unknown};
use crate::survey::Survey;

/// How many sessions of a user are shown.
const SHOWN_MAX: usize = 200;

pub(crate) async fn page(visit: &Visit<'_>, subject: &Subject) -> Response {
    let engine = &visit.shared.engine;
    let can = engine.store().token_capabilities();
    let live = match can.subjects {
        None => None,
        Some(_) => match engine.sessions_of(subject).await {
            Ok(live) => Some(live),
            Err(error) => return visit.not_read(&error),
        },
    };
    let digest = engine.subject_digest(subject);
    let survey = match Survey::of(engine, Some(&digest)).await {
        Ok(survey) => survey,
        Err(error) => return visit.not_read(&error),
    };
    let said = match visit.queried("done") {
        "one" => "That session has ended.",
        "all" => "All sessions of this user that stood then have ended.",
        "none" => "That session had ended already, so there was nothing to do.",
        _ => "",
    };
    let content = html! {
        @if !said.is_empty() { (done(said)) }
        p.lead { "User id: " bdi { code { (subject.as_str()) } } }
        @match &live {
            Some(live) => (sessions(visit, subject, live)),
            None => p {
                "This store keeps no list of a user’s sessions, so where they are logged in is not \
                 known."
            }
        }
        @if can.ends_by_subject() && live.as_ref().is_none_or(|live| !live.is_empty()) {
            (end_all(visit, subject))
        }
        h2 { "How their sessions have ended" }
        @match &survey {
            None => p { "This store cannot be read through, so nothing is known of that." }
            Some(survey) => {
                @if survey.latest.is_empty() { p { "The store remembers no session of theirs that has ended." } }
                @else { (ends(&survey.latest)) }
                (what_is_unknown(survey, &can))
            }
        }
        h2 { "Another user" }
        (search(""))
    };
    Page {
        status: StatusCode::OK,
        title: "Sessions of a user",
        name: Some(visit.name()),
        content,
    }
    .render()
}

fn sessions(visit: &Visit<'_>, subject: &Subject, live: &[SessionInfo]) -> Markup {
    html! {
        p {
            @match live.len() {
                0 => "They are not logged in anywhere.",
                SESSIONS_LISTED_MAX => {
                    "They have " (grouped(SESSIONS_LISTED_MAX as u64)) " live sessions or more."
                }
                number => { "They have " (counted(number as u64, "live session")) "." }
            }
            // Those that were listed are in no order, and what is left out may be later.
            @if live.len() == SESSIONS_LISTED_MAX { " These are some of them:" }
            @else if live.len() > SHOWN_MAX { " These were used last:" }
        }
        ul.rows {
            @for info in live.iter().take(SHOWN_MAX) { li { (session(visit, subject, info)) } }
        }
    }
}

fn session(visit: &Visit<'_>, subject: &Subject, info: &SessionInfo) -> Markup {
    let short = info.id.short();
    html! {
        p.what {
            @match &info.label {
                Some(label) => bdi { (label.as_str()) },
                None => "Without a label",
            }
        }
        p.when {
            "Session " code { (short) } ". Logged in " (instant(info.created_at)) ", last used "
            (instant(info.last_seen_at)) ". Ends " (instant(info.expires_at))
            " unless it is used again."
        }
        details {
            summary { "End this session… " span.unseen { (short) } }
            (form(&visit.token, "one", html! {
                input type="hidden" name="subject" value=(subject.as_str());
                input type="hidden" name="session" value=(info.id.to_hex());
                (note_field())
                button { "End session " (short) }
            }))
        }
    }
}

fn end_all(visit: &Visit<'_>, subject: &Subject) -> Markup {
    html! {
        details.below {
            summary { "End all sessions of this user…" }
            (form(&visit.token, "all", html! {
                input type="hidden" name="subject" value=(subject.as_str());
                (note_field())
                button.danger { "End all their sessions" }
            }))
        }
    }
}

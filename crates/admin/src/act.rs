//! What the forms do.

use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use cloakroom::store::KeyDigest;
use cloakroom::{Error, Label, Subject};
use maud::html;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::answer::{Fields, Visit, status_of, too_long};
use crate::html::{Page, done, failed};
use crate::moment::counted;
use crate::overview::{self, CONFIRMATION};

pub(crate) async fn act(visit: &Visit<'_>, fields: &Fields) -> Response {
    let field = |name: &str| fields.get(name).map_or("", |text| text.trim());
    let note = match field("note") {
        "" => None,
        text => match Label::new(text) {
            Ok(note) => Some(note),
            Err(_) => {
                return not_done(
                    "A note is 256 bytes long at most: say it in fewer words.",
                    visit,
                );
            }
        },
    };
    // A user id is what the site has made it, spaces included.
    let subject = fields.get("subject").map_or("", String::as_str);
    match (field("do"), subject) {
        ("everybody", _) => everybody(visit, field("confirmation")).await,
        ("one" | "all", "") => not_done("The form does not say whose session it is about.", visit),
        (deed, text) => match (Subject::new(text), deed) {
            (Err(_), _) => too_long(),
            (Ok(subject), "one") => one(visit, &subject, field("session"), note).await,
            (Ok(subject), "all") => all(visit, &subject, note).await,
            (Ok(_), _) => not_done("This is no form of these pages.", visit),
        },
    }
}

async fn one(visit: &Visit<'_>, subject: &Subject, id: &str, note: Option<Label>) -> Response {
    let Some(id) = KeyDigest::from_hex(id) else {
        return not_done("The form does not say which session to end.", visit);
    };
    let engine = &visit.shared.engine;
    let ended = match note {
        Some(note) => engine.end_session_with_note(subject, &id, note).await,
        None => engine.end_session(subject, &id).await,
    };
    match ended {
        Ok(ended) => {
            tracing::info!(
                event = "administrator_ended_session",
                administrator = ?visit.name(),
                session = %id.short(),
                ended,
                "an administrator has ended a session"
            );
            back(subject, if ended { "one" } else { "none" })
        }
        Err(error) => not_ended(visit, &error),
    }
}

async fn all(visit: &Visit<'_>, subject: &Subject, note: Option<Label>) -> Response {
    let engine = &visit.shared.engine;
    let ended = match note {
        Some(note) => engine.end_sessions_of_with_note(subject, note).await,
        None => engine.end_sessions_of(subject).await,
    };
    match ended {
        Ok(ended) => {
            tracing::info!(
                event = "administrator_ended_subject",
                administrator = ?visit.name(),
                ended,
                "an administrator has ended all sessions of a user"
            );
            back(subject, "all")
        }
        Err(error) => not_ended(visit, &error),
    }
}

async fn everybody(visit: &Visit<'_>, confirmation: &str) -> Response {
    if confirmation != CONFIRMATION {
        return overview::not_confirmed(visit, confirmation).await;
    }
    match visit.shared.engine.end_everybody().await {
        Ok(ended) => {
            tracing::info!(
                event = "administrator_ended_everybody",
                administrator = ?visit.name(),
                ended,
                "an administrator has ended everybody's sessions"
            );
            let ended = counted(ended.try_into().unwrap_or(u64::MAX), "session");
            Page {
                status: StatusCode::OK,
                title: "Everybody is logged out",
                name: None,
                content: html! {
                    (done(&format!("{ended} of this site ended.")))
                    p {
                        "If you were logged in with one of them, log in again to come back. Whoever \
                         logs in from now on stays logged in."
                    }
                },
            }
            .render()
        }
        Err(error) => not_ended(visit, &error),
    }
}

/// Back to the user's page, which says what was done.
fn back(subject: &Subject, done: &str) -> Response {
    let subject = utf8_percent_encode(subject.as_str(), NON_ALPHANUMERIC);
    Redirect::to(&format!("?subject={subject}&done={done}")).into_response()
}

fn not_done(why: &str, visit: &Visit<'_>) -> Response {
    Page {
        status: StatusCode::UNPROCESSABLE_ENTITY,
        title: "Nothing was done",
        name: Some(visit.name()),
        content: html! {
            p.lead role="alert" { (why) }
            p { a href="?" { "Back to the sessions" } }
        },
    }
    .render()
}

fn not_ended(visit: &Visit<'_>, error: &Error) -> Response {
    tracing::error!(
        event = "administrator_could_not_end",
        %error,
        administrator = ?visit.name(),
        "sessions could not be ended"
    );
    failed(
        visit.name(),
        status_of(error),
        "Not all of what you asked for is done: some of these sessions may still be alive. What has \
         ended stays ended. Once the store answers, send the form again.",
        error,
    )
}

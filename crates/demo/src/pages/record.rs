//! What the store holds of this session: all but the key, which it has never
//! seen.

use axum::extract::State;
use cloakroom::SessionExpiry;
use cloakroom::axum::Session;
use cloakroom::session::Value;
use cloakroom::store::Record;
use cloakroom_admin::SESSION_ENTRY;
use maud::{Markup, html};

use super::Answer;
use crate::csrf;
use crate::layout::Page;
use crate::moment::{counted, instant, span};
use crate::state::{Keeping, Site};
use crate::visitor::Visitor;

pub(crate) async fn page(State(site): State<Site>, session: Session) -> Answer {
    let visitor = Visitor::of(&session)?;
    let content = match session.stored_record() {
        Some(record) => html! {
            p.lead {
                @match site.keeping {
                    Keeping::Store => {
                        "This is what the store keeps under the digest of your ticket. The ticket \
                         itself is in your browser alone."
                    }
                    Keeping::Cookie => {
                        "This is what your cookie carries, under a seal that only this server can \
                         make. The server itself keeps nothing."
                    }
                }
            }
            (head(&record, session.expires_at_browser_close()))
            h2 { "Entries" }
            (entries(&session.items()?))
        },
        None => html! {
            p.lead { "Nothing." }
            p {
                "You have only looked around, so there is no session and no cookie. "
                a href="/count" { "Count a visit" } " and come back."
            }
        },
    };
    let page = Page {
        at: "/record",
        title: "What is stored",
        visitor: Some(&visitor),
        content,
    };
    Ok(page.render())
}

fn head(record: &Record, ends_with_browser: bool) -> Markup {
    let idle = match record.expiry {
        SessionExpiry::Idle(idle) => format!("{}, its own choice", span(idle)),
        SessionExpiry::Own(own) => format!("{}, its own choice", span(own.idle())),
        _ => "the default".to_owned(),
    };
    let subject = record.subject.as_ref();
    let label = record.label.as_ref();
    let facts = [
        ("Created", instant(record.created_at)),
        ("Expires", instant(record.expires_at)),
        (
            "Ends at the latest",
            record
                .absolute_deadline
                .map_or_else(|| html! { "no limit" }, instant),
        ),
        ("Idle time", html! { (idle) }),
        (
            "Ends with the browser",
            html! { (if ends_with_browser { "yes" } else { "no" }) },
        ),
        (
            "Belongs to",
            html! { (subject.map_or("nobody", |subject| subject.as_str())) },
        ),
        (
            "Label",
            html! { (label.map_or("none", |label| label.as_str())) },
        ),
        ("Revision", html! { (record.revision.as_u64()) }),
        (
            "Size",
            html! { (counted(record.data.as_bytes().len() as u64, "byte")) " of data" },
        ),
    ];
    html! {
        dl.facts {
            @for (name, fact) in facts {
                div { dt { (name) } dd { (fact) } }
            }
        }
    }
}

fn entries(items: &[(String, Value)]) -> Markup {
    html! {
        @if items.is_empty() {
            p { "None." }
        } @else {
            dl.facts {
                @for (name, value) in items {
                    div {
                        dt { code { (name) } }
                        // A token guards this visitor's forms; it is no one's to read aloud.
                        @if [csrf::NAME, SESSION_ENTRY].contains(&name.as_str()) {
                            dd.quiet { "the secret of this site's forms, not shown" }
                        } @else {
                            dd { code { (value.display()) } }
                        }
                    }
                }
            }
        }
    }
}

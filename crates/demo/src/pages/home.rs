//! The front page.

use cloakroom::axum::Session;
use maud::{Markup, html};

use super::Answer;
use crate::layout::{Page, ticket};
use crate::visitor::Visitor;

/// The walk: where to go, and what is to be seen there.
const WALK: [(&str, &str, &str); 7] = [
    (
        "/count",
        "Count a visit",
        "The first change makes a session, and your browser gets its ticket.",
    ),
    ("/cart", "Fill a cart", "You need not be anybody for that."),
    (
        "/register",
        "Register",
        "Logging in moves everything to a new ticket. The cart comes along.",
    ),
    (
        "/admin",
        "Switch admin mode on",
        "A change of privilege changes the ticket too.",
    ),
    (
        "/devices",
        "Log in twice",
        "See where you are logged in, and end it there from here.",
    ),
    (
        "/record",
        "See what the store holds",
        "All of it but the ticket, which the store has never seen.",
    ),
    (
        "/test-cookie",
        "Test your browser",
        "Does it take cookies at all?",
    ),
];

pub(crate) async fn page(session: Session) -> Answer {
    let visitor = Visitor::of(&session)?;
    let content = html! {
        p.lead {
            "You get a ticket for it. In a browser the cookie is the ticket, and the store keeps \
             the coat: that is what a session is."
        }
        (your_ticket(&session, &visitor))
        h2 { "A short walk" }
        ol.walk {
            @for (address, name, what) in WALK {
                li {
                    a href=(address) { (name) }
                    p { (what) }
                }
            }
        }
        p.quiet {
            "Stop the server however you like, even with "
            code { "kill -9" }
            ", and start it again: you are still logged in. The line at the foot of each page \
             says what the page cost the store. "
            a href="/about" { "How it works" }
        }
    };
    let page = Page {
        at: "/",
        title: "Hand in your coat",
        visitor: Some(&visitor),
        content,
    };
    Ok(page.render())
}

fn your_ticket(session: &Session, visitor: &Visitor) -> Markup {
    let kept = session.len();
    let body = match (&visitor.name, session.exists()) {
        (Some(name), _) => html! {
            p { b { (name) } ", your coat hangs here." }
            p {
                @if ends_with_browser(session) {
                    "Until you log out, or the browser closes and forgets the ticket."
                } @else {
                    "Until you log out, or for 30 days."
                }
            }
        },
        (None, true) => html! {
            p { "Somebody's coat hangs here." }
            p { "The store does not know whose: nobody has logged in with this ticket." }
        },
        (None, false) => html! {
            p { "Nothing of yours hangs here." }
            p { "Your browser has no ticket: looking around needs none." }
        },
    };
    ticket("Things kept", html! { (kept) }, body)
}

fn ends_with_browser(session: &Session) -> bool {
    session.stored_record().is_some() && session.expires_at_browser_close()
}

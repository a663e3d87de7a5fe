//! The front page.

use axum::extract::{RawQuery, State};
use cloakroom::axum::Session;
use maud::{Markup, html};

use super::{Answer, LOGGED_IN, LOGGED_OUT};
use crate::layout::{Page, ticket};
use crate::notice;
use crate::state::{Keeping, Site};
use crate::visitor::Visitor;

/// A stop of the walk: where to go, and what is to be seen there.
type Stop = (&'static str, &'static str, &'static str);

/// The walk where sessions are in a store.
const WALK: [Stop; 7] = [
    (
        "/count",
        "Count a visit",
        "The first change starts a session, and your browser gets its ticket.",
    ),
    CART,
    (
        "/register",
        "Register",
        "Logging in moves everything to a new ticket. Your cart comes along.",
    ),
    (
        "/admin",
        "Turn on admin mode",
        "A change of privilege means a new ticket, too.",
    ),
    (
        "/devices",
        "Log in twice",
        "See everywhere you are logged in, and log out there from here.",
    ),
    (
        "/record",
        "See what is stored",
        "Everything but the ticket, which the store has never seen.",
    ),
    TEST_COOKIE,
];

/// The walk where sessions are in the cookie.
const COOKIE_WALK: [Stop; 7] = [
    (
        "/count",
        "Count a visit",
        "The first change starts a session, and your browser gets it as a cookie.",
    ),
    CART,
    (
        "/register",
        "Register",
        "Logging in moves everything to a new cookie. Your cart comes along.",
    ),
    (
        "/admin",
        "Turn on admin mode",
        "A new cookie again; a copy of the old one still works.",
    ),
    (
        "/devices",
        "Look for your devices",
        "A store would list them. A cookie cannot.",
    ),
    (
        "/record",
        "See what is stored",
        "Everything in your cookie, as the server reads it.",
    ),
    TEST_COOKIE,
];

const CART: Stop = (
    "/cart",
    "Fill a cart",
    "You do not need an account for that.",
);
const TEST_COOKIE: Stop = (
    "/test-cookie",
    "Test your browser",
    "Does it accept cookies at all?",
);

pub(crate) async fn page(
    State(site): State<Site>,
    session: Session,
    RawQuery(query): RawQuery,
) -> Answer {
    let visitor = Visitor::of(&session)?;
    let (lead, walk) = match site.keeping {
        Keeping::Store => (
            "You get a ticket for it. On the web the cookie is the ticket, and the store keeps \
             your coat: that is all a session is.",
            &WALK,
        ),
        Keeping::Cookie => (
            "Elsewhere you get a ticket for it. This demo was started on a cookie store, which \
             keeps nothing: it seals your coat, and hands it back to you as a cookie.",
            &COOKIE_WALK,
        ),
    };
    let content = html! {
        (said(query.as_deref(), &visitor, site.keeping))
        p.lead { (lead) }
        (your_ticket(&session, &visitor, site.keeping))
        h2 { "A short tour" }
        ol.walk {
            @for (address, name, what) in walk {
                li {
                    a href=(address) { (name) }
                    p { (what) }
                }
            }
        }
        p.quiet {
            "Sessions outlive the server, unless they are kept in its memory: stop it however you \
             like, even with "
            code { "kill -9" }
            ", start it again, and you are still logged in. The line at the foot of each page \
             says what the page has cost. "
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

/// What has become of a login or a logout.
fn said(done: Option<&str>, visitor: &Visitor, keeping: Keeping) -> Markup {
    match (done, &visitor.name) {
        (Some(LOGGED_IN), Some(name)) => notice::done(html! {
            "Welcome, " (name) ". You are logged in."
        }),
        (Some(LOGGED_IN), None) => notice::cookie_blocked("You are not logged in."),
        (Some(LOGGED_OUT), None) => notice::done(match keeping {
            Keeping::Store => html! {
                "You are logged out. Your session has ended: a copy of its cookie opens nothing."
            },
            Keeping::Cookie => html! {
                "You are logged out: your cookie is removed. A copy of it, should somebody have \
                 one, still opens the session until its deadline."
            },
        }),
        _ => html! {},
    }
}

fn your_ticket(session: &Session, visitor: &Visitor, keeping: Keeping) -> Markup {
    let kept = session.len();
    let is_carried = keeping == Keeping::Cookie;
    let body = match (&visitor.name, session.exists()) {
        (Some(name), _) => html! {
            p {
                b { (name) }
                @if is_carried { ", you carry your coat yourself." } @else { ", we have your coat." }
            }
            p {
                @if ends_with_browser(session) {
                    "Until you log out, or close the browser and it forgets the "
                    @if is_carried { "cookie." } @else { "ticket." }
                } @else {
                    "Until you log out, for 30 days at most."
                }
            }
        },
        (None, true) if is_carried => html! {
            p { "You carry a coat." }
            p { "It does not say whose it is: you have not logged in." }
        },
        (None, true) => html! {
            p { "We have a coat on your ticket." }
            p { "The store does not know whose it is: nobody has logged in with this ticket." }
        },
        (None, false) => html! {
            p { "We have nothing of yours." }
            p { "Your browser has no session cookie: you do not need one to look around." }
        },
    };
    ticket("Things kept", html! { (kept) }, body)
}

fn ends_with_browser(session: &Session) -> bool {
    session.stored_record().is_some() && session.expires_at_browser_close()
}

//! How it works. This page asks for no session, and so costs the store nothing.

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};

use crate::layout::Page;
use crate::state::{Keeping, Site};

pub(crate) async fn page(State(site): State<Site>) -> Response {
    let content = html! {
        p.lead {
            "Cloakroom is a session storage engine for Rust web services. This site is its demo."
        }
        @match site.keeping {
            Keeping::Store => (in_a_store()),
            Keeping::Cookie => (in_the_cookie()),
        }
        h2 { "This site" }
        p {
            "It runs over plain http, for this machine alone, so its cookie is not marked Secure; \
             over https, Cloakroom's default is as strict as browsers allow. Passwords are kept \
             as argon2id hashes in the demo's folder. Forms sent from other sites are refused. \
             There is no JavaScript on these pages."
        }
    };
    Page {
        at: "/about",
        title: "About",
        visitor: None,
        content,
    }
    .render()
}

fn in_a_store() -> Markup {
    html! {
        h2 { "The ticket" }
        p {
            "Your browser holds a random key of 256 bits, in a cookie that scripts cannot read. \
             The store keeps the session under a digest of that key: whoever copies the store \
             gets no ticket."
        }
        h2 { "Only what is needed" }
        p {
            "This page does not ask who you are, so the bill below is zero. Other pages ask: that \
             loads your session, if you have one, once. Only a change is written, once, just \
             before the response leaves. Without a change there is no cookie."
        }
        h2 { "Side by side" }
        p {
            "A change is kept as an operation, not as a copy of the whole session. Where two tabs \
             change the same session at once, the second one's operations are replayed on top of \
             what the first has left. A session that was logged out in the meantime stays logged \
             out: no late write brings it back."
        }
        h2 { "Moving on" }
        p {
            "Logging in, and each change of privilege, moves the session to a new key. Everything \
             in it comes along, and the old cookie opens nothing any more."
        }
    }
}

fn in_the_cookie() -> Markup {
    html! {
        h2 { "The ticket is the coat" }
        p {
            "This demo was started on a cookie store. Your whole session lies in your cookie, \
             sealed with a key of the server, so that nobody else can make or change one. Scripts \
             cannot read it. The server keeps nothing."
        }
        h2 { "Only what is needed" }
        p {
            "This page does not ask who you are, so the bill below is zero. Other pages ask: that \
             opens your cookie, if you have one, once. Only a change makes a new one, just before \
             the response leaves. Without a change there is no cookie."
        }
        h2 { "What a cookie cannot do" }
        p {
            "Where two tabs change the session at once, the last answer wins and the other change \
             is lost. A copy of the cookie opens the session until its deadline, even after you \
             have logged out or moved to a new cookie: the server has no list of what it may no \
             longer accept. And nobody can say where else you are logged in."
        }
        p {
            "Where one of these matters, choose a store: start the demo without "
            code { "--store" }
            " and these pages change with it."
        }
    }
}
